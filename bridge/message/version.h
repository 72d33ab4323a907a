#pragma once
/* Versions: who wrote a row's state, when, and what the writer had seen. Pure. */
#include <stddef.h>
#include <stdint.h>

#include "bridge/base/arena.h"
#include "bridge/base/text.h"

/* (when, who): totally ordered, by timestamp and then by node name in byte order. */
struct version {
    int64_t timestamp_us; /* microseconds since 1970 by the writer's clock; 0 = no version, older than any */
    struct text node;
};

/* < 0, 0, > 0. */
int version_compare(struct version a, struct version b);

static inline bool version_equal(struct version a, struct version b)
{
    return a.timestamp_us == b.timestamp_us && text_equal(a.node, b.node);
}

static inline bool version_is_none(struct version version)
{
    return version.timestamp_us == 0;
}

/* Per node the newest version of one row that is known: at most one entry a node, sorted by node in byte order. */
struct seen {
    size_t count;
    const struct version *versions;
};

bool seen_equal(const struct seen *a, const struct seen *b);

/* One write of a row, and everything it stands upon. A node's own earlier writes need no entry: whoever writes a row has
 * seen its own. */
struct write {
    struct version version;
    struct version base; /* what it replaced; none when it replaced nothing, or when that is not known */
    struct seen seen;    /* of other nodes' writes to this row */
};

/* Whether the writer of write had seen version, or wrote it: then write comes after it, whatever the clocks say. */
bool write_covers(const struct write *write, struct version version);

/* What one knows who knows both writes, without entries of node, whose write this is going to be. */
struct seen write_join(const struct write *a, const struct write *b, struct text node, struct arena *arena);
