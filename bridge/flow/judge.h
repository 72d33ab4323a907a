#pragma once
/* The one rule behind order, duplicates, echoes and conflicts: a change is applied iff its version is news to the row.
 * Pure: versions in, verdict out. The SQL fast path (adapters/postgres/statement_sql.c) computes the same. */
#include "bridge/base/limits.h"
#include "bridge/message/change.h"

enum verdict {
    VERDICT_ECHO,       /* this node wrote it */
    VERDICT_DUPLICATE,  /* the row has exactly this version */
    VERDICT_STALE,      /* the row's writer had seen it already */
    VERDICT_FRESH,      /* its writer had seen the row's version, or there is none: apply */
    VERDICT_SAME,       /* concurrent, but the content is equal: keep the greater version, write no data */
    VERDICT_CONCURRENT, /* both sides wrote without having seen the other: a conflict for the policy */
};

const char *verdict_name(enum verdict verdict);

/* row: the write that made the row what it is here, its version none when there is no row and no tombstone, or when it was
 * never stamped. content_equal: the row exists and holds the same fields. */
enum verdict judge_change(struct text this_node, const struct write *change, const struct write *row,
                          bool content_equal);

/* Whether a change of a row that is not here, and of which nothing is known, may be about one that was deleted and forgotten:
 * everybody knew of the deletions up to the horizon before they were forgotten, so such a change is old news. */
bool judge_forgotten(const struct write *change, const struct write *row, int64_t horizon_us);

/* What came of the changes of a transaction: received = the sum of the others (design section 9.10). */
struct tally {
    uint64_t received;
    uint64_t applied;
    uint64_t same;
    uint64_t duplicate;
    uint64_t stale;
    uint64_t echo;
    uint64_t kept;         /* conflicts in which the local row was kept */
    uint64_t dead_letters;
    uint64_t conflicts;    /* concurrent changes, whoever won: not part of the sum */
    uint64_t unchanged;    /* applied, but the row already held this content: no data was written */
    uint64_t ignored;      /* applied, but for a field that another node than the writer owns */
    uint64_t held;         /* of the dead letters: put aside on purpose, for later */
};

void tally_add(struct tally *sum, const struct tally *more);
/* True when received equals the sum of the verdicts. */
bool tally_conserves(const struct tally *tally);

/* Progress of one direction with one source, recorded with the transaction it describes. */
/* Numbers of a sender's incarnation that have come, without a hole. */
struct sighting {
    struct text source, epoch;
    int64_t first, last; /* last = first - 1: none has, but all before first should have */
};

struct receipt {
    struct text source; /* x-source of the messages; of this node when it is the sender's receipt */
    struct text epoch;
    int64_t sequence; /* the highest x-seq */
    uint64_t messages;
    uint64_t bytes;
    uint64_t gaps;    /* numbers missing in x-seq */
    int64_t newest_us; /* newest version in it, for lag */
    uint64_t refused;  /* messages of a source that is not listed */
    struct tally tally;
    uint64_t captured; /* sender: changes before coalescing */
};

/* What a worker says of itself, for the views. */
struct report {
    const char *direction; /* in, out */
    const char *state;     /* as worker_state_name: running, database away, broker away, ... */
    const char *database_circuit, *broker_circuit; /* as circuit_name */
    uint64_t queue_depth;
    bool queue_depth_known;
    const char *error; /* NULL: none to report */
    const char *error_code;
};
