#include "bridge/message/envelope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/base/limits.h"
#include "bridge/base/memory.h"
#include "bridge/message/codec.h"

enum {
    PROTOCOL = 1,
    SHORT_STRING_BYTES = 255, /* AMQP's properties; a longer value stays out of them */
    UUID_BYTES = 36,
};

/* ---- sealing ------------------------------------------------------------------------------------------------------
 */

static void add_text(struct envelope *envelope, const char *name, struct text value)
{
    if (text_is_null(value))
        return;
    envelope->headers[envelope->header_count++] = (struct header){.name = text_from(name), .text = value};
}

static void add_number(struct envelope *envelope, const char *name, int64_t value)
{
    envelope->headers[envelope->header_count++] =
        (struct header){.name = text_from(name), .is_number = true, .number = value};
}

/* The rows' one correlation; null when there is none or several. */
static struct text single_correlation(const struct message *message)
{
    struct text single = TEXT_NULL;
    for (size_t row = 0; message->correlations != NULL && row < message->row_count; row++) {
        struct text correlation = message->correlations[row];
        if (text_is_null(correlation) || text_equal(correlation, single))
            continue;
        if (!text_is_null(single))
            return TEXT_NULL;
        single = correlation;
    }
    return single.length <= SHORT_STRING_BYTES ? single : TEXT_NULL;
}

void envelope_seal(const struct message *message, int64_t now_us, struct arena *arena, struct envelope *out)
{
    const char *op = change_op_name(message->op);
    char message_id[UUID_BYTES + 1];
    digest_uuid(message_id);
    struct digest digest;
    digest_rows(message->column_count, message->columns, message->row_count, message->values, arena, &digest);

    *out = (struct envelope){
        .routing_key =
            arena_printf(arena, "%.*s.%.*s.%s", TEXT_PRINTF(message->source), TEXT_PRINTF(message->entity), op),
        .body = codec_encode(message, arena),
        .content_type = TEXT_LITERAL("application/json"),
        .message_id = arena_copy(arena, text_from(message_id)),
        .correlation_id = single_correlation(message),
        .type = arena_printf(arena, "%.*s.%s", TEXT_PRINTF(message->entity), op),
        .app_id = TEXT_LITERAL("pgbridge/" PGBRIDGE_VERSION),
        .timestamp_s = now_us / 1000000,
    };
    add_text(out, "x-source", message->source);
    add_text(out, "x-content-hash", arena_copy(arena, text_from(digest.text)));
    add_number(out, "x-protocol", PROTOCOL);
    add_text(out, "x-epoch", message->epoch);
    if (message->sequence > 0)
        add_number(out, "x-seq", message->sequence);
    if (!text_is_null(message->batch)) {
        add_text(out, "x-batch", message->batch);
        add_number(out, "x-part", message->part);
        add_number(out, "x-parts", message->parts);
    }
    add_text(out, "x-schema", message->schema);
    add_text(out, "x-policy", message->policy);
    add_text(out, "traceparent", message->traceparent);
}

/* ---- unsealing ----------------------------------------------------------------------------------------------------
 */

const struct header *envelope_header(const struct envelope *envelope, const char *name)
{
    struct text wanted = text_from(name);
    for (size_t i = 0; i < envelope->header_count; i++)
        if (text_equal(envelope->headers[i].name, wanted))
            return &envelope->headers[i];
    return NULL;
}

static bool starts_with(struct text text, const char *prefix)
{
    size_t length = strlen(prefix);
    return text.length >= length && memcmp(text.data, prefix, length) == 0;
}

/* What brokers add by themselves. */
static bool is_broker_header(struct text name)
{
    return text_equal(name, TEXT_LITERAL("x-death")) || starts_with(name, "x-first-death-") ||
           starts_with(name, "x-last-death-") || text_equal(name, TEXT_LITERAL("x-delivery-count")) ||
           text_equal(name, TEXT_LITERAL("x-acquired-count"));
}

static bool is_own_header(struct text name)
{
    static const char *const own[] = {"x-source", "x-content-hash", "x-protocol", "x-epoch", "x-seq",
                                      "x-batch",  "x-part",         "x-parts",    "x-schema", "x-policy"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (text_equal(name, text_from(own[i])))
            return true;
    return false;
}

/* A header given twice has no one value that two readers would agree on. */
static bool check_names(const struct envelope *envelope, size_t *unknown, struct error *error)
{
    *unknown = 0;
    for (size_t i = 0; i < envelope->header_count; i++) {
        struct text name = envelope->headers[i].name;
        if (!starts_with(name, "x-") || is_broker_header(name))
            continue;
        if (!is_own_header(name)) {
            ++*unknown;
            continue;
        }
        for (size_t before = 0; before < i; before++)
            if (text_equal(envelope->headers[before].name, name))
                return error_set(error, FAULT_POISON, NULL, "header %.*s is given twice", TEXT_PRINTF(name));
    }
    return true;
}

/* A text header that may be missing: null then. */
static bool take_text(const struct envelope *envelope, const char *name, size_t bytes_max, struct text *out,
                      struct error *error)
{
    const struct header *header = envelope_header(envelope, name);
    *out = TEXT_NULL;
    if (header == NULL)
        return true;
    if (header->is_number || text_is_null(header->text) || header->text.length == 0 ||
        header->text.length > bytes_max || !text_is_utf8(header->text))
        return error_set(error, FAULT_POISON, NULL, "header %s is not a text of 1 to %zu bytes", name, bytes_max);
    *out = header->text;
    return true;
}

/* A number from 1 up that may be missing: *out stays then. */
static bool take_number(const struct envelope *envelope, const char *name, int64_t *out, struct error *error)
{
    const struct header *header = envelope_header(envelope, name);
    if (header == NULL)
        return true;
    if (!header->is_number || header->number < 1)
        return error_set(error, FAULT_POISON, NULL, "header %s is not a number from 1 up", name);
    *out = header->number;
    return true;
}

/* A node's name stands in routing keys, where dots separate words and * and # match them, and in logs. */
static bool is_node_name(struct text name)
{
    for (size_t i = 0; i < name.length; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c <= ' ' || c == 0x7F || c == '.' || c == '*' || c == '#' || c == '"' || c == '\\')
            return false;
    }
    return name.length > 0;
}

static bool is_uuid(struct text text)
{
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (dash ? c != '-' : !digit)
            return false;
    }
    return text.length == UUID_BYTES;
}

/* Passed on only: one that makes no sense is left out, as its specification asks. */
static struct text take_traceparent(const struct envelope *envelope)
{
    const struct header *header = envelope_header(envelope, "traceparent");
    if (header == NULL || header->is_number || text_is_null(header->text) || header->text.length == 0 ||
        header->text.length > SHORT_STRING_BYTES)
        return TEXT_NULL;
    for (size_t i = 0; i < header->text.length; i++)
        if (header->text.data[i] <= ' ' || header->text.data[i] > '~')
            return TEXT_NULL;
    return header->text;
}

/* First of all: of another protocol not even the other headers' types are known. */
static bool check_protocol(const struct envelope *envelope, struct error *error)
{
    int64_t protocol = PROTOCOL;
    if (!take_number(envelope, "x-protocol", &protocol, error))
        return false;
    if (protocol != PROTOCOL)
        return error_set(error, FAULT_POISON, NULL, "x-protocol is %lld; this release reads protocol %d",
                         (long long)protocol, PROTOCOL);
    return true;
}

static bool take_headers(const struct envelope *envelope, struct message *out, struct error *error)
{
    if (!take_text(envelope, "x-source", LIMIT_NAME_BYTES, &out->source, error) ||
        !take_text(envelope, "x-epoch", UUID_BYTES, &out->epoch, error) ||
        !take_number(envelope, "x-seq", &out->sequence, error) ||
        !take_text(envelope, "x-batch", LIMIT_NAME_BYTES, &out->batch, error) ||
        !take_number(envelope, "x-part", &out->part, error) || !take_number(envelope, "x-parts", &out->parts, error) ||
        !take_text(envelope, "x-schema", SHORT_STRING_BYTES, &out->schema, error) ||
        !take_text(envelope, "x-policy", SHORT_STRING_BYTES, &out->policy, error))
        return false;
    if (text_is_null(out->source))
        return error_set(error, FAULT_POISON, NULL, "header x-source is missing");
    if (!is_node_name(out->source))
        return error_set(error, FAULT_POISON, NULL, "x-source is not a node's name");
    if (!text_is_null(out->epoch) && !is_uuid(out->epoch))
        return error_set(error, FAULT_POISON, NULL, "x-epoch is not a UUID");
    if (out->part > out->parts)
        return error_set(error, FAULT_POISON, NULL, "x-part is %lld of %lld", (long long)out->part,
                         (long long)out->parts);
    out->traceparent = take_traceparent(envelope);
    return true;
}

static bool check_hash(const struct message *message, struct text given, struct arena *arena, struct error *error)
{
    struct digest digest;
    digest_rows(message->column_count, message->columns, message->row_count, message->values, arena, &digest);
    if (text_equal(given, text_from(digest.text)))
        return true;
    return error_set(error, FAULT_POISON, NULL, "x-content-hash is %.*s, but the rows have %s", TEXT_PRINTF(given),
                     digest.text);
}

/* A foreign source may give the correlation as the AMQP property alone. */
static void spread_correlation(struct text correlation, struct arena *arena, struct message *message)
{
    if (message->correlations != NULL || text_is_null(correlation) || correlation.length == 0 ||
        !text_is_utf8(correlation))
        return;
    struct text *correlations = arena_take_array(arena, message->row_count, sizeof *correlations);
    for (size_t row = 0; row < message->row_count; row++)
        correlations[row] = correlation;
    message->correlations = correlations;
}

static bool unseal(const struct envelope *envelope, struct arena *arena, struct message *out, struct error *error)
{
    *out = (struct message){.part = 1, .parts = 1};
    if (envelope->oversize_bytes > 0)
        return error_set(error, FAULT_POISON, NULL, "the body had %llu bytes, more than %d",
                         (unsigned long long)envelope->oversize_bytes, LIMIT_RECEIVED_BYTES);
    size_t unknown;
    struct text hash;
    if (!check_protocol(envelope, error) || !check_names(envelope, &unknown, error) ||
        !take_headers(envelope, out, error) || !take_text(envelope, "x-content-hash", DIGEST_TEXT_BYTES, &hash, error))
        return false;
    if (text_is_null(hash))
        return error_set(error, FAULT_POISON, NULL, "header x-content-hash is missing");
    if (envelope->timestamp_s < 0 || envelope->timestamp_s > INT64_MAX / 1000000 - 1)
        return error_set(error, FAULT_POISON, NULL, "the timestamp %lld is not in seconds since 1970",
                         (long long)envelope->timestamp_s);
    out->timestamp_us = envelope->timestamp_s * 1000000;
    if (!codec_decode(envelope->body, arena, out, error) || !check_hash(out, hash, arena, error))
        return false;
    if (out->versions == NULL && out->timestamp_us == 0)
        return error_set(error, FAULT_POISON, NULL,
                         "neither versions nor a timestamp: nothing tells how old the rows are");
    out->unknown_members += unknown;
    spread_correlation(envelope->correlation_id, arena, out);
    return true;
}

/* json-c tells nobody when memory is short: it stops early, or cuts a text off. What the bytes themselves say they say twice; a
 * healthy message must not be taken for poison. */
static void confirm_refusal(const struct envelope *envelope, const struct error *refused)
{
    struct arena arena;
    struct message message;
    struct error again;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    if (unseal(envelope, &arena, &message, &again) || strcmp(again.text, refused->text) != 0)
        memory_exhausted(__func__);
    arena_free(&arena);
}

bool envelope_unseal(const struct envelope *envelope, struct arena *arena, struct message *out, struct error *error)
{
    if (unseal(envelope, arena, out, error))
        return true;
    if (error->fault == FAULT_POISON)
        confirm_refusal(envelope, error);
    return false;
}
