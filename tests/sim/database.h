#pragma once
/* The model database of one node: two tables, the version of every row, tombstones included, and the outbox; with
 * transactions that can be undone, row locks and constraints. Applications write as the capture trigger sees it: each
 * statement stamps the row and puts it into the outbox.
 *
 * An application's transaction happens at once, between two port calls. Only apply's lasts, and holds its locks. */
#include "tests/sim/history.h"

#include "bridge/flow/policy.h"

enum { CHANGES_MAX = 256, CONFLICTS_MAX = 512 };

struct world;

struct row {
    struct content content;
    int write; /* which made it what it is; NOBODY: none */
    struct stamp version, base;
    int64_t seen_us[NODES_MAX]; /* 0: nothing of that node */
    past past;                  /* all that is known here of this row */
    past open;                  /* what stands in an open conflict with it */
    past letters;               /* what could not be applied */
};

/* A row of the outbox. */
struct outbox_change {
    size_t row;
    enum change_op op;
    struct content content;
    struct stamp version, base;
    int64_t seen_us[NODES_MAX];
    int write;
    bool last; /* of its transaction */
};

/* Two writes that did not know each other. */
struct conflict {
    size_t row;
    int local, remote;
    past local_past, remote_past; /* of the rows that met */
    bool same;                    /* equal content: no conflict to record, but one of the two versions went */
    enum ruling ruling;
};

/* What a transaction has done, so that it can be undone. */
struct transaction {
    size_t undo_count, change_count, conflict_count;
    struct {
        size_t row;
        struct row before;
    } undo[CHANGES_MAX];
    struct outbox_change changes[CHANGES_MAX];
    struct conflict conflicts[CONFLICTS_MAX];
};

/* A place in a transaction to go back to. */
struct savepoint {
    size_t undo_count, change_count, conflict_count;
};

struct database {
    struct world *world;
    int node;
    struct row rows[ROWS_MAX];
    bool locked[ROWS_MAX]; /* by the transaction that applies */
    bool taken[ROWS_MAX];  /* not in the unique index until that commits */
    /* committed */
    size_t outbox_count, outbox_released;
    struct outbox_change outbox[CHANGES_MAX];
    size_t conflict_count;
    struct conflict conflicts[CONFLICTS_MAX];
    struct tally tally;
    uint64_t gaps;
    struct rules rules[ENTITIES];
};

void database_clear(struct database *database, struct world *world, int node);

static inline enum entity row_entity(size_t row)
{
    return row < KEYS_MAX ? ENTITY_PARENT : ENTITY_CHILD;
}

struct savepoint transaction_begin(struct transaction *transaction);
struct savepoint transaction_point(const struct transaction *transaction);
void transaction_undo(struct database *database, struct transaction *transaction, struct savepoint to);
void transaction_commit(struct database *database, struct transaction *transaction);

/* Makes the row what after says; undone with the transaction. */
void database_put(struct database *database, struct transaction *transaction, size_t row, const struct row *after);
/* Adds a conflict to the transaction. */
void database_disagree(struct database *database, struct transaction *transaction, const struct conflict *conflict);

/* A write of this node's own, as the trigger stamps it: a new version, into the outbox. */
void database_write(struct database *database, struct transaction *transaction, size_t row, enum change_op op,
                    const struct content *content, bool assertion);

/* The row that holds this unique value; NOBODY: it is free. */
int database_code_holder(const struct database *database, const struct content *content, size_t except);
/* Whether every child has its parent; *child is one that has none. */
bool database_parents_present(const struct database *database, size_t *child);

/* ---- between the model's numbers and the core's texts ---- */

struct version version_of(struct stamp stamp);
struct stamp stamp_of(struct version version);
struct write write_of(struct stamp version, struct stamp base, const int64_t seen_us[NODES_MAX], struct arena *arena);
void seen_of(struct seen seen, int64_t seen_us[NODES_MAX]);
