#include "adapters/postgres/catalog.h"

static const char *copied(struct catalog *catalog, const PGresult *result, int row, int column)
{
    return arena_string(&catalog->arena, pg_value(result, row, column));
}

static bool load_columns(struct catalog *catalog, struct pg_session *session, struct error *error)
{
    PG_RESULT result = pg_query(session, "catalog_columns", 0, NULL, error);
    if (result == NULL)
        return false;
    int rows = PQntuples(result);
    catalog->entities = arena_take_array(&catalog->arena, LIMIT_ENTITIES, sizeof *catalog->entities);
    for (int row = 0; row < rows;) {
        struct catalog_entity *entity = &catalog->entities[catalog->entity_count++];
        *entity = (struct catalog_entity){
            .id = (int)pg_integer(result, row, 0),
            .name = arena_copy(&catalog->arena, pg_value(result, row, 1)),
            .relation = copied(catalog, result, row, 2),
            .key_count = (size_t)pg_integer(result, row, 3),
            .triggers = text_equal(pg_value(result, row, 4), TEXT_LITERAL("fire")) ? TRIGGERS_FIRE : TRIGGERS_SUPPRESS,
            .column_count = (size_t)pg_integer(result, row, 5),
            .policy = copied(catalog, result, row, 14),
            .merged = text_equal(pg_value(result, row, 14), TEXT_LITERAL("merge")),
            .update_revives = pg_boolean(result, row, 17),
            .acts = pg_boolean(result, row, 19),
        };
        entity->columns = arena_take_array(&catalog->arena, entity->column_count, sizeof *entity->columns);
        entity->merge = arena_take_array(&catalog->arena, entity->column_count, sizeof *entity->merge);
        for (size_t i = 0; i < entity->column_count; i++, row++) {
            if (!pg_boolean(result, row, 13)) {
                error_set(error, FAULT_OPERATOR, "42703", "entity \"%.*s\": table %s or its column %s does not exist",
                          TEXT_PRINTF(entity->name), entity->relation, PQgetvalue(result, row, 7));
                return error_hint(error, "correct the mapping in the config and run \"pgbridge install\"");
            }
            entity->merge[i] = (struct merge_field){
                .name = arena_copy(&catalog->arena, pg_value(result, row, 6)),
                .group = arena_copy(&catalog->arena, pg_value(result, row, 15)),
                .counter = pg_boolean(result, row, 16),
            };
            entity->columns[i] = (struct catalog_column){
                .field = arena_copy(&catalog->arena, pg_value(result, row, 6)),
                .column = copied(catalog, result, row, 7),
                .bare_type = copied(catalog, result, row, 8),
                .exact_type = copied(catalog, result, row, 9),
                .row_text = copied(catalog, result, row, 10),
                .input_text = copied(catalog, result, row, 11),
                .generated = pg_boolean(result, row, 12),
                .spelling = PQgetisnull(result, row, 18) ? SPELLED_ANYHOW
                            : text_equal(pg_value(result, row, 18), TEXT_LITERAL("text")) ? SPELLED_EXACTLY
                                                                                            : SPELLED_PLAINLY,
            };
        }
    }
    return true;
}

static bool load_writable(struct catalog *catalog, struct pg_session *session, struct error *error)
{
    PG_RESULT result = pg_query(session, "catalog_writable", 0, NULL, error);
    if (result == NULL)
        return false;
    int rows = PQntuples(result);
    for (int row = 0; row < rows;) {
        int64_t id = pg_integer(result, row, 0);
        int end = row;
        while (end < rows && pg_integer(result, end, 0) == id)
            end++;
        const char **names = arena_take_array(&catalog->arena, (size_t)(end - row) + 1, sizeof *names);
        for (int i = row; i < end; i++)
            names[i - row] = copied(catalog, result, i, 1);
        for (size_t i = 0; i < catalog->entity_count; i++)
            if (catalog->entities[i].id == id)
                catalog->entities[i].writable = names;
        row = end;
    }
    return true;
}

static bool load_foreign_keys(struct catalog *catalog, struct pg_session *session, struct error *error)
{
    PG_RESULT result = pg_query(session, "catalog_foreign_keys", 0, NULL, error);
    if (result == NULL)
        return false;
    int rows = PQntuples(result);
    for (size_t i = 0; i < catalog->entity_count; i++) {
        struct catalog_entity *entity = &catalog->entities[i];
        size_t count = 0;
        for (int row = 0; row < rows; row++)
            count += pg_integer(result, row, 0) == entity->id && pg_integer(result, row, 5) == 1;
        entity->foreign_keys = arena_take_array(&catalog->arena, count + 1, sizeof *entity->foreign_keys);
        for (int row = 0; row < rows; row++) {
            if (pg_integer(result, row, 0) != entity->id)
                continue;
            size_t position = (size_t)pg_integer(result, row, 5);
            if (position == 1) {
                size_t width = (size_t)pg_integer(result, row, 10);
                entity->foreign_keys[entity->foreign_key_count++] = (struct catalog_foreign_key){
                    .from_here = text_equal(pg_value(result, row, 1), TEXT_LITERAL("child")),
                    .name = copied(catalog, result, row, 2),
                    .child = copied(catalog, result, row, 3),
                    .parent = copied(catalog, result, row, 4),
                    .width = width,
                    .child_columns = arena_take_array(&catalog->arena, width, sizeof(char *)),
                    .parent_columns = arena_take_array(&catalog->arena, width, sizeof(char *)),
                    .parent_types = arena_take_array(&catalog->arena, width, sizeof(char *)),
                    .parent_texts = arena_take_array(&catalog->arena, width, sizeof(char *)),
                    .lockable = pg_boolean(result, row, 11),
                    .key_only = true,
                };
            }
            struct catalog_foreign_key *key = &entity->foreign_keys[entity->foreign_key_count - 1];
            key->child_columns[position - 1] = copied(catalog, result, row, 6);
            key->parent_columns[position - 1] = copied(catalog, result, row, 7);
            key->parent_types[position - 1] = copied(catalog, result, row, 8);
            key->parent_texts[position - 1] = copied(catalog, result, row, 9);
            key->key_only = key->key_only && pg_boolean(result, row, 12);
        }
    }
    return true;
}

bool catalog_load(struct catalog *catalog, struct pg_session *session, struct error *error)
{
    catalog_free(catalog);
    arena_init(&catalog->arena, LIMIT_ARENA_BYTES);
    return load_columns(catalog, session, error) && load_writable(catalog, session, error) &&
           load_foreign_keys(catalog, session, error);
}

void catalog_free(struct catalog *catalog)
{
    arena_free(&catalog->arena);
    *catalog = (struct catalog){0};
}

struct catalog_entity *catalog_find(struct catalog *catalog, struct text entity)
{
    for (size_t i = 0; i < catalog->entity_count; i++)
        if (text_equal(catalog->entities[i].name, entity))
            return &catalog->entities[i];
    return NULL;
}

const struct catalog_entity *catalog_of_relation(const struct catalog *catalog, const char *relation)
{
    for (size_t i = 0; i < catalog->entity_count; i++)
        if (strcmp(catalog->entities[i].relation, relation) == 0)
            return &catalog->entities[i];
    return NULL;
}
