#pragma once
/* Memory with the lifetime of a batch: allocate freely, free all at once.
 *
 * Allocation never returns NULL: an arena that cannot grow (no memory, or its bound reached) ends the process, because
 * every arena's bound is chosen so that correct code never reaches it. Callers that take input from outside check
 * arena_room() first. Reset keeps one block, so that a hot loop does not allocate. */
#include <stdarg.h>
#include <stddef.h>

#include "bridge/base/text.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used_bytes;          /* all blocks together */
    size_t limit_bytes;
};

/* limit_bytes: the most this arena may ever hold. */
void arena_init(struct arena *arena, size_t limit_bytes);
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);

/* Bytes that can still be taken. */
size_t arena_room(const struct arena *arena);

/* Zeroed, aligned for any type. */
void *arena_take(struct arena *arena, size_t bytes) __attribute__((malloc, alloc_size(2), returns_nonnull));
void *arena_take_array(struct arena *arena, size_t count, size_t item_bytes)
    __attribute__((malloc, alloc_size(2, 3), returns_nonnull));

/* A copy that also carries a NUL after its end; a null text stays null. */
struct text arena_copy(struct arena *arena, struct text text);
char *arena_string(struct arena *arena, struct text text);
struct text arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
