#pragma once
/* Policies: how a conflict is settled. Each is a row of one table: name, one sentence, pure function.
 *
 * Whatever the policy, the later of two versions is kept wherever they meet: this order is total and the same on every
 * node, so all nodes become equal, in any order of arrival. A policy that rules for the earlier one has its writer assert
 * it: that node, and no other, writes its row once more, with a version that comes after both. */
#include "bridge/flow/judge.h"

enum ruling {
    RULING_LOCAL,  /* the row that is here stands */
    RULING_REMOTE, /* the change stands */
    RULING_OPEN,   /* nobody's: each node keeps its own until a human decides */
};

const char *ruling_name(enum ruling ruling);

/* How an entity's conflicts are to be settled. */
struct rules {
    const struct policy *policy;
    size_t priority_count;
    const struct text *priority; /* nodes, the first goes before the others; those that are not named come last */
};

struct policy {
    const char *name;
    const char *sentence;
    enum ruling (*rule)(const struct rules *rules, struct version local, struct version remote);
};

/* "last-write-wins", the default. */
const struct policy *policy_default(void);
/* NULL: no policy has this name. */
const struct policy *policy_find(struct text name);
/* The policies by number, NULL after the last. */
const struct policy *policy_number(size_t number);

/* What is to be done with a change. */
enum action {
    ACTION_NOTHING, /* the row and its version stay as they are */
    ACTION_STAMP,   /* only the version, and what was seen, is written */
    ACTION_WRITE,   /* the change's content, or deletion, is written */
};

struct settlement {
    enum verdict verdict;
    enum ruling ruling; /* of a concurrent change: to be recorded as a conflict */
    enum action action;
    struct write write; /* what the row's version becomes, unless nothing is done */
    bool assertion;     /* afterwards this node writes the row once more, as it then is, for everybody */
};

/* Judges and settles one change. row as for judge_change; lists live in the arena. */
struct settlement policy_settle(const struct rules *rules, struct text this_node, const struct write *change,
                                const struct write *row, bool content_equal, struct arena *arena);

/* PostgreSQL 18's word for a conflict of a change with what is here. deleted_here: a tombstone stands in for the row. */
const char *conflict_kind(enum change_op op, bool row_present, bool deleted_here);
