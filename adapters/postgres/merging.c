/* Policy merge: a row that both sides wrote is joined field by field (bridge/message/merge.h). */
#include <stdlib.h>

#include "adapters/postgres/target_private.h"
#include "bridge/message/codec.h"

/* The state of a change whose writer keeps none: all of it was written at once. */
static struct merge foreign_state(const struct message *message, size_t row)
{
    struct merge merge = {.present = message->op != CHANGE_DELETED};
    struct version version = {message_version(message, row), message->source};
    if (merge.present)
        merge.rest = version;
    else
        merge.died = version;
    return merge;
}

static bool has_group(const struct catalog_entity *entity, struct text name)
{
    for (size_t i = 0; i < entity->column_count; i++)
        if (text_equal(entity->merge[i].group, name))
            return true;
    return false;
}

bool merging_prepare(struct pg_target *target, const struct catalog_entity *entity, const struct message **message,
                     struct error *error)
{
    struct arena *arena = &target->arena;
    const struct message *given = *message;
    if (given->op != CHANGE_DELETED && given->column_count < entity->column_count) {
        error_set(error, FAULT_PERMANENT, "42703", "entity \"%.*s\" is merged, and the message has %zu of its %zu fields",
                  TEXT_PRINTF(entity->name), given->column_count, entity->column_count);
        return error_hint(error, "policy merge wants the same fields on every node");
    }
    if (given->merges == NULL) {
        struct merge *states = arena_take_array(arena, given->row_count, sizeof *states);
        for (size_t row = 0; row < given->row_count; row++)
            states[row] = foreign_state(given, row);
        struct message *prepared = arena_take(arena, sizeof *prepared);
        *prepared = *given;
        prepared->merges = states;
        *message = prepared;
        return true;
    }
    for (size_t row = 0; row < given->row_count; row++) {
        const struct merge *merge = &given->merges[row];
        for (size_t i = 0; i < merge->group_count; i++)
            if (!has_group(entity, merge->groups[i].name)) {
                error_set(error, FAULT_PERMANENT, "42703", "entity \"%.*s\" is merged by other groups of fields at %.*s",
                          TEXT_PRINTF(entity->name), TEXT_PRINTF(given->source));
                return error_hint(error, "give both tables the same constraints of several columns, and run \"pgbridge install\"");
            }
    }
    return true;
}

/* Decimals are added by those who know them. */
static bool sum(struct pg_target *target, const struct merge *merge, struct text field, struct text *total, struct error *error)
{
    struct arena *arena = &target->arena;
    struct merge_terms terms = merge_terms(merge, field);
    struct text *texts = arena_take_array(arena, terms.count, sizeof *texts);
    for (size_t i = 0; i < terms.count; i++)
        texts[i] = terms.totals[i].total;
    const char *parameters[] = {parameters_literal(arena, texts, terms.count)};
    PG_RESULT result = pg_query_text(&target->session, "select (sum(term::numeric))::text from unnest($1::text[]) term", 1,
                                     parameters, error);
    if (result == NULL)
        return false;
    *total = arena_copy(arena, pg_value(result, 0, 0));
    return true;
}

/* Writes those fields that come from the other side, or are sums; the others stay as they are. */
static bool write_fields(struct pg_target *target, const struct catalog_entity *entity, const struct message *message,
                         size_t row, const struct local_row *local, const struct merge_result *joined, struct error *error)
{
    struct arena *arena = &target->arena;
    struct text *columns = arena_take_array(arena, entity->column_count, sizeof *columns);
    struct text *values = arena_take_array(arena, entity->column_count, sizeof *values);
    size_t count = 0;
    for (size_t i = 0; i < entity->column_count; i++) {
        bool key = i < entity->key_count;
        if (!key && joined->fields[i] == FIELD_LOCAL)
            continue;
        columns[count] = entity->columns[i].field;
        if (!key && joined->fields[i] == FIELD_SUM) {
            if (!sum(target, &joined->merge, entity->columns[i].field, &values[count], error))
                return false;
        } else {
            size_t at = 0;
            while (!text_equal(message->columns[at], entity->columns[i].field))
                at++;
            values[count] = message_row(message, row)[at];
        }
        count++;
    }
    int64_t *version = arena_take(arena, sizeof *version);
    *version = message_version(message, row);
    struct message *chosen = arena_take(arena, sizeof *chosen);
    *chosen = (struct message){
        .source = message->source,
        .entity = message->entity,
        .op = CHANGE_UPDATED,
        .key_count = entity->key_count,
        .column_count = count,
        .columns = columns,
        .row_count = 1,
        .values = values,
        .versions = version,
    };
    struct statement *statement = statement_for(&target->catalog, catalog_find(&target->catalog, entity->name), chosen, error);
    struct tally uncounted = {0};
    return statement != NULL && target_write_forced(target, statement, chosen, 0, local, &uncounted, error);
}

/* Something that one side wrote is not in the result: a field that both wrote, or a write beside a deletion. */
static bool has_lost(const struct merge_result *joined, const struct merge *local, const struct merge *remote,
                     const struct catalog_entity *entity, const struct write *change, const struct write *row)
{
    if (local->present != remote->present || !version_equal(local->died, remote->died))
        return true;
    for (size_t i = entity->key_count; i < entity->column_count && joined->merge.present; i++) {
        struct version here = merge_group_version(local, entity->merge[i].group);
        struct version there = merge_group_version(remote, entity->merge[i].group);
        if (!entity->merge[i].counter && !write_covers(change, here) && !write_covers(row, there))
            return true;
    }
    return false;
}

bool merging_settle(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                    const struct local_row *local, struct tally *tally, struct error *error)
{
    struct arena *arena = &target->arena;
    const struct catalog_entity *entity = statement->entity;
    const struct merge *remote = &message->merges[row];
    struct write change = message_write(message, row);
    enum verdict verdict = judge_change(text_from(target->config->node), &change, &local->write, false);
    if (verdict == VERDICT_FRESH && !local->present && judge_forgotten(&change, &local->write, target->horizon_us))
        verdict = VERDICT_STALE;
    if (verdict == VERDICT_ECHO || verdict == VERDICT_DUPLICATE || verdict == VERDICT_STALE) {
        tally->echo += verdict == VERDICT_ECHO;
        tally->duplicate += verdict == VERDICT_DUPLICATE;
        tally->stale += verdict == VERDICT_STALE;
        return true;
    }
    struct merge_result joined;
    bool revive = entity->update_revives &&
                  merge_revives(text_from(target->config->node), &local->merge, remote, &change, &local->write);
    if (!merge_join(&local->merge, remote, revive, entity->column_count, entity->merge, arena, &joined)) {
        error_set(error, FAULT_PERMANENT, "54000", "the row has been written by more nodes than a merge can tell apart");
        return error_hint(error, "counters know at most %d nodes", MERGE_NODES_MAX);
    }
    bool conflict = verdict == VERDICT_CONCURRENT && has_lost(&joined, &local->merge, remote, entity, &change, &local->write);
    struct conflicting conflicting = {row, local, joined.content_differs ? RULING_REMOTE : RULING_LOCAL};
    if (conflict && !settling_record_conflicts(target, statement, message, &conflicting, 1, error))
        return false;
    tally->conflicts += conflict;
    tally->applied += joined.content_differs;
    tally->kept += !joined.content_differs;
    if (joined.content_differs) {
        struct tally uncounted = {0};
        bool good = local->present && joined.merge.present
                        ? write_fields(target, entity, message, row, local, &joined, error)
                        : target_write_forced(target, statement, message, row, local, &uncounted, error);
        if (!good)
            return false;
    }
    bool later = version_compare(local->write.version, change.version) > 0;
    struct version stands = later ? local->write.version : change.version;
    struct settlement settlement = {.write = {stands, local->write.version, write_join(&change, &local->write, stands.node, arena)}};
    struct local_row now = *local;
    now.present = joined.merge.present;
    if (joined.content_differs)
        now.write.version = change.version;
    return settling_stamp(target, entity, &(struct stamp){&now, settlement, &joined.merge}, 1, error) &&
           (!joined.assertion || settling_revive(target, entity, local->key, error));
}
