#pragma once
/* Reads the log's stream in a thread of its own, because the server wants answers also while the broker lets nothing through, and makes chunks of it: whole
 * transactions, as many as there are when somebody asks, or a part of one that is too large. Memory is bounded: when nobody asks, nothing more is read.
 *
 * Of a transaction that came from a peer (its origin is one of ours) only what it put into the outbox counts. Of several changes of one key in one transaction, which
 * have one version, the last is left. Of one in several parts, a key that comes again has a later time than in the parts before. */
#include "adapters/postgres/wal_mapping.h"
#include "bridge/ports.h"

/* How far the log has been read, and what is known there. */
struct wal_place {
    uint64_t lsn;
    int64_t given_us; /* the greatest time given to a transaction */
    bool captures;    /* rows count: from here on it is the log that tells, not the triggers */
};

/* Where a change comes from. */
struct wal_row {
    const struct wal_entity *entity; /* NULL: from the outbox, with a version of its own */
    uint64_t commit_lsn;
    int64_t commit_us;
    uint32_t xid;
    int64_t given_us;    /* the version that it has at least */
    int64_t later_us;    /* than the time given to the transaction: of a key that an earlier part had as well */
    bool lacks;          /* a value that the log does not have, because it is unchanged */
    bool made;           /* no peer has that value either: of a row with a new key, or of a column that had another name */
    bool said;           /* as a whole, through the outbox */
    bool held;           /* by an application, so that it is noted later than others */
    size_t bytes;        /* of values, when they are too many to travel; then there are none but the key's */
    uint64_t outbox_txid; /* of the outbox: which of its rows */
    int64_t outbox_seq;
};

struct wal_chunk {
    struct wal_chunk *next;
    struct arena arena; /* owns the texts, changes and rows */
    size_t count, capacity, captured; /* captured: before those of one key were joined */
    struct change *changes; /* with the time given to their transaction as version */
    struct wal_row *rows;
    size_t bytes;          /* about, of what they hold */
    bool open;             /* more may be added */
    bool ends;             /* nothing may come after it in a batch */
    bool whole;            /* ends with a transaction's end: then place is the place after it */
    struct wal_place place;
    struct text heartbeat; /* what was said at its end; null: nothing */
};

struct wal_reader;

struct wal_reader_options {
    const struct config *config;
    const struct wal_mapping *mapping; /* must outlive the reader */
    const char *slot;
    struct wal_place place; /* begins after it */
    int answer_ms;          /* the server hears of us at least so often */
};

/* Connects and begins. NULL with the error; code SOURCE_IN_USE: another one reads this slot. */
struct wal_reader *wal_reader_start(const struct wal_reader_options *options, struct error *error);
/* Tells the server how far it may forget, and ends. NULL is allowed. */
void wal_reader_stop(struct wal_reader *reader);

/* Waits at most wait_ms; *chunk is NULL when there is nothing. The caller gives it back by wal_reader_recycle. */
bool wal_reader_next(struct wal_reader *reader, int wait_ms, struct wal_chunk **chunk, struct error *error);
/* Puts the next chunk behind this one, if it is there already and both make one batch. */
bool wal_reader_append(struct wal_reader *reader, struct wal_chunk **chunk);
void wal_reader_recycle(struct wal_reader *reader, struct wal_chunk *chunk);

/* How far the log has been read, if everything up to there has been taken by wal_reader_next. */
bool wal_reader_idle(struct wal_reader *reader, struct wal_place *place);
/* Whether the log has told anew of a table since this was last asked: is it mapped as we know? Asked after a chunk or a place was taken and before it is used. */
bool wal_reader_met_table(struct wal_reader *reader);
/* Everything before confirmed is safe elsewhere; that it is before saved is durable, and the server may forget that. */
void wal_reader_release(struct wal_reader *reader, uint64_t confirmed, uint64_t saved);
/* No chunk of more changes, unless one transaction has more; 0: up to the limit. */
void wal_reader_bound(struct wal_reader *reader, size_t changes_max);
