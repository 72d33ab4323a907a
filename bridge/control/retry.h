#pragma once
/* Backoff with jitter: when to try again. Pure. */
#include <stdint.h>

struct retry {
    int base_ms;
    int cap_ms;
    int attempts; /* failures in a row */
    uint64_t random;
};

void retry_init(struct retry *retry, int base_ms, int cap_ms, uint64_t seed);

/* The wait before the next attempt, in milliseconds: between half and all of base * 2^attempts, at most the cap. Counts a
 * failure. */
int retry_wait_ms(struct retry *retry);

/* It worked: the next failure begins at the base again. */
void retry_reset(struct retry *retry);
