#pragma once
/* A circuit breaker: whether to try a backend that has failed, and when. Pure.
 *
 *     closed      it works, as far as is known
 *     open        it has failed: nobody tries it before the backoff has passed
 *     half-open   one trial is under way: what works closes the circuit, what fails opens it again, for longer
 *
 * Connecting alone is no success: what fails at its first use is tried ever more seldom, too. */
#include "bridge/control/retry.h"

enum circuit { CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_HALF_OPEN };

struct breaker {
    enum circuit state;
    struct retry retry;
    int64_t until_ms;  /* open: until then */
    int64_t closed_ms; /* since when it is closed */
    int64_t opened_ms; /* when it was closed last */
    int trials;        /* that failed since */
};

void breaker_init(struct breaker *breaker, int base_ms, int cap_ms, uint64_t seed);

/* How long nobody may try, in milliseconds. At 0 the caller may; where the circuit was open this is its one trial, to be
 * followed by breaker_fail or breaker_succeed. */
int breaker_wait_ms(struct breaker *breaker, int64_t now_ms);

/* It failed: opens, for between half and all of base * 2^failures in a row, at most the cap. What had worked for a second begins at
 * the base again: a link that flaps is not left alone for long. */
void breaker_fail(struct breaker *breaker, int64_t now_ms);

/* It did what it was asked: closes. */
void breaker_succeed(struct breaker *breaker, int64_t now_ms);

/* "closed", "open", "half-open": the word in bridge.status, log and metrics. */
const char *circuit_name(enum circuit circuit);
