#include "adapters/postgres/target.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>

#include "adapters/postgres/report.h"
#include "adapters/postgres/target_private.h"
#include "bridge/flow/policy.h"
#include "bridge/message/codec.h"

enum { SETTLE_TRIES = 5 };

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

/* A row that was taken out of its table until the commit. */
struct taken_row {
    struct taken_row *next;
    struct statement *statement;
    const struct message *given, *message; /* as it came, and as it is applied */
    size_t row;
    struct version judged;
    struct text text; /* all of it, in the form of its row type */
};

static struct pg_target *target_of(struct target *target)
{
    return (struct pg_target *)target;
}

static void target_close(struct target *port)
{
    struct pg_target *target = target_of(port);
    pg_session_close(&target->session);
    catalog_free(&target->catalog);
    arena_reset(&target->arena);
    target->checks = NULL;
    target->taken = NULL;
}

/* Also tells what has been forgotten so far. */
static bool collect_tombstones(struct pg_target *target, struct error *error)
{
    char seconds[24];
    snprintf(seconds, sizeof seconds, "%" PRId64, target->config->tombstone_retention_us / 1000000);
    const char *parameters[] = {seconds};
    PG_RESULT result = pg_query(&target->session, "collect", 1, parameters, error);
    if (result == NULL)
        return false;
    target->horizon_us = pg_integer(result, 0, 0);
    return true;
}

/* The rules are the config's: install only shows them. */
static bool load_rules(struct pg_target *target, struct error *error)
{
    struct catalog *catalog = &target->catalog;
    for (size_t i = 0; i < catalog->entity_count; i++) {
        struct catalog_entity *entity = &catalog->entities[i];
        const struct entity_config *config =
            config_entity(target->config, arena_string(&catalog->arena, entity->name));
        for (size_t j = 0; j < entity->column_count; j++) {
            entity->columns[j].owner = text_from(config != NULL ? config_owner(config, entity->columns[j].field) : NULL);
            entity->owns_fields = entity->owns_fields || text_equal(entity->columns[j].owner, text_from(target->config->node));
        }
        entity->rules.policy = config != NULL ? config->policy : policy_default();
        if (strcmp(entity->rules.policy->name, entity->policy) != 0) {
            error_set(error, FAULT_OPERATOR, NULL, "entity \"%.*s\" has policy %s in the config, and %s is installed",
                      TEXT_PRINTF(entity->name), entity->rules.policy->name, entity->policy);
            return error_hint(error, "run \"pgbridge install\"");
        }
        size_t count = config != NULL ? config->priority_count : 0;
        struct text *priority = arena_take_array(&catalog->arena, count, sizeof *priority);
        for (size_t j = 0; j < count; j++)
            priority[j] = text_from(config->priority[j]);
        entity->rules.priority = priority;
        entity->rules.priority_count = count;
    }
    return true;
}

static bool target_open(struct target *port, struct error *error)
{
    struct pg_target *target = target_of(port);
    target_close(port);
    if (!pg_session_open(&target->session, target->config->database, target->config->database_password,
                         "pgbridge inbound", error))
        return false;
    /* Plans are made once, for arrays of any length and tables of any size: only by index, row by row, are they right for
     * all of them. Never by ctid: older servers do not look at it again after a lock wait when the scan is by it. */
    static const char planning[] = "set plan_cache_mode = force_generic_plan; set enable_seqscan = off;"
                                   "set enable_bitmapscan = off; set enable_hashjoin = off; set enable_mergejoin = off;"
                                   "set enable_material = off; set enable_memoize = off; set enable_tidscan = off;"
                                   "set synchronous_commit = on; set work_mem = '32MB'";
    /* Of two that wait for each other the server ends the one that has waited for deadlock_timeout: never the application, when
     * we give up our wait before that. */
    static const char yielding[] = "select set_config('lock_timeout', (date_part('epoch', current_setting('deadlock_timeout')::interval)"
                                   " * 500)::int || 'ms', false)";
    if (!pg_execute(&target->session, planning, error) || !pg_execute(&target->session, yielding, error))
        return false;
    const char *settings = target->options.apply_is_captured ? "set session_replication_role = origin"
                                                             : "set session_replication_role = replica";
    if (!pg_execute(&target->session, settings, error)) {
        if (error->fault == FAULT_OPERATOR)
            error_hint(error, "run \"pgbridge install\": it grants SET ON PARAMETER session_replication_role");
        return false;
    }
    if (!catalog_load(&target->catalog, &target->session, error))
        return false;
    return load_rules(target, error) && collect_tombstones(target, error);
}

void target_forget_checks(struct pg_target *target)
{
    target->checks = NULL;
    target->taken = NULL;
}

bool target_begin_in(struct pg_target *target, struct error *error)
{
    arena_reset(&target->arena);
    target_forget_checks(target);
    target->role_is_origin = target->options.apply_is_captured;
    return pg_execute(&target->session, "begin isolation level read committed", error);
}

static bool target_begin(struct target *port, struct error *error)
{
    return target_begin_in(target_of(port), error);
}

static bool target_rollback(struct target *port, struct error *error)
{
    struct pg_target *target = target_of(port);
    target->checks = NULL;
    target->taken = NULL;
    return pg_execute(&target->session, "rollback", error);
}

static PGresult *run_statement(struct pg_target *target, struct statement *statement, enum statement_kind kind,
                               const struct parameters *parameters, struct error *error)
{
    if (target->session.connection == NULL) {
        error_set(error, FAULT_CONNECTION, "08003", "the database session is closed");
        return NULL;
    }
    /* The lock statement knows only the key. */
    int count = kind == STATEMENT_LOCK ? (int)statement->entity->key_count : parameters->count;
    const char *name = statement->name[kind];
    if (!statement->prepared[kind]) {
        struct statement_options options = {.write_equal = target->options.write_equal};
        char *sql = statement_sql(statement, kind, &options);
        PG_RESULT prepared = pg_checked(
            &target->session, PQprepare(target->session.connection, name, sql, count, parameters->types), error);
        free(sql);
        if (prepared == NULL)
            return NULL;
        statement->prepared[kind] = true;
    }
    return pg_checked(&target->session,
                      PQexecPrepared(target->session.connection, name, count, parameters->values, parameters->lengths,
                                     parameters->formats, 0),
                      error);
}

/* "{1,3}" -> the selection's rows by number; NULL array: none. Returns how many. */
static size_t selected(const PGresult *result, int column, const struct selection *selection, size_t *rows)
{
    if (PQgetisnull(result, 0, column))
        return 0;
    size_t count = 0;
    for (const char *at = PQgetvalue(result, 0, column) + 1; *at >= '0' && *at <= '9';) {
        char *end;
        size_t number = strtoull(at, &end, 10);
        assert(number >= 1 && number <= selection->count);
        rows[count++] = selection->rows[number - 1];
        at = *end == ',' ? end + 1 : end;
    }
    return count;
}

/* ---- foreign keys ---- */

static struct pending_check *defer_check(struct pg_target *target, const struct catalog_foreign_key *key, char *sql)
{
    struct pending_check *check = arena_take(&target->arena, sizeof *check);
    *check = (struct pending_check){.next = target->checks, .key = key, .given = target->given,
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

/* Written rows need their parents: checked at commit, by the rows' keys. */
static void note_written(struct pg_target *target, const struct catalog_entity *entity,
                         const struct selection *selection, const struct parameters *parameters)
{
    for (size_t i = 0; i < entity->foreign_key_count; i++) {
        const struct catalog_foreign_key *key = &entity->foreign_keys[i];
        if (!key->from_here)
            continue;
        struct pending_check *check = defer_check(target, key, statement_child_check(entity, key));
        check->parameter_count = (int)entity->key_count;
        check->parameters = parameters->values;
        check->lengths = parameters->lengths;
        check->rows = copied_rows(&target->arena, selection->rows, selection->count);
        check->row_count = selection->count;
    }
}

/* Rows that are about to go, or to change what others refer to: remember what they are referred by. */
static bool note_referenced(struct pg_target *target, const struct catalog_entity *entity, bool deletion,
                            const struct selection *selection, const struct parameters *parameters, struct error *error)
{
    struct arena *arena = &target->arena;
    for (size_t i = 0; i < entity->foreign_key_count; i++) {
        const struct catalog_foreign_key *key = &entity->foreign_keys[i];
        if (key->from_here || (!deletion && key->key_only))
            continue;
        char *sql = statement_referenced_values(entity, key);
        PG_RESULT result = pg_checked(&target->session,
                                      PQexecParams(target->session.connection, sql, (int)entity->key_count,
                                                   parameters->types, parameters->values, parameters->lengths,
                                                   parameters->formats, 0),
                                      error);
        free(sql);
        if (result == NULL)
            return false;
        int count = PQntuples(result);
        if (count == 0)
            continue;
        struct pending_check *check = defer_check(target, key, statement_parent_check(key));
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

static void blame(struct offences *offences, const struct message *message, size_t row)
{
    if (offences != NULL && offences->count < OFFENCES_MAX)
        offences->rows[offences->count++] = (struct offence){message, row};
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
    PG_RESULT result = pg_checked(&target->session,
                                  PQexecParams(target->session.connection, check->sql, check->parameter_count, types,
                                               check->parameters, check->lengths, formats, 0),
                                  error);
    if (result == NULL)
        return false;
    size_t *guilty = arena_take_array(&target->arena, check->row_count, sizeof *guilty);
    struct selection selection = {.count = check->row_count, .rows = check->rows};
    size_t count = selected(result, 0, &selection, guilty);
    if (count == 0)
        return true;
    for (size_t i = 0; i < count; i++)
        blame(offences, check->given, guilty[i]);
    if (check->key->from_here)
        return error_set(error, FAULT_TRANSIENT, "23503", "foreign key %s: a row of %s needs a row of %s that is not there",
                         check->key->name, check->key->child, check->key->parent);
    error_set(error, FAULT_TRANSIENT, "23503", "foreign key %s: rows of %s still refer to a deleted row of %s",
              check->key->name, check->key->child, check->key->parent);
    return error_hint(error, "if %s is not mirrored, its rows are this node's own business: delete them here",
                      check->key->child);
}

bool target_check(struct pg_target *target, struct offences *offences, struct error *error)
{
    for (const struct pending_check *check = target->checks; check != NULL; check = check->next)
        if (!run_check(target, check, offences, error))
            return false;
    return true;
}

/* ---- applying ---- */

/* Lets user triggers fire for entities that ask for it, and keeps them quiet for the others. */
static bool set_role(struct pg_target *target, const struct catalog_entity *entity, struct error *error)
{
    bool origin = entity->triggers == TRIGGERS_FIRE || target->options.apply_is_captured;
    if (origin == target->role_is_origin)
        return true;
    target->role_is_origin = origin;
    return pg_execute(&target->session,
                      origin ? "set local session_replication_role = origin" : "set local session_replication_role = replica",
                      error);
}

/* Judges and writes the selection set-based; *rest and *rest_count become what is left for another way. */
static bool apply_set(struct pg_target *target, struct statement *statement, const struct selection *selection,
                      struct tally *tally, size_t *rest, size_t *rest_count, struct error *error)
{
    struct parameters parameters = parameters_make(&target->arena, statement, selection);
    if (!note_referenced(target, statement->entity, statement->deletion, selection, &parameters, error))
        return false;
    PG_RESULT result = run_statement(target, statement, STATEMENT_APPLY, &parameters, error);
    if (result == NULL)
        return false;
    tally->applied += (uint64_t)pg_integer(result, 0, 0);
    tally->unchanged += (uint64_t)pg_integer(result, 0, 1);
    tally->same += (uint64_t)pg_integer(result, 0, 2);
    tally->duplicate += (uint64_t)pg_integer(result, 0, 3);
    tally->stale += (uint64_t)pg_integer(result, 0, 4);
    *rest_count = selected(result, 5, selection, rest);
    tally->ignored += (uint64_t)pg_integer(result, 0, 6);
    if (!statement->deletion && pg_integer(result, 0, 0) > pg_integer(result, 0, 1))
        note_written(target, statement->entity, selection, &parameters);
    return true;
}

/* Locks those rows of the selection that exist; locked[i] tells which. */
static bool lock_rows(struct pg_target *target, struct statement *statement, const struct selection *selection,
                      bool *locked, struct error *error)
{
    struct parameters parameters = parameters_make(&target->arena, statement, selection);
    PG_RESULT result = run_statement(target, statement, STATEMENT_LOCK, &parameters, error);
    if (result == NULL)
        return false;
    memset(locked, 0, selection->count * sizeof *locked);
    for (const char *at = PQgetisnull(result, 0, 0) ? "" : PQgetvalue(result, 0, 0) + 1; *at >= '0' && *at <= '9';) {
        char *end;
        locked[strtoull(at, &end, 10) - 1] = true;
        at = *end == ',' ? end + 1 : end;
    }
    return true;
}

bool target_record_conflict(struct pg_target *target, const struct statement *statement, const struct message *message,
                            size_t row, const struct local_row *local, enum ruling ruling, struct error *error)
{
    struct arena *arena = &target->arena;
    const struct catalog_entity *entity = statement->entity;
    struct text *names = arena_take_array(arena, entity->column_count, sizeof *names);
    struct text *remote = arena_take_array(arena, entity->column_count, sizeof *remote);
    struct text known = TEXT_LITERAL("{");
    for (size_t i = 0; i < entity->column_count; i++)
        names[i] = entity->columns[i].field;
    for (size_t i = 0; i < statement->column_count; i++) {
        remote[statement->column_index[i]] = message_row(message, row)[statement->message_index[i]];
        known = arena_printf(arena, "%s%s%zu", known.data, i > 0 ? "," : "", statement->column_index[i] + 1);
    }
    const char *parameters[] = {
        arena_string(arena, entity->name),
        arena_string(arena, local->key),
        conflict_kind(message->op, local->present, local->deleted),
        entity->rules.policy->name,
        ruling_name(ruling),
        parameters_literal(arena, names, entity->column_count),
        local->fields.data,
        arena_printf(arena, "%" PRId64, local->write.version.timestamp_us).data,
        arena_string(arena, local->write.version.node),
        local->correlation.data,
        message->op == CHANGE_DELETED ? NULL : parameters_literal(arena, remote, entity->column_count),
        arena_printf(arena, "%s}", known.data).data,
        arena_printf(arena, "%" PRId64, message_version(message, row)).data,
        arena_string(arena, message->source),
        message->correlations ? arena_copy(arena, message->correlations[row]).data : NULL,
    };
    PG_RESULT result = pg_query(&target->session, "conflict_record", 15, parameters, error);
    return result != NULL;
}

/* Takes the row out, to be put back at the commit. */
static bool take_row(struct pg_target *target, struct statement *statement, const struct selection *one,
                     const struct parameters *parameters, struct error *error)
{
    PG_RESULT result = run_statement(target, statement, STATEMENT_TAKE, parameters, error);
    if (result == NULL)
        return false;
    if (PQntuples(result) != 1)
        return error_set(error, FAULT_CONTENTION, "40001", "the row went while it was applied");
    struct taken_row *taken = arena_take(&target->arena, sizeof *taken);
    *taken = (struct taken_row){.next = target->taken, .statement = statement, .given = target->given,
                                .message = one->message, .row = one->rows[0], .judged = one->judged,
                                .text = arena_copy(&target->arena, pg_value(result, 0, 0))};
    target->taken = taken;
    return true;
}

/* Puts one row back with the message's fields, and stamps its version. A clash now is with a row that nobody moves. */
static bool put_back(struct pg_target *target, const struct taken_row *taken, struct error *error)
{
    bool locked = true;
    target->given = taken->given;
    struct selection one = {.message = taken->message, .count = 1, .rows = &taken->row, .locked = &locked, .force = true,
                            .judged = taken->judged};
    struct parameters parameters = parameters_make(&target->arena, taken->statement, &one);
    int last = parameters.count++;
    parameters.types[last] = OID_TEXT;
    parameters.values[last] = taken->text.data;
    parameters.lengths[last] = (int)taken->text.length;
    parameters.formats[last] = 1;
    {
        PG_RESULT result = run_statement(target, taken->statement, STATEMENT_PUT_BACK, &parameters, error);
        if (result == NULL)
            return false;
    }
    note_written(target, taken->statement->entity, &one, &parameters);
    struct tally stamped = {0};
    size_t rest, rest_count;
    if (!apply_set(target, taken->statement, &one, &stamped, &rest, &rest_count, error))
        return false;
    return rest_count == 0 || error_set(error, FAULT_CONTENTION, "40001", "the row was written while it was judged");
}

static bool put_all_back(struct pg_target *target, struct offences *offences, struct error *error)
{
    for (const struct taken_row *taken = target->taken; taken != NULL; taken = taken->next) {
        if (put_back(target, taken, error))
            continue;
        blame(offences, taken->given, taken->row);
        return false;
    }
    return true;
}

/* Whether it failed for its own sake; what it did is undone then. */
static bool put_back_guarded(struct pg_target *target, const struct taken_row *taken, bool *stands, struct error *error)
{
    struct pending_check *checks = target->checks;
    if (!pg_execute(&target->session, "savepoint taken", error))
        return false;
    *stands = put_back(target, taken, error);
    if (*stands)
        return pg_execute(&target->session, "release savepoint taken", error);
    target->checks = checks;
    return error_is_of_rows(error) &&
           pg_execute(&target->session, "rollback to savepoint taken; release savepoint taken", error);
}

bool target_find_offences(struct pg_target *target, struct offences *offences, struct error *error)
{
    for (const struct taken_row *taken = target->taken; taken != NULL; taken = taken->next) {
        bool stands;
        if (!put_back_guarded(target, taken, &stands, error))
            return false;
        if (!stands)
            blame(offences, taken->given, taken->row);
    }
    target->taken = NULL;
    for (const struct pending_check *check = target->checks; check != NULL; check = check->next)
        if (!run_check(target, check, offences, error) && !error_is_of_rows(error))
            return false;
    return true;
}

/* Fetches what the judge must know of the one row. */
static bool fetch_row(struct pg_target *target, struct statement *statement, const struct parameters *parameters,
                      struct local_row *local, struct error *error)
{
    struct arena *arena = &target->arena;
    PG_RESULT result = run_statement(target, statement, STATEMENT_FETCH, parameters, error);
    if (result == NULL)
        return false;
    if (PQntuples(result) != 1)
        return error_set(error, FAULT_BUG, NULL, "fetch returned %d rows", PQntuples(result));
    *local = (struct local_row){
        .key = arena_copy(arena, pg_value(result, 0, 0)),
        .present = pg_boolean(result, 0, 1),
        .deleted = pg_boolean(result, 0, 2),
        .write.version = {pg_integer(result, 0, 3), arena_copy(arena, pg_value(result, 0, 4))},
        .correlation = arena_copy(arena, pg_value(result, 0, 6)),
        .equal = pg_boolean(result, 0, 7),
        .fields = arena_copy(arena, pg_value(result, 0, 8)),
        .owned = pg_boolean(result, 0, 9),
    };
    local->merge.present = local->present;
    bool present = local->present;
    if (!codec_decode_seen(pg_value(result, 0, 5), arena, &local->write.seen, error) ||
        !codec_decode_merge(pg_value(result, 0, 10), arena, &local->merge, error))
        return false;
    local->merge.present = present;
    return true;
}

static bool assert_row(struct pg_target *target, const struct catalog_entity *entity, struct text key, const char *revived,
                       struct error *error)
{
    struct text sql = arena_printf(&target->arena, "select bridge.assert_%d($1, $2::boolean)", entity->id);
    const char *parameters[] = {arena_string(&target->arena, key), revived};
    PG_RESULT result = pg_query_text(&target->session, sql.data, 2, parameters, error);
    return result != NULL;
}

bool target_assert(struct pg_target *target, const struct catalog_entity *entity, struct text key, struct error *error)
{
    return assert_row(target, entity, key, "false", error);
}

bool target_revive(struct pg_target *target, const struct catalog_entity *entity, struct text key, struct error *error)
{
    return assert_row(target, entity, key, "true", error);
}

bool target_stamp(struct pg_target *target, const struct catalog_entity *entity, const struct local_row *local,
                  const struct settlement *settlement, const struct merge *merge, struct error *error)
{
    struct arena *arena = &target->arena;
    const char *parameters[] = {
        arena_printf(arena, "%d", entity->id).data,
        arena_string(arena, local->key),
        arena_printf(arena, "%" PRId64, settlement->write.version.timestamp_us).data,
        arena_string(arena, settlement->write.version.node),
        codec_encode_seen(settlement->write.seen, arena).data,
        local->present ? "false" : "true",
        merge != NULL ? codec_encode_merge(merge, arena).data : NULL,
        arena_printf(arena, "%" PRId64, local->write.version.timestamp_us).data,
        arena_string(arena, local->write.version.node),
    };
    {
        PG_RESULT result = pg_query(&target->session, "stamp", 9, parameters, error);
        if (result == NULL)
            return false;
        if (strcmp(PQcmdTuples(result), "1") != 0)
            return error_set(error, FAULT_CONTENTION, "40001", "the row was written while it was judged");
    }
    return !settlement->assertion || target_assert(target, entity, local->key, error);
}

bool target_write_forced(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                         const struct local_row *local, struct tally *tally, struct error *error)
{
    struct selection one = {.message = message, .count = 1, .rows = &row, .locked = &local->present, .force = true,
                            .judged = local->write.version};
    size_t rest, rest_count;
    if (!apply_set(target, statement, &one, tally, &rest, &rest_count, error))
        return false;
    return rest_count == 0 || error_set(error, FAULT_CONTENTION, "40001", "the row kept changing while it was applied");
}

bool target_look(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                 struct local_row *local, struct error *error)
{
    bool locked = false;
    struct selection one = {.message = message, .count = 1, .rows = &row, .horizon_us = target->horizon_us};
    if (!lock_rows(target, statement, &one, &locked, error))
        return false;
    one.locked = &locked;
    struct parameters parameters = parameters_make(&target->arena, statement, &one);
    return fetch_row(target, statement, &parameters, local, error);
}

static bool insert_explained(struct pg_target *target, struct statement *statement, const struct parameters *parameters,
                             struct error *error)
{
    PG_RESULT result = run_statement(target, statement, STATEMENT_INSERT, parameters, error);
    if (result == NULL)
        return false;
    if (strcmp(PQcmdTuples(result), "0") == 0) {
        error_set(error, FAULT_PERMANENT, "23000", "a trigger of table %s refused the row without a word",
                  statement->entity->relation);
        return error_hint(error, "a BEFORE trigger returns NULL; with \"triggers: suppress\" it would not run");
    }
    return error_set(error, FAULT_CONTENTION, "40001", "the row came and went while it was applied");
}

/* The end of a row that others refer to wins by its version alone: a node that goes first would assert it for ever against those
 * that keep the row for its children's sake (letters.c). */
static struct rules rules_of(const struct catalog_entity *entity, const struct message *message, const struct local_row *local)
{
    struct rules rules = entity->rules;
    bool ends = message->op == CHANGE_DELETED || !local->present;
    for (size_t i = 0; i < entity->foreign_key_count && ends; i++)
        if (!entity->foreign_keys[i].from_here && rules.policy != policy_find(TEXT_LITERAL("manual")))
            rules.policy = policy_default();
    return rules;
}

/* One row by itself: lock, look, ask the judge and the policy, write. Tried again when the row came or went between
 * looking and writing. */
static bool settle_row(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                       bool put_off, struct tally *tally, struct error *error)
{
    struct arena *arena = &target->arena;
    const struct catalog_entity *entity = statement->entity;
    for (int try = 0; try < SETTLE_TRIES; try++) {
        bool locked = false;
        struct selection one = {.message = message, .count = 1, .rows = &row, .horizon_us = target->horizon_us};
        if (!lock_rows(target, statement, &one, &locked, error))
            return false;
        one.locked = &locked;
        struct parameters parameters = parameters_make(arena, statement, &one);
        struct local_row local;
        if (!fetch_row(target, statement, &parameters, &local, error))
            return false;
        if (local.present != locked)
            continue;
        if (entity->merged)
            return merging_settle(target, statement, message, row, &local, tally, error);
        struct write change = message_write(message, row);
        struct rules rules = rules_of(entity, message, &local);
        struct settlement settlement =
            policy_settle(&rules, text_from(target->config->node), &change, &local.write, local.equal, arena);
        bool conflict = settlement.verdict == VERDICT_CONCURRENT;
        /* A field of ours was changed elsewhere: ours stays, and everybody is told. */
        one.judged = local.write.version;
        bool assertion = local.owned && entity->owns_fields && settlement.action == ACTION_WRITE;
        one.force = assertion;
        if (settlement.verdict == VERDICT_FRESH && !local.present &&
            judge_forgotten(&change, &local.write, target->horizon_us))
            settlement.verdict = VERDICT_STALE;
        switch (settlement.verdict) {
        case VERDICT_ECHO:
            tally->echo++;
            return true;
        case VERDICT_DUPLICATE:
            tally->duplicate++;
            return true;
        case VERDICT_STALE:
            tally->stale++;
            return true;
        case VERDICT_FRESH:
        case VERDICT_SAME:
            break;
        case VERDICT_CONCURRENT:
            if (settlement.action == ACTION_WRITE) {
                one.force = true;
                break;
            }
            tally->kept++;
            tally->conflicts++;
            return target_record_conflict(target, statement, message, row, &local, settlement.ruling, error) &&
                   (settlement.action == ACTION_NOTHING || target_stamp(target, entity, &local, &settlement, NULL, error));
        }
        if (put_off && settlement.action == ACTION_WRITE && local.present) {
            if (conflict && !target_record_conflict(target, statement, message, row, &local, settlement.ruling, error))
                return false;
            tally->conflicts += conflict;
            tally->applied++;
            return take_row(target, statement, &one, &parameters, error);
        }
        /* Fresh and same are known to the set-based statement as well. */
        struct tally written = {0};
        size_t rest, rest_count;
        if (!apply_set(target, statement, &one, &written, &rest, &rest_count, error))
            return false;
        if (rest_count == 0) {
            written.conflicts += conflict;
            if (conflict && !target_record_conflict(target, statement, message, row, &local, settlement.ruling, error))
                return false;
            tally_add(tally, &written);
            return !assertion || target_assert(target, entity, local.key, error);
        }
        /* The insert met another row: by its own key, which is looked at again, or by a unique constraint, which is an
         * error that has a name. */
        if (!local.present && message->op != CHANGE_DELETED)
            return insert_explained(target, statement, &parameters, error);
    }
    return error_set(error, FAULT_CONTENTION, "40001", "the row kept changing while it was applied");
}

/* Changes of an entity whose conflicts stay open: some of them may be the word that settles one. */
static bool close_conflicts(struct pg_target *target, const struct catalog_entity *entity, struct error *error)
{
    const char *parameters[] = {arena_string(&target->arena, entity->name),
                                arena_printf(&target->arena, "%d", entity->id).data};
    PG_RESULT result = pg_query(&target->session, "conflict_close", 2, parameters, error);
    return result != NULL;
}

bool target_apply_rows(struct pg_target *target, const struct message *message, size_t first, size_t count,
                       enum apply_mode mode, struct tally *tally, struct error *error)
{
    struct arena *arena = &target->arena;
    struct catalog_entity *entity = catalog_find(&target->catalog, message->entity);
    target->given = message;
    if (entity == NULL) {
        error_set(error, FAULT_PERMANENT, "42P01", "entity \"%.*s\" is not mapped on this node", TEXT_PRINTF(message->entity));
        return error_hint(error, "add it to \"entities\" in the config and run \"pgbridge install\"");
    }
    struct statement *statement = statement_for(&target->catalog, entity, message, error);
    if (statement == NULL || !set_role(target, entity, error))
        return false;
    if (target->options.apply_is_captured) {
        char *source = PQescapeLiteral(target->session.connection, message->source.data, message->source.length);
        struct text sql = arena_printf(arena, "set local bridge.origin = %s", source ? source : "''");
        PQfreemem(source);
        if (!pg_execute(&target->session, sql.data, error))
            return false;
    }
    if (entity->merged && !merging_prepare(target, entity, &message, error))
        return false;
    tally->received += count;
    /* Triggers that fire would see the row go and come: for those the clash stands. */
    if (mode == APPLY_PUT_OFF && entity->triggers == TRIGGERS_SUPPRESS && message->op != CHANGE_DELETED) {
        assert(count == 1);
        return settle_row(target, statement, message, first, true, tally, error);
    }

    size_t *rows = arena_take_array(arena, count, sizeof *rows);
    size_t *rest = arena_take_array(arena, count, sizeof *rest);
    bool *locked = arena_take_array(arena, count, sizeof *locked);
    for (size_t i = 0; i < count; i++)
        rows[i] = first + i;
    size_t left = count;

    struct selection selection = {.message = message, .count = left, .rows = rows, .horizon_us = target->horizon_us};
    if (!apply_set(target, statement, &selection, tally, rest, &left, error))
        return false;
    /* What is left was being changed by somebody: look again under locks. */
    if (left > 0) {
        memcpy(rows, rest, left * sizeof *rows);
        selection.count = left;
        if (!lock_rows(target, statement, &selection, locked, error))
            return false;
        selection.locked = locked;
        if (!apply_set(target, statement, &selection, tally, rest, &left, error))
            return false;
    }
    for (size_t i = 0; i < left; i++)
        if (!settle_row(target, statement, message, rest[i], false, tally, error))
            return false;
    return entity->rules.policy != policy_find(TEXT_LITERAL("manual")) || close_conflicts(target, entity, error);
}

static bool target_apply(struct target *port, const struct message *message, size_t first, size_t count,
                         enum apply_mode mode, struct tally *tally, struct error *error)
{
    struct pg_target *target = target_of(port);
    struct tally applied = {0};
    struct pending_check *checks = target->checks;
    struct taken_row *taken = target->taken;
    bool role_is_origin = target->role_is_origin, guarded = mode != APPLY_TOGETHER;
    if (guarded && !pg_execute(&target->session, "savepoint rows", error))
        return false;
    /* A deferred constraint would fail at the commit, where nobody knows whose fault it is. */
    bool good = target_apply_rows(target, message, first, count, mode, &applied, error) &&
                (!guarded || pg_execute(&target->session, "set constraints all immediate", error));
    if (good) {
        tally_add(tally, &applied);
        return !guarded || pg_execute(&target->session, "release savepoint rows", error);
    }
    if (guarded && error->fault != FAULT_CONNECTION) {
        target->checks = checks;
        target->taken = taken;
        target->role_is_origin = role_is_origin;
        struct error failed;
        if (!pg_execute(&target->session, "rollback to savepoint rows; release savepoint rows", &failed))
            *error = failed;
    }
    return false;
}

/* ---- records ---- */

static bool write_receipt(struct pg_target *target, const struct receipt *receipt, struct error *error)
{
    struct arena *arena = &target->arena;
    const struct tally *tally = &receipt->tally;
    const uint64_t numbers[] = {receipt->messages, receipt->bytes,   receipt->gaps, receipt->refused, tally->received,
                                tally->applied,    tally->same,      tally->duplicate, tally->stale,  tally->echo,
                                tally->kept,       tally->dead_letters, tally->conflicts, tally->unchanged, tally->ignored};
    const char *parameters[20];
    parameters[0] = arena_string(arena, receipt->source);
    parameters[1] = arena_copy(arena, receipt->epoch).data;
    parameters[2] = receipt->sequence ? arena_printf(arena, "%" PRId64, receipt->sequence).data : NULL;
    for (size_t i = 0; i < 15; i++)
        parameters[3 + i] = arena_printf(arena, "%" PRIu64, numbers[i]).data;
    parameters[18] = arena_printf(arena, "%" PRId64, receipt->newest_us).data;
    parameters[19] = arena_printf(arena, "%" PRIu64, tally->held).data;
    PG_RESULT result = pg_query(&target->session, "inbound_receipt", 20, parameters, error);
    return result != NULL;
}

static bool target_commit(struct target *port, const struct receipt *receipts, size_t receipt_count,
                          struct offences *offences, struct error *error)
{
    struct pg_target *target = target_of(port);
    if (!put_all_back(target, offences, error) || !target_check(target, offences, error))
        return false;
    for (size_t i = 0; i < receipt_count; i++)
        if (!write_receipt(target, &receipts[i], error))
            return false;
    return pg_commit(&target->session, error);
}

static bool target_report(struct target *port, const struct report *report, struct error *error)
{
    struct pg_target *target = target_of(port);
    return pg_report(&target->session, report, error) && collect_tombstones(target, error);
}

static bool target_hear(struct target *port, const struct heartbeat *heartbeat, int64_t *offset_us, struct error *error)
{
    struct pg_target *target = target_of(port);
    struct arena *arena = &target->arena;
    struct version *heard = arena_take_array(arena, heartbeat->heard_count, sizeof *heard);
    const char *echo_sent = NULL, *echo_received = NULL;
    for (size_t i = 0; i < heartbeat->heard_count; i++) {
        heard[i] = (struct version){heartbeat->heard[i].sent_us, heartbeat->heard[i].node};
        if (text_equal(heard[i].node, text_from(target->config->node))) {
            echo_sent = arena_printf(arena, "%" PRId64, heartbeat->heard[i].sent_us).data;
            echo_received = arena_printf(arena, "%" PRId64, heartbeat->heard[i].received_us).data;
        }
    }
    const char *parameters[] = {
        arena_string(arena, heartbeat->source),
        arena_printf(arena, "%" PRId64, heartbeat->time_us).data,
        heartbeat->heard_count > 0 ? codec_encode_seen((struct seen){heartbeat->heard_count, heard}, arena).data : "{}",
        echo_sent,
        echo_received,
    };
    PG_RESULT result = pg_query(&target->session, "hear", 5, parameters, error);
    if (result == NULL)
        return false;
    *offset_us = PQntuples(result) == 1 ? pg_integer(result, 0, 0) : 0;
    return true;
}

static bool target_note(struct target *port, const struct sighting *sighting, uint64_t *missing, struct error *error)
{
    struct pg_target *target = target_of(port);
    struct arena *arena = &target->arena;
    const char *parameters[] = {
        arena_string(arena, sighting->source),
        arena_string(arena, sighting->epoch),
        arena_printf(arena, "%" PRId64, sighting->first).data,
        arena_printf(arena, "%" PRId64, sighting->last).data,
    };
    PG_RESULT result = pg_query(&target->session, "note_numbers", 4, parameters, error);
    if (result == NULL)
        return false;
    *missing = (uint64_t)pg_integer(result, 0, 0);
    return true;
}

/* ---- suspects ---- */

/* The same for every delivery of a message; without reading it. */
static const char *identity_of(struct arena *arena, const struct envelope *envelope)
{
    char hex[65];
    digest_bytes(envelope->body, hex);
    bool named = text_is_utf8(envelope->message_id) && envelope->message_id.length <= 255;
    return arena_printf(arena, "%.*s:%s", named ? (int)envelope->message_id.length : 0, named ? envelope->message_id.data : "", hex).data;
}

static bool target_suspect(struct target *port, const struct envelope *envelope, int *deaths, struct error *error)
{
    struct pg_target *target = target_of(port);
    struct arena *arena = &target->arena;
    arena_reset(arena);
    const struct header *history = envelope_header(envelope, "x-death");
    const char *parameters[] = {
        identity_of(arena, envelope),
        text_is_utf8(envelope->message_id) ? arena_copy(arena, envelope->message_id).data : NULL,
        history != NULL && !history->is_number && text_is_utf8(history->text) ? arena_copy(arena, history->text).data : NULL,
        target->instance,
    };
    PG_RESULT result = pg_query(&target->session, "suspect", 4, parameters, error);
    if (result == NULL)
        return false;
    *deaths = (int)pg_integer(result, 0, 0);
    return true;
}

static bool target_acquit(struct target *port, const struct envelope *envelope, struct error *error)
{
    struct pg_target *target = target_of(port);
    arena_reset(&target->arena);
    const char *parameters[] = {identity_of(&target->arena, envelope)};
    PG_RESULT result = pg_query(&target->session, "acquit", 1, parameters, error);
    return result != NULL;
}

static const struct target_ops target_port_ops = {target_open,   target_begin,   target_apply,    target_hear,   target_note,
                                                  letters_bury,  target_commit,  target_rollback, letters_retry, target_suspect,
                                                  target_acquit, target_report, target_close};

struct pg_target *pg_target_new(const struct config *config, const struct pg_target_options *options)
{
    struct pg_target *target = calloc(1, sizeof *target);
    if (target == NULL)
        abort();
    *target = (struct pg_target){.port = {&target_port_ops}, .config = config};
    if (options != NULL)
        target->options = *options;
    arena_init(&target->arena, LIMIT_ARENA_BYTES);
    pg_brake_init(&target->brake, config, &target->session);
    digest_uuid(target->instance);
    return target;
}

struct target *pg_target_port(struct pg_target *target)
{
    return &target->port;
}

struct brake *pg_target_brake(struct pg_target *target)
{
    return &target->brake.port;
}

void pg_target_free(struct pg_target *target)
{
    if (target == NULL)
        return;
    target_close(&target->port);
    arena_free(&target->arena);
    free(target);
}
