#include "adapters/postgres/wal_slot.h"

#include <stdio.h>

#include "bridge/base/log.h"

enum {
    ANSWER_MS = 10000,
    ANSWER_AT_LEAST_MS = 10,
    DROP_WAIT_MS = 10000,
    DROP_AGAIN_MS = 100,
    MAKE_S = 45, /* with the wait before it less than a worker may be silent */
};

bool wal_slot_look(struct wal_slot *slot, struct error *error)
{
    PG_RESULT result = pg_query(slot->session, "wal_state", 0, NULL, error);
    if (result == NULL)
        return false;
    if (PQntuples(result) == 0)
        return error_set(error, FAULT_OPERATOR, NULL, "the bridge is not installed here: run \"pgbridge install\"");
    snprintf(slot->name, sizeof slot->name, "%s", PQgetvalue(result, 0, 0));
    slot->place = (struct wal_place){.lsn = (uint64_t)pg_integer(result, 0, 1), .given_us = pg_integer(result, 0, 2), .captures = pg_boolean(result, 0, 3)};
    slot->wanted = text_equal(pg_value(result, 0, 4), TEXT_LITERAL("wal"));
    slot->present = pg_boolean(result, 0, 5);
    slot->lost = pg_boolean(result, 0, 6);
    int64_t timeout_ms = pg_integer(result, 0, 7);
    slot->answer_ms = timeout_ms > 0 && timeout_ms / 3 < ANSWER_MS ? (int)(timeout_ms / 3) : ANSWER_MS;
    if (slot->answer_ms < ANSWER_AT_LEAST_MS)
        slot->answer_ms = ANSWER_AT_LEAST_MS;
    slot->until_lsn = (uint64_t)pg_integer(result, 0, 8);
    slot->drains = pg_boolean(result, 0, 9);
    return true;
}

static bool run(struct wal_slot *slot, const char *query, struct error *error)
{
    const char *parameters[] = {slot->name};
    PG_RESULT result = pg_query(slot->session, query, 1, parameters, error);
    return result != NULL;
}

/* The server notices late that nobody reads it any more. */
static bool drop(struct wal_slot *slot, struct error *error)
{
    int64_t deadline = slot->clock->ops->monotonic_ms(slot->clock) + DROP_WAIT_MS;
    while (!run(slot, "wal_drop_slot", error)) {
        if (!text_equal(text_from(error->code), TEXT_LITERAL(SOURCE_IN_USE)) || slot->clock->ops->monotonic_ms(slot->clock) > deadline)
            return false;
        slot->clock->ops->sleep_ms(slot->clock, DROP_AGAIN_MS);
    }
    return true;
}

bool wal_slot_make_anew(struct wal_slot *slot, struct error *error)
{
    const char *parameters[] = {slot->name};
    return drop(slot, error) && pg_await(slot->session, "wal_make_slot", 1, parameters, MAKE_S, error);
}

/* A slot that begins after what was read so far was made anew, by us or somebody else: what lies between is gone, and noted for repair. */
static bool note_loss(struct wal_slot *slot, struct error *error)
{
    PG_RESULT result = pg_query(slot->session, "wal_lost", 0, NULL, error);
    if (result == NULL)
        return false;
    if (PQntuples(result) == 0)
        return true;
    log_event(LOG_LEVEL_ERROR, "lost", "from=%s to=%s reason=\"the server has no more of its log for slot %s: see bridge.gaps\"", PQgetvalue(result, 0, 0),
              PQgetvalue(result, 0, 1), slot->name);
    bool lost = slot->lost;
    bool good = wal_slot_look(slot, error);
    slot->lost = lost;
    return good;
}

bool wal_slot_mend(struct wal_slot *slot, struct error *error)
{
    /* One that somebody has dropped, or that a standby did not have, is as lost as one that the server gave up. */
    slot->lost = slot->lost || !slot->present;
    return (!slot->lost || wal_slot_make_anew(slot, error)) && note_loss(slot, error);
}

static bool installed_again(struct error *error)
{
    return error_set(error, FAULT_CONTENTION, NULL, "capture from the log was installed again while it was being left: opening anew");
}

bool wal_slot_note_left(struct wal_slot *slot, struct error *error)
{
    PG_RESULT result = pg_query(slot->session, "wal_left", 0, NULL, error);
    return result != NULL && (pg_boolean(result, 0, 0) || installed_again(error));
}

bool wal_slot_leave(struct wal_slot *slot, struct error *error)
{
    {
        PG_RESULT leaving = pg_query(slot->session, "wal_leaving", 0, NULL, error);
        if (leaving == NULL || !pg_boolean(leaving, 0, 0))
            return leaving != NULL && installed_again(error);
    }
    if (!drop(slot, error) || !wal_slot_note_left(slot, error))
        return false;
    PG_RESULT gone = pg_query(slot->session, "wal_gone", 0, NULL, error);
    return gone != NULL;
}
