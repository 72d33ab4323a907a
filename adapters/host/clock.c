#include "adapters/host/clock.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static int64_t now_us(struct clock *clock)
{
    (void)clock;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t monotonic_ms(struct clock *clock)
{
    (void)clock;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void sleep_ms(struct clock *clock, int wait_ms)
{
    struct host_clock *host = (struct host_clock *)clock;
    struct pollfd stop = {.fd = host->stop_descriptor, .events = POLLIN};
    poll(&stop, 1, wait_ms > 0 ? wait_ms : 0);
}

static const struct clock_ops host_clock_ops = {now_us, monotonic_ms, sleep_ms};

bool host_clock_init(struct host_clock *clock)
{
    *clock = (struct host_clock){.port = {&host_clock_ops}, .stop_descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    return clock->stop_descriptor >= 0;
}

void host_clock_stop(struct host_clock *clock)
{
    eventfd_write(clock->stop_descriptor, 1);
}

void host_clock_free(struct host_clock *clock)
{
    close(clock->stop_descriptor);
}
