#include "adapters/postgres/target.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>

#include "adapters/postgres/report.h"
#include "adapters/postgres/schema.h"
#include "adapters/postgres/target_private.h"
#include "bridge/base/memory.h"
#include "bridge/flow/policy.h"
#include "bridge/message/codec.h"

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
    port->in_order_count = port->alone_count = port->exact_count = 0;
    arena_reset(&target->arena);
    arena_reset(&target->scratch);
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

/* A few at a time: the reports come every few seconds. */
static bool forget(struct pg_target *target, const char *query, int64_t retention_us, struct error *error)
{
    char seconds[24];
    if (retention_us == 0)
        return true;
    snprintf(seconds, sizeof seconds, "%" PRId64, retention_us / 1000000);
    const char *parameters[] = {seconds};
    PG_RESULT result = pg_query(&target->session, query, 1, parameters, error);
    return result != NULL;
}

/* By its triggers, or because one row may be named by several texts; an answered conflict closes those of other rows. */
static bool touches_other_rows(const struct catalog_entity *entity)
{
    for (size_t i = 0; i < entity->key_count; i++)
        if (entity->columns[i].spelling == SPELLED_ANYHOW)
            return true;
    return entity->triggers == TRIGGERS_FIRE || entity->acts || entity->rules.policy == policy_find(TEXT_LITERAL("manual"));
}

static bool has_exact_key(const struct catalog_entity *entity)
{
    for (size_t i = 0; i < entity->key_count; i++)
        if (entity->columns[i].spelling != SPELLED_EXACTLY)
            return false;
    return true;
}

/* The rules are the config's: install only shows them. */
static bool load_rules(struct pg_target *target, struct error *error)
{
    struct catalog *catalog = &target->catalog;
    struct text *in_order = arena_take_array(&catalog->arena, catalog->entity_count, sizeof *in_order);
    struct text *alone = arena_take_array(&catalog->arena, catalog->entity_count, sizeof *alone);
    struct text *exact = arena_take_array(&catalog->arena, catalog->entity_count, sizeof *exact);
    size_t in_order_count = 0, alone_count = 0, exact_count = 0;
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
        entity->policy_text = config_policy(config, &catalog->arena);
        entity->is_disputed = true; /* until it is known */
        size_t count = config != NULL ? config->priority_count : 0;
        struct text *priority = arena_take_array(&catalog->arena, count, sizeof *priority);
        for (size_t j = 0; j < count; j++)
            priority[j] = text_from(config->priority[j]);
        entity->rules.priority = priority;
        entity->rules.priority_count = count;
        /* Where triggers fire, foreign keys act at once: they refuse, or delete what refers to a row. */
        bool coalesces = config == NULL || config->coalesce;
        if (entity->triggers == TRIGGERS_FIRE && (entity->foreign_key_count > 0 || !coalesces))
            in_order[in_order_count++] = entity->name;
        if (touches_other_rows(entity) && !target->options.never_alone)
            alone[alone_count++] = entity->name;
        if (has_exact_key(entity))
            exact[exact_count++] = entity->name;
    }
    target->port.exact = exact;
    target->port.exact_count = exact_count;
    target->port.in_order = in_order;
    target->port.in_order_count = in_order_count;
    target->port.alone = alone;
    target->port.alone_count = alone_count;
    return true;
}

/* Marks what this session writes, so that capture from the WAL passes over it. A second adapter may stand by, and a session that was
 * lost may not be gone yet. */
static bool begin_origin(struct pg_target *target, struct error *error)
{
    static const char *const numbers[][2] = {{"in1", "in2"}, {"in3", "in4"}};
    for (size_t i = 0;; i++) {
        const char *parameters[] = {numbers[target->options.first != NULL][i]};
        PG_RESULT result = pg_query(&target->session, "origin_begin", 1, parameters, error);
        if (result == NULL && strcmp(error->code, SOURCE_IN_USE) == 0 && i == 0)
            continue;
        if (result == NULL && error->fault == FAULT_OPERATOR)
            return error_hint(error, "run \"pgbridge install\": it makes this node's replication origins and grants their use");
        return result != NULL;
    }
}

/* What is applied and what the log tells must know of each other. */
static bool begin_log(struct pg_target *target, struct error *error)
{
    PG_RESULT result = pg_query(&target->session, "log_since", 0, NULL, error);
    if (result == NULL)
        return false;
    const char *capture = capture_name(target->config->capture);
    if (PQntuples(result) != 1 || strcmp(PQgetvalue(result, 0, 0), capture) != 0) {
        error_set(error, FAULT_OPERATOR, NULL, "the config says \"capture: %s\", and another is installed", capture);
        return error_hint(error, "run \"pgbridge install\", or restart the adapter if the config was changed");
    }
    target->from_log = target->config->capture == CAPTURE_WAL;
    bool lasts = !PQgetisnull(result, 0, 1);
    if (!target->from_log)
        return !lasts || error_set(error, FAULT_CONNECTION, "55000",
                                   "what was written before capture went over to triggers is still being read from the log: nothing is "
                                   "applied before that");
    target->versions_since = pg_integer(result, 0, 1);
    return begin_origin(target, error);
}

static bool target_open(struct target *port, struct error *error)
{
    struct pg_target *target = target_of(port);
    target_close(port);
    target->session.waiting = port->waiting;
    target->session.context = port->context;
    if (!pg_session_open(&target->session, target->config->database, target->config->database_password,
                         "pgbridge inbound", error) ||
        !schema_is_ours(&target->session, error))
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
    if (!begin_log(target, error) || !catalog_load(&target->catalog, &target->session, error))
        return false;
    /* What one that stands behind forgot, the first one would not know. */
    return load_rules(target, error) && (target->options.first != NULL || collect_tombstones(target, error));
}

void target_forget_checks(struct pg_target *target)
{
    target->checks = NULL;
    target->taken = NULL;
}

bool target_begin_in(struct pg_target *target, enum standing standing, struct error *error)
{
    const struct pg_target *first = standing == STANDS_BEHIND ? target->options.first : NULL;
    char since[24], behind[12];
    snprintf(since, sizeof since, "%" PRId64, target->versions_since);
    snprintf(behind, sizeof behind, "%d", first != NULL ? first->process : 0);
    const char *parameters[] = {capture_name(target->config->capture), target->from_log ? since : NULL, first != NULL ? behind : NULL};
    arena_reset(&target->arena);
    arena_reset(&target->scratch);
    target_forget_checks(target);
    target->role_is_origin = target->options.apply_is_captured;
    if (first != NULL)
        target->horizon_us = first->horizon_us;
    if (!pg_begin(&target->session, error))
        return false;
    if (standing != STANDS_FIRST)
        return pg_send_ahead(&target->session, "lock_versions", 3, parameters, error);
    /* The answer is awaited: another is begun behind it now. */
    PG_RESULT locked = pg_query(&target->session, "lock_versions", 3, parameters, error);
    target->process = locked != NULL ? (int)pg_integer(locked, 0, 1) : 0;
    return locked != NULL;
}

static bool target_begin(struct target *port, enum standing standing, struct error *error)
{
    return target_begin_in(target_of(port), standing, error);
}

static bool target_rollback(struct target *port, struct error *error)
{
    struct pg_target *target = target_of(port);
    target_forget_checks(target);
    return pg_execute(&target->session, "rollback", error);
}

PGresult *target_run_statement(struct pg_target *target, struct statement *statement, enum statement_kind kind,
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
        struct statement_options options = {.write_equal = target->options.write_equal,
                                            .log_node = target->from_log ? target->config->node : NULL,
                                            .versions_since = target->versions_since};
        char *sql = statement_sql(statement, kind, &options);
        statement->prepared[kind] = pg_prepare_text(&target->session, name, sql, count, parameters->types, error);
        free(sql);
        if (!statement->prepared[kind])
            return NULL;
    }
    int sent = PQsendQueryPrepared(target->session.connection, name, count, parameters->values, parameters->lengths,
                                   parameters->formats, 0);
    return pg_checked(&target->session, pg_answer(&target->session, sent), error);
}

void target_blame(struct offences *offences, const struct message *message, size_t row)
{
    if (offences != NULL && offences->count < OFFENCES_MAX)
        offences->rows[offences->count++] = (struct offence){message, row};
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
bool target_apply_set(struct pg_target *target, struct statement *statement, const struct selection *selection,
                      struct tally *tally, size_t *rest, size_t *rest_count, struct error *error)
{
    struct parameters parameters = parameters_make(&target->arena, statement, selection);
    if (!foreign_keys_note_referenced(target, statement->entity, statement->deletion, selection, &parameters, error))
        return false;
    PG_RESULT result = target_run_statement(target, statement, STATEMENT_APPLY, &parameters, error);
    if (result == NULL)
        return false;
    if (pg_integer(result, 0, 7) > 0)
        return error_set(error, FAULT_CONTENTION, "40001", "a row came and went while it was applied");
    tally->applied += (uint64_t)pg_integer(result, 0, 0);
    tally->unchanged += (uint64_t)pg_integer(result, 0, 1);
    tally->same += (uint64_t)pg_integer(result, 0, 2);
    tally->duplicate += (uint64_t)pg_integer(result, 0, 3);
    tally->stale += (uint64_t)pg_integer(result, 0, 4);
    *rest_count = parameters_selected(result, 5, selection, rest);
    tally->ignored += (uint64_t)pg_integer(result, 0, 6);
    if (!statement->deletion && pg_integer(result, 0, 0) > pg_integer(result, 0, 1))
        foreign_keys_note_written(target, statement->entity, selection, &parameters);
    return true;
}

/* Locks those rows of the selection that exist; locked[i] tells which. */
bool target_lock_rows(struct pg_target *target, struct statement *statement, const struct selection *selection,
                      bool *locked, struct error *error)
{
    struct parameters parameters = parameters_make(&target->arena, statement, selection);
    PG_RESULT result = target_run_statement(target, statement, STATEMENT_LOCK, &parameters, error);
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

/* Takes the row out, to be put back at the commit. */
bool target_take_row(struct pg_target *target, struct statement *statement, const struct selection *one,
                     const struct parameters *parameters, struct error *error)
{
    PG_RESULT result = target_run_statement(target, statement, STATEMENT_TAKE, parameters, error);
    if (result == NULL)
        return false;
    if (PQntuples(result) != 1)
        return error_set(error, FAULT_CONTENTION, "40001", "the row went while it was applied");
    struct taken_row *taken = arena_take(&target->arena, sizeof *taken);
    *taken = (struct taken_row){.next = target->taken, .statement = statement, .given = target->given,
                                .message = one->message, .row = one->rows[0],
                                .judged = {one->judged->timestamp_us, arena_copy(&target->arena, one->judged->node)},
                                .text = arena_copy(&target->arena, pg_value(result, 0, 0))};
    target->taken = taken;
    return true;
}

/* Puts one row back with the message's fields, and stamps its version. A clash now is with a row that nobody moves. */
static bool put_back(struct pg_target *target, const struct taken_row *taken, struct error *error)
{
    if (!set_role(target, taken->statement->entity, error))
        return false;
    bool locked = true;
    target->given = taken->given;
    struct selection one = {.message = taken->message, .count = 1, .rows = &taken->row, .locked = &locked, .force = true,
                            .judged = &taken->judged};
    struct parameters parameters = parameters_make(&target->arena, taken->statement, &one);
    int last = parameters.count++;
    parameters.types[last] = OID_TEXT;
    parameters.values[last] = taken->text.data;
    parameters.lengths[last] = (int)taken->text.length;
    parameters.formats[last] = 1;
    {
        PG_RESULT result = target_run_statement(target, taken->statement, STATEMENT_PUT_BACK, &parameters, error);
        if (result == NULL)
            return false;
    }
    foreign_keys_note_written(target, taken->statement->entity, &one, &parameters);
    struct tally stamped = {0};
    size_t rest, rest_count;
    if (!target_apply_set(target, taken->statement, &one, &stamped, &rest, &rest_count, error))
        return false;
    return rest_count == 0 || error_set(error, FAULT_CONTENTION, "40001", "the row was written while it was judged");
}

static bool put_all_back(struct pg_target *target, struct offences *offences, struct error *error)
{
    for (const struct taken_row *taken = target->taken; taken != NULL; taken = taken->next) {
        if (put_back(target, taken, error))
            continue;
        target_blame(offences, taken->given, taken->row);
        return false;
    }
    return true;
}

/* Whether it failed for its own sake; what it did is undone then. */
static bool put_back_guarded(struct pg_target *target, const struct taken_row *taken, bool *stands, struct error *error)
{
    struct pending_check *checks = target->checks;
    bool role_is_origin = target->role_is_origin;
    if (!pg_execute(&target->session, "savepoint taken", error))
        return false;
    *stands = put_back(target, taken, error);
    if (*stands)
        return pg_execute(&target->session, "release savepoint taken", error);
    target->checks = checks;
    target->role_is_origin = role_is_origin;
    bool own = error_is_of_rows(error) || error->fault == FAULT_OPERATOR;
    return own && pg_execute(&target->session, "rollback to savepoint taken; release savepoint taken", error);
}

bool target_find_offences(struct pg_target *target, struct offences *offences, struct error *error)
{
    for (const struct taken_row *taken = target->taken; taken != NULL; taken = taken->next) {
        bool stands;
        if (!put_back_guarded(target, taken, &stands, error))
            return false;
        if (!stands)
            target_blame(offences, taken->given, taken->row);
    }
    target->taken = NULL;
    return foreign_keys_find_offences(target, offences, error);
}

bool target_write_forced(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                         const struct local_row *local, struct tally *tally, struct error *error)
{
    struct selection one = {.message = message, .count = 1, .rows = &row, .locked = &local->present, .force = true,
                            .judged = &local->write.version};
    size_t rest, rest_count;
    if (!target_apply_set(target, statement, &one, tally, &rest, &rest_count, error))
        return false;
    return rest_count == 0 || error_set(error, FAULT_CONTENTION, "40001", "the row kept changing while it was applied");
}

/* Changes of an entity whose conflicts stay open: some of them may be the word that settles one. */
static bool close_conflicts(struct pg_target *target, const struct catalog_entity *entity, struct error *error)
{
    const char *parameters[] = {arena_string(&target->arena, entity->name),
                                arena_printf(&target->arena, "%d", entity->id).data};
    PG_RESULT result = pg_query(&target->session, "conflict_close", 2, parameters, error);
    return result != NULL;
}

static void select_rest(struct selection *selection, size_t *rows, const size_t *rest, size_t count)
{
    memcpy(rows, rest, count * sizeof *rows);
    selection->count = count;
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
    if (statement == NULL || !records_compare_policy(target, entity, message, error) || !set_role(target, entity, error))
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
        return settling_settle(target, statement, message, &first, 1, true, tally, error);
    }

    size_t *rows = arena_take_array(arena, count, sizeof *rows);
    size_t *rest = arena_take_array(arena, count, sizeof *rest);
    bool *locked = arena_take_array(arena, count, sizeof *locked);
    for (size_t i = 0; i < count; i++)
        rows[i] = first + i;
    size_t left = count;

    struct selection selection = {.message = message, .count = left, .rows = rows, .horizon_us = target->horizon_us};
    if (!shortcuts_take(target, statement, &selection, tally, rest, &left, error))
        return false;
    if (left > 0) {
        select_rest(&selection, rows, rest, left);
        if (!target_apply_set(target, statement, &selection, tally, rest, &left, error))
            return false;
    }
    /* What is left was being changed by somebody: look again under locks. */
    if (left > 0) {
        select_rest(&selection, rows, rest, left);
        if (!target_lock_rows(target, statement, &selection, locked, error))
            return false;
        selection.locked = locked;
        if (!target_apply_set(target, statement, &selection, tally, rest, &left, error))
            return false;
    }
    if (!settling_settle(target, statement, message, rest, left, false, tally, error))
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

static bool target_commit(struct target *port, const struct receipt *receipts, size_t receipt_count,
                          struct offences *offences, struct error *error)
{
    struct pg_target *target = target_of(port);
    if (!put_all_back(target, offences, error) || !foreign_keys_check(target, offences, error))
        return false;
    for (size_t i = 0; i < receipt_count; i++)
        if (!records_write_receipt(target, &receipts[i], error))
            return false;
    return pg_commit(&target->session, error);
}

static bool target_report(struct target *port, const struct report *report, struct error *error)
{
    struct pg_target *target = target_of(port);
    const struct config *config = target->config;
    if (!pg_report(&target->session, report, error))
        return false;
    PG_RESULT resumed = pg_query(&target->session, "letters_resumed", 0, NULL, error);
    return resumed != NULL && collect_tombstones(target, error) &&
           forget(target, "forget_dead_letters", config->dead_letter_retention_us, error) &&
           forget(target, "forget_conflicts", config->conflict_retention_us, error);
}

static const struct target_ops target_port_ops = {target_open, target_begin, target_apply, records_hear, records_note, records_note_confirmed,
                                                  letters_bury, target_commit, target_rollback, letters_retry, records_suspect,
                                                  records_acquit, target_report, target_close};

struct pg_target *pg_target_new(const struct config *config, const struct pg_target_options *options)
{
    struct pg_target *target = calloc(1, sizeof *target);
    if (target == NULL)
        memory_exhausted(__func__);
    *target = (struct pg_target){.port = {&target_port_ops}, .config = config};
    if (options != NULL)
        target->options = *options;
    arena_init(&target->arena, LIMIT_ARENA_BYTES);
    arena_init(&target->scratch, LIMIT_ARENA_BYTES);
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
    arena_free(&target->scratch);
    free(target);
}
