#include "adapters/postgres/layouts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/base/limits.h"
#include "bridge/base/memory.h"

void pg_layouts_init(struct pg_layouts *layouts, const struct config *config)
{
    *layouts = (struct pg_layouts){.config = config};
    arena_init(&layouts->arena, LIMIT_ARENA_BYTES);
}

void pg_layouts_free(struct pg_layouts *layouts)
{
    arena_free(&layouts->arena);
    free(layouts->items);
    *layouts = (struct pg_layouts){0};
}

void pg_layouts_forget(struct pg_layouts *layouts)
{
    arena_reset(&layouts->arena);
    layouts->count = 0;
}

static void add(struct pg_layouts *layouts, struct layout *layout)
{
    if (layouts->count == layouts->capacity) {
        layouts->capacity = 2 * layouts->capacity + 16;
        layouts->items = realloc(layouts->items, layouts->capacity * sizeof *layouts->items);
        if (layouts->items == NULL)
            memory_exhausted(__func__);
    }
    layouts->items[layouts->count++] = layout;
}

bool pg_layouts_load(struct pg_layouts *layouts, struct pg_session *session, struct error *error)
{
    struct arena *arena = &layouts->arena;
    char *known = pg_layouts_ids(layouts, NULL);
    const char *parameters[] = {known};
    PG_RESULT result = pg_query(session, "layouts", 1, parameters, error);
    free(known);
    if (result == NULL)
        return false;
    for (int row = 0, rows = PQntuples(result), field_count; row < rows; row += field_count) {
        field_count = (int)pg_integer(result, row, 5);
        struct text *fields = arena_take_array(arena, (size_t)field_count, sizeof *fields);
        for (int i = 0; i < field_count; i++)
            fields[i] = arena_copy(arena, pg_value(result, row + i, 6));
        struct text entity = arena_copy(arena, pg_value(result, row, 1));
        struct layout *layout = arena_take(arena, sizeof *layout);
        *layout = (struct layout){
            .id = (int32_t)pg_integer(result, row, 0),
            .entity = entity,
            .policy = config_policy(config_entity(layouts->config, entity.data), arena),
            .key_count = (size_t)pg_integer(result, row, 2),
            .schema = arena_copy(arena, pg_value(result, row, 3)),
            .coalesce = pg_boolean(result, row, 4),
            .field_count = (size_t)field_count,
            .fields = fields,
        };
        add(layouts, layout);
    }
    return true;
}

const struct layout *pg_layouts_find(const struct pg_layouts *layouts, int32_t id)
{
    for (size_t i = 0; i < layouts->count; i++)
        if (layouts->items[i]->id == id)
            return layouts->items[i];
    return NULL;
}

char *pg_layouts_ids(const struct pg_layouts *layouts, const struct holds *of)
{
    char *ids = NULL;
    size_t size;
    FILE *out = open_memstream(&ids, &size);
    if (out == NULL)
        memory_exhausted(__func__);
    fputc('{', out);
    const char *separator = "";
    for (size_t i = 0; i < layouts->count; i++) {
        if (of != NULL && !holds_entity(of, layouts->items[i]->entity))
            continue;
        fprintf(out, "%s%" PRId32, separator, layouts->items[i]->id);
        separator = ",";
    }
    fputc('}', out);
    fclose(out);
    return ids;
}
