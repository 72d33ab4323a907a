#include "bridge/flow/application.h"

#include <stdlib.h>

#include "bridge/base/log.h"
#include "bridge/base/memory.h"
#include "bridge/flow/follower.h"

enum {
    ONE_BY_ONE_TRANSACTIONS = 16, /* after bundles have clashed */
    CONTENTION_TRIES = 5,
    CONTENTION_BASE_MS = 10,
    CONTENTION_CAP_MS = 1000,
    CLOCK_WAIT_US = 1000000, /* for a version ahead of the clock: what is further ahead is held */
    HURRY_MS = 200,    /* what was applied may be what a letter waits for; but many transactions may follow each other, */
    HURRY_SHARE = 10,  /* and trying in vain is to take a tenth of the time, also where somebody holds their rows */
    HURRY_CAP_MS = 5000,
    FAILED_MS = 5000,  /* when trying them has failed itself */
    LOOK_MS = 1000,    /* whatever was known: somebody may have asked for one that did not wait */
};

void application_init(struct application *application, struct worker *worker, struct target *target,
                      void (*waiting)(void *context), void *context)
{
    *application = (struct application){
        .worker = worker, .target = target, .waiting = waiting, .context = context, .hurry_ms = HURRY_MS};
    retry_init(&application->contention, CONTENTION_BASE_MS, CONTENTION_CAP_MS,
               (uint64_t)worker->clock->ops->now_us(worker->clock));
    arena_init(&application->arena, LIMIT_ARENA_BYTES);
    target->waiting = waiting;
    target->context = context;
}

void application_free(struct application *application)
{
    follower_free(application->follower);
    application->target->waiting = NULL;
    free(application->condemned.rows);
    free(application->held.rows);
    arena_free(&application->arena);
}

void application_failed(struct application *application, const struct error *error)
{
    application->target->ops->close(application->target);
    application->open = false;
    worker_show(application->worker, WORKER_DATABASE_AWAY);
    worker_fail(application->worker, BACKEND_DATABASE, error);
}

bool application_open(struct application *application)
{
    struct error error;
    if (application->open)
        return true;
    application->waiting(application->context);
    if (!worker_try(application->worker, BACKEND_DATABASE))
        return false;
    if (!application->target->ops->open(application->target, &error)) {
        application_failed(application, &error);
        return false;
    }
    /* Whatever it knows may be out of date. */
    follower_close(application->follower);
    application->open = true;
    application->letters_wait = true; /* perhaps: whoever ran before has left some */
    return true;
}

bool application_is_stale(const struct error *error)
{
    struct text code = text_from(error->code);
    return text_equal(code, TEXT_LITERAL("26000")) || text_equal(code, TEXT_LITERAL("PB001"));
}

static void end_stale_session(struct application *application, const struct error *error)
{
    if (!application_is_stale(error))
        return;
    application->target->ops->close(application->target);
    application->open = false;
}

bool application_retry(struct application *application)
{
    struct worker *worker = application->worker;
    struct target *target = application->target;
    struct error error;
    struct retried left = {.next_ms = -1};
    int64_t now = worker->clock->ops->monotonic_ms(worker->clock);
    if (!application->open || now < application->retry_ms)
        return true;
    bool tried = target->ops->retry(target, application->hurry, &left, &error);
    int64_t ended = worker->clock->ops->monotonic_ms(worker->clock), pause_ms = HURRY_SHARE * (ended - now);
    application->hurry_ms = pause_ms < HURRY_MS ? HURRY_MS : pause_ms > HURRY_CAP_MS ? HURRY_CAP_MS : pause_ms;
    if (tried) {
        application->hurry = application->hurry && left.held;
        application->letters_wait = left.next_ms >= 0;
        application->retry_ms = now + (left.next_ms >= 0 && left.next_ms < LOOK_MS ? left.next_ms : LOOK_MS);
        if (left.held)
            application->retry_ms = ended + application->hurry_ms;
        return true;
    }
    if (error.fault != FAULT_CONTENTION)
        application->hurry_ms = FAILED_MS;
    application->retry_ms = ended + application->hurry_ms;
    if (error.fault == FAULT_CONNECTION || !target->ops->rollback(target, &error)) {
        application_failed(application, &error);
        return false;
    }
    end_stale_session(application, &error);
    log_error(LOG_LEVEL_WARNING, "postponed", &error);
    return true;
}

int application_retry_wait_ms(const struct application *application, int most_ms)
{
    struct clock *clock = application->worker->clock;
    int64_t left_ms = application->retry_ms - clock->ops->monotonic_ms(clock);
    return left_ms < 0 ? 0 : left_ms < most_ms ? (int)left_ms : most_ms;
}

/* After a commit: letters that wait may go now. */
static void hurry_letters(struct application *application, bool buried)
{
    int64_t soon = application->worker->clock->ops->monotonic_ms(application->worker->clock) + application->hurry_ms;
    if (!application->letters_wait && !buried)
        return;
    if (!application->letters_wait || application->retry_ms > soon)
        application->retry_ms = soon;
    application->letters_wait = application->hurry = true;
}

/* ---- until it is committed ---- */

enum outcome {
    OUTCOME_COMMITTED,
    OUTCOME_FAILED,
    OUTCOME_CLASHED, /* rows of one bundle want what others of it are to free */
    OUTCOME_STOPPED,
};

static bool is_clash(const struct error *error)
{
    static const char *const codes[] = {"23505", "23P01", "21000"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(error->code, codes[i]) == 0)
            return true;
    return false;
}

static void log_letters(struct application *application, const struct condemned_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct error error = list->rows[i].error;
        error_prefix(&error, "source %.*s, entity %.*s", TEXT_PRINTF(list->rows[i].item->message.source),
                     TEXT_PRINTF(list->rows[i].item->message.entity));
        log_error(LOG_LEVEL_ERROR, "buried", &error);
        application->worker->last_error = error;
    }
}

/* What failed is rolled back; tells whether to try again. Connections, privileges and locks are waited for as long as it
 * takes: messages spend nothing of any budget on them. */
static bool recover(struct application *application, const struct error *error)
{
    struct worker *worker = application->worker;
    struct error failed = *error;
    atomic_fetch_add(&worker->counters->apply_retries, 1);
    if (failed.fault != FAULT_CONNECTION && !application->target->ops->rollback(application->target, &failed))
        failed.fault = FAULT_CONNECTION;
    if (failed.fault == FAULT_CONNECTION || failed.fault == FAULT_OPERATOR) {
        /* Away, or forbidden to us: a new session sees when that is mended. */
        application_failed(application, &failed);
        return true;
    }
    if (failed.fault != FAULT_CONTENTION)
        return false;
    end_stale_session(application, &failed);
    worker->clock->ops->sleep_ms(worker->clock, retry_wait_ms(&application->contention));
    return true;
}

/* Condemns the rows that are to cool down. */
static void condemn_storms(struct application *application, const struct item *items, size_t count)
{
    struct error error;
    error_set(&error, FAULT_TRANSIENT, "STORM", "several nodes rewrite this row in turns: it cools down");
    error_hint(&error, "find the triggers or jobs that answer each other's changes; see ping_pong in the config");
    for (size_t i = 0; i < count; i++)
        for (size_t row = 0; items[i].held_until_us != NULL && row < items[i].message.row_count; row++)
            if (items[i].held_until_us[row] > 0)
                condemned_add(&application->condemned, &items[i], row, &error);
}

/* How far ahead of the clock a change may be; 0: as far as it likes. */
static int64_t ahead_max_us(const struct application *application)
{
    int64_t most_us = application->max_clock_skew_us;
    if (application->waits_for_clock && (most_us == 0 || most_us > CLOCK_WAIT_US))
        return CLOCK_WAIT_US;
    return most_us;
}

/* Condemns the rows that a clock far ahead has stamped, for now: they would win every conflict until their time has come. The newest
 * version of the others. */
static int64_t condemn_ahead(struct application *application, const struct item *items, size_t count)
{
    struct clock *clock = application->worker->clock;
    int64_t most_us = ahead_max_us(application), newest_us = 0;
    int64_t latest_us = most_us > 0 ? clock->ops->now_us(clock) + most_us : INT64_MAX;
    for (size_t i = 0; i < count; i++) {
        const struct message *message = &items[i].message;
        for (size_t row = 0; items[i].fate == FATE_APPLY && row < message->row_count; row++) {
            int64_t version_us = message_version(message, row);
            struct error error;
            if (version_us <= latest_us) {
                newest_us = version_us > newest_us ? version_us : newest_us;
                continue;
            }
            error_set(&error, FAULT_TRANSIENT, "CLOCK", "the clock of %.*s is %lld s further ahead than %s",
                      TEXT_PRINTF(message->source), (long long)((version_us - latest_us) / 1000000 + 1),
                      most_us == application->max_clock_skew_us ? "max_clock_skew allows" : "can be waited for");
            error_hint(&error, "correct that clock (NTP); the change waits until its time has come");
            condemned_add(&application->condemned, &items[i], row, &error);
        }
    }
    return newest_us;
}

/* Until the clock has passed the version; false when the process stops before. */
static bool await_clock(struct application *application, int64_t newest_us)
{
    struct worker *worker = application->worker;
    while (application->waits_for_clock) {
        int64_t left_us = newest_us - worker->clock->ops->now_us(worker->clock);
        if (left_us <= 0)
            return true;
        if (worker_stopping(worker))
            return false;
        application->waiting(application->context);
        worker->clock->ops->sleep_ms(worker->clock, (int)(left_us / 1000) + 1);
    }
    return true;
}

/* Some of the changes must be applied where they stand among all others. */
static bool wants_order(const struct application *application, const struct item *items, size_t count)
{
    const struct target *target = application->target;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; items[i].fate == FATE_APPLY && j < target->in_order_count; j++)
            if (text_equal(items[i].message.entity, target->in_order[j]))
                return true;
    return false;
}

/* After a failure: what follows waits for this one's locks, and this one may have waited for those of what follows. */
static void let_go(struct application *application, const struct error *error)
{
    struct error ignored; /* it is rolled back once more, or closed */
    if (application->behind == 0)
        return;
    if (error->fault != FAULT_CONNECTION)
        application->target->ops->rollback(application->target, &ignored);
    follower_undo(application->follower);
    application->behind = 0;
}

/* tries: after so many contended attempts it counts as failed; 0: never. */
static enum outcome commit_items(struct application *application, const struct item *items, size_t count, enum manner manner,
                                 int tries)
{
    struct tally *tallies = calloc(count, sizeof *tallies);
    if (tallies == NULL)
        memory_exhausted(__func__);
    enum outcome outcome = OUTCOME_STOPPED;
    application->condemned.count = 0;
    condemn_storms(application, items, count);
    int64_t newest_us = condemn_ahead(application, items, count);
    if (application->condemned.count > 0)
        manner = MANNER_ISOLATING;
    struct work work = {items, count, manner, tallies, NULL};
    if (!await_clock(application, newest_us)) {
        free(tallies);
        return OUTCOME_STOPPED;
    }
    for (int contended = 0;;) {
        struct error error;
        size_t condemned = application->condemned.count;
        if (!application_open(application)) {
            if (worker_stopping(application->worker))
                break;
            application->waiting(application->context);
            continue;
        }
        worker_show(application->worker, WORKER_RUNNING);
        /* It is known once the target is open. */
        if (work.manner == MANNER_BUNDLED && wants_order(application, items, count))
            work.manner = MANNER_ONE_BY_ONE;
        if (work.manner != MANNER_BUNDLED)
            application->behind = 0;
        bool buried;
        if (transact_prepare(application, &work, application->behind > 0 ? STANDS_FIRST : STANDS_ALONE, &error) &&
            transact_commit(application, &work, &buried, &error)) {
            hurry_letters(application, buried);
            retry_reset(&application->contention);
            worker_works(application->worker, BACKEND_DATABASE);
            log_letters(application, &application->condemned);
            log_letters(application, &application->held);
            outcome = OUTCOME_COMMITTED;
            break;
        }
        let_go(application, &error);
        if (worker_stopping(application->worker) && !error_is_of_rows(&error)) {
            /* Nothing may follow in a transaction that failed. */
            application->target->ops->close(application->target);
            application->open = false;
            break;
        }
        if (recover(application, &error)) {
            contended += error.fault == FAULT_CONTENTION;
            if (tries > 0 && contended >= tries) {
                outcome = OUTCOME_FAILED;
                break;
            }
            application->waiting(application->context);
            continue;
        }
        if (work.manner == MANNER_ISOLATING && application->condemned.count == condemned) {
            /* A check failed and nobody is known to blame: wait for the cause to go, or for a human. */
            worker_fail(application->worker, BACKEND_DATABASE, &error);
            application->waiting(application->context);
            if (!worker_try(application->worker, BACKEND_DATABASE))
                break;
        } else if (work.manner != MANNER_ISOLATING) {
            outcome = work.manner == MANNER_BUNDLED && is_clash(&error) ? OUTCOME_CLASHED : OUTCOME_FAILED;
            break;
        }
    }
    free(tallies);
    arena_reset(&application->arena);
    return outcome;
}

/* The last item of the batch that item number i belongs to. */
static size_t last_of_batch(const struct item *items, size_t count, size_t i)
{
    struct text batch = items[i].message.batch;
    size_t last = count - 1;
    while (last > i && (text_is_null(batch) || !text_equal(items[last].message.batch, batch)))
        last--;
    return last;
}

/* The place nearest to the middle that cuts no batch; 0 when there is none. Messages of several sources come mixed, so
 * that a batch need not stand together. */
static size_t cut_between(const struct item *items, size_t count)
{
    size_t best = 0, until = 0;
    for (size_t i = 1; i < count; i++) {
        size_t last = last_of_batch(items, count, i - 1);
        size_t distance = i > count / 2 ? i - count / 2 : count / 2 - i;
        size_t best_distance = best > count / 2 ? best - count / 2 : count / 2 - best;
        until = last > until ? last : until;
        if (until < i && (best == 0 || distance < best_distance))
            best = i;
    }
    return best;
}

static bool apply_all(struct application *application, const struct item *items, size_t count)
{
    size_t cut = cut_between(items, count);
    bool bundled = application->one_by_one == 0;
    enum outcome outcome = commit_items(application, items, count, bundled ? MANNER_BUNDLED : MANNER_ONE_BY_ONE, CONTENTION_TRIES);
    if (!bundled)
        application->one_by_one--;
    if (outcome == OUTCOME_CLASHED) {
        /* Who moves unique values about does it again. */
        application->one_by_one = ONE_BY_ONE_TRANSACTIONS;
        outcome = commit_items(application, items, count, MANNER_ONE_BY_ONE, CONTENTION_TRIES);
    }
    if (outcome != OUTCOME_FAILED)
        return outcome == OUTCOME_COMMITTED;
    if (cut > 0)
        return apply_all(application, items, cut) && apply_all(application, items + cut, count - cut);
    /* A lock that is held for minutes is waited for: nobody is to blame, and nothing may be lost. */
    return commit_items(application, items, count, MANNER_ISOLATING, 0) == OUTCOME_COMMITTED;
}

size_t application_apply(struct application *application, const struct item *items, size_t count, size_t behind)
{
    bool buried;
    application->behind = 0;
    if (application->follower != NULL && application->open && application->one_by_one == 0 &&
        follower_may(application->follower, items, count, behind))
        application->behind = behind;
    bool applied = apply_all(application, items, count);
    /* It is less by now if something went wrong. */
    behind = application->behind;
    application->behind = 0;
    if (!applied || behind == 0)
        return applied ? count : 0;
    if (!follower_commit(application->follower, &buried))
        return count;
    hurry_letters(application, buried);
    return count + behind;
}
