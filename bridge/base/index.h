#pragma once
/* Places of a caller's array, found by the hash of what stands there: open addressing, in an arena, with at most half of the slots in
 * use; nothing is ever taken out. */
#include <stdbool.h>
#include <stdint.h>

#include "bridge/base/arena.h"

struct index_slot {
    uint64_t hash;
    size_t place; /* + 1; 0 = free */
    size_t stamp; /* the caller's own note */
};

struct index {
    size_t mask;
    struct index_slot *slots;
};

/* Room for so many items and no more. */
struct index index_new(size_t items_max, struct arena *arena);

/* Whether what stands at a place is the item. */
typedef bool index_same(const void *context, size_t place, const void *item);

/* The slot of the item, or the free one where it belongs, for the caller to fill. */
struct index_slot *index_find(const struct index *index, uint64_t hash, index_same *same, const void *context, const void *item);

/* Hashes of several parts: begin with 0. */
uint64_t index_mix(uint64_t hash, uint64_t word);
uint64_t index_mix_text(uint64_t hash, struct text text);
