#pragma once
/* What outbound and inbound share: when to stop, how to say how they are. */
#include <stdatomic.h>
#include <stdbool.h>

#include "bridge/control/breaker.h"
#include "bridge/control/counters.h"
#include "bridge/flow/storm.h"
#include "bridge/ports.h"

struct worker {
    const char *direction; /* in, out */
    struct text node;
    struct clock *clock;
    struct counters *counters;
    const atomic_bool *stop;
    struct brake *brake; /* NULL: nothing is ever paused. Lives from the database's session that the loop has opened */
    /* private */
    int64_t looked_ms;
    enum worker_state state;
    struct breaker circuits[BACKENDS];
    struct error last_error; /* not yet reported */
    int64_t reported_ms;
};

void worker_init(struct worker *worker, const char *direction, struct text node, struct clock *clock,
                 struct counters *counters, const atomic_bool *stop);

bool worker_stopping(const struct worker *worker);
/* Shows that it is alive, and how. A change of state is logged. */
void worker_show(struct worker *worker, enum worker_state state);
/* Waits until the backend may be tried, which is at once unless it has failed; false when the process stops meanwhile. */
bool worker_try(struct worker *worker, enum backend backend);
/* The backend did what it was asked: its circuit closes. */
void worker_works(struct worker *worker, enum backend backend);
/* Logs an error that has failed nothing, and remembers it for the next report. */
void worker_tell(struct worker *worker, const struct error *error);
/* The backend failed: its circuit opens. Logs the error and remembers it for the next report. */
void worker_fail(struct worker *worker, enum backend backend, const struct error *error);
/* True every few seconds, or when the state changed or there is an error to tell: then fills the report. */
bool worker_report_due(struct worker *worker, struct report *report);
/* After the report was written. */
void worker_reported(struct worker *worker);

/* Asks every half second what is paused, and takes it over; *changed tells whether it is anything else than before, and is logged.
 * False: the database failed. */
bool worker_look(struct worker *worker, struct holds *holds, bool *changed, struct error *error);
/* Before the first look at a new session. */
void worker_look_at_once(struct worker *worker);

/* "running", ...: the word in bridge.status. */
const char *worker_state_name(enum worker_state state);
