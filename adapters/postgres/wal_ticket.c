#include "adapters/postgres/wal_ticket.h"

#include <inttypes.h>
#include <stdio.h>

#include "adapters/postgres/wal_notes.h"
#include "bridge/base/limits.h"

/* Changes are taken out of a chunk, in their order. */
struct taking {
    struct wal_row *rows;
    struct change *changes;
    size_t count;
};

static void take_out(struct taking *taking, const struct wal_chunk *chunk, size_t i, struct arena *arena)
{
    if (taking->rows == NULL) {
        taking->rows = arena_take_array(arena, chunk->count - i, sizeof *taking->rows);
        taking->changes = arena_take_array(arena, chunk->count - i, sizeof *taking->changes);
    }
    taking->rows[taking->count] = chunk->rows[i];
    taking->changes[taking->count++] = chunk->changes[i];
}

static struct wal_portion portion_of(const struct taking *taking)
{
    return (struct wal_portion){taking->rows, taking->changes, taking->count};
}

static bool waits(struct wal_aside *aside, const struct holds *holds, const struct change *change)
{
    if (aside == NULL || !wal_aside_takes(aside, holds, change->layout->entity))
        return false;
    holds_add(&aside->entities, change->layout->entity);
    return true;
}

/* Takes out what does not travel now: what is too large, what was said as a whole instead, and what is held. */
static void keep_travellers(struct wal_ticket *ticket, struct wal_chunk *chunk, struct wal_aside *waiting, const struct holds *holds, struct arena *arena)
{
    size_t kept = 0;
    struct taking oversize = {0}, aside = {0};
    for (size_t i = 0; i < chunk->count; i++) {
        const struct wal_row *row = &chunk->rows[i];
        if (row->bytes > 0) {
            take_out(&oversize, chunk, i, arena);
        } else if (row->said || row->made) {
            continue;
        } else if (waits(waiting, holds, &chunk->changes[i])) {
            take_out(&aside, chunk, i, arena);
        } else {
            chunk->changes[kept] = chunk->changes[i];
            chunk->rows[kept++] = chunk->rows[i];
        }
    }
    /* What comes through the outbox is counted when it comes. */
    chunk->captured -= chunk->count - kept - oversize.count;
    chunk->count = kept;
    ticket->oversize = portion_of(&oversize);
    ticket->aside = portion_of(&aside);
}

/* Which of the outbox's rows to forget with the batch. */
static void note_outbox_rows(struct wal_ticket *ticket, const struct wal_chunk *chunk, struct arena *arena)
{
    size_t count = 0;
    for (size_t i = 0; i < chunk->count; i++)
        count += chunk->rows[i].entity == NULL;
    ticket->outbox_rows = count;
    char *txids = arena_take(arena, count * 21 + 3), *seqs = arena_take(arena, count * 21 + 3);
    ticket->txids = txids;
    ticket->seqs = seqs;
    const char *mark = "{";
    for (size_t i = 0; i < chunk->count; i++) {
        if (chunk->rows[i].entity != NULL)
            continue;
        txids += sprintf(txids, "%s%" PRIu64, mark, chunk->rows[i].outbox_txid);
        seqs += sprintf(seqs, "%s%" PRId64, mark, chunk->rows[i].outbox_seq);
        mark = ",";
    }
    strcpy(txids, count > 0 ? "}" : "{}");
    strcpy(seqs, count > 0 ? "}" : "{}");
}

void wal_ticket_make(struct wal_ticket *ticket, struct wal_chunk *chunk, struct wal_aside *aside, const struct holds *holds, struct arena *arena)
{
    note_outbox_rows(ticket, chunk, arena);
    keep_travellers(ticket, chunk, aside, holds, arena);
    ticket->whole = chunk->whole;
    ticket->place = chunk->place;
}

static bool bury_row(struct pg_session *session, const struct wal_row *row, const struct change *change, struct arena *arena, struct error *error)
{
    const char *correlation = text_is_null(change->correlation) ? NULL : arena_string(arena, change->correlation);
    const char *parameters[] = {arena_printf(arena, "%d", row->entity->id).data, arena_string(arena, wal_key_text(arena, change)), change_op_name(change->op),
                                arena_printf(arena, "%" PRId64, change->version.timestamp_us).data, arena_printf(arena, "%zu", row->bytes).data, correlation};
    PG_RESULT result = pg_query(session, "wal_oversize", 6, parameters, error);
    return result != NULL;
}

static bool bury_outbox_row(struct pg_session *session, const struct wal_row *row, struct arena *arena, struct error *error)
{
    const char *parameters[] = {arena_printf(arena, "%" PRId64, row->outbox_seq).data, arena_printf(arena, "%" PRIu64, row->outbox_txid).data};
    PG_RESULT result = pg_query(session, "outbox_oversize", 2, parameters, error);
    return result != NULL;
}

bool wal_ticket_bury(const struct wal_ticket *ticket, struct pg_session *session, struct error *error)
{
    bool good = true;
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    for (size_t i = 0; good && i < ticket->oversize.count; i++) {
        const struct wal_row *row = &ticket->oversize.rows[i];
        good = row->entity != NULL ? bury_row(session, row, &ticket->oversize.changes[i], &arena, error) : bury_outbox_row(session, row, &arena, error);
    }
    arena_free(&arena);
    return good;
}
