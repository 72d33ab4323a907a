#include "bridge/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/base/memory.h"

enum { ARENA_BLOCK_BYTES = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t size_bytes;
    size_t used_bytes;
    alignas(max_align_t) unsigned char bytes[];
};

/* A bound that does not hold is a bug. */
static void beyond_bound(const struct arena *arena, size_t bytes)
{
    fprintf(stderr, "pgbridge: an arena is full: %zu bytes wanted, %zu of at most %zu in use\n", bytes,
            arena->used_bytes, arena->limit_bytes);
    abort();
}

void arena_init(struct arena *arena, size_t limit_bytes)
{
    *arena = (struct arena){.limit_bytes = limit_bytes};
}

static void free_blocks(struct arena_block *block)
{
    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_reset(struct arena *arena)
{
    arena->used_bytes = 0;
    if (arena->blocks == NULL)
        return;
    free_blocks(arena->blocks->next);
    /* A block made for one large value is not worth keeping. */
    if (arena->blocks->size_bytes > 16 * ARENA_BLOCK_BYTES) {
        free(arena->blocks);
        arena->blocks = NULL;
        return;
    }
    arena->blocks->next = NULL;
    arena->blocks->used_bytes = 0;
}

void arena_free(struct arena *arena)
{
    free_blocks(arena->blocks);
    arena->blocks = NULL;
    arena->used_bytes = 0;
}

size_t arena_room(const struct arena *arena)
{
    return arena->used_bytes < arena->limit_bytes ? arena->limit_bytes - arena->used_bytes : 0;
}

void *arena_take(struct arena *arena, size_t bytes)
{
    size_t align = alignof(max_align_t);
    if (bytes > arena_room(arena))
        beyond_bound(arena, bytes);
    size_t rounded = (bytes + align - 1) / align * align;
    struct arena_block *block = arena->blocks;
    if (block == NULL || block->size_bytes - block->used_bytes < rounded) {
        /* Blocks double, so that a large batch takes few of them. */
        size_t size = block == NULL ? ARENA_BLOCK_BYTES : block->size_bytes * 2;
        if (size > 16 * ARENA_BLOCK_BYTES)
            size = 16 * ARENA_BLOCK_BYTES;
        if (size < rounded)
            size = rounded;
        block = malloc(sizeof *block + size);
        if (block == NULL)
            memory_exhausted(__func__);
        *block = (struct arena_block){.next = arena->blocks, .size_bytes = size};
        arena->blocks = block;
    }
    void *taken = block->bytes + block->used_bytes;
    block->used_bytes += rounded;
    arena->used_bytes += rounded;
    memset(taken, 0, rounded);
    return taken;
}

void *arena_take_array(struct arena *arena, size_t count, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, item_bytes, &bytes))
        beyond_bound(arena, SIZE_MAX);
    return arena_take(arena, bytes);
}

char *arena_string(struct arena *arena, struct text text)
{
    char *copy = arena_take(arena, text.length + 1);
    if (text.length > 0)
        memcpy(copy, text.data, text.length);
    return copy;
}

struct text arena_copy(struct arena *arena, struct text text)
{
    if (text_is_null(text))
        return TEXT_NULL;
    return (struct text){arena_string(arena, text), text.length};
}

struct text arena_printf(struct arena *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        return (struct text){"", 0};
    char *out = arena_take(arena, (size_t)length + 1);
    va_start(arguments, format);
    vsnprintf(out, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return (struct text){out, (size_t)length};
}
