#pragma once
/* A change: one row's new state, or its deletion. The unit of version, verdict and conflict. */
#include "bridge/message/merge.h"

enum change_op { CHANGE_CREATED, CHANGE_UPDATED, CHANGE_DELETED };

/* "created", "updated", "deleted": the word on the wire. */
const char *change_op_name(enum change_op op);
bool change_op_parse(struct text name, enum change_op *op);

/* The shape that the changes of one entity share: which fields, in which order, the key first. */
struct layout {
    int32_t id; /* the source's own number for it */
    struct text entity;
    size_t key_count;
    size_t field_count;          /* key included */
    const struct text *fields;   /* canonical names */
    struct text schema;          /* fingerprint of names and types, for x-schema */
    struct text policy;          /* by which this node settles conflicts of the entity, for x-policy; may be null */
    bool coalesce;
};

struct change {
    const struct layout *layout;
    enum change_op op;
    const struct text *values; /* layout->field_count of them; of a deletion only the key_count first */
    struct version version;    /* node is this node, except in a source that forwards */
    struct version base;       /* the version this write replaced; timestamp 0 = it replaced none */
    struct seen seen;          /* of other nodes' writes to the row */
    const struct merge *merge; /* NULL: the entity is not merged, or the row was there before that */
    struct text correlation;   /* null when the application gave none */
    struct text traceparent;
};

static inline size_t change_value_count(const struct change *change)
{
    return change->op == CHANGE_DELETED ? change->layout->key_count : change->layout->field_count;
}

/* Which row a change is about, for an index (base/index.h) of an array of changes. */
uint64_t change_row_hash(const struct change *change);
bool change_row_same(const void *changes, size_t place, const void *item);
