#pragma once
/* Hooks of the test build: parts of the bridge that a test switches off to show that the others hold alone.
 * PGBRIDGE_DISABLE is a list such as "capture-guard,echo,same". A message whose body holds PGBRIDGE_POISON ends the process when it is
 * decoded, as a bug in the decoder would. Not compiled into the program that is installed. */
#include <stdbool.h>
#include <stdint.h>

bool hook_disabled(const char *part);
/* A number that a test gives by this variable; otherwise the second. */
int64_t hook_number(const char *variable, int64_t otherwise);
