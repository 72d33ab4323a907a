#include "adapters/postgres/capture_outbox.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>

#include "adapters/postgres/brake.h"
#include "adapters/postgres/layouts.h"
#include "adapters/postgres/outbox_row.h"
#include "adapters/postgres/outbox_window.h"
#include "adapters/postgres/report.h"
#include "adapters/postgres/schema.h"
#include "bridge/base/memory.h"
#include "bridge/message/codec.h"

enum {
    POLL_BUSY_MS = 2,
    POLL_IDLE_MS = 50,
    BUSY_FOR_MS = 1000, /* polls stay quick this long after the last change */
    ROW_LIMIT_START = 500,
};

/* A row that is too large to travel. */
struct oversize {
    struct oversize *next;
    uint64_t txid;
    int64_t seq;
};

/* What is to be deleted when a batch is confirmed. */
struct ticket {
    struct oversize *oversize;
    struct text txids; /* '{1,2}' */
    uint64_t part_txid; /* 0: no part */
    int64_t part_after;
    int64_t part_to;
};

struct pg_outbox {
    struct source port;
    const struct config *config;
    struct clock *clock;
    struct pg_session session;
    struct pg_layouts layouts;
    struct outbox_window window;
    int64_t part_after;   /* in the first transaction not given out: read up to this sequence number */
    int64_t part_read;    /* and so many of its rows */
    size_t unreleased;    /* batches given out */
    int64_t row_limit;    /* rows asked for at once: adapts to their size */
    int64_t polled_ms;
    int64_t busy_ms;
    bool aside; /* only what was put aside is read */
    /* what is held: rows of these layouts are not looked at */
    struct pg_brake brake;
    uint64_t holds_number;
    char *held_layouts; /* '{1,2}' */
};

static struct pg_outbox *outbox_of(struct source *source)
{
    return (struct pg_outbox *)source;
}

static void forget_window(struct pg_outbox *outbox)
{
    outbox_window_forget(&outbox->window);
    outbox->unreleased = 0;
    outbox->part_after = outbox->part_read = 0;
}

static void outbox_close(struct source *source)
{
    struct pg_outbox *outbox = outbox_of(source);
    pg_session_close(&outbox->session);
    forget_window(outbox);
}

static uint64_t holds_number(const struct pg_outbox *outbox)
{
    return outbox->port.holds != NULL ? outbox->port.holds->number : 0;
}

static bool outbox_open(struct source *source, struct error *error)
{
    struct pg_outbox *outbox = outbox_of(source);
    outbox_close(source);
    if (!pg_session_open(&outbox->session, outbox->config->database, outbox->config->database_password,
                         "pgbridge outbound", error) ||
        !schema_is_ours(&outbox->session, error))
        return false;
    /* The outbox's statistics are always out of date, and its index is always right: one plan does for all, and a poll costs
     * less than half. A release that is lost is only a duplicate. */
    bool ready = pg_execute(&outbox->session,
                            "set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashagg = off;"
                            "set enable_hashjoin = off; set enable_mergejoin = off;"
                            "set plan_cache_mode = force_generic_plan; set synchronous_commit = off",
                            error);
    if (!ready)
        return false;
    {
        PG_RESULT result = pg_query(&outbox->session, "lead", 0, NULL, error);
        if (result == NULL)
            return false;
        if (!pg_boolean(result, 0, 0)) {
            outbox_close(source);
            return error_set(error, FAULT_TRANSIENT, SOURCE_IN_USE, "another adapter of this node is running: standing by");
        }
    }
    outbox->row_limit = ROW_LIMIT_START;
    outbox->holds_number = holds_number(outbox) - 1;
    /* After uninstall and install the same numbers mean others. */
    pg_layouts_forget(&outbox->layouts);
    return pg_layouts_load(&outbox->layouts, &outbox->session, error);
}

/* ---- windows ---- */

/* Makes everything that is visible durable: rows of a transaction with synchronous_commit = off are seen before they
 * are safe, and nothing that could still vanish may be published. */
static bool claim(struct pg_outbox *outbox, struct error *error)
{
    return pg_begin_durable(&outbox->session, error) && pg_send_ahead(&outbox->session, "claim", 0, NULL, error) &&
           pg_commit(&outbox->session, error);
}

static const char *held_layouts(const struct pg_outbox *outbox)
{
    return outbox->held_layouts != NULL ? outbox->held_layouts : "{}";
}

/* Other changes are held than before: once nothing is under way any more, everything that is in the table is looked at anew, so that
 * what was held comes in its order. */
static bool take_holds(struct pg_outbox *outbox, struct error *error)
{
    const struct holds *holds = outbox->port.holds;
    outbox->window.at = outbox->window.count = 0;
    if (outbox->unreleased > 0)
        return true;
    forget_window(outbox);
    if (!pg_layouts_load(&outbox->layouts, &outbox->session, error))
        return false;
    free(outbox->held_layouts);
    outbox->held_layouts = holds != NULL ? pg_layouts_ids(&outbox->layouts, holds) : NULL;
    outbox->holds_number = holds_number(outbox);
    return true;
}

static bool read_window(struct pg_outbox *outbox, bool heartbeat_due, struct error *error)
{
    bool durable;
    outbox->part_after = outbox->part_read = 0;
    return outbox_window_read(&outbox->window, &outbox->session, heartbeat_due, held_layouts(outbox), outbox->aside, &durable, error) &&
           (outbox->window.count == 0 || durable || claim(outbox, error));
}

/* Polls until there is a transaction to read or the time is over. */
static bool await_window(struct pg_outbox *outbox, int wait_ms, bool heartbeat_due, struct error *error)
{
    struct clock *clock = outbox->clock;
    int64_t deadline = clock->ops->monotonic_ms(clock) + wait_ms;
    for (;;) {
        if (outbox->window.cut && outbox->unreleased > 0)
            return true;
        int64_t now = clock->ops->monotonic_ms(clock);
        int64_t pause = now - outbox->busy_ms < BUSY_FOR_MS ? POLL_BUSY_MS : POLL_IDLE_MS;
        int64_t due = outbox->polled_ms + pause;
        if (now < due) {
            if (due > deadline && wait_ms == 0)
                return true;
            clock->ops->sleep_ms(clock, (int)((due < deadline ? due : deadline) - now));
            if (clock->ops->monotonic_ms(clock) < due)
                return true;
        }
        outbox->polled_ms = clock->ops->monotonic_ms(clock);
        if (!read_window(outbox, heartbeat_due, error))
            return false;
        if (outbox->window.count > 0) {
            outbox->busy_ms = outbox->polled_ms;
            return true;
        }
        outbox_window_finish(&outbox->window);
        if (outbox->window.heartbeat != NULL || clock->ops->monotonic_ms(clock) >= deadline)
            return true;
    }
}

/* ---- batches ---- */

/* Sends the query for the next rows; the number of whole transactions it asks for, 0 for a part of one. */
static bool ask_rows(struct pg_outbox *outbox, struct batch *batch, size_t *transactions, struct error *error)
{
    struct window_transaction *first = &outbox->window.transactions[outbox->window.at];
    char txid[24], after[24], limit[24], batch_rows[24];
    /* Of large rows a batch cannot have many anyway. */
    snprintf(batch_rows, sizeof batch_rows, "%" PRId64, outbox->row_limit < ROW_LIMIT_START ? outbox->row_limit : (int64_t)LIMIT_BATCH_ROWS);
    const char *parameters[5] = {txid, after, limit, held_layouts(outbox), batch_rows};
    const char *name = outbox->aside ? "aside_part" : "outbox_part";
    int parameter_count = outbox->aside ? 5 : 4;
    *transactions = 0;
    int64_t rows_at_once = outbox->row_limit;
    if (outbox->port.holds != NULL && outbox->port.holds->changes_max > 0 && rows_at_once > (int64_t)outbox->port.holds->changes_max)
        rows_at_once = (int64_t)outbox->port.holds->changes_max;
    /* What was put aside together need not go together, but each commit. */
    bool cut = outbox->aside && first->changes > rows_at_once;
    if (outbox->part_after > 0 || first->changes > LIMIT_BATCH_ROWS || cut) {
        snprintf(txid, sizeof txid, "%" PRIu64, first->txid);
        snprintf(after, sizeof after, "%" PRId64, outbox->part_after);
        snprintf(limit, sizeof limit, "%" PRId64, cut ? rows_at_once : outbox->row_limit);
    } else {
        int64_t rows = 0;
        size_t end = outbox->window.at;
        do
            rows += outbox->window.transactions[end++].changes;
        while (end < outbox->window.count && rows + outbox->window.transactions[end].changes <= rows_at_once);
        *transactions = end - outbox->window.at;
        char *list = arena_take(&batch->arena, *transactions * 21 + 3);
        char *at = list;
        *at++ = '{';
        for (size_t i = outbox->window.at; i < end; i++)
            at += sprintf(at, "%s%" PRIu64, i > outbox->window.at ? "," : "", outbox->window.transactions[i].txid);
        *at = '}';
        name = "outbox_rows";
        parameters[0] = list;
        parameters[1] = held_layouts(outbox);
        parameter_count = 2;
    }
    /* Prepares on first use. */
    if (!pg_prepare(&outbox->session, name, parameter_count, error))
        return false;
    if (!PQsendQueryPrepared(outbox->session.connection, name, parameter_count, parameters, NULL, NULL, 1) ||
        !PQsetSingleRowMode(outbox->session.connection)) {
        error_set(error, FAULT_CONNECTION, "08006", "query %s: %s", name, PQerrorMessage(outbox->session.connection));
        pg_session_close(&outbox->session);
        return false;
    }
    return true;
}

struct reading {
    struct batch *batch;
    size_t capacity;
    size_t bytes;
    int64_t transaction;      /* the one whose rows are being read, counted from 1 */
    size_t transaction_start; /* its first change */
    int64_t last_seq;
    bool cut; /* the byte bound was met: the rest is read again later */
    const struct window_transaction *transactions; /* the first of those being read */
    struct oversize *oversize;
    int64_t skipped;
};

static bool read_row(struct pg_outbox *outbox, struct reading *reading, const PGresult *row, struct error *error)
{
    struct batch *batch = reading->batch;
    struct outbox_row head = outbox_row_head(row);
    if (head.bytes > LIMIT_ROW_BYTES) {
        struct oversize *oversize = arena_take(&batch->arena, sizeof *oversize);
        *oversize = (struct oversize){.next = reading->oversize, .seq = head.seq,
                                      .txid = reading->transactions[head.transaction - 1].txid};
        reading->oversize = oversize;
        reading->last_seq = oversize->seq;
        reading->skipped++;
        return true;
    }
    const struct layout *layout = pg_layouts_find(&outbox->layouts, head.layout);
    if (layout == NULL)
        return error_set(error, FAULT_BUG, NULL, "outbox row with unknown layout %" PRId32, head.layout);
    if (reading->bytes > 0 && reading->bytes + head.bytes > LIMIT_BATCH_BYTES) {
        reading->cut = true;
        return true;
    }
    if (head.transaction != reading->transaction) {
        reading->transaction = head.transaction;
        reading->transaction_start = batch->change_count;
    }
    if (batch->change_count == reading->capacity) {
        size_t capacity = reading->capacity ? reading->capacity * 2 : 16;
        struct change *grown = arena_take_array(&batch->arena, capacity, sizeof *grown);
        if (batch->change_count > 0)
            memcpy(grown, batch->changes, batch->change_count * sizeof *grown);
        batch->changes = grown;
        reading->capacity = capacity;
    }
    if (!outbox_row_change(row, layout, text_from(outbox->config->node), &batch->arena, &batch->changes[batch->change_count], error))
        return false;
    batch->change_count++;
    reading->bytes += head.bytes;
    reading->last_seq = head.seq;
    return true;
}

/* Reads the answer to the end in any case: the connection must be free again. */
static bool read_rows(struct pg_outbox *outbox, struct reading *reading, struct error *error)
{
    bool good = true;
    for (;;) {
        PG_RESULT result = pg_next_result(&outbox->session);
        if (result == NULL)
            return good;
        if (PQresultStatus(result) == PGRES_SINGLE_TUPLE) {
            if (good && !reading->cut)
                good = read_row(outbox, reading, result, error);
        } else if (PQresultStatus(result) != PGRES_TUPLES_OK && good) {
            PGresult *failed = result;
            result = NULL;
            good = pg_checked(&outbox->session, failed, error) != NULL;
            if (outbox->session.connection == NULL)
                return false;
        }
    }
}

static bool read_batch(struct pg_outbox *outbox, struct batch *batch, struct error *error)
{
    size_t transactions;
    if (!ask_rows(outbox, batch, &transactions, error))
        return false;
    struct reading reading = {.batch = batch, .transactions = &outbox->window.transactions[outbox->window.at]};
    if (!read_rows(outbox, &reading, error))
        return false;
    struct ticket *ticket = arena_take(&batch->arena, sizeof *ticket);
    struct window_transaction *first = &outbox->window.transactions[outbox->window.at];
    if (reading.cut && transactions > 1 && reading.transaction > 1) {
        /* Only whole transactions: the one that did not fit comes next. */
        batch->change_count = reading.transaction_start;
        transactions = (size_t)reading.transaction - 1;
        reading.cut = false;
    } else if (reading.cut) {
        transactions = 0;
    }
    outbox->row_limit = reading.cut ? (int64_t)batch->change_count : outbox->row_limit * 2;
    if (outbox->row_limit > LIMIT_BATCH_ROWS)
        outbox->row_limit = LIMIT_BATCH_ROWS;
    if (outbox->row_limit < 1)
        outbox->row_limit = 1;
    if (transactions > 0) {
        char *list = arena_take(&batch->arena, transactions * 21 + 3);
        char *at = list;
        *at++ = '{';
        for (size_t i = 0; i < transactions; i++)
            at += sprintf(at, "%s%" PRIu64, i > 0 ? "," : "", first[i].txid);
        *at++ = '}';
        ticket->txids = (struct text){list, (size_t)(at - list)};
        outbox->window.at += transactions;
    } else {
        *ticket = (struct ticket){.part_txid = first->txid, .part_after = outbox->part_after,
                                  .part_to = reading.last_seq};
        outbox->part_after = reading.last_seq;
        outbox->part_read += (int64_t)batch->change_count + reading.skipped;
        if (batch->change_count + (size_t)reading.skipped == 0 || outbox->part_read >= first->changes) {
            outbox->window.at++;
            outbox->part_after = outbox->part_read = 0;
        }
    }
    ticket->oversize = reading.oversize;
    batch->ticket = ticket;
    batch->captured_count = batch->change_count;
    return true;
}

/* Everything that was committed before the window's moment has been given out, or is with this batch. */
static bool give_heartbeat(struct pg_outbox *outbox, struct batch *batch, struct error *error)
{
    if (outbox->window.heartbeat == NULL)
        return true;
    struct heartbeat *heartbeat = arena_take(&batch->arena, sizeof *heartbeat);
    heartbeat->source = text_from(outbox->config->node);
    bool good = codec_decode_heartbeat(text_from(outbox->window.heartbeat), &batch->arena, heartbeat, error);
    free(outbox->window.heartbeat);
    outbox->window.heartbeat = NULL;
    batch->heartbeat = heartbeat;
    return good;
}

static bool outbox_next(struct source *source, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    struct pg_outbox *outbox = outbox_of(source);
    *found = false;
    if (outbox->session.connection == NULL)
        return error_set(error, FAULT_CONNECTION, "08003", "the database session is closed");
    if (holds_number(outbox) != outbox->holds_number) {
        if (!take_holds(outbox, error))
            return false;
        if (holds_number(outbox) != outbox->holds_number)
            return true;
    }
    if (outbox->window.at == outbox->window.count) {
        if (!await_window(outbox, wait_ms, batch->heartbeat_due, error))
            return false;
        if (outbox->window.at == outbox->window.count) {
            *found = outbox->window.heartbeat != NULL;
            outbox->unreleased += *found;
            return give_heartbeat(outbox, batch, error);
        }
    }
    struct error layout_error;
    if (!read_batch(outbox, batch, &layout_error)) {
        if (layout_error.fault != FAULT_BUG || outbox->session.connection == NULL) {
            *error = layout_error;
            return false;
        }
        /* An entity was mapped anew while we ran: learn its layout and read again. */
        arena_reset(&batch->arena);
        batch->change_count = 0;
        batch->changes = NULL;
        if (!pg_layouts_load(&outbox->layouts, &outbox->session, error))
            return false;
        if (outbox->port.holds != NULL && outbox->port.holds->count > 0) {
            /* It may be one that is held. */
            outbox->holds_number = holds_number(outbox) - 1;
            return true;
        }
        if (!read_batch(outbox, batch, error))
            return false;
    }
    if (outbox->window.at == outbox->window.count) {
        outbox_window_finish(&outbox->window);
        if (!give_heartbeat(outbox, batch, error))
            return false;
    }
    const struct ticket *ticket = batch->ticket;
    if (batch->change_count == 0 && ticket->oversize == NULL && batch->heartbeat == NULL)
        return true;
    outbox->unreleased++;
    *found = true;
    return true;
}

/* A row that cannot travel stops nobody, and is not forgotten. */
static bool bury_oversize(struct pg_outbox *outbox, const struct oversize *oversize, struct error *error)
{
    for (; oversize != NULL; oversize = oversize->next) {
        char seq[24], txid[24];
        snprintf(seq, sizeof seq, "%" PRId64, oversize->seq);
        snprintf(txid, sizeof txid, "%" PRIu64, oversize->txid);
        const char *parameters[] = {seq, txid};
        PG_RESULT result = pg_query(&outbox->session, "outbox_oversize", 2, parameters, error);
        if (result == NULL)
            return false;
    }
    return true;
}

static bool outbox_release(struct source *source, const struct batch *batch, const struct receipt *receipt,
                           struct error *error)
{
    struct pg_outbox *outbox = outbox_of(source);
    const struct ticket *ticket = batch->ticket;
    if (ticket == NULL) {
        /* A heartbeat alone: nothing to forget. */
        outbox->unreleased--;
        return true;
    }
    char numbers[9][24];
    const int64_t values[9] = {(int64_t)ticket->part_txid, ticket->part_after, ticket->part_to, 0, receipt->sequence,
                               (int64_t)receipt->captured, (int64_t)receipt->tally.applied, (int64_t)receipt->messages,
                               (int64_t)receipt->bytes};
    for (int i = 0; i < 9; i++)
        snprintf(numbers[i], sizeof numbers[i], "%" PRId64, values[i]);
    char epoch[40];
    snprintf(epoch, sizeof epoch, "%.*s", TEXT_PRINTF(receipt->epoch));
    const char *parameters[] = {ticket->txids.data, ticket->part_txid ? numbers[0] : NULL, numbers[1], numbers[2], epoch,
                                numbers[4], numbers[5], numbers[6], numbers[7], numbers[8], held_layouts(outbox)};
    if (ticket->oversize != NULL && !(pg_begin_durable(&outbox->session, error) &&
                                      bury_oversize(outbox, ticket->oversize, error)))
        return false;
    PG_RESULT result = pg_query(&outbox->session, "outbox_release", 11, parameters, error);
    if (result == NULL || (ticket->oversize != NULL && !pg_commit(&outbox->session, error)))
        return false;
    assert(outbox->unreleased > 0);
    outbox->unreleased--;
    return true;
}

static bool outbox_report(struct source *source, const struct report *report, struct error *error)
{
    return pg_report(&outbox_of(source)->session, report, error);
}

static const struct source_ops outbox_ops = {outbox_open, outbox_next, outbox_release, outbox_report, outbox_close};

struct pg_outbox *pg_outbox_new(const struct config *config, struct clock *clock)
{
    struct pg_outbox *outbox = calloc(1, sizeof *outbox);
    if (outbox == NULL)
        memory_exhausted(__func__);
    *outbox = (struct pg_outbox){.port = {&outbox_ops}, .config = config, .clock = clock};
    pg_layouts_init(&outbox->layouts, config);
    pg_brake_init(&outbox->brake, config, &outbox->session);
    return outbox;
}

struct source *pg_outbox_source(struct pg_outbox *outbox)
{
    return &outbox->port;
}

struct pg_session *pg_outbox_session(struct pg_outbox *outbox)
{
    return &outbox->session;
}

void pg_outbox_read_aside(struct pg_outbox *outbox, bool only)
{
    if (outbox->aside == only)
        return;
    outbox->aside = only;
    /* What was left out is not read yet. */
    assert(outbox->unreleased == 0);
    forget_window(outbox);
}

struct brake *pg_outbox_brake(struct pg_outbox *outbox)
{
    return &outbox->brake.port;
}

void pg_outbox_free(struct pg_outbox *outbox)
{
    if (outbox == NULL)
        return;
    outbox_close(&outbox->port);
    pg_layouts_free(&outbox->layouts);
    outbox_window_free(&outbox->window);
    free(outbox->held_layouts);
    free(outbox);
}
