#include "bridge/flow/follower.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "bridge/base/log.h"
#include "bridge/base/memory.h"
#include "bridge/flow/split.h"

enum {
    LEAST_SHARE = 10,                /* of a group's rows are worth a transaction beside another */
    ROWS_MAX = 2 * LIMIT_GROUP_ROWS, /* of either: its locks are held all the while */
    APART_MIN = 16,                  /* so many transactions that could follow do not, after one that failed: twice as many each time, until one goes well */
    APART_MAX = 1024,
    RETRY_BASE_MS = 1000, /* and none does, after the target could not be opened */
    RETRY_CAP_MS = 60000,
    WAIT_NS = 20000000,
};

enum stage {
    STAGE_IDLE,
    STAGE_BEGUN,    /* the thread is at it */
    STAGE_PREPARED, /* or has failed */
    STAGE_ENDED,
};

struct follower {
    const struct application *first;
    struct application side; /* the thread's, while it is at it, like what follows */
    const struct item *first_items;
    size_t first_count;
    struct work work;
    struct split split;
    size_t tally_count, group_rows;
    struct error error;
    bool good;     /* it is prepared; else the error says why not */
    bool by_first; /* whose thread has the side at hand */
    struct arena scratch;
    struct retry retry;
    int64_t open_ms; /* not opened before that */
    size_t apart, apart_next;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum stage stage;
};

/* While the first one's thread waits for this target; the follower's own has nobody to look after. */
static void look_after(void *context)
{
    struct follower *follower = context;
    if (follower->by_first)
        follower->first->waiting(follower->first->context);
}

struct follower *follower_new(const struct application *first, struct target *target, size_t group_rows)
{
    struct worker *worker = first->worker;
    struct follower *follower = calloc(1, sizeof *follower);
    pthread_condattr_t attributes;
    if (follower == NULL)
        memory_exhausted(__func__);
    application_init(&follower->side, worker, target, look_after, follower);
    follower->apart_next = APART_MIN;
    follower->group_rows = group_rows;
    follower->first = first;
    arena_init(&follower->scratch, LIMIT_ARENA_BYTES);
    retry_init(&follower->retry, RETRY_BASE_MS, RETRY_CAP_MS, (uint64_t)worker->clock->ops->now_us(worker->clock));
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&follower->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&follower->mutex, NULL);
    return follower;
}

/* ---- what may follow ---- */

static int64_t clock_ms(const struct follower *follower)
{
    struct clock *clock = follower->side.worker->clock;
    return clock->ops->monotonic_ms(clock);
}

static bool is_among(const struct text *entities, size_t count, struct text entity)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(entities[i], entity))
            return true;
    return false;
}

/* Nobody writes the same number, or the same UUID, in another way than this. */
static bool is_plain(struct text key)
{
    bool uuid = key.length == 36;
    size_t first = !uuid && key.length > 1 && key.data[0] == '-';
    if (key.length == 0 || (!uuid && key.data[first] == '0' && key.length > 1))
        return false;
    for (size_t i = first; i < key.length; i++) {
        bool dash = uuid && (i == 8 || i == 13 || i == 18 || i == 23), digit = key.data[i] >= '0' && key.data[i] <= '9';
        if (dash ? key.data[i] != '-' : !digit && !(uuid && key.data[i] >= 'a' && key.data[i] <= 'f'))
            return false;
    }
    return true;
}

/* What it is about might be named otherwise by others. */
static bool stands_alone(const struct target *target, const struct message *message)
{
    if (is_among(target->alone, target->alone_count, message->entity) || text_is_null(message->epoch))
        return true;
    if (is_among(target->exact, target->exact_count, message->entity))
        return false;
    for (size_t row = 0; row < message->row_count; row++)
        for (size_t i = 0; i < message->key_count; i++)
            if (!is_plain(message_row(message, row)[i]))
                return true;
    return false;
}

/* latest_us: versions after that wait. */
static bool is_smooth(const struct application *application, const struct item *item, int64_t latest_us)
{
    const struct message *message = &item->message;
    if (item->fate != FATE_APPLY)
        return item->fate != FATE_POISON;
    if (item->held_until_us != NULL || (application->holds != NULL && holds_entity(application->holds, message->entity)))
        return false;
    for (size_t row = 0; row < message->row_count; row++)
        if (message_version(message, row) > latest_us)
            return false;
    return true;
}

static size_t count_rows(const struct target *target, const struct item *items, size_t count)
{
    size_t rows = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i].fate == FATE_APPLY && stands_alone(target, &items[i].message))
            return SIZE_MAX;
        rows += items[i].fate == FATE_APPLY ? items[i].message.row_count : 0;
    }
    return rows;
}

bool follower_may(struct follower *follower, const struct item *items, size_t count, size_t behind)
{
    const struct application *first = follower->first;
    struct clock *clock = first->worker->clock;
    if (behind == 0 || clock_ms(follower) < follower->open_ms)
        return false;
    size_t rows = count_rows(first->target, items, count), rows_behind = count_rows(first->target, items + count, behind);
    if (rows > ROWS_MAX || rows_behind > ROWS_MAX || rows_behind < follower->group_rows / LEAST_SHARE)
        return false;
    int64_t now_us = clock->ops->now_us(clock);
    for (size_t i = count; i < count + behind; i++)
        if (!is_smooth(first, &items[i], now_us))
            return false;
    if (follower->apart == 0)
        return true;
    follower->apart--;
    return false;
}

/* ---- the thread ---- */

static const struct message **messages_of(const struct item *items, size_t count, struct arena *arena)
{
    const struct message **messages = arena_take_array(arena, count, sizeof *messages);
    for (size_t i = 0; i < count; i++)
        messages[i] = items[i].fate == FATE_APPLY ? &items[i].message : NULL;
    return messages;
}

static bool prepare(struct follower *follower)
{
    struct application *side = &follower->side;
    struct work *work = &follower->work;
    struct arena *arena = &follower->scratch;
    arena_reset(arena);
    follower->split = split_make(messages_of(follower->first_items, follower->first_count, arena), follower->first_count,
                                 messages_of(work->items, work->count, arena), work->count, arena);
    if (follower->split.shared_rows > follower->split.free_rows)
        return error_set(&follower->error, FAULT_CONTENTION, NULL, "both transactions are about the same rows");
    if (!side->open && !side->target->ops->open(side->target, &follower->error))
        return false;
    side->open = true;
    work->messages = follower->split.free;
    return transact_prepare(side, work, STANDS_BEHIND, &follower->error);
}

/* The transaction before it is committed. */
static bool complete(struct follower *follower, bool *buried)
{
    struct application *side = &follower->side;
    struct work *work = &follower->work;
    work->messages = follower->split.shared;
    return (follower->split.shared_rows == 0 || transact_more(side, work, &follower->error)) &&
           transact_commit(side, work, buried, &follower->error);
}

static void *run(void *context)
{
    struct follower *follower = context;
    pthread_mutex_lock(&follower->mutex);
    while (follower->stage != STAGE_ENDED) {
        if (follower->stage != STAGE_BEGUN) {
            pthread_cond_wait(&follower->changed, &follower->mutex);
            continue;
        }
        pthread_mutex_unlock(&follower->mutex);
        bool good = prepare(follower);
        pthread_mutex_lock(&follower->mutex);
        follower->good = good;
        follower->stage = STAGE_PREPARED;
        pthread_cond_broadcast(&follower->changed);
    }
    pthread_mutex_unlock(&follower->mutex);
    return NULL;
}

static void set_stage(struct follower *follower, enum stage stage)
{
    pthread_mutex_lock(&follower->mutex);
    follower->stage = stage;
    pthread_cond_broadcast(&follower->changed);
    pthread_mutex_unlock(&follower->mutex);
}

void follower_begin(struct follower *follower, const struct item *items, size_t count, size_t behind)
{
    if (!follower->started)
        follower->started = pthread_create(&follower->thread, NULL, run, follower) == 0;
    if (!follower->started)
        return;
    if (follower->tally_count < behind) {
        follower->work.tallies = realloc(follower->work.tallies, behind * sizeof *follower->work.tallies);
        if (follower->work.tallies == NULL)
            memory_exhausted(__func__);
        follower->tally_count = behind;
    }
    follower->by_first = false;
    follower->first_items = items;
    follower->first_count = count;
    follower->work = (struct work){items + count, behind, MANNER_BUNDLED, follower->work.tallies, NULL};
    set_stage(follower, STAGE_BEGUN);
}

/* False: none was begun. */
static bool await(struct follower *follower)
{
    pthread_mutex_lock(&follower->mutex);
    while (follower->stage == STAGE_BEGUN) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WAIT_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&follower->changed, &follower->mutex, &until);
        pthread_mutex_unlock(&follower->mutex);
        follower->first->waiting(follower->first->context);
        pthread_mutex_lock(&follower->mutex);
    }
    bool begun = follower->stage == STAGE_PREPARED;
    follower->stage = STAGE_IDLE;
    follower->by_first = true;
    pthread_mutex_unlock(&follower->mutex);
    return begun;
}

static void close_side(struct follower *follower)
{
    follower->side.target->ops->close(follower->side.target);
    follower->side.open = false;
}

static void undo(struct follower *follower)
{
    struct error error;
    if (!follower->side.open || !follower->side.target->ops->rollback(follower->side.target, &error))
        close_side(follower);
}

/* What goes wrong once goes wrong again soon. */
static void stay_apart(struct follower *follower)
{
    follower->apart = follower->apart_next;
    follower->apart_next = follower->apart_next < APART_MAX ? 2 * follower->apart_next : APART_MAX;
}

/* What failed for its rows, or because it waited for others, is tried in its turn; then it is told. */
static void fail(struct follower *follower)
{
    const struct error *error = &follower->error;
    bool of_rows = error_is_of_rows(error), late = text_equal(text_from(error->code), TEXT_LITERAL(TARGET_LATE));
    undo(follower);
    if (of_rows || (error->fault == FAULT_CONTENTION && !late))
        stay_apart(follower);
    if (of_rows || (error->fault == FAULT_CONTENTION && !application_is_stale(error)))
        return;
    close_side(follower);
    if (error->fault == FAULT_CONTENTION)
        return;
    follower->open_ms = clock_ms(follower) + retry_wait_ms(&follower->retry);
    error_prefix(&follower->error, "a second session for what is applied");
    log_error(LOG_LEVEL_WARNING, "postponed", error);
}

bool follower_commit(struct follower *follower, bool *buried)
{
    if (!await(follower))
        return false;
    if (follower->good && complete(follower, buried)) {
        retry_reset(&follower->retry);
        follower->apart_next = APART_MIN;
        atomic_fetch_add(&follower->side.worker->counters->transactions_beside, 1);
        return true;
    }
    fail(follower);
    return false;
}

void follower_undo(struct follower *follower)
{
    if (follower == NULL || !await(follower))
        return;
    undo(follower);
    stay_apart(follower);
}

void follower_close(struct follower *follower)
{
    if (follower == NULL)
        return;
    follower_undo(follower);
    close_side(follower);
}

void follower_free(struct follower *follower)
{
    if (follower == NULL)
        return;
    follower_close(follower);
    if (follower->started) {
        set_stage(follower, STAGE_ENDED);
        pthread_join(follower->thread, NULL);
    }
    pthread_cond_destroy(&follower->changed);
    pthread_mutex_destroy(&follower->mutex);
    application_free(&follower->side);
    arena_free(&follower->scratch);
    free(follower->work.tallies);
    free(follower);
}
