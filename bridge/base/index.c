#include "bridge/base/index.h"

#include <string.h>

struct index index_new(size_t items_max, struct arena *arena)
{
    size_t size = 16;
    while (size < 2 * items_max)
        size *= 2;
    return (struct index){size - 1, arena_take_array(arena, size, sizeof(struct index_slot))};
}

struct index_slot *index_find(const struct index *index, uint64_t hash, index_same *same, const void *context, const void *item)
{
    for (size_t at = hash & index->mask;; at = (at + 1) & index->mask) {
        struct index_slot *slot = &index->slots[at];
        if (slot->place == 0 || (slot->hash == hash && same(context, slot->place - 1, item)))
            return slot;
    }
}

uint64_t index_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 29);
}

uint64_t index_mix_text(uint64_t hash, struct text text)
{
    hash = index_mix(hash, text.length);
    while (text.length > 0) {
        uint64_t word = 0;
        size_t length = text.length < sizeof word ? text.length : sizeof word;
        memcpy(&word, text.data, length);
        hash = index_mix(hash, word);
        text.data += length;
        text.length -= length;
    }
    return hash;
}
