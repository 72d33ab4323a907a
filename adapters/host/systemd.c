#include "adapters/host/systemd.h"

#ifdef PGBRIDGE_SYSTEMD
#include <systemd/sd-daemon.h>
#include <time.h>

void systemd_ready(void)
{
    sd_notify(0, "READY=1");
}

void systemd_stopping(void)
{
    sd_notify(0, "STOPPING=1\nSTATUS=draining");
}

void systemd_reloading(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

void systemd_status(const char *status)
{
    sd_notifyf(0, "STATUS=%s", status);
}

uint64_t systemd_watchdog_us(void)
{
    uint64_t interval_us = 0;
    return sd_watchdog_enabled(0, &interval_us) > 0 ? interval_us : 0;
}

void systemd_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}
#else
void systemd_ready(void)
{
}

void systemd_stopping(void)
{
}

void systemd_reloading(void)
{
}

void systemd_status(const char *status)
{
    (void)status;
}

uint64_t systemd_watchdog_us(void)
{
    return 0;
}

void systemd_alive(void)
{
}
#endif
