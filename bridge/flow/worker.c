#include "bridge/flow/worker.h"

#include <stdlib.h>
#include <string.h>

#include "bridge/base/log.h"
#include "bridge/base/memory.h"

enum { REPORT_EVERY_MS = 5000, LOOK_EVERY_MS = 500, RETRY_BASE_MS = 200, RETRY_CAP_MS = 2000 };

const char *worker_state_name(enum worker_state state)
{
    static const char *const names[] = {"starting", "database away", "broker away", "broker blocked",
                                        "standby",  "running",       "paused",      "stopped"};
    return names[state];
}

void worker_init(struct worker *worker, const char *direction, struct text node, struct clock *clock,
                 struct counters *counters, const atomic_bool *stop)
{
    *worker = (struct worker){.direction = direction, .node = node, .clock = clock, .counters = counters, .stop = stop,
                              .reported_ms = -REPORT_EVERY_MS, .looked_ms = -LOOK_EVERY_MS};
    for (enum backend backend = BACKEND_DATABASE; backend < BACKENDS; backend++)
        breaker_init(&worker->circuits[backend], RETRY_BASE_MS, RETRY_CAP_MS, (uint64_t)clock->ops->now_us(clock) + backend);
}

bool worker_stopping(const struct worker *worker)
{
    return atomic_load(worker->stop);
}

static bool is_outbound(const struct worker *worker)
{
    return strcmp(worker->direction, "out") == 0;
}

static int64_t now_ms(const struct worker *worker)
{
    return worker->clock->ops->monotonic_ms(worker->clock);
}

void worker_show(struct worker *worker, enum worker_state state)
{
    bool out = is_outbound(worker);
    struct counters *counters = worker->counters;
    atomic_store(out ? &counters->out_alive_ms : &counters->in_alive_ms, now_ms(worker));
    if (state == worker->state)
        return;
    worker->state = state;
    worker->reported_ms = -REPORT_EVERY_MS;
    atomic_store(out ? &counters->out_state : &counters->in_state, (int)state);
    /* The last line about a state is the state: never counted as a repeat of an earlier one. */
    log_flush();
    log_event(state == WORKER_RUNNING || state == WORKER_STOPPED ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "changed",
              "direction=%s state=\"%s\"", worker->direction, worker_state_name(state));
}

/* ---- circuits ---- */

static const char *backend_name(enum backend backend)
{
    return backend == BACKEND_DATABASE ? "database" : "broker";
}

static void show_circuit(struct worker *worker, enum backend backend)
{
    struct counters *counters = worker->counters;
    atomic_store(is_outbound(worker) ? &counters->out_circuits[backend] : &counters->in_circuits[backend],
                 (int)worker->circuits[backend].state);
}

bool worker_try(struct worker *worker, enum backend backend)
{
    int wait_ms;
    while (!worker_stopping(worker) && (wait_ms = breaker_wait_ms(&worker->circuits[backend], now_ms(worker))) > 0)
        worker->clock->ops->sleep_ms(worker->clock, wait_ms);
    show_circuit(worker, backend);
    return !worker_stopping(worker);
}

void worker_works(struct worker *worker, enum backend backend)
{
    struct breaker *circuit = &worker->circuits[backend];
    if (circuit->state == CIRCUIT_CLOSED)
        return;
    breaker_succeed(circuit, now_ms(worker));
    show_circuit(worker, backend);
    worker->reported_ms = -REPORT_EVERY_MS;
    log_event(LOG_LEVEL_INFO, "closed", "direction=%s circuit=%s failed_trials=%d open_ms=%lld", worker->direction,
              backend_name(backend), circuit->trials, (long long)(now_ms(worker) - circuit->opened_ms));
}

/* One line for the change from closed to open; the trials that fail are told by their errors, and counted when it closes. */
static void open_circuit(struct worker *worker, enum backend backend)
{
    struct counters *counters = worker->counters;
    bool was_closed = worker->circuits[backend].state == CIRCUIT_CLOSED;
    breaker_fail(&worker->circuits[backend], now_ms(worker));
    show_circuit(worker, backend);
    if (!was_closed)
        return;
    atomic_fetch_add(is_outbound(worker) ? &counters->out_openings[backend] : &counters->in_openings[backend], 1);
    log_event(LOG_LEVEL_WARNING, "opened", "direction=%s circuit=%s", worker->direction, backend_name(backend));
}

void worker_tell(struct worker *worker, const struct error *error)
{
    worker->last_error = *error;
    log_error(LOG_LEVEL_WARNING, "told", error);
}

void worker_fail(struct worker *worker, enum backend backend, const struct error *error)
{
    worker->last_error = *error;
    atomic_fetch_add(backend == BACKEND_DATABASE ? &worker->counters->database_failures : &worker->counters->broker_failures, 1);
    struct error shown = *error;
    error_prefix(&shown, "%s, direction %s", backend_name(backend), worker->direction);
    log_error(LOG_LEVEL_ERROR, "failed", &shown);
    open_circuit(worker, backend);
}

/* ---- reports ---- */

bool worker_report_due(struct worker *worker, struct report *report)
{
    int64_t now = now_ms(worker);
    bool has_error = worker->last_error.fault != FAULT_NONE;
    if (!has_error && now - worker->reported_ms < REPORT_EVERY_MS)
        return false;
    *report = (struct report){
        .direction = worker->direction,
        .state = worker_state_name(worker->state),
        .database_circuit = circuit_name(worker->circuits[BACKEND_DATABASE].state),
        .broker_circuit = circuit_name(worker->circuits[BACKEND_BROKER].state),
        .error = has_error ? worker->last_error.text : NULL,
        .error_code = has_error && worker->last_error.code[0] ? worker->last_error.code : NULL,
    };
    return true;
}

void worker_reported(struct worker *worker)
{
    worker->reported_ms = now_ms(worker);
    worker->last_error.fault = FAULT_NONE;
}

void worker_look_at_once(struct worker *worker)
{
    worker->looked_ms = -LOOK_EVERY_MS;
}

bool worker_look(struct worker *worker, struct holds *holds, bool *changed, struct error *error)
{
    int64_t now = worker->clock->ops->monotonic_ms(worker->clock);
    *changed = false;
    if (worker->brake == NULL || now - worker->looked_ms < LOOK_EVERY_MS)
        return true;
    struct holds *next = calloc(1, sizeof *next);
    if (next == NULL)
        memory_exhausted(__func__);
    bool good = worker->brake->ops->look(worker->brake, worker->direction, next, error);
    if (good) {
        worker->looked_ms = now;
        *changed = holds_take(holds, next);
    }
    free(next);
    if (*changed)
        log_event(LOG_LEVEL_WARNING, holds->all || holds->count > 0 ? "paused" : "resumed",
                  "direction=%s whole=%s entities=%zu%s%s", worker->direction, holds->all ? "yes" : "no", holds->count,
                  holds->count > 0 ? " first=" : "", holds->count > 0 ? holds->entities[0] : "");
    return good;
}
