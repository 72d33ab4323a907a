#pragma once
/* An envelope: a message as it stands on the wire, body sealed by its content hash. What outlet and inlet carry. */
#include "bridge/message/digest.h"

struct header {
    struct text name;
    bool is_number;
    int64_t number;
    struct text text;
};

enum { ENVELOPE_HEADERS_MAX = 24 };

struct envelope {
    struct text routing_key;
    struct text body;
    struct text content_type;   /* application/json */
    struct text message_id;     /* UUID */
    struct text correlation_id; /* null when none, or when the rows have several */
    struct text type;           /* customer.updated */
    struct text app_id;         /* pgbridge/<version> */
    int64_t timestamp_s;        /* seconds since 1970, 0 when not given */
    size_t header_count;
    struct header headers[ENVELOPE_HEADERS_MAX];
    /* only on receipt */
    bool redelivered;
    struct text exchange;
    uint64_t oversize_bytes; /* not 0: the body had this many, above LIMIT_RECEIVED_BYTES, and was thrown away: poison */
};

/* Computes the hash, encodes the body and fills every header and property of design section 3. now_us becomes the AMQP
 * timestamp. */
void envelope_seal(const struct message *message, int64_t now_us, struct arena *arena, struct envelope *out);

/* Checks size, headers, JSON and hash. FAULT_POISON with the reason when anything is wrong; short of memory it aborts. A message without
 * x-content-hash is poison too: the contract asks everybody for it. Missing sequence headers are allowed (foreign
 * sources). */
bool envelope_unseal(const struct envelope *envelope, struct arena *arena, struct message *out, struct error *error);

/* The header's value or NULL. */
const struct header *envelope_header(const struct envelope *envelope, const char *name);
