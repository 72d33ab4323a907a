#pragma once
/* The system's clock, whose sleep ends early when the process is to stop. */
#include "bridge/ports.h"

struct host_clock {
    struct clock port; /* first */
    int stop_descriptor; /* an eventfd that becomes readable when the process is to stop */
};

bool host_clock_init(struct host_clock *clock);
/* Wakes every sleeper, for good. Safe in any thread. */
void host_clock_stop(struct host_clock *clock);
void host_clock_free(struct host_clock *clock);
