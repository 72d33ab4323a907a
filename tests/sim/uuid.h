#pragma once
/* UUIDs from the seed. */
#include <stdint.h>

void uuid_begin(uint64_t seed);
