#include "adapters/postgres/wal_aside.h"

#include <inttypes.h>

#include "adapters/postgres/parameters.h"
#include "adapters/postgres/wal_notes.h"
#include "bridge/message/codec.h"

bool wal_aside_open(struct wal_aside *aside, struct pg_session *session, uint64_t lsn, struct error *error)
{
    char text[24];
    const char *parameters[] = {wal_lsn_text(text, lsn)};
    PG_RESULT result = pg_query(session, "aside_again", 1, parameters, error);
    return result != NULL && wal_aside_look(aside, session, error);
}

bool wal_aside_look(struct wal_aside *aside, struct pg_session *session, struct error *error)
{
    PG_RESULT result = pg_query(session, "aside_entities", 0, NULL, error);
    if (result == NULL)
        return false;
    aside->entities = (struct holds){0};
    for (int i = 0; i < PQntuples(result); i++)
        holds_add(&aside->entities, pg_value(result, i, 0));
    return true;
}

static bool is_held(const struct holds *held, struct text entity)
{
    return held != NULL && holds_entity(held, entity);
}

bool wal_aside_takes(const struct wal_aside *aside, const struct holds *held, struct text entity)
{
    return is_held(held, entity) || holds_entity(&aside->entities, entity);
}

bool wal_aside_flows(const struct wal_aside *aside, const struct holds *held)
{
    for (size_t i = 0; i < aside->entities.count; i++)
        if (!is_held(held, text_from(aside->entities.entities[i])))
            return true;
    return false;
}

/* Null when the change has all fields of its layout. */
static struct text names_of(struct arena *arena, const struct wal_row *row, const struct change *change)
{
    if (row->entity == NULL || change->op == CHANGE_DELETED || change->layout->field_count == row->entity->layout->field_count)
        return TEXT_NULL;
    return text_from(parameters_literal(arena, change->layout->fields, change->layout->field_count));
}

bool wal_aside_put(struct pg_session *session, struct text node, const struct wal_portion *portion, struct error *error)
{
    enum { LAYOUT, NAMES, OP, FIELDS, TS, NODE, BASE_TS, BASE_NODE, CORRELATION, TRACEPARENT, SEEN, LSN, COLUMNS };
    static const char *const ops[] = {[CHANGE_CREATED] = "c", [CHANGE_UPDATED] = "u", [CHANGE_DELETED] = "d"};
    struct arena arena;
    struct text *columns[COLUMNS];
    const char *parameters[COLUMNS];
    arena_init(&arena, LIMIT_ARENA_BYTES);
    for (size_t i = 0; i < COLUMNS; i++)
        columns[i] = arena_take_array(&arena, portion->count, sizeof **columns);
    for (size_t i = 0; i < portion->count; i++) {
        const struct change *change = &portion->changes[i];
        char lsn[24];
        columns[LAYOUT][i] = arena_printf(&arena, "%" PRId32, change->layout->id);
        columns[NAMES][i] = names_of(&arena, &portion->rows[i], change);
        columns[OP][i] = text_from(ops[change->op]);
        columns[FIELDS][i] = text_from(parameters_literal(&arena, change->values, change_value_count(change)));
        columns[TS][i] = arena_printf(&arena, "%" PRId64, change->version.timestamp_us);
        columns[NODE][i] = text_equal(change->version.node, node) ? TEXT_NULL : change->version.node;
        if (!version_is_none(change->base)) {
            columns[BASE_TS][i] = arena_printf(&arena, "%" PRId64, change->base.timestamp_us);
            columns[BASE_NODE][i] = change->base.node;
        }
        columns[CORRELATION][i] = change->correlation;
        columns[TRACEPARENT][i] = change->traceparent;
        columns[SEEN][i] = codec_encode_seen(change->seen, &arena);
        columns[LSN][i] = arena_printf(&arena, "%s", wal_lsn_text(lsn, portion->rows[i].commit_lsn));
    }
    for (size_t i = 0; i < COLUMNS; i++)
        parameters[i] = parameters_literal(&arena, columns[i], portion->count);
    PG_RESULT result = pg_query(session, "aside_put", COLUMNS, parameters, error);
    arena_free(&arena);
    return result != NULL;
}
