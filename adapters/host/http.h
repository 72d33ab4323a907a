#pragma once
/* The HTTP server of `pgbridge run`: /healthz, /readyz and /metrics, for supervisors and Prometheus.
 *
 * It has one thread of its own, answers GET and HEAD from memory alone, and is bounded in connections, bytes and time:
 * nobody who talks to it can slow the workers down. It has no authentication: what it tells are counts and names of
 * states, and by default it listens on loopback. */
#include "adapters/host/metrics.h"
#include "bridge/base/error.h"

struct http;

/* Listens on host:port; port 0 takes any free one, see http_port. facts must outlive the server. NULL on failure:
 * FAULT_OPERATOR when the address cannot be used. */
struct http *http_start(const char *host, int port, const struct http_facts *facts, struct error *error);

/* The port that it listens on. */
int http_port(const struct http *http);

/* Ends it and its thread; http may be NULL. */
void http_stop(struct http *http);
