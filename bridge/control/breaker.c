#include "bridge/control/breaker.h"

enum { STEADY_MS = 1000 };

void breaker_init(struct breaker *breaker, int base_ms, int cap_ms, uint64_t seed)
{
    *breaker = (struct breaker){.state = CIRCUIT_CLOSED};
    retry_init(&breaker->retry, base_ms, cap_ms, seed);
}

int breaker_wait_ms(struct breaker *breaker, int64_t now_ms)
{
    if (breaker->state != CIRCUIT_OPEN)
        return 0;
    if (now_ms < breaker->until_ms)
        return (int)(breaker->until_ms - now_ms);
    breaker->state = CIRCUIT_HALF_OPEN;
    return 0;
}

void breaker_fail(struct breaker *breaker, int64_t now_ms)
{
    if (breaker->state == CIRCUIT_CLOSED && now_ms - breaker->closed_ms >= STEADY_MS)
        retry_reset(&breaker->retry);
    if (breaker->state == CIRCUIT_CLOSED) {
        breaker->opened_ms = now_ms;
        breaker->trials = 0;
    }
    breaker->trials += breaker->state == CIRCUIT_HALF_OPEN;
    breaker->state = CIRCUIT_OPEN;
    breaker->until_ms = now_ms + retry_wait_ms(&breaker->retry);
}

void breaker_succeed(struct breaker *breaker, int64_t now_ms)
{
    if (breaker->state != CIRCUIT_CLOSED)
        breaker->closed_ms = now_ms;
    breaker->state = CIRCUIT_CLOSED;
}

const char *circuit_name(enum circuit circuit)
{
    static const char *const names[] = {"closed", "open", "half-open"};
    return names[circuit];
}
