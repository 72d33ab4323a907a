#pragma once
/* The model database of one node: two tables, the version of every row, tombstones included, and the outbox; with
 * transactions that can be undone, row locks and constraints. Applications write as the capture trigger sees it: each
 * statement stamps the row and puts it into the outbox.
 *
 * An application's transaction happens at once, between two port calls. Only apply's lasts, and holds its locks. */
#include "tests/unit/numbering.h"
#include "tests/sim/history.h"

#include "bridge/flow/policy.h"

enum { CHANGES_MAX = 256, CONFLICTS_MAX = 512, LETTERS_MAX = 128 };

struct world;

/* An entry of row_version that was replaced, for changes before that which are not published yet. */
struct former {
    uint64_t replaced_at, lsn, xid, over;
    int64_t judged_us;
    bool late; /* noted when apply had replaced it already, without knowing of it */
    struct stamp version, base;
    int64_t at_us;
    int64_t seen_us[NODES_MAX];
};

enum { FORMERS_MAX = 48 };

/* bridge.row_version's, of a node that captures from the WAL. */
struct entry {
    bool here, deleted;
    int write;
    struct stamp version, base;
    int64_t seen_us[NODES_MAX];
    uint64_t xid; /* which transaction's state of the row it speaks of */
    uint64_t lsn; /* when it was written */
    int64_t at_us; /* by this node's clock */
    uint64_t over; /* which transaction's write apply replaced or judged by it; 0: none of this node's */
    int64_t judged_us; /* what its version was taken for */
    size_t former_count;
    struct former formers[FORMERS_MAX]; /* in the order in which they were replaced */
};

struct row {
    struct content content;
    int write; /* which made it what it is; NOBODY: none */
    struct stamp version, base;
    int64_t seen_us[NODES_MAX]; /* 0: nothing of that node */
    past past;                  /* all that is known here of this row */
    past open;                  /* what stands in an open conflict with it */
    bool forgotten;             /* its deletion was, and its version with it */
    bool ever_forgotten;
    uint64_t touched; /* when it was written, counted in writes */
    /* of a node that captures from the WAL; version, base and seen_us are what apply takes the row for */
    struct entry entry;
    uint64_t xid;      /* who wrote its content */
    int64_t commit_us; /* when an application's transaction did; 0: apply did */
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
    bool released;
    bool raw;  /* from the WAL: it has no version before it is noted */
    bool joined; /* to a later one that was read with it: it does not travel */
    bool leaves; /* read in the WAL, and about to be put aside */
    bool aside;  /* it was, and waits in the outbox */
    uint64_t given; /* from there: with which ticket */
    uint64_t lsn, xid;
    int64_t commit_us;
};

/* Two writes that did not know each other. */
struct conflict {
    size_t row;
    int local, remote;
    past local_past, remote_past; /* of the rows that met */
    bool same;                    /* equal content: no conflict to record, but one of the two versions went */
    bool of_letter;               /* met when a letter was tried again: not counted */
    bool parent_kept;             /* a deletion that lost to a child, not to a version */
    enum ruling ruling;
};

/* A change that waits. */
struct letter {
    size_t row;
    int write;
    enum change_op op;
    struct content content;
    struct stamp version, base;
    int64_t seen_us[NODES_MAX];
    char code[8];    /* why it could not be applied */
    int64_t next_us; /* when to try it, by this node's clock */
    unsigned attempts;
    uint64_t tried; /* how many transactions there had been when it was tried */
    int64_t horizon_us; /* deletions up to then may have been forgotten when it came */
};

struct letters {
    size_t count;
    struct letter list[LETTERS_MAX];
    past buried[ROWS_MAX]; /* what ever became a letter, with all upon which it stands */
    uint64_t ended[ROWS_MAX]; /* when the last of them did not wait any more; 0: never */
};

/* What another node has said of itself. */
struct peer {
    int64_t sent_us, received_us; /* 0: nothing yet */
    int64_t heard_us[NODES_MAX];
};

/* How far deletions are forgotten: bridge.collection. */
struct collection {
    int64_t checked_us, marked_us, said_us, horizon_us;
    uint64_t mark; /* in writes */
    int64_t heard_us[NODES_MAX];
};

/* What operators have paused of a direction. */
struct pauses {
    bool all, entities[ENTITIES];
};

/* What every node has sent, and the others have had, before the schedule begins. */
#define FIRST_EPOCH "before"

struct confirmed_number {
    char epoch[64];
    int64_t sequence;
};

/* A message of the dead that somebody has begun to read. */
struct suspect {
    const struct parcel *parcel;
    uint64_t process; /* the last that has */
    int deaths;
};

enum { SUSPECTS_MAX = 64 };

/* What a transaction has done, so that it can be undone. */
struct transaction {
    size_t undo_count, change_count, conflict_count;
    uint64_t xid;      /* 0: none yet */
    int64_t commit_us;
    struct {
        size_t row;
        struct row before;
    } undo[CHANGES_MAX];
    struct outbox_change changes[CHANGES_MAX];
    struct conflict conflicts[CONFLICTS_MAX];
    bool letters_changed;
    struct letters letters; /* as they were before */
    bool heard[NODES_MAX];
    struct peer peers[NODES_MAX]; /* as they are going to be */
};

/* A place in a transaction to go back to. */
struct savepoint {
    size_t undo_count, change_count, conflict_count;
};

struct database {
    struct world *world;
    int node;
    bool wal; /* captures from the WAL */
    uint64_t lsn, released_lsn, xids, commits;
    int64_t given_us; /* the newest version given to a transaction, as of the last release */
    struct row rows[ROWS_MAX];
    bool locked[ROWS_MAX]; /* by the transaction that applies */
    bool taken[ROWS_MAX];  /* not in the unique index until that commits */
    bool overtaken[ROWS_MAX]; /* a deletion of it was noted after apply had written it */
    bool refused[ROWS_MAX]; /* a change of it has ever met a constraint: it was set aside, and later ones may have come first */
    /* committed */
    size_t outbox_count, outbox_released;
    size_t place; /* in a log: everything before it is released, or aside */
    struct outbox_change outbox[CHANGES_MAX];
    size_t conflict_count;
    struct conflict conflicts[CONFLICTS_MAX];
    struct tally tally;
    uint64_t gaps;
    struct numbering numbering;
    size_t confirmed_count;
    struct confirmed_number confirmed[LIMIT_INCARNATIONS]; /* of its sender's incarnations, oldest first */
    uint64_t touches;      /* writes of rows, also undone ones */
    uint64_t transactions; /* committed ones that wrote rows */
    struct letters letters;
    struct peer peers[NODES_MAX];
    struct collection collection;
    struct rules rules[ENTITIES];
    struct pauses pauses[2]; /* in, out */
    size_t suspect_count;
    struct suspect suspects[SUSPECTS_MAX];
};

void database_clear(struct database *database, struct world *world, int node);

static inline enum entity row_entity(size_t row)
{
    return row < KEYS_MAX ? ENTITY_PARENT : ENTITY_CHILD;
}

struct savepoint transaction_begin(struct transaction *transaction);
struct savepoint transaction_point(const struct transaction *transaction);
void transaction_undo(struct database *database, struct transaction *transaction, struct savepoint to);
/* All of it, letters included; nothing is left to commit. */
void transaction_roll_back(struct database *database, struct transaction *transaction);
void transaction_commit(struct database *database, struct transaction *transaction);

/* Makes the row what after says; undone with the transaction. */
void database_put(struct database *database, struct transaction *transaction, size_t row, const struct row *after);
bool database_has_letter(const struct database *database, size_t row);
/* The letters, to be changed by the transaction: undone with all of it, not with a part. */
struct letters *database_letters(struct database *database, struct transaction *transaction);
/* The row as everybody else sees it while the transaction is open. */
const struct row *database_committed(const struct database *database, const struct transaction *transaction,
                                     size_t row);
/* Adds a conflict to the transaction. */
void database_disagree(struct database *database, struct transaction *transaction, const struct conflict *conflict);

/* What this node has certainly seen of a row that it does not know: everything up to the horizon, or it would not be forgotten. But for
 * what waits, and was news when it came. */
void database_see(const struct database *database, size_t row, int64_t seen_us[NODES_MAX]);

/* A write of this node's own, as the trigger stamps it: a new version, into the outbox. */
void database_write(struct database *database, struct transaction *transaction, size_t row, enum change_op op,
                    const struct content *content, bool assertion);

/* The row that holds this unique value; NOBODY: it is free. */
int database_code_holder(const struct database *database, const struct content *content, size_t except);
/* The child that refers to this parent; NOBODY: there is none. */
int database_child_of(const struct database *database, size_t parent);
/* Ends everything when a constraint does not hold. */
void database_check(const struct database *database);

/* ---- between the model's numbers and the core's texts ---- */

struct version version_of(struct stamp stamp);
struct stamp stamp_of(struct version version);
struct write write_of(struct stamp version, struct stamp base, const int64_t seen_us[NODES_MAX], struct arena *arena);
void seen_of(struct seen seen, int64_t seen_us[NODES_MAX]);
