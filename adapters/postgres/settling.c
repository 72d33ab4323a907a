/* One row by itself: lock, look, ask the judge and the policy, write. For what the set-based statement left. */
#include <inttypes.h>

#include "adapters/postgres/target_private.h"
#include "bridge/flow/policy.h"
#include "bridge/message/codec.h"

enum { SETTLE_TRIES = 5 };

bool settling_record_conflict(struct pg_target *target, const struct statement *statement,
                              const struct message *message, size_t row, const struct local_row *local,
                              enum ruling ruling, struct error *error)
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

/* Fetches what the judge must know of the one row. */
static bool fetch_row(struct pg_target *target, struct statement *statement, const struct parameters *parameters,
                      struct local_row *local, struct error *error)
{
    struct arena *arena = &target->arena;
    PG_RESULT result = target_run_statement(target, statement, STATEMENT_FETCH, parameters, error);
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
        .xmin = arena_copy(arena, pg_value(result, 0, 11)),
        .own = pg_boolean(result, 0, 12),
        .entry = {pg_integer(result, 0, 13), arena_copy(arena, pg_value(result, 0, 14))},
    };
    local->merge.present = local->present;
    bool present = local->present;
    if (!codec_decode_seen(pg_value(result, 0, 5), arena, &local->write.seen, error) ||
        !codec_decode_merge(pg_value(result, 0, 10), arena, &local->merge, error))
        return false;
    local->merge.present = present;
    return true;
}

static bool assert_row(struct pg_target *target, const struct catalog_entity *entity, struct text key,
                       const char *revived, struct error *error)
{
    struct text sql = arena_printf(&target->arena, "select bridge.assert_%d($1, $2::boolean)", entity->id);
    const char *parameters[] = {arena_string(&target->arena, key), revived};
    PG_RESULT result = pg_query_text(&target->session, sql.data, 2, parameters, error);
    return result != NULL;
}

bool settling_assert(struct pg_target *target, const struct catalog_entity *entity, struct text key,
                     struct error *error)
{
    return assert_row(target, entity, key, "false", error);
}

bool settling_revive(struct pg_target *target, const struct catalog_entity *entity, struct text key,
                     struct error *error)
{
    return assert_row(target, entity, key, "true", error);
}

bool settling_stamp(struct pg_target *target, const struct catalog_entity *entity, const struct local_row *local,
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
        text_is_null(local->xmin) ? NULL : local->xmin.data,
        target->from_log ? "true" : "false",
        local->own ? "true" : "false",
    };
    {
        PG_RESULT result = pg_query(&target->session, "stamp", 12, parameters, error);
        if (result == NULL)
            return false;
        if (strcmp(PQcmdTuples(result), "1") != 0)
            return error_set(error, FAULT_CONTENTION, "40001", "the row was written while it was judged");
    }
    return !settlement->assertion || settling_assert(target, entity, local->key, error);
}

bool settling_look(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                   struct local_row *local, struct error *error)
{
    bool locked = false;
    struct selection one = {.message = message, .count = 1, .rows = &row, .horizon_us = target->horizon_us};
    if (!target_lock_rows(target, statement, &one, &locked, error))
        return false;
    one.locked = &locked;
    struct parameters parameters = parameters_make(&target->arena, statement, &one);
    return fetch_row(target, statement, &parameters, local, error);
}

static bool insert_explained(struct pg_target *target, struct statement *statement, const struct parameters *parameters,
                             struct error *error)
{
    PG_RESULT result = target_run_statement(target, statement, STATEMENT_INSERT, parameters, error);
    if (result == NULL)
        return false;
    if (strcmp(PQcmdTuples(result), "0") == 0) {
        error_set(error, FAULT_PERMANENT, "23000", "a trigger of table %s refused the row without a word",
                  statement->entity->relation);
        return error_hint(error, "a BEFORE trigger returns NULL; with \"triggers: suppress\" it would not run");
    }
    return error_set(error, FAULT_CONTENTION, "40001", "the row came and went while it was applied");
}

/* The end of a row that others refer to wins by its version alone: a node that goes first would assert it for ever
 * against those that keep the row for its children's sake (letters.c). */
static struct rules rules_of(const struct pg_target *target, const struct catalog_entity *entity, const struct message *message,
                             const struct local_row *local)
{
    struct rules rules = entity->rules;
    /* With capture from the WAL, one that went without a word to row_version is judged by what it was. */
    bool unsaid = target->from_log && !local->present && !local->deleted && !version_is_none(local->entry);
    bool ends = message->op == CHANGE_DELETED || (!local->present && !unsaid);
    for (size_t i = 0; i < entity->foreign_key_count && ends; i++)
        if (!entity->foreign_keys[i].from_here && rules.policy != policy_find(TEXT_LITERAL("manual")))
            rules.policy = policy_default();
    return rules;
}

bool settling_settle(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                     bool put_off, struct tally *tally, struct error *error)
{
    struct arena *arena = &target->arena;
    const struct catalog_entity *entity = statement->entity;
    for (int try = 0; try < SETTLE_TRIES; try++) {
        bool locked = false;
        struct selection one = {.message = message, .count = 1, .rows = &row, .horizon_us = target->horizon_us};
        if (!target_lock_rows(target, statement, &one, &locked, error))
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
        struct rules rules = rules_of(target, entity, message, &local);
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
            /* What stays open must not be forgotten by what is written next. */
            if (settlement.action == ACTION_NOTHING)
                settlement.write = local.write;
            return settling_record_conflict(target, statement, message, row, &local, settlement.ruling, error) &&
                   ((settlement.action == ACTION_NOTHING && !local.own) ||
                    settling_stamp(target, entity, &local, &settlement, NULL, error));
        }
        if (put_off && settlement.action == ACTION_WRITE && local.present) {
            if (conflict &&
                !settling_record_conflict(target, statement, message, row, &local, settlement.ruling, error))
                return false;
            tally->conflicts += conflict;
            tally->applied++;
            if (target->from_log)
                one.judged = local.entry;
            return target_take_row(target, statement, &one, &parameters, error);
        }
        /* Fresh and same are known to the set-based statement as well. */
        struct tally written = {0};
        size_t rest, rest_count;
        if (!target_apply_set(target, statement, &one, &written, &rest, &rest_count, error))
            return false;
        if (rest_count == 0) {
            written.conflicts += conflict;
            if (conflict &&
                !settling_record_conflict(target, statement, message, row, &local, settlement.ruling, error))
                return false;
            tally_add(tally, &written);
            return !assertion || settling_assert(target, entity, local.key, error);
        }
        /* The insert met another row: by its own key, which is looked at again, or by a unique constraint, which is an
         * error that has a name. */
        if (!local.present && message->op != CHANGE_DELETED)
            return insert_explained(target, statement, &parameters, error);
    }
    return error_set(error, FAULT_CONTENTION, "40001", "the row kept changing while it was applied");
}
