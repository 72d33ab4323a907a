#pragma once
/* What the process says of itself over HTTP, as text: alive, ready, metrics.
 *
 * Everything comes from the workers' counters and, for metrics, from /proc/self: no database, no broker, so that a
 * probe is answered at once whatever is away, and a broken world never makes a supervisor end a healthy process. */
#include <stdbool.h>
#include <stdio.h>

#include "bridge/control/counters.h"
#include "bridge/ports.h"

/* A worker shows itself every few seconds; without any sign for this long it hangs. One that has not begun is not
 * silent. */
enum { METRICS_SILENCE_MS_MAX = 60000 };

/* What there is to tell about. All of it must outlive the server. */
struct http_facts {
    const char *node;
    const struct counters *counters;
    struct clock *clock;
};

/* Writes "ok", or a line for each worker that hangs. True when none does. */
bool metrics_write_health(const struct http_facts *facts, FILE *out);

/* Writes "ready", or a line for each thing that is missing: "outbound: database away". True when none is. */
bool metrics_write_readiness(const struct http_facts *facts, FILE *out);

/* Writes all metrics in Prometheus' text format, version 0.0.4. */
void metrics_write(const struct http_facts *facts, FILE *out);
