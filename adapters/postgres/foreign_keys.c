/* Foreign keys, which replica role switches off: noted while rows are written, checked at the end of the transaction. */
#include <stdlib.h>

#include "adapters/postgres/foreign_key_sql.h"
#include "adapters/postgres/target_private.h"

/* A foreign key to check before the commit. */
struct pending_check {
    struct pending_check *next;
    const struct catalog_foreign_key *key;
    char *sql;
    int parameter_count;
    const char **parameters;
    int *lengths;
    /* which rows of which message the parameters came from, by number */
    const struct message *given;
    const size_t *rows;
    size_t row_count;
};

static struct pending_check *defer_check(struct pg_target *target, const struct catalog_foreign_key *key, char *sql)
{
    struct pending_check *check = arena_take(&target->arena, sizeof *check);
    *check = (struct pending_check){.next = target->checks,
                                    .key = key,
                                    .given = target->given,
                                    .sql = arena_string(&target->arena, text_from(sql))};
    free(sql);
    target->checks = check;
    return check;
}

static size_t *copied_rows(struct arena *arena, const size_t *rows, size_t count)
{
    size_t *copy = arena_take_array(arena, count, sizeof *copy);
    memcpy(copy, rows, count * sizeof *copy);
    return copy;
}

void foreign_keys_note_written(struct pg_target *target, const struct catalog_entity *entity,
                               const struct selection *selection, const struct parameters *parameters)
{
    for (size_t i = 0; i < entity->foreign_key_count; i++) {
        const struct catalog_foreign_key *key = &entity->foreign_keys[i];
        if (!key->from_here)
            continue;
        struct pending_check *check = defer_check(target, key, foreign_key_child_check(entity, key));
        check->parameter_count = (int)entity->key_count;
        check->parameters = parameters->values;
        check->lengths = parameters->lengths;
        check->rows = copied_rows(&target->arena, selection->rows, selection->count);
        check->row_count = selection->count;
    }
}

bool foreign_keys_note_referenced(struct pg_target *target, const struct catalog_entity *entity, bool deletion,
                                  const struct selection *selection, const struct parameters *parameters,
                                  struct error *error)
{
    struct arena *arena = &target->arena;
    for (size_t i = 0; i < entity->foreign_key_count; i++) {
        const struct catalog_foreign_key *key = &entity->foreign_keys[i];
        if (key->from_here || (!deletion && key->key_only))
            continue;
        char *sql = foreign_key_referenced_values(entity, key);
        int sent = PQsendQueryParams(target->session.connection, sql, (int)entity->key_count, parameters->types,
                                     parameters->values, parameters->lengths, parameters->formats, 0);
        PG_RESULT result = pg_checked(&target->session, pg_answer(&target->session, sent), error);
        free(sql);
        if (result == NULL)
            return false;
        int count = PQntuples(result);
        if (count == 0)
            continue;
        struct pending_check *check = defer_check(target, key, foreign_key_parent_check(key));
        size_t *rows = arena_take_array(arena, (size_t)count, sizeof *rows);
        for (int row = 0; row < count; row++)
            rows[row] = selection->rows[pg_integer(result, row, 0) - 1];
        check->rows = rows;
        check->row_count = (size_t)count;
        check->parameter_count = (int)key->width;
        check->parameters = arena_take_array(arena, key->width, sizeof *check->parameters);
        check->lengths = arena_take_array(arena, key->width, sizeof *check->lengths);
        struct text *values = arena_take_array(arena, (size_t)count, sizeof *values);
        for (size_t column = 0; column < key->width; column++) {
            for (int row = 0; row < count; row++)
                values[row] = pg_value(result, row, (int)column + 1);
            struct text array = parameters_texts(arena, (size_t)count, values);
            check->parameters[column] = array.data;
            check->lengths[column] = (int)array.length;
        }
    }
    return true;
}

static bool run_check(struct pg_target *target, const struct pending_check *check, struct offences *offences,
                      struct error *error)
{
    Oid *types = arena_take_array(&target->arena, (size_t)check->parameter_count, sizeof *types);
    int *formats = arena_take_array(&target->arena, (size_t)check->parameter_count, sizeof *formats);
    for (int i = 0; i < check->parameter_count; i++) {
        types[i] = OID_TEXT_ARRAY;
        formats[i] = 1;
    }
    int sent = PQsendQueryParams(target->session.connection, check->sql, check->parameter_count, types, check->parameters,
                                 check->lengths, formats, 0);
    PG_RESULT result = pg_checked(&target->session, pg_answer(&target->session, sent), error);
    if (result == NULL)
        return false;
    size_t *guilty = arena_take_array(&target->arena, check->row_count, sizeof *guilty);
    struct selection selection = {.count = check->row_count, .rows = check->rows};
    size_t count = parameters_selected(result, 0, &selection, guilty);
    if (count == 0)
        return true;
    for (size_t i = 0; i < count; i++)
        target_blame(offences, check->given, guilty[i]);
    if (check->key->from_here)
        return error_set(error, FAULT_TRANSIENT, "23503",
                         "foreign key %s: a row of %s needs a row of %s that is not there", check->key->name,
                         check->key->child, check->key->parent);
    error_set(error, FAULT_TRANSIENT, "23503", "foreign key %s: rows of %s still refer to a deleted row of %s",
              check->key->name, check->key->child, check->key->parent);
    return error_hint(error, "if %s is not mirrored, its rows are this node's own business: delete them here",
                      check->key->child);
}

bool foreign_keys_check(struct pg_target *target, struct offences *offences, struct error *error)
{
    for (const struct pending_check *check = target->checks; check != NULL; check = check->next)
        if (!run_check(target, check, offences, error))
            return false;
    return true;
}

bool foreign_keys_find_offences(struct pg_target *target, struct offences *offences, struct error *error)
{
    for (const struct pending_check *check = target->checks; check != NULL; check = check->next)
        if (!run_check(target, check, offences, error) && !error_is_of_rows(error))
            return false;
    return true;
}
