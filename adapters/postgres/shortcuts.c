/* Most changes are of rows that nobody else has written: new ones, and such as their node writes again. They are written with half the
 * work of a judgement, by statements that tell which rows were not like that. */
#include "adapters/postgres/target_private.h"

enum {
    CREATE_ROWS_MIN = 64, /* worth the chance that one of them is not new */
    PAUSE_MESSAGES = 64,  /* that are judged at once, where most rows were not what was hoped */
};

/* What triggers make of a row, what is merged and which fields are whose: that is for the judgement. */
static bool is_plain(const struct pg_target *target, const struct statement *statement)
{
    const struct catalog_entity *entity = statement->entity;
    if (target->role_is_origin || target->options.write_equal || entity->merged)
        return false;
    for (size_t i = 0; i < entity->column_count; i++)
        if (!text_is_null(entity->columns[i].owner))
            return false;
    return true;
}

static bool is_paused(struct statement *statement, enum statement_kind kind)
{
    if (statement->pause[kind] == 0)
        return false;
    statement->pause[kind]--;
    return true;
}

/* All of them new, or none is written. */
static bool create(struct pg_target *target, struct statement *statement, const struct selection *selection, struct tally *tally, size_t *rest_count,
                   struct error *error)
{
    struct parameters parameters = parameters_make(&target->arena, statement, selection);
    statement->pause[STATEMENT_CREATE] = PAUSE_MESSAGES; /* also after an error, which is met again otherwise */
    PG_RESULT result = target_run_statement(target, statement, STATEMENT_CREATE, &parameters, error);
    if (result == NULL)
        return false;
    if (pg_integer(result, 0, 1) == 0)
        return true;
    if ((size_t)pg_integer(result, 0, 0) < selection->count)
        return error_set(error, FAULT_CONTENTION, "40001", "rows came out otherwise than they were given: they are to be judged");
    statement->pause[STATEMENT_CREATE] = 0;
    *rest_count = 0;
    tally->applied += selection->count;
    foreign_keys_note_written(target, statement->entity, selection, &parameters);
    return true;
}

/* Each that its node wrote last. */
static bool renew(struct pg_target *target, struct statement *statement, const struct selection *selection, struct tally *tally, size_t *rest,
                  size_t *rest_count, struct error *error)
{
    struct parameters parameters = parameters_make(&target->arena, statement, selection);
    if (!foreign_keys_note_referenced(target, statement->entity, false, selection, &parameters, error))
        return false;
    PG_RESULT result = target_run_statement(target, statement, STATEMENT_RENEW, &parameters, error);
    if (result == NULL)
        return false;
    if (pg_integer(result, 0, 1) > 0)
        return error_set(error, FAULT_CONTENTION, "40001", "a row's version changed while it was applied");
    *rest_count = parameters_selected(result, 0, selection, rest);
    if (*rest_count > selection->count / 2)
        statement->pause[STATEMENT_RENEW] = PAUSE_MESSAGES;
    tally->applied += selection->count - *rest_count;
    if (*rest_count < selection->count)
        foreign_keys_note_written(target, statement->entity, selection, &parameters);
    return true;
}

bool shortcuts_take(struct pg_target *target, struct statement *statement, const struct selection *selection, struct tally *tally, size_t *rest,
                    size_t *rest_count, struct error *error)
{
    enum change_op op = selection->message->op;
    memcpy(rest, selection->rows, selection->count * sizeof *rest);
    *rest_count = selection->count;
    if (!is_plain(target, statement))
        return true;
    if (op == CHANGE_CREATED && selection->count >= CREATE_ROWS_MIN && !is_paused(statement, STATEMENT_CREATE))
        return create(target, statement, selection, tally, rest_count, error);
    if (op == CHANGE_UPDATED && statement->column_count > statement->entity->key_count && !is_paused(statement, STATEMENT_RENEW))
        return renew(target, statement, selection, tally, rest, rest_count, error);
    return true;
}
