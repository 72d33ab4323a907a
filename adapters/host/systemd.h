#pragma once
/* What systemd wants to know of a Type=notify service; nothing happens elsewhere. */
#include <stdbool.h>
#include <stdint.h>

void systemd_ready(void);
void systemd_stopping(void);
void systemd_reloading(void);
/* One line for `systemctl status`. */
void systemd_status(const char *status);
/* Microseconds between signs of life that the watchdog wants; 0: none. */
uint64_t systemd_watchdog_us(void);
void systemd_alive(void);
