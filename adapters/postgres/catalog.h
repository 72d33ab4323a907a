#pragma once
/* What the database says about the mapped tables: types, text forms, foreign keys. Read once per session; every string is
 * SQL, quoted by the server, and lives in the catalog's arena. */
#include "adapters/postgres/session.h"
#include "bridge/base/limits.h"
#include "bridge/control/config.h"
#include "bridge/flow/policy.h"

/* How equal values may be written in messages. */
enum spelling {
    SPELLED_ANYHOW,
    SPELLED_PLAINLY, /* in one plain way (digits, a uuid in small letters), and by some senders otherwise */
    SPELLED_EXACTLY, /* each text is a value of its own */
};

struct catalog_column {
    struct text field;       /* canonical name */
    const char *column;      /* quoted */
    const char *bare_type;   /* to cast input for writing: without modifier, domains resolved */
    const char *exact_type;  /* to cast input for comparing: with modifier */
    const char *row_text;    /* text of the column of alias t */
    const char *input_text;  /* text of the input k.t<position>, cast to the exact type */
    bool generated;
    enum spelling spelling;
    struct text owner;       /* the node whose writes alone change it; null: anybody's do. The target's, from the config */
};

struct catalog_foreign_key {
    bool from_here; /* the mapped table is the child */
    const char *name, *child, *parent;
    size_t width;
    const char **child_columns, **parent_columns, **parent_types, **parent_texts;
    bool lockable;  /* the role may lock rows of the parent */
    bool key_only;  /* all referenced columns belong to the entity's key: updates never change them */
};

struct catalog_entity {
    int id;
    struct text name;
    const char *relation;
    const char *const *writable; /* all its columns that can be inserted, quoted; mapped or not; ends with NULL */
    size_t key_count;
    size_t column_count;
    struct catalog_column *columns;
    size_t foreign_key_count;
    struct catalog_foreign_key *foreign_keys;
    enum trigger_mode triggers;
    bool acts; /* triggers or rules of the table act whatever the session's role */
    const char *policy;        /* as installed: the capture trigger depends on it */
    bool merged;               /* policy merge */
    bool update_revives;
    struct merge_field *merge; /* as many as columns; of a merged entity */
    bool owns_fields;   /* some field is this node's own */
    struct rules rules; /* how its conflicts are settled: the target's, from the config */
    struct text policy_text; /* the same in words (config_policy) */
    bool is_disputed;        /* some node may settle them in another way */
    void *statements; /* the target's prepared statements for this entity */
};

struct catalog {
    struct arena arena;
    size_t entity_count;
    struct catalog_entity *entities;
};

/* A mapped column that is gone is FAULT_OPERATOR. The catalog must be freed also after a failure. */
bool catalog_load(struct catalog *catalog, struct pg_session *session, struct error *error);
void catalog_free(struct catalog *catalog);

/* The entity that is mapped to this table; relation as in the catalog. NULL: none is. */
const struct catalog_entity *catalog_of_relation(const struct catalog *catalog, const char *relation);

struct catalog_entity *catalog_find(struct catalog *catalog, struct text entity);
