#include "adapters/postgres/wal_join.h"

#include "bridge/base/index.h"

/* One that travels as the log has it. */
static bool is_plain_update(const struct wal_row *row, const struct change *change)
{
    return row->entity != NULL && change->op == CHANGE_UPDATED && change->layout->coalesce && !row->lacks && row->bytes == 0;
}

static bool may_be_joined(const struct wal_chunk *chunk, size_t before, size_t after)
{
    const struct change *earlier = &chunk->changes[before], *later = &chunk->changes[after];
    return earlier->layout == later->layout && is_plain_update(&chunk->rows[before], earlier) && is_plain_update(&chunk->rows[after], later) &&
           earlier->version.timestamp_us == chunk->rows[before].commit_us;
}

struct wal_runs wal_runs_find(const struct wal_chunk *chunk, struct arena *arena)
{
    struct index latest = index_new(chunk->count, arena);
    size_t *run_of = arena_take_array(arena, chunk->count, sizeof *run_of); /* number from 1, 0: of none */
    struct wal_runs runs = {.next = arena_take_array(arena, chunk->count, sizeof *runs.next)};
    runs.items = arena_take_array(arena, chunk->count / 2 + 1, sizeof *runs.items);
    for (size_t i = 0; i < chunk->count; i++) {
        const struct change *change = &chunk->changes[i];
        uint64_t hash = change_row_hash(change);
        struct index_slot *slot = index_find(&latest, hash, change_row_same, chunk->changes, change);
        size_t before = slot->place - 1;
        run_of[i] = runs.next[i] = 0;
        if (slot->place > 0 && may_be_joined(chunk, before, i)) {
            if (run_of[before] == 0) {
                run_of[before] = ++runs.count;
                runs.items[runs.count - 1] = (struct wal_run){.first = before};
            }
            run_of[i] = run_of[before];
            runs.next[before] = i;
            runs.items[run_of[i] - 1].last = i;
        }
        *slot = (struct index_slot){.hash = hash, .place = i + 1};
    }
    return runs;
}

void wal_runs_cut(struct wal_runs *runs, const struct wal_chunk *chunk, size_t run, uint64_t lsn)
{
    size_t *first = &runs->items[run].first, at = *first;
    while (*first != runs->items[run].last && chunk->rows[*first].commit_lsn < lsn) {
        at = *first;
        *first = runs->next[at];
    }
    if (at != *first && chunk->rows[*first].commit_lsn > lsn)
        runs->next[at] = 0;
}

void wal_runs_join(const struct wal_runs *runs, struct wal_chunk *chunk)
{
    size_t kept = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        if (runs->next[i] != 0)
            continue;
        chunk->changes[kept] = chunk->changes[i];
        chunk->rows[kept++] = chunk->rows[i];
    }
    chunk->count = kept;
}

void wal_change_move(struct arena *arena, const struct wal_row *row, struct change *change)
{
    size_t count = change_value_count(change);
    struct text *values = arena_take_array(arena, count, sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = arena_copy(arena, change->values[i]);
    change->values = values;
    change->correlation = arena_copy(arena, change->correlation);
    change->traceparent = arena_copy(arena, change->traceparent);
    change->base.node = arena_copy(arena, change->base.node);
    if (row->entity != NULL)
        return;
    change->version.node = arena_copy(arena, change->version.node);
    struct version *seen = arena_take_array(arena, change->seen.count, sizeof *seen);
    for (size_t i = 0; i < change->seen.count; i++)
        seen[i] = (struct version){change->seen.versions[i].timestamp_us, arena_copy(arena, change->seen.versions[i].node)};
    change->seen.versions = seen;
}

/* Of what is left in the chunk: its bytes are also of what was joined. */
static size_t bytes_left(const struct wal_chunk *chunk)
{
    size_t bytes = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        const struct change *change = &chunk->changes[i];
        size_t count = change_value_count(change);
        bytes += count * sizeof *change->values;
        for (size_t j = 0; j < count; j++)
            bytes += change->values[j].length;
    }
    return bytes;
}

bool wal_chunks_fit(const struct wal_chunk *before, const struct wal_chunk *after)
{
    return before->whole && !before->ends && after->whole && before->count + after->count <= LIMIT_BATCH_ROWS &&
           bytes_left(before) + after->bytes <= LIMIT_BATCH_BYTES;
}

void wal_chunk_prepend(struct wal_chunk *chunk, const struct wal_chunk *before)
{
    size_t count = before->count + chunk->count;
    struct change *changes = arena_take_array(&chunk->arena, count, sizeof *changes);
    struct wal_row *rows = arena_take_array(&chunk->arena, count, sizeof *rows);
    for (size_t i = 0; i < before->count; i++) {
        changes[i] = before->changes[i];
        rows[i] = before->rows[i];
        wal_change_move(&chunk->arena, &rows[i], &changes[i]);
    }
    for (size_t i = 0; i < chunk->count; i++) {
        changes[before->count + i] = chunk->changes[i];
        rows[before->count + i] = chunk->rows[i];
    }
    chunk->changes = changes;
    chunk->rows = rows;
    chunk->count = chunk->capacity = count;
    chunk->captured += before->captured;
    chunk->bytes += bytes_left(before);
}
