/* Dead letters: what could not be applied is kept in the database, and what may succeed later is tried again. */
#include <inttypes.h>
#include <stdlib.h>

#include "adapters/postgres/foreign_key_sql.h"
#include "adapters/postgres/target_private.h"
#include "bridge/message/codec.h"

enum {
    LETTERS_AT_ONCE = 100,
    PATIENCE = 5, /* so many locks of others are waited for in one transaction: nothing else is applied meanwhile */
    RETRY_AT_LEAST_MS = 50,
};

/* ---- keeping ------------------------------------------------------------------------------------------------------ */

/* A message of this row alone: what a replay needs, and no neighbour's values. */
static struct text one_row_body(struct arena *arena, const struct message *message, size_t row)
{
    struct message one = *message;
    one.row_count = 1;
    one.values = message_row(message, row);
    one.versions = message->versions ? message->versions + row : NULL;
    one.bases = message->bases ? message->bases + row : NULL;
    one.seen = message->seen ? message->seen + row : NULL;
    one.correlations = message->correlations ? message->correlations + row : NULL;
    return codec_encode(&one, arena);
}

static const char *key_text(struct arena *arena, const struct message *message, size_t row)
{
    const struct text *values = message_row(message, row);
    return message->key_count == 1 ? arena_copy(arena, values[0]).data
                                   : parameters_literal(arena, values, message->key_count);
}

static const char *number_text(struct arena *arena, int64_t number)
{
    return arena_printf(arena, "%" PRId64, number).data;
}

/* Two nodes gave one unique value to two rows: both stay, and the conflict is open until one of them changes. */
static bool record_unique(struct pg_target *target, const struct message *message, size_t row, struct error *error)
{
    struct arena *arena = &target->arena;
    const struct catalog_entity *entity = catalog_find(&target->catalog, message->entity);
    if (entity == NULL || message->op == CHANGE_DELETED)
        return true;
    const char *parameters[] = {
        arena_printf(arena, "%d", entity->id).data,
        arena_string(arena, entity->name),
        key_text(arena, message, row),
        parameters_literal(arena, message->columns, message->column_count),
        number_text(arena, message_version(message, row)),
        arena_string(arena, message->source),
        message->correlations ? arena_copy(arena, message->correlations[row]).data : NULL,
        entity->rules.policy->name,
        message->key_count > 1 ? "true" : "false",
        parameters_literal(arena, message_row(message, row), message->column_count),
    };
    PG_RESULT result = pg_query(&target->session, "unique_conflict", 10, parameters, error);
    return result != NULL;
}

static bool is_code(const struct error *error, const char *code)
{
    return text_equal(text_from(error->code), text_from(code));
}

bool letters_bury(struct target *port, const struct dead_letter *letter, struct error *error)
{
    struct pg_target *target = (struct pg_target *)port;
    struct arena *arena = &target->arena;
    const struct message *message = letter->message;
    enum fault fault = letter->error->fault;
    const char *class = "permanent", *state = "parked";
    if (fault == FAULT_POISON) {
        class = "poison";
        state = "quarantined";
    } else if (message != NULL && (fault == FAULT_TRANSIENT || fault == FAULT_CONTENTION)) {
        class = "transient";
        state = "retrying";
    }
    if (message != NULL && (is_code(letter->error, "23505") || is_code(letter->error, "23P01")) &&
        !record_unique(target, message, letter->row, error))
        return false;
    const struct header *source = envelope_header(letter->envelope, "x-source");
    struct text body = message != NULL ? one_row_body(arena, message, letter->row) : letter->envelope->body;
    size_t length;
    unsigned char *payload =
        PQescapeByteaConn(target->session.connection, (const unsigned char *)body.data, body.length, &length);
    if (payload == NULL)
        return error_set(error, FAULT_CONNECTION, NULL, "out of memory");
    int64_t version = message ? message_version(message, letter->row) : 0;
    const char *parameters[] = {
        class,
        state,
        source && !source->is_number && text_is_utf8(source->text) ? arena_copy(arena, source->text).data : NULL,
        message ? arena_string(arena, message->entity) : NULL,
        message ? key_text(arena, message, letter->row) : NULL,
        message ? change_op_name(message->op) : NULL,
        message ? number_text(arena, version) : NULL,
        letter->error->code[0] ? letter->error->code : NULL,
        letter->error->text,
        message && message->correlations ? arena_copy(arena, message->correlations[letter->row]).data : NULL,
        text_is_utf8(letter->envelope->message_id) ? arena_copy(arena, letter->envelope->message_id).data : NULL,
        (const char *)payload,
        message && message->key_count > 1 ? "true" : "false",
        is_code(letter->error, "CLOCK") ? number_text(arena, version - (target->from_log ? 0 : target->config->max_clock_skew_us))
        : letter->not_before_us > 0    ? number_text(arena, letter->not_before_us)
                                       : NULL,
        number_text(arena, target->horizon_us),
    };
    PG_RESULT result = pg_query(&target->session, "bury", 15, parameters, error);
    PQfreemem(payload);
    return result != NULL;
}

/* ---- trying again ------------------------------------------------------------------------------------------------- */

bool letter_read(struct pg_target *target, const PGresult *letters, int row, struct waiting *waiting, struct error *error)
{
    struct arena *arena = &target->arena;
    size_t length;
    unsigned char *bytes = PQunescapeBytea((const unsigned char *)PQgetvalue(letters, row, 2), &length);
    if (bytes == NULL)
        return error_set(error, FAULT_CONNECTION, NULL, "out of memory");
    struct text body = arena_copy(arena, (struct text){(char *)bytes, length});
    PQfreemem(bytes);
    *waiting = (struct waiting){.id = arena_string(arena, pg_value(letters, row, 0)),
                                .message = {.source = arena_copy(arena, pg_value(letters, row, 1)), .part = 1, .parts = 1}};
    return codec_decode(body, arena, &waiting->message, error);
}

static bool is_paused(struct pg_target *target, const struct catalog_entity *entity, bool *paused, struct error *error)
{
    const char *parameters[] = {arena_string(&target->arena, entity->name)};
    PG_RESULT result = pg_query(&target->session, "entity_paused", 1, parameters, error);
    *paused = result != NULL && pg_boolean(result, 0, 0);
    return result != NULL;
}

/* Whether a child that this node itself wrote keeps the parent from being deleted: nobody else's word will free it. */
static bool has_own_child(struct pg_target *target, const struct catalog_entity *entity, const struct message *message,
                          bool *own, struct error *error)
{
    struct arena *arena = &target->arena;
    *own = false;
    for (size_t i = 0; i < entity->foreign_key_count && !*own; i++) {
        const struct catalog_foreign_key *key = &entity->foreign_keys[i];
        if (key->from_here)
            continue;
        const struct catalog_entity *child = catalog_of_relation(&target->catalog, key->child);
        /* Deletions of its rows may be held: whether any will be left is not known yet. */
        bool paused = false;
        if (child != NULL && !is_paused(target, child, &paused, error))
            return false;
        if (paused)
            continue;
        char *sql = foreign_key_own_child(entity, key, child, target->from_log);
        const char *parameters[LIMIT_KEY_FIELDS + 1];
        for (size_t j = 0; j < entity->key_count; j++)
            parameters[j] = parameters_literal(arena, &message_row(message, 0)[j], 1);
        parameters[entity->key_count] = target->config->node;
        PG_RESULT result = pg_query_text(&target->session, sql, (int)entity->key_count + 1, parameters, error);
        free(sql);
        if (result == NULL)
            return false;
        *own = pg_boolean(result, 0, 0);
    }
    return true;
}

/* A parent was deleted there while a child was inserted here. The parent stays, and comes back where it was deleted: of the two
 * the child's is the write that would be lost without a trace. */
static bool keep_parent(struct pg_target *target, const struct message *message, bool *kept, struct error *error)
{
    struct catalog_entity *entity = catalog_find(&target->catalog, message->entity);
    *kept = false;
    if (entity == NULL || entity->key_count > LIMIT_KEY_FIELDS)
        return true;
    bool own;
    if (!has_own_child(target, entity, message, &own, error))
        return false;
    if (!own)
        return true;
    struct statement *statement = statement_for(&target->catalog, entity, message, error);
    struct local_row local;
    if (statement == NULL || !settling_look(target, statement, message, 0, &local, error))
        return false;
    if (!local.present)
        return true;
    struct write change = message_write(message, 0);
    bool later = version_compare(local.write.version, change.version) > 0;
    struct version stands = later ? local.write.version : change.version;
    struct settlement settlement = {
        .ruling = RULING_LOCAL,
        .write = {.version = stands, .seen = write_join(&change, &local.write, stands.node, &target->arena)},
        .assertion = true,
    };
    /* Of a row that is merged: it comes after this deletion, as if it had been made anew. */
    struct merge kept_state = local.merge;
    if (version_compare(change.version, kept_state.died) > 0)
        kept_state.died = change.version;
    *kept = true;
    struct conflicting conflicting = {0, &local, RULING_LOCAL};
    struct stamp stamp = {&local, settlement, entity->merged ? &kept_state : NULL};
    return settling_record_conflicts(target, statement, message, &conflicting, 1, error) &&
           settling_stamp(target, entity, &stamp, 1, error);
}

static bool letter_becomes(struct pg_target *target, const char *id, const char *state, struct error *error)
{
    const char *parameters[] = {id, state};
    PG_RESULT result = pg_query(&target->session, "letter_ended", 2, parameters, error);
    return result != NULL;
}

bool letter_ended(struct pg_target *target, const struct waiting *waiting, const struct tally *tally, struct error *error)
{
    return letter_becomes(target, waiting->id, tally->applied + tally->kept > 0 ? "released" : "superseded", error);
}

static bool letter_again(struct pg_target *target, const char *id, const struct error *reason, struct error *error)
{
    const char *parameters[] = {id, reason->code[0] ? reason->code : NULL, reason->text, fault_name(reason->fault)};
    PG_RESULT result = pg_query(&target->session, "letter_again", 4, parameters, error);
    return result != NULL;
}

/* By another row: the two may wait for each other. */
static bool is_blocked(const struct error *error)
{
    return is_code(error, "23503") || is_code(error, "23505") || is_code(error, "23P01");
}

bool is_of_session(const struct error *error)
{
    return error->fault == FAULT_CONNECTION || is_code(error, "26000");
}

/* One transaction of letters. */
struct attempt {
    bool more;    /* others may be due */
    bool blocked; /* some by another row */
    int held;     /* by others' locks; so many have waited for them: */
    struct held {
        const char *id;
        struct error reason;
    } waited[PATIENCE];
};

/* One letter, under a savepoint: what fails leaves nothing behind but its next attempt. */
static bool try_letter(struct pg_target *target, const struct waiting *waiting, struct attempt *attempt, struct error *error)
{
    struct tally tally = {0};
    struct error failed = {0};
    bool role_is_origin = target->role_is_origin;
    target_forget_checks(target);
    if (!pg_execute(&target->session, "savepoint letter", error))
        return false;
    bool good = target_apply_rows(target, &waiting->message, 0, 1, APPLY_GUARDED, &tally, &failed) &&
                foreign_keys_check(target, NULL, &failed) &&
                pg_execute(&target->session, "set constraints all immediate", &failed);
    if (good)
        return pg_execute(&target->session, "release savepoint letter", error) &&
               letter_ended(target, waiting, &tally, error);
    *error = failed;
    if (is_of_session(&failed))
        return false;
    target_forget_checks(target);
    target->role_is_origin = role_is_origin;
    if (!pg_execute(&target->session, "rollback to savepoint letter", error))
        return false;
    bool kept = false;
    *error = (struct error){0};
    if (waiting->message.op == CHANGE_DELETED && is_code(&failed, "23503") &&
        !keep_parent(target, &waiting->message, &kept, error)) {
        if (is_of_session(error))
            return false;
        failed = *error;
        kept = false;
        if (!pg_execute(&target->session, "rollback to savepoint letter", error))
            return false;
    }
    if (!pg_execute(&target->session, "release savepoint letter", error))
        return false;
    attempt->blocked = attempt->blocked || (!kept && is_blocked(&failed));
    if (failed.fault == FAULT_CONTENTION && attempt->held < PATIENCE) {
        attempt->waited[attempt->held++] = (struct held){waiting->id, failed};
        return attempt->held < PATIENCE || pg_execute(&target->session, "set local lock_timeout = 1", error);
    }
    return kept ? letter_becomes(target, waiting->id, "settled", error) : letter_again(target, waiting->id, &failed, error);
}

/* Until the transaction ends. */
static bool be_patient(struct pg_target *target, struct error *error)
{
    return pg_send_ahead(&target->session, "letter_patience", 0, NULL, error);
}

static bool try_letters(struct pg_target *target, bool hurry, struct attempt *attempt, struct error *error)
{
    char limit[16];
    snprintf(limit, sizeof limit, "%d", LETTERS_AT_ONCE);
    const char *parameters[] = {hurry ? "true" : "false", limit};
    if (!be_patient(target, error))
        return false;
    PG_RESULT letters = pg_query(&target->session, "letters_due", 2, parameters, error);
    if (letters == NULL)
        return false;
    int count = PQntuples(letters);
    attempt->more = count == LETTERS_AT_ONCE;
    for (int row = 0; row < count; row++) {
        struct waiting waiting;
        struct error unreadable;
        if (!letter_read(target, letters, row, &waiting, &unreadable)) {
            const char *id = arena_string(&target->arena, pg_value(letters, row, 0));
            if (!letter_again(target, id, &unreadable, error))
                return false;
            continue;
        }
        /* Since it came, no deletion of its row was forgotten; before, one may have been. */
        target->horizon_us = pg_integer(letters, row, 3);
        if (!try_letter(target, &waiting, attempt, error))
            return false;
    }
    /* Behind those that have not waited: the next time these do. */
    for (int i = 0; i < attempt->held; i++)
        if (!letter_again(target, attempt->waited[i].id, &attempt->waited[i].reason, error))
            return false;
    return true;
}

bool letters_retry(struct target *port, bool hurry, struct retried *left, struct error *error)
{
    struct pg_target *target = (struct pg_target *)port;
    struct attempt attempt = {0};
    int64_t horizon_us = target->horizon_us;
    bool tried = target_begin_in(target, STANDS_ALONE, error) && try_letters(target, hurry, &attempt, error) && be_patient(target, error) &&
                 (!attempt.blocked || circle_retry(target, error));
    target->horizon_us = horizon_us;
    if (!tried)
        return false;
    target_forget_checks(target);
    PG_RESULT next = pg_query(&target->session, "letters_next", 0, NULL, error);
    if (next == NULL || !pg_commit(&target->session, error))
        return false;
    left->next_ms = PQgetisnull(next, 0, 0) ? -1 : (int)pg_integer(next, 0, 0);
    if (left->next_ms >= 0 && left->next_ms < RETRY_AT_LEAST_MS && !attempt.more)
        left->next_ms = RETRY_AT_LEAST_MS;
    left->held = attempt.held >= PATIENCE || (attempt.held > 0 && !attempt.more);
    return true;
}
