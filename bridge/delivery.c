#include <stdlib.h>

#include "bridge/base/limits.h"
#include "bridge/base/memory.h"
#include "bridge/ports.h"

struct delivery *delivery_new(void)
{
    struct delivery *delivery = calloc(1, sizeof *delivery);
    if (delivery == NULL)
        memory_exhausted(__func__);
    arena_init(&delivery->arena, LIMIT_ARENA_BYTES);
    return delivery;
}

void delivery_free(struct delivery *delivery)
{
    if (delivery == NULL)
        return;
    arena_free(&delivery->arena);
    free(delivery);
}
