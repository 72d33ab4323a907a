#pragma once
/* A message: the changes of one batch that share entity, operation and column set. The decoded form of what travels;
 * every text is a view into the arena it was made in. */
#include "bridge/base/arena.h"
#include "bridge/base/error.h"
#include "bridge/message/change.h"
#include "bridge/message/merge.h"

struct message {
    /* headers */
    struct text source;      /* x-source */
    struct text epoch;       /* x-epoch: UUID of the sender's incarnation; null from a foreign source */
    int64_t sequence;        /* x-seq, 0 when not given */
    struct text batch;       /* x-batch, null when not given */
    int64_t part, parts;     /* x-part of x-parts, from 1; 1 of 1 when not given */
    struct text schema;      /* x-schema, may be null */
    struct text policy;      /* x-policy, may be null */
    struct text traceparent; /* may be null */
    int64_t timestamp_us;    /* AMQP timestamp (whole seconds); 0 when not given */
    /* body */
    struct text entity;
    enum change_op op;
    size_t key_count;
    size_t column_count;           /* key included */
    const struct text *columns;    /* canonical names, the key's first */
    size_t row_count;
    const struct text *values;     /* row_count * column_count, row by row */
    const int64_t *versions;       /* row_count timestamps, us; NULL: the message's timestamp is the version */
    const struct version *bases;   /* row_count, or NULL when the source has none */
    const struct seen *seen;       /* row_count, or NULL when no writer had seen another's write */
    const struct merge *merges;    /* row_count, or NULL when the entity is not merged */
    const struct text *correlations; /* row_count, or NULL */
    size_t unknown_members;        /* JSON members and headers that this protocol does not know: ignored and counted */
};

static inline const struct text *message_row(const struct message *message, size_t row)
{
    return message->values + row * message->column_count;
}

static inline int64_t message_version(const struct message *message, size_t row)
{
    return message->versions ? message->versions[row] : message->timestamp_us;
}

static inline struct write message_write(const struct message *message, size_t row)
{
    return (struct write){
        .version = {message_version(message, row), message->source},
        .base = message->bases ? message->bases[row] : (struct version){0},
        .seen = message->seen ? message->seen[row] : (struct seen){0},
    };
}
