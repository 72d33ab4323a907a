#pragma once
/* Hooks of the test build: parts of the bridge that a test switches off to show that the others hold alone.
 * PGBRIDGE_DISABLE is a list such as "capture-guard,echo,same". Not compiled into the program that is installed. */
#include <stdbool.h>

bool hook_disabled(const char *part);
