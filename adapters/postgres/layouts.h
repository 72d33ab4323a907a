#pragma once
/* The layouts of bridge.layout: every shape that the rows of the outbox may have. Their numbers hold as long as the installation does, so each
 * session loads them anew. */
#include "adapters/postgres/session.h"
#include "bridge/control/config.h"
#include "bridge/flow/storm.h"
#include "bridge/message/change.h"

struct pg_layouts {
    const struct config *config;
    struct arena arena;
    size_t count, capacity;
    struct layout **items; /* each stays where it is while more are loaded: batches point to it */
};

/* config must outlive them. */
void pg_layouts_init(struct pg_layouts *layouts, const struct config *config);
void pg_layouts_free(struct pg_layouts *layouts);

/* Adds those that are not known yet. */
bool pg_layouts_load(struct pg_layouts *layouts, struct pg_session *session, struct error *error);
/* The caller sees to it that nothing points to any of them. */
void pg_layouts_forget(struct pg_layouts *layouts);

/* NULL: there is none. */
const struct layout *pg_layouts_find(const struct pg_layouts *layouts, int32_t id);

/* The ids of those of entities that are held, of all when of is NULL, as a parameter ('{1,2}'); the caller frees it. */
char *pg_layouts_ids(const struct pg_layouts *layouts, const struct holds *of);
