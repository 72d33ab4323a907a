#include "bridge/flow/outbound.h"

#include <stdlib.h>

#include "bridge/base/log.h"
#include "bridge/base/memory.h"

enum {
    HEARTBEAT_MS = 5000,
    IDLE_WAIT_MS = 200,
    PIPELINE_WAIT_MIN_MS = 2,
    PIPELINE_WAIT_MAX_MS = 50,
    GATHER_ROWS = 256, /* a batch of fewer costs by being one: while the broker has it, others gather, */
    GATHER_MS = 20,    /* but not for the whole way to a broker that is far away */
    STANDBY_WAIT_MS = 1000,
    DRAIN_MS = 5000,
};

/* A batch on its way: sealed once, published as often as it takes, released when confirmed. */
struct flight {
    struct batch batch;
    struct envelope *envelopes;
    size_t envelope_count;
    bool published;       /* on this connection */
    uint64_t last_number; /* then: the outlet's number of its last message */
    int64_t sequence;     /* x-seq of its last message */
    int64_t published_us;
};

struct pipeline {
    struct flight flights[LIMIT_UNCONFIRMED_BATCHES];
    size_t head, count;
    uint64_t published; /* messages given to the outlet since it was opened */
    bool source_open, outlet_open;
    int64_t heartbeat_ms; /* when the latest was taken */
    int64_t progress_ms;  /* when a batch was taken or confirmed last */
    struct sender sender;
    struct holds paused; /* by operators */
    struct holds holds;  /* and because a budget is spent: what the source is told */
    struct holds next;   /* being found out */
};

static struct flight *flight_at(struct pipeline *pipeline, size_t i)
{
    return &pipeline->flights[(pipeline->head + i) % LIMIT_UNCONFIRMED_BATCHES];
}

/* The source is lost, and with it the right to release: what was not released will be read again. Numbers that were given
 * out and perhaps never sent must not look like a loss: a new incarnation begins. */
static void drop_flights(struct pipeline *pipeline)
{
    if (pipeline->count > 0) {
        digest_uuid(pipeline->sender.epoch);
        pipeline->sender.sequence = 0;
    }
    for (; pipeline->count > 0; pipeline->count--) {
        arena_reset(&flight_at(pipeline, 0)->batch.arena);
        pipeline->head = (pipeline->head + 1) % LIMIT_UNCONFIRMED_BATCHES;
    }
}

static void source_failed(struct outbound *out, struct pipeline *pipeline, const struct error *error)
{
    out->source->ops->close(out->source);
    pipeline->source_open = false;
    /* The outlet borrows the envelopes until they are confirmed, and wants to be called while it is open. */
    out->outlet->ops->close(out->outlet);
    pipeline->outlet_open = false;
    pipeline->published = 0;
    drop_flights(pipeline);
    pipeline->heartbeat_ms = 0;
    worker_show(&out->worker, WORKER_DATABASE_AWAY);
    worker_fail(&out->worker, BACKEND_DATABASE, error);
}

/* The outlet is lost: what it has not confirmed is published again on the next one. */
static void outlet_failed(struct outbound *out, struct pipeline *pipeline, const struct error *error)
{
    out->outlet->ops->close(out->outlet);
    pipeline->outlet_open = false;
    atomic_store(&out->worker.counters->blocked, NULL);
    pipeline->published = 0;
    for (size_t i = 0; i < pipeline->count; i++)
        flight_at(pipeline, i)->published = false;
    atomic_fetch_add(&out->worker.counters->publish_failures, 1);
    worker_show(&out->worker, WORKER_BROKER_AWAY);
    worker_fail(&out->worker, BACKEND_BROKER, error);
}

static bool open_source(struct outbound *out, struct pipeline *pipeline)
{
    struct error error;
    if (pipeline->source_open)
        return true;
    if (!worker_try(&out->worker, BACKEND_DATABASE))
        return false;
    if (out->source->ops->open(out->source, &error)) {
        pipeline->source_open = true;
        worker_look_at_once(&out->worker);
        return true;
    }
    if (text_equal(text_from(error.code), TEXT_LITERAL(SOURCE_IN_USE))) {
        worker_works(&out->worker, BACKEND_DATABASE);
        worker_show(&out->worker, WORKER_STANDBY);
        out->worker.clock->ops->sleep_ms(out->worker.clock, STANDBY_WAIT_MS);
        return false;
    }
    source_failed(out, pipeline, &error);
    return false;
}

static bool open_outlet(struct outbound *out, struct pipeline *pipeline)
{
    struct error error;
    if (pipeline->outlet_open)
        return true;
    if (!worker_try(&out->worker, BACKEND_BROKER))
        return false;
    if (!out->outlet->ops->open(out->outlet, &error)) {
        outlet_failed(out, pipeline, &error);
        return false;
    }
    pipeline->outlet_open = true;
    return true;
}

/* What is not to be sent now: what operators have paused, and entities whose budget is spent. */
static bool look(struct outbound *out, struct pipeline *pipeline)
{
    struct error error;
    bool changed;
    if (!worker_look(&out->worker, &pipeline->paused, &changed, &error)) {
        source_failed(out, pipeline, &error);
        return false;
    }
    if (out->worker.brake == NULL && out->budget_count == 0)
        return true;
    int64_t now = out->worker.clock->ops->monotonic_ms(out->worker.clock);
    struct holds *next = &pipeline->next;
    next->count = next->changes_max = 0;
    for (size_t i = 0; i < pipeline->paused.count; i++)
        holds_add(next, text_from(pipeline->paused.entities[i]));
    for (size_t i = 0; i < out->budget_count; i++) {
        struct budget *budget = &out->budgets[i];
        if (budget_spent(budget, now)) {
            holds_add(next, budget->entity);
            continue;
        }
        size_t portion = budget_portion(budget);
        if (next->changes_max == 0 || portion < next->changes_max)
            next->changes_max = portion;
    }
    holds_take(&pipeline->holds, next);
    out->source->holds = &pipeline->holds;
    atomic_store(&out->worker.counters->out_held, next->count);
    return true;
}

static uint64_t changes_of(const struct batch *batch, struct text entity)
{
    uint64_t count = 0;
    for (size_t i = 0; i < batch->change_count; i++)
        count += text_equal(batch->changes[i].layout->entity, entity);
    return count;
}

/* Coalesces the batch, and takes what is left of it from the budgets. */
static void coalesce(struct outbound *out, struct batch *batch)
{
    for (size_t i = 0; i < out->budget_count; i++)
        out->budgets[i].captured = changes_of(batch, out->budgets[i].entity);
    batch_coalesce(batch);
    int64_t now = out->worker.clock->ops->monotonic_ms(out->worker.clock);
    for (size_t i = 0; i < out->budget_count; i++)
        budget_spend(&out->budgets[i], changes_of(batch, out->budgets[i].entity), now);
}

/* 1. capture, 2. seal */
static bool take_batch(struct outbound *out, struct pipeline *pipeline, int wait_ms)
{
    struct error error;
    struct flight *flight = flight_at(pipeline, pipeline->count);
    arena_reset(&flight->batch.arena);
    struct clock *clock = out->worker.clock;
    flight->batch = (struct batch){.arena = flight->batch.arena};
    flight->batch.heartbeat_due = clock->ops->monotonic_ms(clock) - pipeline->heartbeat_ms >= HEARTBEAT_MS;
    flight->published = false;
    bool found = false;
    if (!out->source->ops->next(out->source, wait_ms, &flight->batch, &found, &error)) {
        source_failed(out, pipeline, &error);
        return false;
    }
    worker_works(&out->worker, BACKEND_DATABASE);
    if (!found)
        return true;
    coalesce(out, &flight->batch);
    if (flight->batch.heartbeat != NULL)
        pipeline->heartbeat_ms = clock->ops->monotonic_ms(clock);
    batch_seal(&flight->batch, &pipeline->sender, clock->ops->now_us(clock), out->message_bytes, &flight->envelopes,
               &flight->envelope_count);
    flight->sequence = pipeline->sender.sequence;
    atomic_fetch_add(&out->worker.counters->captured, flight->batch.captured_count);
    pipeline->count++;
    return true;
}

/* 3. publish what is not published on this connection yet */
static bool publish_flights(struct outbound *out, struct pipeline *pipeline)
{
    struct error error;
    for (size_t i = 0; i < pipeline->count; i++) {
        struct flight *flight = flight_at(pipeline, i);
        if (flight->published)
            continue;
        flight->published_us = out->worker.clock->ops->now_us(out->worker.clock);
        for (size_t j = 0; j < flight->envelope_count; j++) {
            if (!out->outlet->ops->publish(out->outlet, &flight->envelopes[j], &error)) {
                outlet_failed(out, pipeline, &error);
                return false;
            }
            pipeline->published++;
        }
        flight->last_number = pipeline->published;
        flight->published = true;
    }
    return true;
}

static bool release_flight(struct outbound *out, struct pipeline *pipeline)
{
    struct error error;
    struct flight *flight = flight_at(pipeline, 0);
    struct receipt receipt = {
        .source = out->worker.node,
        .epoch = text_from(pipeline->sender.epoch),
        .sequence = flight->sequence,
        .messages = flight->envelope_count - (flight->batch.heartbeat != NULL),
        .tally = {.applied = flight->batch.change_count},
        .captured = flight->batch.captured_count,
    };
    for (size_t i = 0; i < receipt.messages; i++)
        receipt.bytes += flight->envelopes[i].body.length;
    if (!out->source->ops->release(out->source, &flight->batch, &receipt, &error)) {
        source_failed(out, pipeline, &error);
        return false;
    }
    struct counters *counters = out->worker.counters;
    atomic_fetch_add(&counters->published, flight->batch.change_count);
    atomic_fetch_add(&counters->messages_out, receipt.messages);
    atomic_fetch_add(&counters->bytes_out, receipt.bytes);
    atomic_fetch_add(&counters->batches_out, 1);
    atomic_fetch_add(&counters->confirm_us_sum,
                     out->worker.clock->ops->now_us(out->worker.clock) - flight->published_us);
    arena_reset(&flight->batch.arena);
    pipeline->head = (pipeline->head + 1) % LIMIT_UNCONFIRMED_BATCHES;
    pipeline->count--;
    return true;
}

/* Of a broker that takes nothing no answer is no failure; but nothing else is a success, either. */
static void show_broker(struct outbound *out, const struct pipeline *pipeline, bool works)
{
    const char *blocked = out->outlet->ops->blocked(out->outlet);
    struct error error;
    if (works && blocked == NULL)
        worker_works(&out->worker, BACKEND_BROKER);
    if (blocked != NULL)
        worker_show(&out->worker, WORKER_BROKER_BLOCKED);
    else if (out->worker.circuits[BACKEND_BROKER].state == CIRCUIT_CLOSED)
        worker_show(&out->worker, pipeline->paused.all ? WORKER_PAUSED : WORKER_RUNNING);
    if (atomic_exchange(&out->worker.counters->blocked, blocked) == NULL && blocked != NULL) {
        error_set(&error, FAULT_CONNECTION, "blocked", "the broker takes no messages: it is %s", blocked);
        error_hint(&error, "Free memory or disk on the broker (\"rabbitmq-diagnostics alarms\"); the outbox keeps everything, and "
                           "publishing goes on by itself.");
        worker_tell(&out->worker, &error);
    }
}

/* 4. confirm, 5. release: only what is confirmed may be forgotten by the source */
static bool confirm_flights(struct outbound *out, struct pipeline *pipeline, int wait_ms)
{
    struct error error;
    uint64_t confirmed = 0;
    if (!out->outlet->ops->confirm(out->outlet, wait_ms, &confirmed, &error)) {
        outlet_failed(out, pipeline, &error);
        return false;
    }
    show_broker(out, pipeline, pipeline->count == 0 || confirmed > 0);
    while (pipeline->count > 0 && flight_at(pipeline, 0)->published && flight_at(pipeline, 0)->last_number <= confirmed) {
        if (!release_flight(out, pipeline))
            return false;
    }
    return true;
}

static bool report(struct outbound *out, struct pipeline *pipeline)
{
    struct error error;
    struct report report;
    if (!worker_report_due(&out->worker, &report))
        return true;
    if (!out->source->ops->report(out->source, &report, &error)) {
        source_failed(out, pipeline, &error);
        return false;
    }
    worker_reported(&out->worker);
    return true;
}

static void note_progress(struct outbound *out, struct pipeline *pipeline)
{
    pipeline->progress_ms = out->worker.clock->ops->monotonic_ms(out->worker.clock);
}

/* How long to wait for the broker before the source is asked for more: the longer the broker says nothing, the longer. */
static int confirm_wait_ms(struct outbound *out, struct pipeline *pipeline)
{
    if (pipeline->count == 0)
        return 0;
    if (pipeline->count == LIMIT_UNCONFIRMED_BATCHES)
        return IDLE_WAIT_MS;
    bool gathers = flight_at(pipeline, pipeline->count - 1)->batch.captured_count < GATHER_ROWS;
    int64_t least_ms = gathers ? GATHER_MS : PIPELINE_WAIT_MIN_MS;
    int64_t wait_ms = (out->worker.clock->ops->monotonic_ms(out->worker.clock) - pipeline->progress_ms) / 4;
    return (int)(wait_ms < least_ms ? least_ms : wait_ms > PIPELINE_WAIT_MAX_MS ? PIPELINE_WAIT_MAX_MS : wait_ms);
}

static void step(struct outbound *out, struct pipeline *pipeline)
{
    if (!open_source(out, pipeline) || !look(out, pipeline) || !report(out, pipeline) || !open_outlet(out, pipeline))
        return;
    if (pipeline->paused.all) {
        /* What is on its way comes to its end; the connection stays alive. What was not sent on this one waits. */
        bool sent = pipeline->count > 0 && flight_at(pipeline, 0)->published;
        if (confirm_flights(out, pipeline, sent ? IDLE_WAIT_MS : 0))
            out->worker.clock->ops->sleep_ms(out->worker.clock, sent ? 0 : IDLE_WAIT_MS);
        return;
    }
    size_t before = pipeline->count;
    if (before < LIMIT_UNCONFIRMED_BATCHES && !take_batch(out, pipeline, before > 0 ? 0 : IDLE_WAIT_MS))
        return;
    if (!publish_flights(out, pipeline))
        return;
    size_t under_way = pipeline->count;
    if (under_way > before)
        note_progress(out, pipeline);
    confirm_flights(out, pipeline, confirm_wait_ms(out, pipeline));
    if (pipeline->count < under_way)
        note_progress(out, pipeline);
    atomic_store(&out->worker.counters->in_flight, pipeline->count);
}

/* What is published shall not be sent twice only because we stop. */
static void drain(struct outbound *out, struct pipeline *pipeline)
{
    struct clock *clock = out->worker.clock;
    int64_t deadline = clock->ops->monotonic_ms(clock) + DRAIN_MS;
    while (!pipeline->paused.all && pipeline->source_open && pipeline->outlet_open && pipeline->count > 0 &&
           clock->ops->monotonic_ms(clock) < deadline)
        if (!publish_flights(out, pipeline) || !confirm_flights(out, pipeline, IDLE_WAIT_MS))
            return;
}

void outbound_run(struct outbound *out)
{
    struct pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (pipeline == NULL)
        memory_exhausted(__func__);
    for (size_t i = 0; i < LIMIT_UNCONFIRMED_BATCHES; i++)
        arena_init(&pipeline->flights[i].batch.arena, LIMIT_ARENA_BYTES);
    pipeline->sender.node = out->worker.node;
    digest_uuid(pipeline->sender.epoch);

    while (!worker_stopping(&out->worker))
        step(out, pipeline);

    drain(out, pipeline);
    worker_show(&out->worker, WORKER_STOPPED);
    if (pipeline->source_open)
        report(out, pipeline);
    out->source->ops->close(out->source);
    out->outlet->ops->close(out->outlet);
    out->source->holds = NULL;
    for (size_t i = 0; i < LIMIT_UNCONFIRMED_BATCHES; i++)
        arena_free(&pipeline->flights[i].batch.arena);
    free(pipeline);
}
