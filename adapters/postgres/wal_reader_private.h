#pragma once
/* What reading the log's stream (wal_reader.c) and making changes of its messages (wal_transaction.c) share. */
#include <pthread.h>
#include <stdatomic.h>

#include "adapters/postgres/pgoutput.h"
#include "adapters/postgres/wal_keys.h"
#include "adapters/postgres/wal_link.h"
#include "adapters/postgres/wal_reader.h"

enum {
    LABEL_BYTES_MAX = 255, /* of a correlation id or traceparent */
    MASK_WORDS = (LIMIT_FIELDS + 63) / 64,
    RELATIONS_MAX = 4 * LIMIT_ENTITIES,
    KEY_SLOTS = 16384,
};
_Static_assert(KEY_SLOTS >= 2 * (LIMIT_BATCH_ROWS + 1) && (KEY_SLOTS & (KEY_SLOTS - 1)) == 0, "at most half of the slots are in use");

/* ---- what the log tells of tables ---- */

/* Rows that lack some of their fields. */
struct shape {
    struct shape *next;
    uint64_t lacks[MASK_WORDS];
    struct layout layout;
};

enum relation_kind { RELATION_OTHER, RELATION_ENTITY, RELATION_OUTBOX, RELATION_SWITCH };


struct relation {
    uint32_t number;
    enum relation_kind kind;
    const struct wal_entity *entity;
    size_t column_count;
    bool older;   /* the table was another then: some mapped column is not there */
    int *columns; /* per field (of the outbox: outbox_column) its place in the log's rows; -1: it is not there */
    struct shape *shapes;
};

/* ---- keys of a transaction ---- */

struct key_slot {
    uint64_t hash;
    uint64_t stamp; /* of the part it belongs to */
    size_t place;   /* in the chunk, counted from the transaction's first row there */
};

struct transaction {
    bool running; /* between begin and commit */
    bool skipped; /* it was released before */
    bool ours;    /* applied, not written here */
    uint64_t commit_lsn;
    int64_t commit_us;
    uint32_t xid;
    int64_t given_us;   /* 0: none of its rows counted yet */
    int64_t repeat_us;  /* of a later part: what a key that came before gets */
    bool repeated;      /* some did */
    bool split;
    bool switched, captures;
    char correlation[LABEL_BYTES_MAX + 1], traceparent[LABEL_BYTES_MAX + 1];
    size_t said_length; /* of reader->said; 0: it has said nothing */
};

struct wal_reader {
    const struct config *config;
    const struct wal_mapping *mapping;
    struct text node;
    int answer_ms;
    int wake;
    pthread_t thread;
    /* under the mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct wal_chunk *first, *last, *spare;
    size_t queued_bytes;
    bool hungry, stopping, failed, busy; /* busy: a chunk is being filled that is not in the queue */
    struct error error;
    struct wal_place read; /* everything before it is in chunks that were queued */
    _Atomic bool met_table;
    _Atomic uint64_t confirmed, saved;
    _Atomic size_t changes_max;
    /* the thread's own */
    struct wal_link link;
    int quick; /* so many times in a row there was something to read at once */
    struct pgoutput decoder;
    struct wal_place place;
    struct transaction transaction;
    struct wal_chunk *chunk;
    size_t start, start_bytes; /* of the transaction, in the chunk */
    struct text chunk_correlation, chunk_traceparent; /* copies in the chunk; null: not made yet */
    size_t relation_count;
    struct relation *relations;
    struct relation *relation; /* the last one looked for */
    struct arena arena;        /* of relations and shapes; as long as the reader */
    size_t shape_count;
    struct key_slot *slots;    /* KEY_SLOTS of them */
    uint64_t stamp;
    struct wal_keys keys;
    char *said; /* the transaction's heartbeat: LIMIT_HEARTBEAT_BYTES */
    int64_t answered_ms;
    _Atomic uint64_t answered_confirmed, answered_saved;
};

/* ---- wal_reader.c ---- */

/* The chunk for the next row is reader->chunk: the one begun, the last in the queue if it may grow and nobody waits for it, or a new one. */
bool wal_have_chunk(struct wal_reader *reader, struct error *error);
struct change *wal_add_change(struct wal_chunk *chunk, struct wal_row **row);
/* The transaction begins in reader->chunk here. */
void wal_begin_in_chunk(struct wal_reader *reader);

/* Under the mutex. */
struct wal_chunk *wal_chunk_new(struct wal_reader *reader);
void wal_enqueue(struct wal_reader *reader, struct wal_chunk *chunk);
/* Waits until there is room for another chunk; the server is answered meanwhile. False: the reader is to stop, or the server is gone. */
bool wal_await_room(struct wal_reader *reader, struct error *error);

/* ---- wal_transaction.c ---- */

/* One message of the log. */
bool wal_read_data(struct wal_reader *reader, struct text bytes, struct error *error);
