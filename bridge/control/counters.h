#pragma once
/* What the workers tell the rest of the process: atomics, no locks. Read by metrics, readiness and the watchdog. */
#include <stdatomic.h>
#include <stdint.h>

enum worker_state {
    WORKER_STARTING,
    WORKER_DATABASE_AWAY,
    WORKER_BROKER_AWAY,
    WORKER_BROKER_BLOCKED, /* the broker has an alarm and takes no messages */
    WORKER_STANDBY, /* another adapter of this node leads */
    WORKER_RUNNING,
    WORKER_PAUSED, /* by an operator, or by itself: see bridge.pauses */
    WORKER_STOPPED,
};

/* Both are connections of each direction of its own. */
enum backend { BACKEND_DATABASE, BACKEND_BROKER, BACKENDS };

struct counters {
    _Atomic int out_state, in_state;       /* enum worker_state */
    _Atomic int64_t out_alive_ms, in_alive_ms; /* monotonic: the worker's last sign of life */
    _Atomic int out_circuits[BACKENDS], in_circuits[BACKENDS]; /* enum circuit */
    _Atomic uint64_t out_openings[BACKENDS], in_openings[BACKENDS]; /* of a circuit that was closed */
    /* outbound */
    _Atomic(const char *) blocked; /* why the broker takes no messages: a text that lives for ever; NULL when it does */
    _Atomic uint64_t captured, published, messages_out, bytes_out, batches_out, publish_failures;
    _Atomic uint64_t in_flight;            /* batches published and not confirmed */
    _Atomic uint64_t out_held;             /* entities that are paused or whose budget is spent */
    _Atomic int64_t confirm_us_sum;        /* publish to confirm, summed over batches */
    /* inbound */
    _Atomic uint64_t received, applied, unchanged, ignored, same, duplicate, stale, echo, kept, conflicts, dead_letters;
    _Atomic uint64_t messages_in, bytes_in, transactions_in, transactions_beside, refused, poison, gaps, unknown_members, apply_retries;
    _Atomic uint64_t in_held;              /* entities that are paused */
    _Atomic uint64_t held;                 /* changes put aside, not counted among the dead letters here */
    _Atomic uint64_t rallies;              /* rows held because nodes rewrote them in turns */
    _Atomic uint64_t queue_depth, dead_queue_depth;
    _Atomic uint64_t drained;              /* messages from the broker's dead-letter queue */
    _Atomic int64_t newest_us;             /* newest version applied */
    /* both */
    _Atomic uint64_t database_failures, broker_failures;
};
