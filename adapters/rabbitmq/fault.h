#pragma once
/* The one table of what RabbitMQ and rabbitmq-c call a failure, and what pgbridge makes of it.
 *
 * Codes: below zero a status of the library, above zero a reply code of the broker. Where one reply code stands for
 * different things, the broker's words decide. What the broker says by a method of its own has a code of ours. */
#include "bridge/base/error.h"
#include "bridge/base/text.h"

enum {
    MQ_NACKED = 20001,    /* basic.nack: it does not take a message */
    MQ_CANCELLED = 20002, /* basic.cancel: it takes the consumer off its queue */
};

struct mq_fault {
    int code;
    const char *words; /* only when the broker's text holds these; NULL: whatever it says */
    enum fault fault;
    const char *sentence; /* what happened */
    const char *hint;     /* what to do; NULL when waiting is all */
};

/* The row for a code; never NULL: an unknown code is a connection fault. said: the broker's text, or NULL. */
const struct mq_fault *mq_fault_find(int code, const char *said);

/* Fills error with "<where>: <sentence>", the broker's own words as DETAIL (said may be NULL) and the HINT. Returns
 * false. */
bool mq_fault_set(struct error *error, const char *where, int code, const char *said);

/* For the tests: the table. */
const struct mq_fault *mq_fault_table(size_t *count);
