#include "adapters/postgres/brake.h"

#include <inttypes.h>
#include <stdio.h>

#include "bridge/base/limits.h"

static bool brake_look(struct brake *port, const char *direction, struct holds *holds, struct error *error)
{
    struct pg_brake *brake = (struct pg_brake *)port;
    char most[24];
    snprintf(most, sizeof most, "%" PRId64, brake->config->max_held_changes);
    const char *parameters[] = {direction, most};
    PG_RESULT result = pg_query(brake->session, "pauses", 2, parameters, error);
    if (result == NULL)
        return false;
    for (int row = 0; row < PQntuples(result); row++) {
        struct text entity = pg_value(result, row, 0);
        if (text_is_null(entity))
            holds->all = true;
        else
            holds_add(holds, entity);
        if (pg_boolean(result, row, 1))
            snprintf(holds->full, sizeof holds->full, "%.*s", TEXT_PRINTF(entity));
    }
    return true;
}

static bool brake_pull(struct brake *port, const char *direction, struct text entity, const char *reason, struct error *error)
{
    struct pg_brake *brake = (struct pg_brake *)port;
    char name[LIMIT_NAME_BYTES + 1];
    snprintf(name, sizeof name, "%.*s", TEXT_PRINTF(entity));
    const char *parameters[] = {direction, text_is_null(entity) ? NULL : name, reason};
    PG_RESULT result = pg_query(brake->session, "pause_itself", 3, parameters, error);
    return result != NULL;
}

static bool brake_size(struct brake *port, struct text entity, uint64_t *rows, struct error *error)
{
    struct pg_brake *brake = (struct pg_brake *)port;
    char name[LIMIT_NAME_BYTES + 1];
    snprintf(name, sizeof name, "%.*s", TEXT_PRINTF(entity));
    const char *parameters[] = {name};
    PG_RESULT result = pg_query(brake->session, "entity_size", 1, parameters, error);
    *rows = result != NULL && PQntuples(result) > 0 ? (uint64_t)pg_integer(result, 0, 0) : 0;
    return result != NULL;
}

static const struct brake_ops brake_ops = {.look = brake_look, .pull = brake_pull, .size = brake_size};

void pg_brake_init(struct pg_brake *brake, const struct config *config, struct pg_session *session)
{
    *brake = (struct pg_brake){.port = {&brake_ops}, .config = config, .session = session};
}
