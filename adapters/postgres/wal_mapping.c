#include "adapters/postgres/wal_mapping.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/base/limits.h"
#include "bridge/base/memory.h"
#include "bridge/message/digest.h"

static bool load_entities(struct wal_mapping *mapping, struct pg_session *session, struct error *error)
{
    PG_RESULT result = pg_query(session, "wal_mapping", 0, NULL, error);
    if (result == NULL)
        return false;
    int rows = PQntuples(result);
    mapping->entities = arena_take_array(&mapping->arena, LIMIT_ENTITIES, sizeof *mapping->entities);
    for (int row = 0; row < rows && mapping->entity_count < LIMIT_ENTITIES;) {
        struct wal_entity *entity = &mapping->entities[mapping->entity_count++];
        size_t columns = (size_t)pg_integer(result, row, 6);
        struct text *names = arena_take_array(&mapping->arena, columns, sizeof *names);
        bool *generated = arena_take_array(&mapping->arena, columns, sizeof *generated);
        *entity = (struct wal_entity){
            .id = (int)pg_integer(result, row, 0),
            .number = (uint32_t)pg_integer(result, row, 2),
            .schema = arena_copy(&mapping->arena, pg_value(result, row, 3)),
            .table = arena_copy(&mapping->arena, pg_value(result, row, 4)),
            .layout = pg_layouts_find(&mapping->layouts, (int32_t)pg_integer(result, row, 5)),
            .columns = names,
            .generated = generated,
            .active = pg_boolean(result, row, 10),
        };
        if (entity->layout == NULL || entity->layout->field_count != columns)
            return error_set(error, FAULT_BUG, NULL, "entity \"%s\" does not match its layout", PQgetvalue(result, row, 1));
        for (size_t i = 0; i < columns; i++, row++) {
            if (!pg_boolean(result, row, 8)) {
                error_set(error, FAULT_OPERATOR, "42703", "entity \"%s\": its table or the column %s does not exist any more",
                          PQgetvalue(result, row, 1), PQgetvalue(result, row, 7));
                return error_hint(error, "correct the mapping in the config and run \"pgbridge install\"");
            }
            generated[i] = pg_boolean(result, row, 9);
            names[i] = arena_copy(&mapping->arena, pg_value(result, row, 7));
        }
    }
    return true;
}

static void put_text(FILE *out, struct text text)
{
    fprintf(out, "%zu:%.*s,", text.length, TEXT_PRINTF(text));
}

static void make_digest(struct wal_mapping *mapping)
{
    char *all = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&all, &length);
    if (out == NULL)
        memory_exhausted(__func__);
    for (size_t i = 0; i < mapping->entity_count; i++) {
        const struct wal_entity *entity = &mapping->entities[i];
        fprintf(out, "%d %d %" PRIu32 " %d ", entity->id, entity->layout->id, entity->number, entity->active);
        put_text(out, entity->schema);
        put_text(out, entity->table);
        for (size_t j = 0; j < entity->layout->field_count; j++)
            put_text(out, entity->columns[j]);
    }
    fclose(out);
    digest_bytes((struct text){all, length}, mapping->digest);
    free(all);
}

bool wal_mapping_load(struct wal_mapping *mapping, const struct config *config, struct pg_session *session, struct error *error)
{
    wal_mapping_free(mapping);
    arena_init(&mapping->arena, LIMIT_ARENA_BYTES);
    pg_layouts_init(&mapping->layouts, config);
    if (!pg_layouts_load(&mapping->layouts, session, error) || !load_entities(mapping, session, error))
        return false;
    make_digest(mapping);
    return true;
}

void wal_mapping_free(struct wal_mapping *mapping)
{
    pg_layouts_free(&mapping->layouts);
    arena_free(&mapping->arena);
    *mapping = (struct wal_mapping){0};
}

const struct wal_entity *wal_mapping_find(const struct wal_mapping *mapping, uint32_t number, struct text schema, struct text table)
{
    const struct wal_entity *numbered = NULL, *named = NULL;
    for (size_t i = 0; i < mapping->entity_count; i++) {
        const struct wal_entity *entity = &mapping->entities[i];
        bool has_number = entity->number == number, has_name = text_equal(entity->table, table) && text_equal(entity->schema, schema);
        if (has_number && has_name)
            return entity;
        if (numbered == NULL && has_number)
            numbered = entity;
        if (named == NULL && has_name)
            named = entity;
    }
    return numbered != NULL && (named == NULL || !named->active) ? numbered : named;
}
