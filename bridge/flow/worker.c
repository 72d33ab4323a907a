#include "bridge/flow/worker.h"

#include <stdlib.h>
#include <string.h>

#include "bridge/base/log.h"

enum { REPORT_EVERY_MS = 5000, LOOK_EVERY_MS = 500, RETRY_BASE_MS = 200, RETRY_CAP_MS = 5000 };

const char *worker_state_name(enum worker_state state)
{
    static const char *const names[] = {"starting", "database away", "broker away", "standby", "running", "paused", "stopped"};
    return names[state];
}

void worker_init(struct worker *worker, const char *direction, struct text node, struct clock *clock,
                 struct counters *counters, const atomic_bool *stop)
{
    *worker = (struct worker){.direction = direction, .node = node, .clock = clock, .counters = counters, .stop = stop,
                              .reported_ms = -REPORT_EVERY_MS, .looked_ms = -LOOK_EVERY_MS};
    retry_init(&worker->retry, RETRY_BASE_MS, RETRY_CAP_MS, (uint64_t)clock->ops->now_us(clock));
}

bool worker_stopping(const struct worker *worker)
{
    return atomic_load(worker->stop);
}

void worker_show(struct worker *worker, enum worker_state state)
{
    bool out = strcmp(worker->direction, "out") == 0;
    struct counters *counters = worker->counters;
    atomic_store(out ? &counters->out_alive_ms : &counters->in_alive_ms, worker->clock->ops->monotonic_ms(worker->clock));
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

void worker_fail(struct worker *worker, const char *side, const struct error *error)
{
    worker->last_error = *error;
    if (strcmp(side, "database") == 0)
        atomic_fetch_add(&worker->counters->database_failures, 1);
    else
        atomic_fetch_add(&worker->counters->broker_failures, 1);
    struct error shown = *error;
    error_prefix(&shown, "%s, direction %s", side, worker->direction);
    log_error(LOG_LEVEL_ERROR, "failed", &shown);
    /* Connecting alone is no success: what fails at its first use is to be tried ever more seldom, too. */
    if (worker->clock->ops->monotonic_ms(worker->clock) - worker->failed_ms > 2 * RETRY_CAP_MS)
        retry_reset(&worker->retry);
    worker->clock->ops->sleep_ms(worker->clock, retry_wait_ms(&worker->retry));
    worker->failed_ms = worker->clock->ops->monotonic_ms(worker->clock);
}

bool worker_report_due(struct worker *worker, struct report *report)
{
    int64_t now = worker->clock->ops->monotonic_ms(worker->clock);
    bool has_error = worker->last_error.fault != FAULT_NONE;
    if (!has_error && now - worker->reported_ms < REPORT_EVERY_MS)
        return false;
    *report = (struct report){
        .direction = worker->direction,
        .state = worker_state_name(worker->state),
        .error = has_error ? worker->last_error.text : NULL,
        .error_code = has_error && worker->last_error.code[0] ? worker->last_error.code : NULL,
    };
    return true;
}

void worker_reported(struct worker *worker)
{
    worker->reported_ms = worker->clock->ops->monotonic_ms(worker->clock);
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
        abort();
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
