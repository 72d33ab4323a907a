#include "adapters/postgres/wal_reader.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "adapters/postgres/wal_join.h"
#include "adapters/postgres/wal_reader_private.h"
#include "bridge/base/memory.h"

enum {
    QUEUE_BYTES_MAX = 8 << 20, /* of rows that wait to be taken */
    ROW_COST = 512,            /* beside its values */
    CHUNK_COST = 4096,
    ANSWER_ON_PROGRESS_MS = 200,
    QUICK_US = 100,            /* something to read within that, */
    QUICK_MAX = 10,            /* so often in a row: */
    NAP_US = 500,              /* we look only after that */
};

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t now_ms(void)
{
    return now_us() / 1000;
}

static void *allocated(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    if (memory == NULL)
        memory_exhausted(__func__);
    return memory;
}

/* ---- answers ---- */

static bool answer(struct wal_reader *reader, struct error *error)
{
    uint64_t confirmed = atomic_load(&reader->confirmed), saved = atomic_load(&reader->saved);
    if (!wal_link_answer(&reader->link, confirmed, saved, error))
        return false;
    reader->answered_confirmed = confirmed;
    reader->answered_saved = saved;
    reader->answered_ms = now_ms();
    return true;
}

/* How long until the server must hear of us, 0: now. */
static int answer_due_ms(const struct wal_reader *reader)
{
    int wait_ms = reader->answer_ms;
    bool progress = atomic_load(&reader->confirmed) != reader->answered_confirmed || atomic_load(&reader->saved) != reader->answered_saved;
    if (progress && wait_ms > ANSWER_ON_PROGRESS_MS)
        wait_ms = ANSWER_ON_PROGRESS_MS;
    int64_t due = reader->answered_ms + wait_ms - now_ms();
    return due > 0 ? (int)due : 0;
}

static bool answer_if_due(struct wal_reader *reader, struct error *error)
{
    return answer_due_ms(reader) > 0 || answer(reader, error);
}

/* ---- chunks ---- */

struct wal_chunk *wal_chunk_new(struct wal_reader *reader)
{
    struct wal_chunk *chunk = reader->spare;
    if (chunk != NULL) {
        reader->spare = NULL;
        struct arena arena = chunk->arena;
        *chunk = (struct wal_chunk){.arena = arena};
        return chunk;
    }
    chunk = allocated(1, sizeof *chunk);
    arena_init(&chunk->arena, LIMIT_ARENA_BYTES);
    return chunk;
}

static void chunk_free(struct wal_chunk *chunk)
{
    if (chunk == NULL)
        return;
    arena_free(&chunk->arena);
    free(chunk);
}

/* About how much memory it holds. */
static size_t chunk_cost(const struct wal_chunk *chunk)
{
    return CHUNK_COST + chunk->bytes + chunk->count * ROW_COST;
}

static void wait_until(struct timespec *until, int wait_ms)
{
    clock_gettime(CLOCK_MONOTONIC, until);
    until->tv_sec += wait_ms / 1000;
    until->tv_nsec += (wait_ms % 1000) * 1000000L;
    if (until->tv_nsec >= 1000000000L) {
        until->tv_sec++;
        until->tv_nsec -= 1000000000L;
    }
}

bool wal_await_room(struct wal_reader *reader, struct error *error)
{
    while (reader->queued_bytes >= QUEUE_BYTES_MAX && !reader->stopping) {
        struct timespec until;
        wait_until(&until, answer_due_ms(reader));
        pthread_cond_timedwait(&reader->changed, &reader->mutex, &until);
        pthread_mutex_unlock(&reader->mutex);
        bool good = answer_if_due(reader, error);
        pthread_mutex_lock(&reader->mutex);
        if (!good)
            return false;
    }
    if (reader->stopping)
        return error_set(error, FAULT_CONNECTION, NULL, "stopping");
    return true;
}

void wal_begin_in_chunk(struct wal_reader *reader)
{
    reader->start = reader->chunk->count;
    reader->start_bytes = reader->chunk->bytes;
    reader->chunk_correlation = reader->chunk_traceparent = TEXT_NULL;
}

bool wal_have_chunk(struct wal_reader *reader, struct error *error)
{
    if (reader->chunk != NULL)
        return true;
    pthread_mutex_lock(&reader->mutex);
    struct wal_chunk *last = reader->last;
    size_t most = atomic_load(&reader->changes_max);
    if (last != NULL && last->open && !(reader->hungry && reader->first == last) && (most == 0 || last->count < most)) {
        struct wal_chunk **at = &reader->first, *before = NULL;
        while (*at != last) {
            before = *at;
            at = &(*at)->next;
        }
        *at = NULL;
        reader->last = before;
        reader->queued_bytes -= chunk_cost(last);
        reader->chunk = last;
    } else if (wal_await_room(reader, error)) {
        reader->chunk = wal_chunk_new(reader);
    }
    reader->busy = reader->chunk != NULL;
    pthread_mutex_unlock(&reader->mutex);
    if (reader->chunk == NULL)
        return false;
    wal_begin_in_chunk(reader);
    return true;
}

void wal_enqueue(struct wal_reader *reader, struct wal_chunk *chunk)
{
    chunk->next = NULL;
    if (reader->last != NULL)
        reader->last->next = chunk;
    else
        reader->first = chunk;
    reader->last = chunk;
    reader->queued_bytes += chunk_cost(chunk);
    reader->chunk = NULL;
    reader->busy = false;
    pthread_cond_broadcast(&reader->changed);
}

struct change *wal_add_change(struct wal_chunk *chunk, struct wal_row **row)
{
    if (chunk->count == chunk->capacity) {
        size_t capacity = chunk->capacity ? chunk->capacity * 2 : 16;
        struct change *changes = arena_take_array(&chunk->arena, capacity, sizeof *changes);
        struct wal_row *rows = arena_take_array(&chunk->arena, capacity, sizeof *rows);
        if (chunk->count > 0) {
            memcpy(changes, chunk->changes, chunk->count * sizeof *changes);
            memcpy(rows, chunk->rows, chunk->count * sizeof *rows);
        }
        chunk->changes = changes;
        chunk->rows = rows;
        chunk->capacity = capacity;
    }
    *row = &chunk->rows[chunk->count];
    **row = (struct wal_row){0};
    chunk->changes[chunk->count] = (struct change){0};
    return &chunk->changes[chunk->count++];
}

/* ---- the thread ---- */

static bool read_keepalive(struct wal_reader *reader, const struct wal_frame *frame, struct error *error)
{
    /* In the midst of a transaction the server is ahead of what we have. */
    if (!reader->transaction.running && frame->lsn > reader->place.lsn) {
        pthread_mutex_lock(&reader->mutex);
        reader->place.lsn = frame->lsn;
        reader->read = reader->place;
        pthread_mutex_unlock(&reader->mutex);
    }
    return !frame->reply || answer(reader, error);
}

/* The server sends each row by itself. While they come thick and fast it wakes us for many at once: to do so for each costs both sides time. */
static bool await_frames(struct wal_reader *reader, struct error *error)
{
    int64_t began_us = now_us();
    if (!wal_link_wait(&reader->link, reader->wake, answer_due_ms(reader), error))
        return false;
    reader->quick = now_us() - began_us >= QUICK_US ? 0 : reader->quick < QUICK_MAX ? reader->quick + 1 : QUICK_MAX;
    if (reader->quick == QUICK_MAX)
        nanosleep(&(struct timespec){.tv_nsec = NAP_US * 1000}, NULL);
    return true;
}

static bool step(struct wal_reader *reader, struct error *error)
{
    struct wal_frame frame;
    if (!answer_if_due(reader, error) || !wal_link_read(&reader->link, &frame, error))
        return false;
    if (frame.kind == WAL_FRAME_DATA)
        return wal_read_data(reader, frame.bytes, error);
    if (frame.kind == WAL_FRAME_KEEPALIVE)
        return read_keepalive(reader, &frame, error);
    if (!await_frames(reader, error))
        return false;
    /* Somebody may have wanted our attention: now he has it. */
    uint64_t count;
    while (read(reader->wake, &count, sizeof count) > 0)
        continue;
    return true;
}

static bool stopping(struct wal_reader *reader)
{
    pthread_mutex_lock(&reader->mutex);
    bool stop = reader->stopping;
    pthread_mutex_unlock(&reader->mutex);
    return stop;
}

static void *run(void *context)
{
    struct wal_reader *reader = context;
    struct error error = {0};
    bool good = true;
    while (good && !stopping(reader))
        good = step(reader, &error);
    if (good)
        good = answer(reader, &error);
    wal_link_close(&reader->link);
    pthread_mutex_lock(&reader->mutex);
    reader->failed = !good;
    reader->error = error;
    pthread_cond_broadcast(&reader->changed);
    pthread_mutex_unlock(&reader->mutex);
    return NULL;
}

static void reader_free(struct wal_reader *reader)
{
    wal_link_close(&reader->link);
    for (struct wal_chunk *chunk = reader->first; chunk != NULL;) {
        struct wal_chunk *next = chunk->next;
        chunk_free(chunk);
        chunk = next;
    }
    chunk_free(reader->chunk);
    chunk_free(reader->spare);
    wal_keys_clear(&reader->keys);
    arena_free(&reader->arena);
    free(reader->relations);
    free(reader->slots);
    free(reader->said);
    pthread_cond_destroy(&reader->changed);
    pthread_mutex_destroy(&reader->mutex);
    if (reader->wake >= 0)
        close(reader->wake);
    free(reader);
}

struct wal_reader *wal_reader_start(const struct wal_reader_options *options, struct error *error)
{
    struct wal_reader *reader = allocated(1, sizeof *reader);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&reader->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&reader->mutex, NULL);
    arena_init(&reader->arena, LIMIT_ARENA_BYTES);
    reader->config = options->config;
    reader->mapping = options->mapping;
    reader->node = text_from(options->config->node);
    reader->answer_ms = options->answer_ms;
    reader->place = reader->read = options->place;
    atomic_store(&reader->confirmed, options->place.lsn);
    atomic_store(&reader->saved, options->place.lsn);
    reader->answered_ms = now_ms();
    reader->relations = allocated(RELATIONS_MAX, sizeof *reader->relations);
    reader->slots = allocated(KEY_SLOTS, sizeof *reader->slots);
    reader->said = allocated(LIMIT_HEARTBEAT_BYTES, 1);
    reader->stamp = 1;
    reader->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    bool good = wal_link_open(&reader->link, options->config, error) &&
                wal_link_start(&reader->link, options->slot, options->place.lsn, error);
    if (good && (reader->wake < 0 || pthread_create(&reader->thread, NULL, run, reader) != 0))
        good = error_set(error, FAULT_CONNECTION, NULL, "could not start a thread to read the log");
    if (good)
        return reader;
    reader_free(reader);
    return NULL;
}

static void wake(struct wal_reader *reader)
{
    uint64_t one = 1;
    /* A counter that is full wakes as well. */
    if (write(reader->wake, &one, sizeof one) < 0)
        return;
}

void wal_reader_stop(struct wal_reader *reader)
{
    if (reader == NULL)
        return;
    pthread_mutex_lock(&reader->mutex);
    reader->stopping = true;
    pthread_cond_broadcast(&reader->changed);
    pthread_mutex_unlock(&reader->mutex);
    wake(reader);
    pthread_join(reader->thread, NULL);
    reader_free(reader);
}

/* ---- for the source's thread ---- */

/* Under the mutex. */
static struct wal_chunk *take_first(struct wal_reader *reader)
{
    struct wal_chunk *chunk = reader->first;
    reader->first = chunk->next;
    if (reader->first == NULL)
        reader->last = NULL;
    reader->queued_bytes -= chunk_cost(chunk);
    pthread_cond_broadcast(&reader->changed);
    return chunk;
}

bool wal_reader_next(struct wal_reader *reader, int wait_ms, struct wal_chunk **chunk, struct error *error)
{
    struct timespec until;
    wait_until(&until, wait_ms);
    *chunk = NULL;
    pthread_mutex_lock(&reader->mutex);
    reader->hungry = true;
    while (reader->first == NULL && !reader->failed && wait_ms > 0)
        if (pthread_cond_timedwait(&reader->changed, &reader->mutex, &until) != 0)
            break;
    reader->hungry = false;
    if (reader->first != NULL)
        *chunk = take_first(reader);
    bool good = *chunk != NULL || !reader->failed;
    if (!good)
        *error = reader->error;
    pthread_mutex_unlock(&reader->mutex);
    return good;
}

bool wal_reader_append(struct wal_reader *reader, struct wal_chunk **chunk)
{
    struct wal_chunk *before = *chunk;
    pthread_mutex_lock(&reader->mutex);
    bool fits = reader->first != NULL && wal_chunks_fit(before, reader->first);
    if (fits)
        *chunk = take_first(reader);
    pthread_mutex_unlock(&reader->mutex);
    if (!fits)
        return false;
    wal_chunk_prepend(*chunk, before);
    wal_reader_recycle(reader, before);
    return true;
}

void wal_reader_recycle(struct wal_reader *reader, struct wal_chunk *chunk)
{
    arena_reset(&chunk->arena);
    pthread_mutex_lock(&reader->mutex);
    struct wal_chunk *old = reader->spare;
    reader->spare = chunk;
    pthread_mutex_unlock(&reader->mutex);
    chunk_free(old);
}

bool wal_reader_idle(struct wal_reader *reader, struct wal_place *place)
{
    pthread_mutex_lock(&reader->mutex);
    bool idle = reader->first == NULL && !reader->busy;
    *place = reader->read;
    pthread_mutex_unlock(&reader->mutex);
    return idle;
}

bool wal_reader_met_table(struct wal_reader *reader)
{
    return atomic_exchange(&reader->met_table, false);
}

void wal_reader_release(struct wal_reader *reader, uint64_t confirmed, uint64_t saved)
{
    if (atomic_load(&reader->confirmed) == confirmed && atomic_load(&reader->saved) == saved)
        return;
    bool first = atomic_load(&reader->confirmed) == reader->answered_confirmed && atomic_load(&reader->saved) == reader->answered_saved;
    atomic_store(&reader->confirmed, confirmed);
    atomic_store(&reader->saved, saved);
    if (first)
        wake(reader);
}

void wal_reader_bound(struct wal_reader *reader, size_t changes_max)
{
    atomic_store(&reader->changes_max, changes_max);
}
