#include "adapters/postgres/capture_wal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/postgres/parameters.h"
#include "adapters/postgres/wal_notes.h"
#include "adapters/postgres/wal_progress.h"
#include "adapters/postgres/wal_reader.h"
#include "adapters/postgres/wal_slot.h"
#include "adapters/postgres/wal_ticket.h"
#include "bridge/base/log.h"
#include "bridge/base/memory.h"
#include "bridge/message/codec.h"

enum {
    DRAIN_WAIT_MS = 100,
    STUCK_MS = 30000,
    GATHERED_MAX = 50000, /* changes that are joined to one batch */
    GATHER_MS = 100,
    GATHER_AT = 4,        /* as long as at most one of so many is left */
};

enum stage {
    STAGE_OUTBOX, /* the outbox is the source */
    STAGE_DRAIN,  /* what is older than the slot */
    STAGE_LOG,
    STAGE_LEAVE,  /* the log is read to the end of its time */
    STAGE_LEFT,   /* and what came of it is not confirmed yet */
};

struct pg_wal {
    struct source port;
    const struct config *config;
    struct clock *clock;
    struct pg_outbox *outbox;
    struct source *outbox_port;
    struct pg_session *session; /* the outbox's */
    struct wal_mapping mapping;
    struct wal_reader *reader;
    struct wal_slot slot;
    struct wal_progress progress;
    enum stage stage;
    /* Batches that were given out and are not released, of the outbox and of the log, and which is which in their order. */
    size_t outbox_batches, unreleased;
    size_t oldest;
    bool of_outbox[LIMIT_UNCONFIRMED_BATCHES];
    bool in_parts;    /* the end of the transaction that was given out last is still to come */
    int64_t moved_ms; /* when something came through, or nothing was waiting */
    char *heartbeat; /* in the log, and not come out yet */
    struct wal_aside aside;
};

static struct pg_wal *wal_of(struct source *source)
{
    return (struct pg_wal *)source;
}

static int64_t now_ms(struct pg_wal *wal)
{
    return wal->clock->ops->monotonic_ms(wal->clock);
}

static void note_given(struct pg_wal *wal, bool of_outbox)
{
    size_t count = wal->outbox_batches + wal->unreleased;
    assert(count < LIMIT_UNCONFIRMED_BATCHES);
    wal->of_outbox[(wal->oldest + count) % LIMIT_UNCONFIRMED_BATCHES] = of_outbox;
    wal->outbox_batches += of_outbox;
    wal->unreleased += !of_outbox;
}

/* Tells whether it was of the outbox. */
static bool note_released(struct pg_wal *wal)
{
    bool of_outbox = wal->of_outbox[wal->oldest];
    assert(wal->outbox_batches + wal->unreleased > 0);
    wal->moved_ms = now_ms(wal);
    wal->oldest = (wal->oldest + 1) % LIMIT_UNCONFIRMED_BATCHES;
    wal->outbox_batches -= of_outbox;
    wal->unreleased -= !of_outbox;
    return of_outbox;
}

/* ---- how far it is ---- */

/* The server may forget what is before the place that is saved. */
static void show_place(struct pg_wal *wal)
{
    wal_reader_release(wal->reader, wal->progress.known_lsn, wal->progress.saved.lsn);
}

static bool save_place(struct pg_wal *wal, struct error *error)
{
    if (!wal_progress_save(&wal->progress, error))
        return false;
    show_place(wal);
    return true;
}

static bool record_when_due(struct pg_wal *wal, struct error *error)
{
    if (!wal_progress_wants_record(&wal->progress))
        return true;
    if (!wal_progress_record(&wal->progress, error))
        return false;
    show_place(wal);
    return true;
}

/* ---- opening ---- */

static void stop_reading(struct pg_wal *wal)
{
    wal_reader_stop(wal->reader);
    wal->reader = NULL;
    free(wal->heartbeat);
    wal->heartbeat = NULL;
    wal->unreleased = 0;
    wal_progress_begin(&wal->progress, wal->progress.recorded);
}

/* What is released shall not come again only because we stop. */
static void save_at_end(struct pg_wal *wal)
{
    struct error ignored;
    bool can = wal->reader != NULL && wal->session->connection != NULL && PQtransactionStatus(wal->session->connection) == PQTRANS_IDLE;
    if (can && !wal_progress_is_saved(&wal->progress))
        save_place(wal, &ignored);
}

static void wal_close(struct source *source)
{
    struct pg_wal *wal = wal_of(source);
    save_at_end(wal);
    stop_reading(wal);
    wal->outbox_port->ops->close(wal->outbox_port);
    wal->outbox_batches = 0;
}

/* Nothing of the outbox is under way. */
static void enter(struct pg_wal *wal, enum stage stage)
{
    wal->stage = stage;
    pg_outbox_read_aside(wal->outbox, stage == STAGE_LOG || stage == STAGE_LEAVE);
}

static bool start_reading(struct pg_wal *wal, struct error *error)
{
    struct wal_reader_options options = {
        .config = wal->config, .mapping = &wal->mapping, .slot = wal->slot.name, .place = wal->slot.place, .answer_ms = wal->slot.answer_ms};
    wal_progress_begin(&wal->progress, wal->slot.place);
    wal->reader = wal_reader_start(&options, error);
    wal->moved_ms = now_ms(wal);
    wal->in_parts = false;
    wal->unreleased = 0;
    return wal->reader != NULL;
}

static bool open_log(struct pg_wal *wal, struct error *error)
{
    struct wal_slot *slot = &wal->slot;
    enter(wal, STAGE_OUTBOX);
    if (!wal_slot_look(slot, error))
        return false;
    bool leaves = wal->config->capture == CAPTURE_OUTBOX;
    if (leaves == slot->wanted) {
        error_set(error, FAULT_OPERATOR, NULL, "capture is installed to be by %s, and the config says otherwise", leaves ? "the log" : "triggers");
        return error_hint(error, "run \"pgbridge install\", or restart the adapter if the config was changed");
    }
    if (leaves && !slot->present)
        return wal_slot_note_left(slot, error);
    if (!wal_slot_mend(slot, error))
        return false;
    if (leaves && slot->lost)
        return wal_slot_leave(slot, error);
    if (!wal_aside_open(&wal->aside, wal->session, slot->place.lsn, error))
        return false;
    enter(wal, leaves ? STAGE_LEAVE : slot->drains ? STAGE_DRAIN : STAGE_LOG);
    return wal_mapping_load(&wal->mapping, wal->config, wal->session, error) && start_reading(wal, error);
}

static bool wal_open(struct source *source, struct error *error)
{
    struct pg_wal *wal = wal_of(source);
    wal_close(source);
    if (!wal->outbox_port->ops->open(wal->outbox_port, error))
        return false;
    if (open_log(wal, error))
        return true;
    wal_close(source);
    return false;
}

/* The mapping under which the log was read: when it is another by now, rows may have been read wrongly, or not at all. */
static bool mapping_holds(struct pg_wal *wal, struct error *error)
{
    if (!wal_reader_met_table(wal->reader))
        return true;
    struct wal_mapping now = {0};
    bool good = wal_mapping_load(&now, wal->config, wal->session, error);
    if (good && strcmp(now.digest, wal->mapping.digest) != 0)
        good = error_set(error, FAULT_CONTENTION, NULL, "the mapping has changed: the log is read anew");
    wal_mapping_free(&now);
    return good;
}

/* There is no chunk: when none is under way either, what the log had since then was not ours to send. */
static bool advance(struct pg_wal *wal, struct error *error)
{
    struct wal_place place;
    bool idle = wal_reader_idle(wal->reader, &place) && wal->unreleased == 0;
    if (!mapping_holds(wal, error))
        return false;
    if (idle)
        wal_progress_pass(&wal->progress, &place);
    if (wal_progress_wants_save(&wal->progress))
        return save_place(wal, error);
    show_place(wal);
    return true;
}

/* ---- the outbox ---- */

static const char *held_names(const struct pg_wal *wal, struct arena *arena)
{
    const struct holds *holds = wal->port.holds;
    size_t count = holds != NULL ? holds->count : 0;
    struct text *names = arena_take_array(arena, count, sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = text_from(holds->entities[i]);
    return parameters_literal(arena, names, count);
}

static bool next_of_outbox(struct pg_wal *wal, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    wal->outbox_port->holds = wal->port.holds;
    if (!wal->outbox_port->ops->next(wal->outbox_port, wait_ms, batch, found, error))
        return false;
    if (*found)
        note_given(wal, true);
    return true;
}

/* The same without a heartbeat, which would be too early. */
static bool next_of_table(struct pg_wal *wal, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    bool due = batch->heartbeat_due;
    batch->heartbeat_due = false;
    bool good = next_of_outbox(wal, wait_ms, batch, found, error);
    batch->heartbeat_due = due;
    return good;
}

/* What is in the table now is older than the slot, or comes once more with the log; of everything committed later the log tells. Once only: what this
 * node says of a conflict would come before the write of its own that it is about. */
static bool drain(struct pg_wal *wal, struct batch *batch, bool *found, struct error *error)
{
    bool good = next_of_table(wal, DRAIN_WAIT_MS, batch, found, error);
    /* The outbox also gives nothing while it waits for what it has given out. */
    if (!good || *found || wal->outbox_batches > 0)
        return good;
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const char *parameters[] = {held_names(wal, &arena)};
    PG_RESULT result = pg_query(wal->session, "wal_drained", 1, parameters, error);
    arena_free(&arena);
    if (result == NULL || PQntuples(result) == 0)
        return result != NULL;
    enter(wal, STAGE_LOG);
    return wal_aside_look(&wal->aside, wal->session, error);
}

/* What nothing holds any more of what was put aside goes out, in its order, before the log is read on: once the place behind it is recorded, because the
 * log would tell it again, and it would count twice. */
static bool let_go(struct pg_wal *wal, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    if (wal->unreleased > 0) {
        wal->clock->ops->sleep_ms(wal->clock, wait_ms);
        return true;
    }
    if (!wal_progress_is_recorded(&wal->progress) && !wal_progress_record(&wal->progress, error))
        return false;
    if (!next_of_table(wal, 0, batch, found, error))
        return false;
    if (*found || wal->outbox_batches > 0)
        return true;
    if (!wal_aside_look(&wal->aside, wal->session, error))
        return false;
    return !wal_aside_flows(&wal->aside, wal->port.holds) || next_of_table(wal, wait_ms, batch, found, error);
}

/* ---- leaving the log ---- */

/* Whether the last switch is behind this place, and it was to the triggers. */
static bool at_end(const struct pg_wal *wal, const struct wal_place *place)
{
    return !place->captures && place->lsn >= wal->slot.until_lsn;
}

/* Everything up to the switch is confirmed: from here on the triggers have told. */
static bool leave(struct pg_wal *wal, struct error *error)
{
    if (!save_place(wal, error))
        return false;
    stop_reading(wal);
    enter(wal, STAGE_OUTBOX);
    if (!wal_slot_leave(&wal->slot, error))
        return false;
    log_event(LOG_LEVEL_INFO, "left", "slot=%s reason=\"capture is by triggers now, and the log was read to where they begin\"", wal->slot.name);
    return true;
}

/* ---- batches ---- */

static bool take_heartbeat(struct pg_wal *wal, const struct wal_chunk *chunk, struct batch *batch, struct error *error)
{
    /* Anybody may write such a message: ours is the one that we have written. */
    if (text_is_null(chunk->heartbeat) || wal->heartbeat == NULL || !text_equal(chunk->heartbeat, text_from(wal->heartbeat)))
        return true;
    struct heartbeat *heartbeat = arena_take(&batch->arena, sizeof *heartbeat);
    heartbeat->source = text_from(wal->config->node);
    bool good = codec_decode_heartbeat(text_from(wal->heartbeat), &batch->arena, heartbeat, error);
    /* It says that everything before it has been sent. */
    if (wal->aside.entities.count == 0)
        batch->heartbeat = heartbeat;
    free(wal->heartbeat);
    wal->heartbeat = NULL;
    return good;
}

static struct wal_notes notes_of(struct pg_wal *wal)
{
    return (struct wal_notes){.session = wal->session, .clock = wal->clock, .one_by_one = wal->stage == STAGE_LEAVE};
}

static size_t changes_max(const struct pg_wal *wal)
{
    return wal->port.holds != NULL ? wal->port.holds->changes_max : 0;
}

/* Of a row that is written all the time only the last state is asked for, noted and sent: while little is left of what was taken last, what has been read
 * meanwhile is taken, too; and where less may be sent at once than is read at once, while it is less. */
static bool gather(struct pg_wal *wal, struct wal_chunk **chunk, struct error *error)
{
    const struct wal_notes notes = notes_of(wal);
    int64_t deadline = now_ms(wal) + GATHER_MS;
    bool more = true;
    for (size_t before = 0; more;) {
        size_t taken = (*chunk)->count - before;
        if (!mapping_holds(wal, error) || !wal_notes_join(&notes, *chunk, error))
            return false;
        bool little = (*chunk)->count <= before + taken / GATHER_AT || (*chunk)->count < changes_max(wal);
        before = (*chunk)->count;
        more = wal->stage == STAGE_LOG && little && (*chunk)->captured < GATHERED_MAX && now_ms(wal) < deadline && wal_reader_append(wal->reader, chunk);
    }
    return true;
}

/* The chunk's memory becomes the batch's. */
static bool fill_batch(struct pg_wal *wal, struct wal_chunk *chunk, struct batch *batch, struct error *error)
{
    struct arena empty = batch->arena;
    batch->arena = chunk->arena;
    chunk->arena = empty;
    struct wal_ticket *ticket = arena_take(&batch->arena, sizeof *ticket);
    const struct wal_notes notes = notes_of(wal);
    if (!wal_notes_take(&notes, chunk, &batch->arena, error))
        return false;
    wal_ticket_make(ticket, chunk, wal->stage == STAGE_LOG ? &wal->aside : NULL, wal->port.holds, &batch->arena);
    if (!take_heartbeat(wal, chunk, batch, error))
        return false;
    batch->changes = chunk->changes;
    batch->change_count = chunk->count;
    batch->captured_count = chunk->captured;
    batch->ticket = ticket;
    return true;
}

/* Puts one into the log, when one is due and none is there. */
static bool say_heartbeat(struct pg_wal *wal, bool due, struct error *error)
{
    if (!due || wal->heartbeat != NULL)
        return true;
    PG_RESULT result = pg_query(wal->session, "wal_heartbeat", 0, NULL, error);
    if (result == NULL)
        return false;
    wal->heartbeat = strdup(PQgetvalue(result, 0, 0));
    return true;
}

static bool say_again(struct pg_wal *wal, struct batch *batch, bool *found, struct error *error)
{
    PG_RESULT result = pg_query(wal->session, "wal_heartbeat_again", 0, NULL, error);
    if (result == NULL)
        return false;
    if (PQntuples(result) == 0)
        return true;
    struct heartbeat *heartbeat = arena_take(&batch->arena, sizeof *heartbeat);
    heartbeat->source = text_from(wal->config->node);
    batch->heartbeat = heartbeat;
    batch->ticket = arena_take(&batch->arena, sizeof(struct wal_ticket));
    note_given(wal, false);
    *found = true;
    return codec_decode_heartbeat(pg_value(result, 0, 0), &batch->arena, heartbeat, error);
}

static bool next_of_log(struct pg_wal *wal, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    struct wal_chunk *chunk;
    if (wal->stage == STAGE_LOG && !say_heartbeat(wal, batch->heartbeat_due, error))
        return false;
    wal_reader_bound(wal->reader, changes_max(wal));
    if (!wal_reader_next(wal->reader, wal_progress_wait_ms(&wal->progress, wait_ms), &chunk, error))
        return false;
    if (chunk == NULL)
        return record_when_due(wal, error) && advance(wal, error);
    bool good = gather(wal, &chunk, error);
    bool ends = wal->stage == STAGE_LEAVE && chunk->whole && at_end(wal, &chunk->place);
    wal->in_parts = !chunk->whole;
    good = good && fill_batch(wal, chunk, batch, error);
    wal_reader_recycle(wal->reader, chunk);
    if (!good)
        return false;
    *found = true;
    note_given(wal, false);
    if (ends)
        wal->stage = STAGE_LEFT;
    return true;
}

/* What is older first. While any of it is held it is said that this node lives, and no more. */
static bool next_of_table_or_log(struct pg_wal *wal, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    if (batch->heartbeat_due && wal->aside.entities.count > 0 && !say_again(wal, batch, found, error))
        return false;
    if (*found)
        return true;
    if (wal->stage == STAGE_DRAIN)
        return drain(wal, batch, found, error);
    if (!wal->in_parts && wal_aside_flows(&wal->aside, wal->port.holds))
        return let_go(wal, wait_ms, batch, found, error);
    return next_of_log(wal, wait_ms, batch, found, error);
}

static bool is_held(const struct pg_wal *wal)
{
    return wal->port.holds != NULL && wal->port.holds->count > 0;
}

/* The log is read to the switch, unless anything is held; then all of it is to be confirmed. */
static bool next_while_leaving(struct pg_wal *wal, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    if (wal->stage == STAGE_LEFT || (wal->unreleased == 0 && at_end(wal, &wal->progress.released))) {
        bool under_way = wal->unreleased + wal->outbox_batches > 0;
        wal->clock->ops->sleep_ms(wal->clock, under_way ? wait_ms : 0);
        return under_way || leave(wal, error);
    }
    if (!is_held(wal))
        return next_of_table_or_log(wal, wait_ms, batch, found, error);
    if (batch->heartbeat_due && !say_again(wal, batch, found, error))
        return false;
    wal->clock->ops->sleep_ms(wal->clock, *found ? 0 : wait_ms);
    return true;
}

static bool next(struct pg_wal *wal, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    if (wal->session->connection == NULL)
        return error_set(error, FAULT_CONNECTION, "08003", "the database session is closed");
    if (!record_when_due(wal, error))
        return false;
    switch (wal->stage) {
    case STAGE_OUTBOX:
        return next_of_outbox(wal, wait_ms, batch, found, error);
    case STAGE_DRAIN:
    case STAGE_LOG:
        return next_of_table_or_log(wal, wait_ms, batch, found, error);
    case STAGE_LEAVE:
    case STAGE_LEFT:
        return next_while_leaving(wal, wait_ms, batch, found, error);
    }
    return error_set(error, FAULT_BUG, NULL, "there is no stage %d", (int)wal->stage);
}

static bool wal_next(struct source *source, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    *found = false;
    if (next(wal_of(source), wait_ms, batch, found, error))
        return true;
    wal_close(source);
    return false;
}

/* ---- release ---- */

/* Recorded at once when there is more to do with it, in the same transaction. */
static bool release_of_log(struct pg_wal *wal, const struct wal_ticket *ticket, const struct receipt *receipt, struct error *error)
{
    struct wal_progress *progress = &wal->progress, before = *progress;
    wal_progress_release(progress, ticket->whole ? &ticket->place : NULL, receipt);
    if (!(ticket->outbox_rows > 0 || ticket->oversize.count > 0 || ticket->aside.count > 0 || wal_progress_wants_record(progress)))
        return true;
    bool durable = ticket->oversize.count > 0 || wal_progress_wants_save(progress);
    bool together = durable || ticket->aside.count > 0;
    if ((together && !(durable ? pg_begin_durable(wal->session, error) : pg_begin(wal->session, error))) || !wal_ticket_bury(ticket, wal->session, error) ||
        (ticket->aside.count > 0 && !wal_aside_put(wal->session, text_from(wal->config->node), &ticket->aside, error)) ||
        !wal_progress_write(progress, ticket->txids, ticket->seqs, error) || (together && !pg_commit(wal->session, error))) {
        /* Nothing is saved at the end without what belongs to it. */
        *progress = before;
        return false;
    }
    wal_progress_committed(progress, durable);
    show_place(wal);
    return true;
}

/* It records the number of its last message, which is after theirs that are due. */
static bool release_of_outbox(struct pg_wal *wal, const struct batch *batch, const struct receipt *receipt, struct error *error)
{
    return (!wal->progress.unrecorded || wal_progress_record(&wal->progress, error)) && wal->outbox_port->ops->release(wal->outbox_port, batch, receipt, error);
}

static bool wal_release(struct source *source, const struct batch *batch, const struct receipt *receipt, struct error *error)
{
    struct pg_wal *wal = wal_of(source);
    if (note_released(wal) ? release_of_outbox(wal, batch, receipt, error) : release_of_log(wal, batch->ticket, receipt, error))
        return true;
    wal_close(source);
    return false;
}

/* Whether something waits that has not come through for long: the broker takes nothing, or outbound is paused. While parts of a transaction are
 * released, or the server decodes what is not ours, nothing is stuck. */
static bool is_stuck(struct pg_wal *wal)
{
    struct wal_place place;
    if (wal->unreleased == 0 && wal_reader_idle(wal->reader, &place))
        wal->moved_ms = now_ms(wal);
    return now_ms(wal) - wal->moved_ms > STUCK_MS;
}

/* When nothing comes through and the server keeps more of its log than it may, the slot is given up on purpose, rather than fill the
 * disk: it is made anew, and what was lost is noted. */
static bool keep_budget(struct pg_wal *wal, struct error *error)
{
    PG_RESULT result = pg_query(wal->session, "wal_kept", 0, NULL, error);
    if (result == NULL)
        return false;
    if (!is_stuck(wal) || PQntuples(result) == 0 || !pg_boolean(result, 0, 1))
        return true;
    save_at_end(wal);
    stop_reading(wal);
    if (!wal_slot_make_anew(&wal->slot, error))
        return false;
    error_set(error, FAULT_TRANSIENT, "53100", "the server kept %s bytes of its log for this node, more than wal_keep_max: the slot was given up and made anew",
              PQgetvalue(result, 0, 0));
    error_hint(error, "what was not sent is noted in bridge.gaps: \"pgbridge resend\" what was written then, or compare the tables");
    return false;
}

/* Capture may go over to the log while this adapter runs, and back: its heartbeats must not speak for a log that nobody reads. */
static bool has_no_log(struct pg_wal *wal, struct error *error)
{
    PG_RESULT result = pg_query(wal->session, "log_since", 0, NULL, error);
    if (result == NULL)
        return false;
    return PQgetisnull(result, 0, 1) ||
           error_set(error, FAULT_CONTENTION, NULL, "capture has gone over to the log, which is to be read: opening anew");
}

static bool wal_report(struct source *source, const struct report *report, struct error *error)
{
    struct pg_wal *wal = wal_of(source);
    if (!wal->outbox_port->ops->report(wal->outbox_port, report, error))
        return false;
    return wal->reader == NULL ? has_no_log(wal, error) : record_when_due(wal, error) && keep_budget(wal, error);
}

static const struct source_ops wal_ops = {wal_open, wal_next, wal_release, wal_report, wal_close};

struct pg_wal *pg_wal_new(const struct config *config, struct clock *clock)
{
    struct pg_wal *wal = calloc(1, sizeof *wal);
    if (wal == NULL)
        memory_exhausted(__func__);
    *wal = (struct pg_wal){.port = {&wal_ops}, .config = config, .clock = clock, .outbox = pg_outbox_new(config, clock)};
    wal->outbox_port = pg_outbox_source(wal->outbox);
    wal->session = pg_outbox_session(wal->outbox);
    wal->slot = (struct wal_slot){.session = wal->session, .clock = clock};
    wal->progress = (struct wal_progress){.session = wal->session, .clock = clock};
    return wal;
}

struct source *pg_wal_source(struct pg_wal *wal)
{
    return &wal->port;
}

struct brake *pg_wal_brake(struct pg_wal *wal)
{
    return pg_outbox_brake(wal->outbox);
}

void pg_wal_free(struct pg_wal *wal)
{
    if (wal == NULL)
        return;
    wal_close(&wal->port);
    wal_mapping_free(&wal->mapping);
    pg_outbox_free(wal->outbox);
    free(wal);
}
