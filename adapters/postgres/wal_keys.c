#include "adapters/postgres/wal_keys.h"

#include <stdlib.h>

#include "bridge/base/memory.h"

enum { KEYS_MAX = 1 << 20, SLOTS_FIRST = 1 << 16 };

bool wal_keys_have(const struct wal_keys *keys, uint64_t hash)
{
    if (keys->count >= KEYS_MAX)
        return true;
    if (keys->hashes == NULL)
        return false;
    for (size_t at = hash & keys->mask; keys->hashes[at] != 0; at = (at + 1) & keys->mask)
        if (keys->hashes[at] == hash)
            return true;
    return false;
}

static void grow(struct wal_keys *keys)
{
    struct wal_keys grown = {.mask = keys->hashes == NULL ? SLOTS_FIRST - 1 : 2 * keys->mask + 1};
    grown.hashes = calloc(grown.mask + 1, sizeof *grown.hashes);
    if (grown.hashes == NULL)
        memory_exhausted(__func__);
    for (size_t i = 0; keys->hashes != NULL && i <= keys->mask; i++)
        if (keys->hashes[i] != 0)
            wal_keys_add(&grown, keys->hashes[i]);
    free(keys->hashes);
    *keys = grown;
}

void wal_keys_add(struct wal_keys *keys, uint64_t hash)
{
    if (wal_keys_have(keys, hash))
        return;
    if (keys->hashes == NULL || 2 * (keys->count + 1) > keys->mask + 1)
        grow(keys);
    size_t at = hash & keys->mask;
    while (keys->hashes[at] != 0)
        at = (at + 1) & keys->mask;
    keys->hashes[at] = hash;
    keys->count++;
}

void wal_keys_clear(struct wal_keys *keys)
{
    free(keys->hashes);
    *keys = (struct wal_keys){0};
}
