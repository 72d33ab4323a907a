#include "bridge/control/retry.h"

void retry_init(struct retry *retry, int base_ms, int cap_ms, uint64_t seed)
{
    *retry = (struct retry){.base_ms = base_ms, .cap_ms = cap_ms, .random = seed | 1};
}

/* xorshift64* (Vigna, 2014): jitter needs no better. */
static uint64_t next_random(struct retry *retry)
{
    uint64_t x = retry->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    retry->random = x;
    return x * 0x2545F4914F6CDD1Du;
}

int retry_wait_ms(struct retry *retry)
{
    int64_t wait = retry->base_ms;
    for (int i = 0; i < retry->attempts && wait < retry->cap_ms; i++)
        wait *= 2;
    if (wait > retry->cap_ms)
        wait = retry->cap_ms;
    if (retry->attempts < 30)
        retry->attempts++;
    return (int)(wait / 2 + (int64_t)(next_random(retry) >> 33) % (wait / 2 + 1));
}

void retry_reset(struct retry *retry)
{
    retry->attempts = 0;
}
