#pragma once
/* Of updates of one row that follow each other in a chunk the last is left: what is asked of each change, and done for it, is spared for
 * rows that are written all the time. What is left of a chunk goes in front of the next one. Pure. */
#include "adapters/postgres/wal_reader.h"

/* Updates that may be joined to the last of them. */
struct wal_run {
    size_t first, last; /* places in the chunk */
};

struct wal_runs {
    size_t count;
    struct wal_run *items;
    size_t *next; /* per place of the chunk: the next update of its run, 0 when there is none */
};

/* In the arena. Only of changes that need not be noted: asked once more, after a crash, each has the same version. */
struct wal_runs wal_runs_find(const struct wal_chunk *chunk, struct arena *arena);
/* Somebody else has written the row of a run at lsn, and has to be told that both wrote: the updates before are not joined to those after it. Of one run in
 * the order of lsn. */
void wal_runs_cut(struct wal_runs *runs, const struct wal_chunk *chunk, size_t run, uint64_t lsn);
void wal_runs_join(const struct wal_runs *runs, struct wal_chunk *chunk);

/* Whether both make one batch. */
bool wal_chunks_fit(const struct wal_chunk *before, const struct wal_chunk *after);
/* Puts what is in before in front, as a copy. */
void wal_chunk_prepend(struct wal_chunk *chunk, const struct wal_chunk *before);
/* What the change holds is copied into the arena. */
void wal_change_move(struct arena *arena, const struct wal_row *row, struct change *change);
