#include "adapters/postgres/compose.h"

#include "bridge/base/memory.h"

FILE *sql_open(char **text, size_t *length)
{
    FILE *out = open_memstream(text, length);
    if (out == NULL)
        memory_exhausted(__func__);
    return out;
}

void sql_put_arrays(FILE *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s$%zu::text[]", i ? ", " : "", i + 1);
}

void sql_put_names(FILE *out, const char *prefix, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s%s%zu", i ? ", " : "", prefix, i + 1);
}

void sql_put_raw_key_match(FILE *out, const struct catalog_entity *entity, const char *table)
{
    for (size_t i = 0; i < entity->key_count; i++)
        fprintf(out, "%s%s.%s = i.t%zu::%s", i ? " and " : "", table, entity->columns[i].column, i + 1,
                entity->columns[i].bare_type);
}

void sql_put_key_text(FILE *out, const struct catalog_entity *entity, bool of_row)
{
    if (entity->key_count > 1)
        fputs("(array[", out);
    for (size_t i = 0; i < entity->key_count; i++)
        fprintf(out, "%s%s", i ? ", " : "", of_row ? entity->columns[i].row_text : entity->columns[i].input_text);
    if (entity->key_count > 1)
        fputs("])::text", out);
}
