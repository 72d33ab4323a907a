#pragma once
/* Merge: the state of a row whose conflicts are settled field by field, and how two such states become one. Pure.
 *
 * Every write carries the whole state. merge_join is the least upper bound of two states, and every write of
 * merge_write goes upwards: so nodes that have seen the same writes hold the same state, in whatever order, and however
 * often, the writes came ("state-based CRDT", Shapiro et al. 2011). Fields follow from the state: of one version there
 * is one content.
 *
 * The order is lexicographic. First the last deletion that a row knows of: who knows the greater one stands as a whole,
 * so that a deletion wins over an update beside it, and an insertion after the deletion over all that was before. Then
 * present before absent: the row has come back. Then the incarnation. Within one incarnation each group of fields, and
 * each node's share in each counter, is settled for itself: the later one stands.
 *
 * What nobody has written since install has no version: it is taken to be equal everywhere. */
#include "bridge/message/version.h"

struct merge_group {
    struct text name;
    struct version version; /* of the last write that changed one of the group's fields */
};

/* What one node has added to a counter in this incarnation, all in all. The node "" at 0 is what was there before
 * anyone counted. */
struct merge_total {
    struct text field;
    struct version version; /* of that node's last write that counted */
    struct text total;      /* decimal */
};

/* The lists are in byte order, and list nothing that goes without saying: equal states are equal member by member. */
struct merge {
    bool present;            /* not in the JSON: the row itself, or the operation, says it */
    struct version died;     /* the deletion after which this incarnation was inserted, or which ended it */
    struct version survived; /* the last deletion that it outlived (update_revives); none, or later than died */
    struct version rest;     /* of the groups that are not listed */
    size_t group_count;      /* at most LIMIT_FIELDS */
    const struct merge_group *groups;
    size_t total_count;               /* at most MERGE_NODES_MAX a field */
    const struct merge_total *totals; /* by field, then by node */
};

enum { MERGE_NODES_MAX = 66 }; /* LIMIT_PEERS, this node, and "" */

bool merge_equal(const struct merge *a, const struct merge *b);

/* When this group was last written, as far as it is known. */
struct version merge_group_version(const struct merge *merge, struct text name);

/* ---- joining ---- */

/* One field of the entity. Fields that a constraint ties together name the same group; most have one of their own. */
struct merge_field {
    struct text name;
    struct text group; /* null: a counter, or of the key */
    bool counter;
};

enum merge_choice {
    FIELD_LOCAL,
    FIELD_REMOTE,
    FIELD_SUM, /* of merge_terms */
};

struct merge_result {
    struct merge merge;
    const enum merge_choice *fields; /* as many as there are fields; unless the row is absent */
    bool content_differs;            /* from local: the row must be written, or deleted */
    bool state_differs;
    bool assertion; /* afterwards this node writes the row once more, for everybody: a new version, this same state */
};

/* Joins what is here with what has come. revive: as merge_revives says, where the entity has update_revives. Lists live
 * in the arena, texts where they were. False: there would be more groups or nodes than the limits allow, which is for
 * the operator; *result is then unspecified. */
bool merge_join(const struct merge *local, const struct merge *remote, bool revive, size_t field_count,
                const struct merge_field *fields, struct arena *arena, struct merge_result *result);

/* The texts whose sum a counter is: a view into merge's totals. None when nobody has counted. */
struct merge_terms {
    size_t count;
    const struct merge_total *totals;
};
struct merge_terms merge_terms(const struct merge *merge, struct text field);

/* Whether change's state is the join already, so that it may replace what is here: its writer had seen every write that
 * is in the row. A fresh change need not have: the row's version is only the greatest of what was joined into it. */
bool merge_replaces(const struct write *change, const struct write *row);

/* For an entity with update_revives, before anything else: whether the row that is here is to outlive the deletion that
 * the change brings. It is when the deletion had not seen what this node has written to it; each node revives its own
 * writes, because nobody else may have them. And when somebody has revived the row: what this node wrote belongs to it. */
bool merge_revives(struct text this_node, const struct merge *local, const struct merge *remote,
                   const struct write *change, const struct write *row);

/* ---- writing ---- */

enum merge_op {
    MERGE_INSERT,
    MERGE_UPDATE,
    MERGE_DELETE,
    MERGE_ASSERT, /* the row as it is, or its absence, stands against all else: the resolution of a conflict */
};

struct merge_count {
    struct text field;
    struct text
        before; /* the counter's value before an update: kept as the share of nobody when nobody has counted yet */
    struct text total; /* this node's own, new */
};

struct merge_write {
    enum merge_op op;
    struct version version; /* later than any in the state, as the capture trigger stamps */
    size_t group_count;     /* MERGE_UPDATE: the groups it changes, each once */
    const struct text *groups;
    size_t count_count; /* MERGE_UPDATE: the counters it changes; MERGE_INSERT: all of them */
    const struct merge_count *counts;
};

/* The state after a write of this node: what the capture trigger computes in SQL (sql/functions/040_attach.sql). */
struct merge merge_write(const struct merge *before, const struct merge_write *write, struct arena *arena);
