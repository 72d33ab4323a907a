#pragma once
/* Policies: how a conflict is settled. Each is a row of one table: name, one sentence, pure function. Both nodes compare
 * the same two versions, so both choose the same winner. */
#include "bridge/flow/judge.h"

enum ruling { RULING_LOCAL, RULING_REMOTE };

struct policy {
    const char *name;
    const char *sentence;
    enum ruling (*rule)(struct version local, struct version remote);
};

/* "last-write-wins", the default. */
const struct policy *policy_default(void);
const char *ruling_name(enum ruling ruling);

/* PostgreSQL 18's word for a conflict of a change with what is here. deleted_here: a tombstone stands in for the row. */
const char *conflict_kind(enum change_op op, bool row_present, bool deleted_here);
