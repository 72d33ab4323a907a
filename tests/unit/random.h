#pragma once
/* Random input that can be had again: every random test prints its seed, and PGBRIDGE_SEED repeats it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bridge/base/arena.h"

struct random {
    uint64_t state;
};

static inline struct random random_start(const char *test)
{
    const char *given = getenv("PGBRIDGE_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000 + (uint64_t)clock() % 1000;
    printf("%s: PGBRIDGE_SEED=%llu\n", test, (unsigned long long)seed);
    return (struct random){seed};
}

/* splitmix64 */
static inline uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static inline size_t random_below(struct random *random, size_t bound)
{
    return (size_t)(random_next(random) % bound);
}

/* Up to characters_max characters of what makes writers and readers stumble. */
static inline struct text random_text(struct random *random, size_t characters_max, struct arena *arena)
{
    static const char *const pieces[] = {
        "a", "Z", "0", " ", "\"", "\\",      "/", "\n",     "\x01", "\x1f",   "\x7f",       "\t",         ",",   "]",
        "{", ":", "'", "~", ";",  "\\u0000", "é", "\u2028", "€",    "\uFFFD", "\U0001F600", "\U0010FFFF", "null"};
    size_t count = random_below(random, characters_max + 1);
    char *bytes = arena_take(arena, count * 8 + 1);
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        const char *piece = pieces[random_below(random, sizeof pieces / sizeof pieces[0])];
        memcpy(bytes + length, piece, strlen(piece));
        length += strlen(piece);
    }
    return (struct text){bytes, length};
}
