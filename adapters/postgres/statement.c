#include "adapters/postgres/statement.h"

#include <stdio.h>

enum { STATEMENTS_MAX = 256 }; /* per entity */

static bool made_for(const struct statement *statement, const struct message *message)
{
    if (statement->deletion != (message->op == CHANGE_DELETED) ||
        statement->message_column_count != message->column_count)
        return false;
    for (size_t i = 0; i < message->column_count; i++)
        if (!text_equal(statement->message_columns[i], message->columns[i]))
            return false;
    return true;
}

static bool find_column(const struct catalog_entity *entity, struct text field, size_t *index)
{
    for (size_t i = 0; i < entity->column_count; i++) {
        if (text_equal(entity->columns[i].field, field)) {
            *index = i;
            return true;
        }
    }
    return false;
}

struct statement *statement_for(struct catalog *catalog, struct catalog_entity *entity, const struct message *message,
                                struct error *error)
{
    for (struct statement *known = entity->statements; known != NULL; known = known->next)
        if (made_for(known, message))
            return known;

    size_t number = 0;
    for (const struct statement *known = entity->statements; known != NULL; known = known->next)
        number++;
    if (number == STATEMENTS_MAX) {
        /* A sender that never sends the same columns twice must not fill our memory. */
        error_set(error, FAULT_CONTENTION, "26000", "too many column sets of one entity: the session begins anew");
        return NULL;
    }
    struct arena *arena = &catalog->arena;
    struct statement *statement = arena_take(arena, sizeof *statement);
    statement->entity = entity;
    statement->deletion = message->op == CHANGE_DELETED;
    statement->message_column_count = message->column_count;
    struct text *columns = arena_take_array(arena, message->column_count, sizeof *columns);
    for (size_t i = 0; i < message->column_count; i++)
        columns[i] = arena_copy(arena, message->columns[i]);
    statement->message_columns = columns;
    statement->message_index = arena_take_array(arena, message->column_count, sizeof(size_t));
    statement->column_index = arena_take_array(arena, message->column_count, sizeof(size_t));

    /* The key in this node's order, whatever the sender's was. */
    for (size_t key = 0; key < entity->key_count; key++) {
        bool found = false;
        for (size_t i = 0; i < message->column_count && !found; i++) {
            if (text_equal(message->columns[i], entity->columns[key].field)) {
                statement->message_index[key] = i;
                statement->column_index[key] = key;
                found = true;
            }
        }
        if (!found) {
            error_set(error, FAULT_PERMANENT, "42703", "entity \"%.*s\": the message has no key field \"%.*s\"",
                      TEXT_PRINTF(entity->name), TEXT_PRINTF(entity->columns[key].field));
            error_hint(error, "both nodes must map the entity with the same key fields");
            return NULL;
        }
    }
    statement->column_count = entity->key_count;
    for (size_t i = 0; i < message->column_count && !statement->deletion; i++) {
        size_t index;
        if (!find_column(entity, message->columns[i], &index)) {
            statement->unknown_count++;
        } else if (index >= entity->key_count && !entity->columns[index].generated) {
            statement->message_index[statement->column_count] = i;
            statement->column_index[statement->column_count++] = index;
        }
    }
    static const char *const kinds[STATEMENT_KINDS] = {"lock", "apply", "fetch", "create", "renew", "insert", "take", "put_back"};
    for (int kind = 0; kind < STATEMENT_KINDS; kind++)
        snprintf(statement->name[kind], sizeof statement->name[kind], "%s_%d_%zu", kinds[kind], entity->id, number);
    statement->next = entity->statements;
    entity->statements = statement;
    return statement;
}
