/* Locks rows, looks at them, asks the judge and the policy about each, and writes: for what the set-based statement left. */
#include <inttypes.h>
#include <stdlib.h>

#include "adapters/postgres/target_private.h"
#include "bridge/flow/policy.h"
#include "bridge/message/codec.h"

enum {
    ROWS_AT_ONCE = 64, /* which bounds the memory for what they are here */
    IDLE_TRIES = 5,
};

/* Columns of a table that one statement reads by unnest. */
static const char **literals(struct arena *arena, struct text *const *columns, size_t column_count, size_t row_count)
{
    const char **parameters = arena_take_array(arena, column_count, sizeof *parameters);
    for (size_t i = 0; i < column_count; i++)
        parameters[i] = parameters_literal(arena, columns[i], row_count);
    return parameters;
}

static struct text **columns_take(struct arena *arena, size_t column_count, size_t row_count)
{
    struct text **columns = arena_take_array(arena, column_count, sizeof *columns);
    for (size_t i = 0; i < column_count; i++)
        columns[i] = arena_take_array(arena, row_count, sizeof **columns);
    return columns;
}

static struct text decimal(struct arena *arena, int64_t number)
{
    return arena_printf(arena, "%" PRId64, number);
}

/* The message's row as a text[] literal of the entity's fields; those it has not are null. */
static struct text remote_fields(struct arena *arena, const struct statement *statement, const struct message *message, size_t row)
{
    struct text *fields = arena_take_array(arena, statement->entity->column_count, sizeof *fields);
    for (size_t i = 0; i < statement->column_count; i++)
        fields[statement->column_index[i]] = message_row(message, row)[statement->message_index[i]];
    return text_from(parameters_literal(arena, fields, statement->entity->column_count));
}

bool settling_record_conflicts(struct pg_target *target, const struct statement *statement, const struct message *message,
                               const struct conflicting *conflicts, size_t count, struct error *error)
{
    enum { KEY, KIND, RULING, LOCAL_ROW, LOCAL_TIME, LOCAL_NODE, LOCAL_CORRELATION, REMOTE_ROW, REMOTE_TIME, REMOTE_CORRELATION, COLUMNS };
    enum { ENTITY, POLICY, FIELDS, KNOWN, SOURCE, PARAMETERS };
    struct arena *arena = &target->scratch;
    const struct catalog_entity *entity = statement->entity;
    if (count == 0)
        return true;
    struct text *names = arena_take_array(arena, entity->column_count, sizeof *names);
    struct text known = TEXT_LITERAL("{");
    for (size_t i = 0; i < entity->column_count; i++)
        names[i] = entity->columns[i].field;
    for (size_t i = 0; i < statement->column_count; i++)
        known = arena_printf(arena, "%s%s%zu", known.data, i > 0 ? "," : "", statement->column_index[i] + 1);
    struct text **columns = columns_take(arena, COLUMNS, count);
    for (size_t i = 0; i < count; i++) {
        const struct local_row *local = conflicts[i].local;
        size_t row = conflicts[i].row;
        columns[KEY][i] = local->key;
        columns[KIND][i] = text_from(conflict_kind(message->op, local->present, local->deleted));
        columns[RULING][i] = text_from(ruling_name(conflicts[i].ruling));
        columns[LOCAL_ROW][i] = local->fields;
        columns[LOCAL_TIME][i] = decimal(arena, local->write.version.timestamp_us);
        columns[LOCAL_NODE][i] = version_is_none(local->write.version) ? TEXT_LITERAL("") : local->write.version.node;
        columns[LOCAL_CORRELATION][i] = local->correlation;
        columns[REMOTE_ROW][i] = message->op == CHANGE_DELETED ? TEXT_NULL : remote_fields(arena, statement, message, row);
        columns[REMOTE_TIME][i] = decimal(arena, message_version(message, row));
        columns[REMOTE_CORRELATION][i] = message->correlations ? message->correlations[row] : TEXT_NULL;
    }
    const char *parameters[PARAMETERS + COLUMNS] = {
        [ENTITY] = arena_string(arena, entity->name),
        [POLICY] = entity->rules.policy->name,
        [FIELDS] = parameters_literal(arena, names, entity->column_count),
        [KNOWN] = arena_printf(arena, "%s}", known.data).data,
        [SOURCE] = arena_string(arena, message->source),
    };
    memcpy(parameters + PARAMETERS, literals(arena, columns, COLUMNS, count), COLUMNS * sizeof *parameters);
    PG_RESULT result = pg_query(&target->session, "conflict_record", PARAMETERS + COLUMNS, parameters, error);
    return result != NULL;
}

static bool read_local(struct arena *arena, const PGresult *result, int at, struct local_row *local, struct error *error)
{
    *local = (struct local_row){
        .key = arena_copy(arena, pg_value(result, at, 0)),
        .present = pg_boolean(result, at, 1),
        .deleted = pg_boolean(result, at, 2),
        .write.version = {pg_integer(result, at, 3), arena_copy(arena, pg_value(result, at, 4))},
        .correlation = arena_copy(arena, pg_value(result, at, 6)),
        .equal = pg_boolean(result, at, 7),
        .fields = arena_copy(arena, pg_value(result, at, 8)),
        .owned = pg_boolean(result, at, 9),
        .xmin = arena_copy(arena, pg_value(result, at, 11)),
        .own = pg_boolean(result, at, 12),
        .entry = {pg_integer(result, at, 13), arena_copy(arena, pg_value(result, at, 14))},
    };
    if (!codec_decode_seen(pg_value(result, at, 5), arena, &local->write.seen, error) ||
        !codec_decode_merge(pg_value(result, at, 10), arena, &local->merge, error))
        return false;
    local->merge.present = local->present;
    return true;
}

/* Locks those rows of the selection that exist, and fetches into the arena what the judge must know of each. */
static bool look(struct pg_target *target, struct statement *statement, struct selection *selection, struct arena *arena,
                 struct local_row *locals, struct error *error)
{
    bool *locked = arena_take_array(&target->arena, selection->count, sizeof *locked);
    if (!target_lock_rows(target, statement, selection, locked, error))
        return false;
    selection->locked = locked;
    struct parameters parameters = parameters_make(&target->arena, statement, selection);
    PG_RESULT result = target_run_statement(target, statement, STATEMENT_FETCH, &parameters, error);
    if (result == NULL)
        return false;
    if ((size_t)PQntuples(result) != selection->count)
        return error_set(error, FAULT_BUG, NULL, "fetch returned %d rows for %zu", PQntuples(result), selection->count);
    for (size_t i = 0; i < selection->count; i++)
        if (!read_local(arena, result, (int)i, &locals[i], error))
            return false;
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

bool settling_stamp(struct pg_target *target, const struct catalog_entity *entity, const struct stamp *stamps, size_t count,
                    struct error *error)
{
    enum { KEY, TIME, NODE, SEEN, GONE, MERGE, JUDGED_TIME, JUDGED_NODE, XMIN, OWN, COLUMNS };
    enum { ENTITY, FROM_LOG, PARAMETERS };
    struct arena *arena = &target->scratch;
    if (count == 0)
        return true;
    struct text **columns = columns_take(arena, COLUMNS, count);
    for (size_t i = 0; i < count; i++) {
        const struct local_row *local = stamps[i].local;
        const struct write *write = &stamps[i].settlement.write;
        columns[KEY][i] = local->key;
        columns[TIME][i] = decimal(arena, write->version.timestamp_us);
        columns[NODE][i] = write->version.node;
        columns[SEEN][i] = codec_encode_seen(write->seen, arena);
        columns[GONE][i] = text_from(local->present ? "false" : "true");
        columns[MERGE][i] = stamps[i].merge != NULL ? codec_encode_merge(stamps[i].merge, arena) : TEXT_NULL;
        columns[JUDGED_TIME][i] = version_is_none(local->write.version) ? TEXT_NULL : decimal(arena, local->write.version.timestamp_us);
        columns[JUDGED_NODE][i] = local->write.version.node;
        columns[XMIN][i] = local->xmin;
        columns[OWN][i] = text_from(local->own ? "true" : "false");
    }
    const char *parameters[PARAMETERS + COLUMNS] = {
        [ENTITY] = decimal(arena, entity->id).data,
        [FROM_LOG] = target->from_log ? "true" : "false",
    };
    memcpy(parameters + PARAMETERS, literals(arena, columns, COLUMNS, count), COLUMNS * sizeof *parameters);
    {
        PG_RESULT result = pg_query(&target->session, "stamp", PARAMETERS + COLUMNS, parameters, error);
        if (result == NULL)
            return false;
        if (strtoull(PQcmdTuples(result), NULL, 10) != count)
            return error_set(error, FAULT_CONTENTION, "40001", "the row was written while it was judged");
    }
    for (size_t i = 0; i < count; i++)
        if (stamps[i].settlement.assertion && !settling_assert(target, entity, stamps[i].local->key, error))
            return false;
    return true;
}

bool settling_look(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                   struct local_row *local, struct error *error)
{
    struct selection one = {.message = message, .count = 1, .rows = &row, .horizon_us = target->horizon_us};
    return look(target, statement, &one, &target->arena, local, error);
}

static bool insert_explained(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                             struct error *error)
{
    struct selection one = {.message = message, .count = 1, .rows = &row};
    struct parameters parameters = parameters_make(&target->arena, statement, &one);
    PG_RESULT result = target_run_statement(target, statement, STATEMENT_INSERT, &parameters, error);
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

/* Rows that the set-based statement is to write. */
struct writing {
    size_t count;
    size_t *rows;
    bool *locked;
    struct version *judged;
    struct ruled {
        const struct local_row *local;
        bool conflict, assertion;
        enum ruling ruling;
    } *ruled;
};

/* What is to be done about the rows that were looked at. */
struct settling {
    struct pg_target *target;
    struct statement *statement;
    const struct message *message;
    struct tally *tally;
    struct writing known, forced; /* by the statement's own judgement; by the policy's */
    size_t conflict_count, stamp_count, again_count;
    struct conflicting *conflicts;
    struct stamp *stamps;
    size_t *again; /* rows that came or went meanwhile */
};

static struct writing writing_take(struct arena *arena, size_t count)
{
    return (struct writing){
        .rows = arena_take_array(arena, count, sizeof(size_t)),
        .locked = arena_take_array(arena, count, sizeof(bool)),
        .judged = arena_take_array(arena, count, sizeof(struct version)),
        .ruled = arena_take_array(arena, count, sizeof(struct ruled)),
    };
}

static void note_conflict(struct settling *settling, size_t row, const struct local_row *local, enum ruling ruling)
{
    settling->conflicts[settling->conflict_count++] = (struct conflicting){row, local, ruling};
    settling->tally->conflicts++;
}

/* Decides about one row that was looked at; put_off: takes it out at once instead of writing it. */
static bool decide(struct settling *settling, size_t row, const struct local_row *local, bool put_off, struct error *error)
{
    struct pg_target *target = settling->target;
    const struct message *message = settling->message;
    const struct catalog_entity *entity = settling->statement->entity;
    struct tally *tally = settling->tally;
    struct write change = message_write(message, row);
    struct rules rules = rules_of(target, entity, message, local);
    struct settlement settlement =
        policy_settle(&rules, text_from(target->config->node), &change, &local->write, local->equal, &target->arena);
    if (settlement.verdict == VERDICT_FRESH && !local->present && judge_forgotten(&change, &local->write, target->horizon_us))
        settlement.verdict = VERDICT_STALE;
    bool conflict = settlement.verdict == VERDICT_CONCURRENT;
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
        if (settlement.action == ACTION_WRITE)
            break;
        tally->kept++;
        note_conflict(settling, row, local, settlement.ruling);
        /* What stays open must not be forgotten by what is written next. */
        if (settlement.action == ACTION_NOTHING)
            settlement.write = local->write;
        if (settlement.action != ACTION_NOTHING || local->own)
            settling->stamps[settling->stamp_count++] = (struct stamp){local, settlement, NULL};
        return true;
    }
    if (put_off && settlement.action == ACTION_WRITE && local->present) {
        struct selection one = {.message = message, .count = 1, .rows = &row, .locked = &local->present,
                                .judged = &local->write.version, .horizon_us = target->horizon_us};
        /* The row that is put back no longer tells whose write was judged. */
        if (local->own)
            settling->stamps[settling->stamp_count++] = (struct stamp){local, {.write = local->write}, NULL};
        struct parameters parameters = parameters_make(&target->arena, settling->statement, &one);
        if (conflict)
            note_conflict(settling, row, local, settlement.ruling);
        tally->applied++;
        return target_take_row(target, settling->statement, &one, &parameters, error);
    }
    /* A field of ours was changed elsewhere: ours stays, and everybody is told. */
    bool assertion = local->owned && entity->owns_fields && settlement.action == ACTION_WRITE;
    struct writing *writing = conflict || assertion ? &settling->forced : &settling->known;
    size_t at = writing->count++;
    writing->rows[at] = row;
    writing->locked[at] = local->present;
    writing->judged[at] = local->write.version;
    writing->ruled[at] = (struct ruled){local, conflict, assertion, settlement.ruling};
    return true;
}

/* Those that it did not write are looked at again. But an insert that met another row, which is not its own key's, is an error that has
 * a name. */
static bool write_rows(struct settling *settling, const struct writing *writing, struct error *error)
{
    struct pg_target *target = settling->target;
    if (writing->count == 0)
        return true;
    struct selection selection = {.message = settling->message, .count = writing->count, .rows = writing->rows,
                                  .locked = writing->locked, .judged = writing->judged, .force = writing == &settling->forced,
                                  .horizon_us = target->horizon_us};
    size_t rest_count, *rest = arena_take_array(&target->arena, writing->count, sizeof *rest);
    if (!target_apply_set(target, settling->statement, &selection, settling->tally, rest, &rest_count, error))
        return false;
    size_t left = 0;
    for (size_t i = 0; i < writing->count; i++) {
        size_t row = writing->rows[i];
        const struct ruled *ruled = &writing->ruled[i];
        if (left < rest_count && rest[left] == row) {
            left++;
            if (!ruled->local->present && settling->message->op != CHANGE_DELETED)
                return insert_explained(target, settling->statement, settling->message, row, error);
            settling->again[settling->again_count++] = row;
            continue;
        }
        if (ruled->conflict)
            note_conflict(settling, row, ruled->local, ruled->ruling);
        if (ruled->assertion && !settling_assert(target, settling->statement->entity, ruled->local->key, error))
            return false;
    }
    return true;
}

/* Whether a row before this one has its key, in another spelling: it may be another row by the time that one is written. */
static bool comes_again(const struct local_row *locals, size_t i)
{
    for (size_t before = 0; before < i; before++)
        if (text_equal(locals[before].key, locals[i].key))
            return true;
    return false;
}

/* One attempt; *count becomes how many of the rows are left, in their place. */
static bool settle_once(struct pg_target *target, struct statement *statement, const struct message *message, size_t *rows,
                        size_t *count, bool put_off, struct tally *tally, struct error *error)
{
    struct arena *arena = &target->scratch;
    struct selection selection = {.message = message, .count = *count, .rows = rows, .horizon_us = target->horizon_us};
    arena_reset(arena);
    struct local_row *locals = arena_take_array(arena, *count, sizeof *locals);
    if (!look(target, statement, &selection, arena, locals, error))
        return false;
    struct settling settling = {
        .target = target,
        .statement = statement,
        .message = message,
        .tally = tally,
        .known = writing_take(arena, *count),
        .forced = writing_take(arena, *count),
        .conflicts = arena_take_array(arena, *count, sizeof *settling.conflicts),
        .stamps = arena_take_array(arena, *count, sizeof *settling.stamps),
        .again = arena_take_array(arena, *count, sizeof *settling.again),
    };
    for (size_t i = 0; i < *count; i++) {
        if (locals[i].present != selection.locked[i] || comes_again(locals, i))
            settling.again[settling.again_count++] = rows[i];
        else if (!(statement->entity->merged ? merging_settle(target, statement, message, rows[i], &locals[i], tally, error)
                                             : decide(&settling, rows[i], &locals[i], put_off, error)))
            return false;
    }
    if (!write_rows(&settling, &settling.known, error) || !write_rows(&settling, &settling.forced, error) ||
        !settling_record_conflicts(target, statement, message, settling.conflicts, settling.conflict_count, error) ||
        !settling_stamp(target, statement->entity, settling.stamps, settling.stamp_count, error))
        return false;
    memcpy(rows, settling.again, settling.again_count * sizeof *rows);
    *count = settling.again_count;
    return true;
}

static bool settle_slice(struct pg_target *target, struct statement *statement, const struct message *message, size_t *rows, size_t count,
                         bool put_off, struct tally *tally, struct error *error)
{
    for (int idle = 0; count > 0;) {
        size_t before = count;
        if (!settle_once(target, statement, message, rows, &count, put_off, tally, error))
            return false;
        if (count == before && ++idle == IDLE_TRIES)
            return error_set(error, FAULT_CONTENTION, "40001", "a row kept changing while it was applied");
    }
    return true;
}

bool settling_settle(struct pg_target *target, struct statement *statement, const struct message *message, size_t *rows,
                     size_t count, bool put_off, struct tally *tally, struct error *error)
{
    for (size_t first = 0; first < count; first += ROWS_AT_ONCE) {
        size_t left = count - first;
        if (!settle_slice(target, statement, message, rows + first, left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE, put_off, tally, error))
            return false;
    }
    return true;
}
