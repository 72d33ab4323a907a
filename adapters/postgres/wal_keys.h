#pragma once
/* Which keys the parts of a transaction have had that goes in several: a set of hashes, bounded. Pure. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wal_keys {
    size_t mask, count;
    uint64_t *hashes; /* 0: free */
};

/* hash is not 0. Whether the key may have been added: when too many have been, any may. */
bool wal_keys_have(const struct wal_keys *keys, uint64_t hash);
void wal_keys_add(struct wal_keys *keys, uint64_t hash);
void wal_keys_clear(struct wal_keys *keys);
