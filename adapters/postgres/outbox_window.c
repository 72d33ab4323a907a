#include "adapters/postgres/outbox_window.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/base/memory.h"

enum {
    WINDOW_START = 5000, /* transactions; twice as many each time, since nothing is under way between two windows of a backlog */
    WINDOW_MAX = 100000,
};

/* Of the result of queries/outbox_window.sql. */
enum {
    COLUMN_SNAPSHOT,
    COLUMN_DURABLE,
    COLUMN_HEARTBEAT,
    COLUMN_CUT,
    COLUMN_TXID,
    COLUMN_CHANGES,
    COLUMN_TURN,
};

void outbox_window_forget(struct outbox_window *window)
{
    free(window->seen);
    free(window->snapshot);
    free(window->heartbeat);
    *window = (struct outbox_window){.transactions = window->transactions, .capacity = window->capacity};
}

void outbox_window_free(struct outbox_window *window)
{
    outbox_window_forget(window);
    free(window->transactions);
    *window = (struct outbox_window){0};
}

static void make_room(struct outbox_window *window, size_t rows)
{
    if (rows <= window->capacity)
        return;
    window->transactions = realloc(window->transactions, rows * sizeof *window->transactions);
    if (window->transactions == NULL)
        memory_exhausted(__func__);
    window->capacity = rows;
}

static uint64_t number(const PGresult *result, int row, int column)
{
    return strtoull(PQgetvalue(result, row, column), NULL, 10);
}

static void take_transactions(struct outbox_window *window, const PGresult *result)
{
    int rows = PQgetisnull(result, 0, COLUMN_TXID) ? 0 : PQntuples(result);
    /* Whoever is under way may yet commit with a lower number: the snapshot's text begins with the lowest of these. */
    uint64_t highest = 0, read_from = number(result, 0, COLUMN_SNAPSHOT);
    make_room(window, (size_t)rows);
    window->at = window->count = 0;
    for (int row = 0; row < rows; row++) {
        uint64_t txid = number(result, row, COLUMN_TXID);
        highest = txid > highest ? txid : highest;
        if (pg_boolean(result, row, COLUMN_TURN))
            window->transactions[window->count++] = (struct window_transaction){txid, pg_integer(result, row, COLUMN_CHANGES)};
        else if (txid < read_from)
            read_from = txid;
    }
    window->read_from = read_from <= highest ? read_from : highest + 1;
}

static char *copy(const PGresult *result, int column)
{
    char *text = strdup(PQgetvalue(result, 0, column));
    if (text == NULL)
        memory_exhausted(__func__);
    return text;
}

bool outbox_window_read(struct outbox_window *window, struct pg_session *session, bool heartbeat_due, const char *held_layouts, bool aside,
                        bool *durable, struct error *error)
{
    char limit[24], read_from[24];
    if (!window->cut) {
        window->limit = WINDOW_START;
        window->read_from = 0;
    }
    snprintf(limit, sizeof limit, "%zu", window->limit);
    snprintf(read_from, sizeof read_from, "%" PRIu64, window->read_from);
    const char *parameters[] = {window->seen, limit, heartbeat_due ? "true" : "false", held_layouts, aside ? "true" : "false", read_from};
    PG_RESULT result = pg_query(session, "outbox_window", 6, parameters, error);
    if (result == NULL)
        return false;
    free(window->snapshot);
    window->snapshot = copy(result, COLUMN_SNAPSHOT);
    take_transactions(window, result);
    window->cut = pg_boolean(result, 0, COLUMN_CUT);
    window->limit = window->limit * 2 < WINDOW_MAX ? window->limit * 2 : WINDOW_MAX;
    free(window->heartbeat);
    window->heartbeat = PQgetisnull(result, 0, COLUMN_HEARTBEAT) ? NULL : copy(result, COLUMN_HEARTBEAT);
    *durable = pg_boolean(result, 0, COLUMN_DURABLE);
    return true;
}

void outbox_window_finish(struct outbox_window *window)
{
    if (window->cut)
        return;
    free(window->seen);
    window->seen = window->snapshot;
    window->snapshot = NULL;
}
