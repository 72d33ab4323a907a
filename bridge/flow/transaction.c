#include "bridge/flow/transaction.h"

#include <stdlib.h>

#include "bridge/base/log.h"
#include "bridge/base/memory.h"
#include "bridge/flow/bundle.h"
#include "bridge/flow/follower.h"
#include "bridge/flow/receipts.h"

enum { CLOCK_WARNING_US = 250000 };

/* ---- lists of rows ---- */

void condemned_add(struct condemned_list *list, const struct item *item, size_t row, const struct error *error)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 16;
        list->rows = realloc(list->rows, list->capacity * sizeof *list->rows);
        if (list->rows == NULL)
            memory_exhausted(__func__);
    }
    list->rows[list->count++] = (struct condemned){item, row, *error};
}

/* The first condemned row of the item in [first, end), or NULL. */
static const struct condemned *next_condemned(const struct condemned_list *list, const struct item *item, size_t first,
                                              size_t end)
{
    const struct condemned *found = NULL;
    for (size_t i = 0; i < list->count; i++) {
        const struct condemned *row = &list->rows[i];
        if (row->item == item && row->row >= first && row->row < end && (found == NULL || row->row < found->row))
            found = row;
    }
    return found;
}

/* ---- rows that fail ---- */

static bool is_held_on_purpose(const struct error *reason)
{
    return text_equal(text_from(reason->code), TEXT_LITERAL("PAUSED")) || text_equal(text_from(reason->code), TEXT_LITERAL("STORM"));
}

static bool bury(struct application *application, const struct item *item, size_t row, const struct error *reason,
                 struct tally *tally, struct error *error)
{
    struct dead_letter letter = {.message = item->fate == FATE_APPLY ? &item->message : NULL, .row = row,
                                 .envelope = &item->delivery->envelope, .error = reason};
    if (text_equal(text_from(reason->code), TEXT_LITERAL("STORM")))
        letter.not_before_us = item->held_until_us[row];
    tally->received++;
    tally->dead_letters++;
    tally->held += is_held_on_purpose(reason);
    return application->target->ops->bury(application->target, &letter, error);
}

/* Rows [first, end), of which none is condemned yet: in halves down to those that fail alone, which are held. */
static bool isolate(struct application *application, const struct item *item, size_t first, size_t end,
                    struct tally *tally, struct error *error)
{
    struct target *target = application->target;
    worker_show(application->worker, WORKER_RUNNING);
    application->waiting(application->context);
    if (target->ops->apply(target, &item->message, first, end - first, APPLY_GUARDED, tally, error))
        return true;
    if (!error_is_of_rows(error))
        return false;
    if (end - first == 1) {
        condemned_add(&application->held, item, first, error);
        return true;
    }
    size_t middle = first + (end - first) / 2;
    return isolate(application, item, first, middle, tally, error) &&
           isolate(application, item, middle, end, tally, error);
}

static bool isolate_item(struct application *application, const struct item *item, struct tally *tally,
                         struct error *error)
{
    size_t rows = item->message.row_count;
    for (size_t first = 0; first < rows;) {
        const struct condemned *next = next_condemned(&application->condemned, item, first, rows);
        size_t end = next != NULL ? next->row : rows;
        if (end > first && !isolate(application, item, first, end, tally, error))
            return false;
        if (next != NULL && !bury(application, item, next->row, &next->error, tally, error))
            return false;
        first = next != NULL ? end + 1 : end;
    }
    return true;
}

/* Tries the held rows once more; those that fail again stay. */
static bool retry_held(struct application *application, const struct item *items, struct tally *tallies,
                       enum apply_mode mode, struct error *error)
{
    struct target *target = application->target;
    struct condemned_list *held = &application->held;
    size_t left = 0;
    for (size_t i = 0; i < held->count; i++) {
        struct condemned row = held->rows[i];
        worker_show(application->worker, WORKER_RUNNING);
        application->waiting(application->context);
        struct tally *tally = &tallies[row.item - items];
        bool exchanged = text_equal(text_from(row.error.code), TEXT_LITERAL("23505")) ||
                         text_equal(text_from(row.error.code), TEXT_LITERAL("23P01"));
        if (mode == APPLY_GUARDED || exchanged) {
            if (target->ops->apply(target, &row.item->message, row.row, 1, mode, tally, error))
                continue;
            if (!error_is_of_rows(error))
                return false;
            row.error = *error;
        }
        held->rows[left++] = row;
    }
    held->count = left;
    return true;
}

/* Rows that failed may succeed after others: a unique value was still taken, a parent not yet there. Tries them until no
 * more succeed; then those that may want each other's unique values, all at once; and buries the rest. */
static bool settle_held(struct application *application, const struct item *items, struct tally *tallies,
                        struct error *error)
{
    struct condemned_list *held = &application->held;
    for (size_t before = 0; before != held->count;) {
        before = held->count;
        if (!retry_held(application, items, tallies, APPLY_GUARDED, error))
            return false;
    }
    if (!retry_held(application, items, tallies, APPLY_PUT_OFF, error))
        return false;
    for (size_t i = 0; i < held->count; i++) {
        const struct condemned *row = &held->rows[i];
        application->waiting(application->context);
        if (!bury(application, row->item, row->row, &row->error, &tallies[row->item - items], error))
            return false;
    }
    return true;
}

/* ---- messages ---- */

static bool hear(struct application *application, const struct item *item, struct error *error)
{
    const struct heartbeat *heartbeat = &item->heartbeat;
    int64_t offset_us = 0;
    /* What comes again may come before what it speaks of. */
    if (item->delivery->envelope.redelivered)
        return true;
    if (!application->target->ops->hear(application->target, heartbeat, &offset_us, error))
        return false;
    if (offset_us > CLOCK_WARNING_US || offset_us < -CLOCK_WARNING_US)
        log_event(LOG_LEVEL_WARNING, "heard", "source=%.*s clock_ahead_ms=%lld reason=\"its clock differs from this node's: see NTP\"",
                  TEXT_PRINTF(heartbeat->source), (long long)(offset_us / 1000));
    return true;
}

static bool is_paused(const struct application *application, const struct item *item)
{
    return application->holds != NULL && item->fate == FATE_APPLY && holds_entity(application->holds, item->message.entity);
}

/* Puts all its rows aside until the entity is resumed. */
static bool put_aside(struct application *application, const struct item *item, struct tally *tally, struct error *error)
{
    struct error reason;
    error_set(&reason, FAULT_TRANSIENT, "PAUSED", "entity %.*s is paused", TEXT_PRINTF(item->message.entity));
    for (size_t row = 0; row < item->message.row_count; row++) {
        application->waiting(application->context);
        if (!bury(application, item, row, &reason, tally, error))
            return false;
    }
    return true;
}

/* One that the target is not asked to apply now. */
static bool pass_over(struct application *application, const struct item *item, struct tally *tally, struct error *error)
{
    switch (item->fate) {
    case FATE_ECHO:
        tally->received = tally->echo = item->message.row_count;
        return true;
    case FATE_POISON:
        return bury(application, item, 0, &item->error, tally, error);
    case FATE_APPLY:
        return put_aside(application, item, tally, error);
    case FATE_REFUSED:
    case FATE_HEARD: /* later, when it is known what is missing before it */
        break;
    }
    return true;
}

static bool applies(const struct application *application, const struct item *item)
{
    return item->fate == FATE_APPLY && !is_paused(application, item);
}

static bool name_source(struct error *error, const struct message *message)
{
    return error_prefix(error, "source %.*s, entity %.*s", TEXT_PRINTF(message->source), TEXT_PRINTF(message->entity));
}

static bool apply_message(struct application *application, const struct message *message, struct tally *tally, struct error *error)
{
    struct target *target = application->target;
    return target->ops->apply(target, message, 0, message->row_count, APPLY_TOGETHER, tally, error) || name_source(error, message);
}

static bool apply_bundles(struct application *application, const struct work *work, struct error *error)
{
    struct arena *arena = &application->arena;
    const struct message *const *messages = work->messages;
    if (messages == NULL) {
        const struct message **all = arena_take_array(arena, work->count, sizeof *all);
        for (size_t i = 0; i < work->count; i++)
            all[i] = applies(application, &work->items[i]) ? &work->items[i].message : NULL;
        messages = all;
    }
    struct bundles bundles = bundles_make(messages, work->count, arena);
    for (size_t i = 0; i < bundles.count; i++)
        if (!apply_message(application, bundles.items[i].message, &work->tallies[bundles.items[i].first], error))
            return false;
    return true;
}

static bool apply_items(struct application *application, const struct work *work, struct error *error)
{
    if (work->manner == MANNER_BUNDLED)
        return apply_bundles(application, work, error);
    for (size_t i = 0; i < work->count; i++) {
        const struct item *item = &work->items[i];
        if (!applies(application, item))
            continue;
        if (work->manner == MANNER_ONE_BY_ONE && !apply_message(application, &item->message, &work->tallies[i], error))
            return false;
        if (work->manner == MANNER_ISOLATING && !isolate_item(application, item, &work->tallies[i], error))
            return name_source(error, &item->message);
    }
    return true;
}

/* The rows that broke a constraint at the end become condemned, for the next attempt. */
static void note_offences(struct application *application, const struct item *items, size_t count,
                          const struct offences *offences, const struct error *error)
{
    for (size_t i = 0; i < offences->count; i++)
        for (size_t j = 0; j < count; j++)
            if (&items[j].message == offences->rows[i].message &&
                next_condemned(&application->condemned, &items[j], offences->rows[i].row, offences->rows[i].row + 1) == NULL)
                condemned_add(&application->condemned, &items[j], offences->rows[i].row, error);
}

/* ---- the transaction ---- */

static void log_applied(const struct item *item)
{
    const struct message *message = &item->message;
    struct text correlation = item->delivery->envelope.correlation_id;
    char id[520];
    log_event(text_is_null(correlation) ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "applied",
              "source=%.*s entity=%.*s op=%s rows=%zu x-seq=%lld%s%s", TEXT_PRINTF(message->source),
              TEXT_PRINTF(message->entity), change_op_name(message->op), message->row_count,
              (long long)message->sequence, text_is_null(correlation) ? "" : " correlation_id=",
              text_is_null(correlation) ? "" : log_value(correlation, id, sizeof id));
}

bool transact_prepare(struct application *application, const struct work *work, enum standing standing, struct error *error)
{
    application->held.count = 0;
    arena_reset(&application->arena);
    if (!application->target->ops->begin(application->target, standing, error))
        return false;
    if (standing == STANDS_FIRST)
        follower_begin(application->follower, work->items, work->count, application->behind);
    for (size_t i = 0; i < work->count; i++) {
        work->tallies[i] = (struct tally){0};
        if (!applies(application, &work->items[i]) && !pass_over(application, &work->items[i], &work->tallies[i], error))
            return false;
    }
    return apply_items(application, work, error) && settle_held(application, work->items, work->tallies, error);
}

bool transact_more(struct application *application, const struct work *work, struct error *error)
{
    return apply_bundles(application, work, error);
}

bool transact_commit(struct application *application, const struct work *work, bool *buried, struct error *error)
{
    struct target *target = application->target;
    const struct item *items = work->items;
    struct receipts receipts = {0};
    struct offences offences = {0};
    for (size_t i = 0; i < work->count; i++)
        receipts_add(&receipts, &items[i], &work->tallies[i]);
    if (!receipts_note_numbers(&receipts, items, work->count, target, application->worker->node, error))
        return false;
    for (size_t i = 0; i < work->count; i++)
        if (items[i].fate == FATE_HEARD && !hear(application, &items[i], error))
            return false;
    if (!target->ops->commit(target, receipts.of, receipts.count, &offences, error)) {
        if (work->manner == MANNER_ISOLATING && error_is_of_rows(error))
            note_offences(application, items, work->count, &offences, error);
        return false;
    }
    receipts_count(&receipts, application->worker->counters);
    *buried = false;
    for (size_t i = 0; i < receipts.count; i++)
        *buried = *buried || receipts.of[i].tally.dead_letters > receipts.of[i].tally.held;
    for (size_t i = 0; i < work->count; i++)
        if (applies(application, &items[i]))
            log_applied(&items[i]);
    return true;
}
