#pragma once
/* What of the log is mirrored: which tables, which of their columns, and in which shape their rows travel. Loaded by the source and read by its reader's thread,
 * which never changes it. */
#include "adapters/postgres/layouts.h"

struct wal_entity {
    int id;
    uint32_t number;           /* the table's oid */
    struct text schema, table; /* as the log names it now */
    const struct layout *layout; /* of whole rows */
    const struct text *columns;  /* of the table, layout->field_count of them */
    const bool *generated;       /* the log does not have them */
    bool active;                 /* false: it was taken out, and the log may have more of it */
};

struct wal_mapping {
    struct arena arena;
    size_t entity_count;
    struct wal_entity *entities;
    struct pg_layouts layouts; /* of whole rows, and of rows of the outbox that the log tells of */
    char digest[65];        /* another one whenever the rest is another */
};

/* A mapped table or column that is gone is FAULT_OPERATOR. The mapping must be freed also after a failure. */
bool wal_mapping_load(struct wal_mapping *mapping, const struct config *config, struct pg_session *session, struct error *error);
void wal_mapping_free(struct wal_mapping *mapping);

/* By its oid, whatever its name was then, unless another has that name now; else by its name: it may have been made anew. NULL: it is not mapped. */
const struct wal_entity *wal_mapping_find(const struct wal_mapping *mapping, uint32_t number, struct text schema, struct text table);
