#pragma once
/* What the database knows of the rows of a chunk, and is to know of them before anybody else does: asked and noted once they are read, before they
 * are given out. */
#include "adapters/postgres/session.h"
#include "adapters/postgres/wal_reader.h"
#include "bridge/ports.h"

struct wal_notes {
    struct pg_session *session;
    struct clock *clock;
    struct arena *scratch; /* wal_notes_take's own: of one attempt */
    bool one_by_one; /* each row that is noted in a transaction of its own: triggers lock them in an order of their own */
};

/* Joins updates of one row that follow each other, and that nobody else has written in between. */
bool wal_notes_join(const struct wal_notes *notes, struct wal_chunk *chunk, struct error *error);

/* Gives each change its version and what its writer had seen. What is noted is durable; noted twice is noted once.
 * The chunk stays in order; what is to travel otherwise is marked in its rows. FAULT_CONTENTION: to be read anew. */
bool wal_notes_take(const struct wal_notes *notes, struct wal_chunk *chunk, struct arena *arena, struct error *error);

/* The text of a key, as in bridge.row_version: of several fields that of their array. */
struct text wal_key_text(struct arena *arena, const struct change *change);

/* "1/2345678" */
const char *wal_lsn_text(char out[static 24], uint64_t lsn);
