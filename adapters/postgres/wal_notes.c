#include "adapters/postgres/wal_notes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/postgres/array_text.h"
#include "adapters/postgres/parameters.h"
#include "adapters/postgres/wal_join.h"
#include "bridge/base/memory.h"
#include "bridge/message/codec.h"

enum { VISIBLE_WAIT_MS = 10000, AWAIT_MS = 30000 };

const char *wal_lsn_text(char out[static 24], uint64_t lsn)
{
    snprintf(out, 24, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    return out;
}

struct text wal_key_text(struct arena *arena, const struct change *change)
{
    return change->layout->key_count == 1 ? change->values[0] : array_text_write(arena, change->values, change->layout->key_count);
}

/* Texts of an array literal's numbers and names, one column for each parameter of wal_note. */
struct columns {
    char *texts[8];
    size_t sizes[8];
    FILE *out[8];
};

enum { NOTE_ENTITY, NOTE_KEY, NOTE_OP, NOTE_COMMIT_US, NOTE_TS, NOTE_LSN, NOTE_XID, NOTE_LATER, NOTE_COLUMNS };

static void columns_open(struct columns *columns)
{
    for (size_t i = 0; i < NOTE_COLUMNS; i++) {
        columns->out[i] = open_memstream(&columns->texts[i], &columns->sizes[i]);
        if (columns->out[i] == NULL)
            memory_exhausted(__func__);
    }
}

static void columns_close(struct columns *columns)
{
    for (size_t i = 0; i < NOTE_COLUMNS; i++) {
        fputc('}', columns->out[i]);
        fclose(columns->out[i]);
    }
}

static void columns_free(struct columns *columns)
{
    for (size_t i = 0; i < NOTE_COLUMNS; i++)
        free(columns->texts[i]);
}

static void put_note(struct columns *columns, char mark, const struct wal_row *row, const struct change *change)
{
    char lsn[24];
    for (size_t i = 0; i < NOTE_COLUMNS; i++)
        fputc(mark, columns->out[i]);
    fprintf(columns->out[NOTE_ENTITY], "%d", row->entity->id);
    fputc(change->op == CHANGE_DELETED ? 'd' : change->op == CHANGE_CREATED ? 'c' : 'u', columns->out[NOTE_OP]);
    fprintf(columns->out[NOTE_COMMIT_US], "%" PRId64, row->commit_us);
    fprintf(columns->out[NOTE_TS], "%" PRId64, change->version.timestamp_us);
    fputs(wal_lsn_text(lsn, row->commit_lsn), columns->out[NOTE_LSN]);
    fprintf(columns->out[NOTE_XID], "%" PRIu32, row->xid);
    fprintf(columns->out[NOTE_LATER], "%" PRId64, row->later_us);
}

/* numbers: those that were asked of, in their order. */
static bool take_versions(struct wal_chunk *chunk, const size_t *numbers, size_t count, struct arena *arena, PGresult *result, struct error *error)
{
    for (int i = 0; i < PQntuples(result); i++) {
        size_t number = (size_t)pg_integer(result, i, 0);
        if (number < 1 || number > count)
            return error_set(error, FAULT_BUG, NULL, "there is no change %zu of %zu that has a version", number, count);
        struct change *change = &chunk->changes[numbers[number - 1]];
        chunk->rows[numbers[number - 1]].held = PQgetisnull(result, i, 1);
        if (chunk->rows[numbers[number - 1]].held)
            continue;
        change->version.timestamp_us = pg_integer(result, i, 1);
        if (!codec_decode_seen(pg_value(result, i, 2), arena, &change->seen, error))
            return false;
    }
    return true;
}

/* Rows with a value that the log does not have travel as a whole, through the outbox: a peer may have another value there, or no such row
 * any more. Those that were written again meanwhile lack it for the moment. */
static bool say_whole(const struct wal_notes *notes, struct wal_chunk *chunk, const size_t *numbers, size_t number_count, struct arena *arena,
                      struct error *error)
{
    enum { ENTITY, KEY, OP, COMMIT_US, XID, TS, BASE_TS, BASE_NODE, SEEN, CORRELATION, TRACEPARENT, COLUMNS };
    size_t count = 0, *rows = arena_take_array(arena, number_count, sizeof *rows);
    for (size_t i = 0; i < number_count; i++) {
        struct wal_row *row = &chunk->rows[numbers[i]];
        row->said = false; /* what was said by an attempt that failed is undone */
        if (row->lacks && row->bytes == 0 && !row->held)
            rows[count++] = numbers[i];
    }
    if (count == 0)
        return true;
    struct text *columns[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++)
        columns[i] = arena_take_array(arena, count, sizeof **columns);
    for (size_t i = 0; i < count; i++) {
        const struct change *change = &chunk->changes[rows[i]];
        const struct wal_row *row = &chunk->rows[rows[i]];
        columns[ENTITY][i] = arena_printf(arena, "%d", row->entity->id);
        columns[KEY][i] = wal_key_text(arena, change);
        columns[OP][i] = text_from(change->op == CHANGE_CREATED ? "c" : "u");
        columns[COMMIT_US][i] = arena_printf(arena, "%" PRId64, row->commit_us);
        columns[XID][i] = arena_printf(arena, "%" PRIu32, row->xid);
        columns[TS][i] = arena_printf(arena, "%" PRId64, change->version.timestamp_us);
        if (!version_is_none(change->base)) {
            columns[BASE_TS][i] = arena_printf(arena, "%" PRId64, change->base.timestamp_us);
            columns[BASE_NODE][i] = change->base.node;
        }
        columns[SEEN][i] = codec_encode_seen(change->seen, arena);
        columns[CORRELATION][i] = change->correlation;
        columns[TRACEPARENT][i] = change->traceparent;
    }
    const char *parameters[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++)
        parameters[i] = parameters_literal(arena, columns[i], count);
    PG_RESULT result = pg_query(notes->session, "wal_say", COLUMNS, parameters, error);
    if (result == NULL)
        return false;
    for (int i = 0; i < PQntuples(result); i++)
        chunk->rows[rows[pg_integer(result, i, 0) - 1]].said = true;
    return true;
}

static void put_name(FILE *out, struct pg_session *session, struct text name)
{
    char *quoted = PQescapeIdentifier(session->connection, name.data, name.length);
    if (quoted == NULL)
        memory_exhausted(__func__);
    fputs(quoted, out);
    PQfreemem(quoted);
}

/* Who locks several of these rows in an order of his own, or holds one for long. */
static bool is_by_locks(const struct error *error)
{
    return text_equal(text_from(error->code), TEXT_LITERAL("40P01")) || text_equal(text_from(error->code), TEXT_LITERAL("55P03"));
}

enum lock { LOCK_WAIT, LOCK_SKIP, LOCK_NONE };

/* How many rows there are of the change's key: locked, locked unless somebody holds it, or only looked for. */
static bool find_row(const struct wal_notes *notes, const struct wal_entity *entity, const struct change *change, enum lock lock, int *count,
                     struct arena *arena, struct error *error)
{
    static const char *const suffixes[] = {[LOCK_WAIT] = " for update", [LOCK_SKIP] = " for update skip locked", [LOCK_NONE] = ""};
    char *sql = NULL;
    size_t size;
    const char *parameters[LIMIT_KEY_FIELDS];
    FILE *out = open_memstream(&sql, &size);
    if (out == NULL)
        memory_exhausted(__func__);
    fputs("select from ", out);
    put_name(out, notes->session, entity->schema);
    fputc('.', out);
    put_name(out, notes->session, entity->table);
    for (size_t i = 0; i < entity->layout->key_count; i++) {
        fputs(i == 0 ? " where " : " and ", out);
        put_name(out, notes->session, entity->columns[i]);
        fprintf(out, " = $%zu", i + 1);
        parameters[i] = arena_string(arena, change->values[i]);
    }
    fputs(suffixes[lock], out);
    fclose(out);
    PG_RESULT result = pg_query_text(notes->session, sql, (int)entity->layout->key_count, parameters, error);
    free(sql);
    *count = result != NULL ? PQntuples(result) : 0;
    return result != NULL;
}

/* Nobody else writes row_version until the transaction ends. */
static bool lock_versions(const struct wal_notes *notes, struct error *error)
{
    if (pg_execute(notes->session, "select pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions'))", error))
        return true;
    /* Fewer rows would wait as long. */
    return is_by_locks(error) ? error_set(error, FAULT_CONTENTION, "40001", "what is applied takes long") : false;
}

/* Rows that lack a value which no peer has either, and are not what the change made of them, perhaps because their table was rewritten: this node
 * says them as they are now, with a version of now. */
static bool say_anew(const struct wal_notes *notes, struct wal_chunk *chunk, const size_t *numbers, size_t count, struct arena *arena,
                     struct error *error)
{
    bool locked = false;
    for (size_t i = 0; i < count; i++) {
        struct wal_row *row = &chunk->rows[numbers[i]];
        if (!row->made || row->said || row->bytes > 0 || row->held)
            continue;
        const struct change *change = &chunk->changes[numbers[i]];
        const char *parameters[] = {arena_string(arena, wal_key_text(arena, change))};
        char sql[64];
        snprintf(sql, sizeof sql, "select bridge.assert_%d($1, false)", row->entity->id);
        int free_count, present = 0;
        locked = locked || lock_versions(notes, error);
        if (!locked || !find_row(notes, row->entity, change, LOCK_SKIP, &free_count, arena, error) ||
            (free_count == 0 && !find_row(notes, row->entity, change, LOCK_NONE, &present, arena, error)))
            return false;
        row->held = present > 0;
        if (row->held)
            continue;
        PG_RESULT result = pg_query_text(notes->session, sql, 1, parameters, error);
        if (result == NULL)
            return false;
    }
    return true;
}

/* The log tells of a commit a moment before anybody sees it, and what is looked up of its rows must be what it wrote. Asks until the answer's first
 * column, whether it is seen, is true. */
static PGresult *ask_when_visible(const struct wal_notes *notes, const char *query, int count, const char *const *parameters, struct error *error)
{
    int64_t deadline = notes->clock->ops->monotonic_ms(notes->clock) + VISIBLE_WAIT_MS;
    for (;;) {
        PGresult *result = pg_query(notes->session, query, count, parameters, error);
        if (result == NULL || pg_boolean(result, 0, 0))
            return result;
        PQclear(result);
        if (notes->clock->ops->monotonic_ms(notes->clock) > deadline) {
            error_set(error, FAULT_CONTENTION, NULL, "a transaction of the log is not seen as committed: reading anew");
            return NULL;
        }
        /* The server sleeps, because our own sleep ends at once when we are to stop. */
        if (!pg_execute(notes->session, "select pg_sleep(0.001)", error))
            return NULL;
    }
}

static bool await_visible(const struct wal_notes *notes, const char *xids, struct error *error)
{
    const char *parameters[] = {xids};
    PG_RESULT result = ask_when_visible(notes, "wal_visible", 1, parameters, error);
    return result != NULL;
}

/* What is in the outbox must be seen to be taken out of it once it is confirmed. */
static bool await_outbox_rows(const struct wal_notes *notes, const struct wal_chunk *chunk, struct arena *arena, struct error *error)
{
    size_t count = 0;
    struct text *xids = arena_take_array(arena, chunk->count, sizeof *xids);
    uint64_t last = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        if (chunk->rows[i].entity != NULL || chunk->rows[i].outbox_txid == last)
            continue;
        last = chunk->rows[i].outbox_txid;
        xids[count++] = arena_printf(arena, "%" PRIu32, (uint32_t)last);
    }
    return count == 0 || await_visible(notes, parameters_literal(arena, xids, count), error);
}

static bool join_updates(const struct wal_notes *notes, struct wal_chunk *chunk, struct arena *arena, struct error *error)
{
    enum { ENTITY, KEY, FIRST_LSN, LAST_LSN, LAST_XID, COLUMNS };
    struct wal_runs runs = wal_runs_find(chunk, arena);
    if (runs.count == 0)
        return true;
    struct text *columns[COLUMNS];
    for (size_t column = 0; column < COLUMNS; column++)
        columns[column] = arena_take_array(arena, runs.count, sizeof **columns);
    for (size_t i = 0; i < runs.count; i++) {
        const struct wal_row *first = &chunk->rows[runs.items[i].first], *last = &chunk->rows[runs.items[i].last];
        char lsn[24];
        columns[ENTITY][i] = arena_printf(arena, "%d", first->entity->id);
        columns[KEY][i] = wal_key_text(arena, &chunk->changes[runs.items[i].first]);
        columns[FIRST_LSN][i] = arena_printf(arena, "%s", wal_lsn_text(lsn, first->commit_lsn));
        columns[LAST_LSN][i] = arena_printf(arena, "%s", wal_lsn_text(lsn, last->commit_lsn));
        columns[LAST_XID][i] = arena_printf(arena, "%" PRIu32, last->xid);
    }
    const char *parameters[COLUMNS];
    for (size_t column = 0; column < COLUMNS; column++)
        parameters[column] = parameters_literal(arena, columns[column], runs.count);
    /* Whoever wrote the row before its last write is seen as well then. */
    if (!await_visible(notes, parameters[LAST_XID], error))
        return false;
    PG_RESULT result = pg_query(notes->session, "wal_written", LAST_XID, parameters, error);
    if (result == NULL)
        return false;
    for (int i = 0; i < PQntuples(result); i++)
        wal_runs_cut(&runs, chunk, (size_t)pg_integer(result, i, 0) - 1, (uint64_t)pg_integer(result, i, 1));
    wal_runs_join(&runs, chunk);
    return true;
}

bool wal_notes_join(const struct wal_notes *notes, struct wal_chunk *chunk, struct error *error)
{
    struct arena scratch;
    arena_init(&scratch, LIMIT_ARENA_BYTES);
    bool good = join_updates(notes, chunk, &scratch, error);
    arena_free(&scratch);
    return good;
}

/* Whether the database has to remember it: a commit says neither that a row is gone nor that its version is another than its time. */
static bool is_to_be_noted(const struct wal_row *row, const struct change *change)
{
    return row->entity != NULL &&
           (change->op == CHANGE_DELETED || change->version.timestamp_us != row->commit_us || row->made);
}

/* Where a transaction ends that begins with the change at from. While triggers write row_version, too, each notes one change. */
static size_t note_end(const struct wal_notes *notes, const struct wal_chunk *chunk, size_t from)
{
    if (!notes->one_by_one)
        return chunk->count;
    size_t end = from;
    while (end < chunk->count && !is_to_be_noted(&chunk->rows[end], &chunk->changes[end]))
        end++;
    return end > from ? end : from + 1;
}

/* The transactions of these changes, as parameters. */
static const char *transactions_of(const struct wal_chunk *chunk, const size_t *numbers, size_t count, struct arena *arena)
{
    size_t found = 0;
    struct text *xids = arena_take_array(arena, count, sizeof *xids);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || chunk->rows[numbers[i]].xid != chunk->rows[numbers[i - 1]].xid)
            xids[found++] = arena_printf(arena, "%" PRIu32, chunk->rows[numbers[i]].xid);
    return parameters_literal(arena, xids, found);
}

/* Leaves of the changes those of which there is anything to say, once they are seen: of most rows nothing is known. */
static bool keep_known(const struct wal_notes *notes, const struct wal_chunk *chunk, size_t *numbers, size_t *count, struct arena *arena, struct error *error)
{
    size_t given = *count;
    struct text *entities = arena_take_array(arena, given, sizeof *entities), *keys = arena_take_array(arena, given, sizeof *keys);
    for (size_t i = 0; i < given; i++) {
        const struct wal_entity *entity = chunk->rows[numbers[i]].entity;
        bool same = i > 0 && chunk->rows[numbers[i - 1]].entity == entity;
        entities[i] = same ? entities[i - 1] : arena_printf(arena, "%d", entity->id);
        keys[i] = wal_key_text(arena, &chunk->changes[numbers[i]]);
    }
    const char *parameters[] = {transactions_of(chunk, numbers, given, arena), parameters_literal(arena, entities, given),
                                parameters_literal(arena, keys, given)};
    PG_RESULT result = ask_when_visible(notes, "wal_known", 3, parameters, error);
    if (result == NULL)
        return false;
    *count = 0;
    for (int i = 0; i < PQntuples(result) && !PQgetisnull(result, i, 1); i++) {
        size_t number = (size_t)pg_integer(result, i, 1);
        if (number <= *count || number > given)
            return error_set(error, FAULT_BUG, NULL, "there is no change %zu of %zu that is known after %zu others", number, given, *count);
        numbers[(*count)++] = numbers[number - 1];
    }
    return true;
}

static bool note_known(const struct wal_notes *notes, struct wal_chunk *chunk, const size_t *numbers, size_t count, struct arena *kept, struct error *error)
{
    struct arena *arena = notes->scratch;
    struct text *keys = arena_take_array(arena, count, sizeof *keys);
    struct columns columns;
    columns_open(&columns);
    for (size_t i = 0; i < count; i++) {
        put_note(&columns, i == 0 ? '{' : ',', &chunk->rows[numbers[i]], &chunk->changes[numbers[i]]);
        keys[i] = wal_key_text(arena, &chunk->changes[numbers[i]]);
    }
    columns_close(&columns);
    const char *parameters[NOTE_COLUMNS];
    for (size_t i = 0; i < NOTE_COLUMNS; i++)
        parameters[i] = columns.texts[i];
    parameters[NOTE_KEY] = parameters_literal(arena, keys, count);
    PG_RESULT result = pg_query(notes->session, "wal_note", NOTE_COLUMNS, parameters, error);
    columns_free(&columns);
    return result != NULL && take_versions(chunk, numbers, count, kept, result, error);
}

/* Waits for the row's application while nothing else is held, and takes the lock of versions only if it is free: who has it may wait for the row. */
static bool await_row(const struct wal_notes *notes, struct wal_row *row, const struct change *change, struct error *error)
{
    int count;
    if (!find_row(notes, row->entity, change, LOCK_WAIT, &count, notes->scratch, error))
        return false;
    PG_RESULT result = pg_query_text(notes->session, "select pg_try_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions'))", 0, NULL, error);
    row->held = result != NULL && !pg_boolean(result, 0, 0);
    return result != NULL;
}

/* In one transaction. Leaves the numbers of those whose rows applications hold, and of what is asked of rows after them. Awaits: the row of one alone. */
static bool note_free(const struct wal_notes *notes, struct wal_chunk *chunk, size_t *numbers, size_t *count, bool awaits, struct arena *kept,
                      struct error *error)
{
    struct arena *arena = notes->scratch;
    arena_reset(arena);
    bool noted = false, lacks = false;
    size_t known_count = *count, *known = arena_take_array(arena, *count, sizeof *known);
    for (size_t i = 0; i < *count; i++) {
        struct change *change = &chunk->changes[numbers[i]];
        struct wal_row *row = &chunk->rows[numbers[i]];
        /* What an attempt that failed has told is undone. */
        change->version.timestamp_us = row->given_us;
        change->base = (struct version){0};
        change->seen = (struct seen){0};
        row->held = false;
        noted = noted || is_to_be_noted(row, change);
        lacks = lacks || row->lacks;
        known[i] = numbers[i];
    }
    /* What is noted is what others of the same rows are asked of. */
    if (!(noted ? await_visible(notes, transactions_of(chunk, numbers, *count, arena), error)
                : keep_known(notes, chunk, known, &known_count, arena, error)))
        return false;
    bool any = known_count > 0 || lacks;
    struct wal_row *first = &chunk->rows[numbers[0]];
    if (any && !(pg_begin_durable(notes->session, error) && (!awaits || await_row(notes, first, &chunk->changes[numbers[0]], error))))
        return false;
    if (first->held)
        return pg_execute(notes->session, "rollback", error);
    if (any && !((known_count == 0 || note_known(notes, chunk, known, known_count, kept, error)) &&
                 say_whole(notes, chunk, numbers, *count, arena, error) && say_anew(notes, chunk, numbers, *count, arena, error) &&
                 pg_commit(notes->session, error)))
        return false;
    size_t held = 0;
    for (size_t i = 0; i < *count; i++)
        if (chunk->rows[numbers[i]].held)
            numbers[held++] = numbers[i];
    *count = held;
    return true;
}

static bool held_all_the_time(const struct wal_row *row, struct error *error)
{
    error_set(error, FAULT_CONTENTION, "55P03", "a row of %.*s.%.*s is held all the time while its version is to be noted: reading anew",
              TEXT_PRINTF(row->entity->schema), TEXT_PRINTF(row->entity->table));
    return error_hint(error, "look in pg_stat_activity for the transactions that write or lock rows of this table");
}

/* Together, and then what is left. Where nothing could be noted the first is awaited, or, when it was others that waited for each other's locks, it is
 * tried in halves: a transaction of each would wait each time for what apply is at. */
static bool note_numbers(const struct wal_notes *notes, struct wal_chunk *chunk, size_t *numbers, size_t count, struct arena *arena, struct error *error)
{
    int64_t moved_ms = notes->clock->ops->monotonic_ms(notes->clock);
    while (count > 0) {
        size_t left = count, noted = 0;
        bool good = note_free(notes, chunk, numbers, &left, false, arena, error);
        if (!good && !(is_by_locks(error) && pg_execute(notes->session, "rollback", error)))
            return false;
        if (!good && count > 1) {
            noted = count / 2;
            if (!note_numbers(notes, chunk, numbers, noted, arena, error))
                return false;
        } else if (left == count) {
            size_t one = 1;
            if (!note_free(notes, chunk, numbers, &one, true, arena, error))
                return false;
            noted = 1 - one;
        }
        int64_t now_ms = notes->clock->ops->monotonic_ms(notes->clock);
        if (noted > 0 || left < count)
            moved_ms = now_ms;
        else if (now_ms - moved_ms > AWAIT_MS)
            return held_all_the_time(&chunk->rows[numbers[0]], error);
        numbers += noted;
        count = left - noted;
    }
    return true;
}

static bool note_changes(const struct wal_notes *notes, struct wal_chunk *chunk, struct arena *arena, struct error *error)
{
    size_t *numbers = arena_take_array(arena, chunk->count, sizeof *numbers);
    for (size_t from = 0, end; from < chunk->count; from = end) {
        size_t count = 0;
        end = note_end(notes, chunk, from);
        for (size_t i = from; i < end; i++)
            if (chunk->rows[i].entity != NULL)
                numbers[count++] = i;
        if (!note_numbers(notes, chunk, numbers, count, arena, error))
            return false;
    }
    return true;
}

bool wal_notes_take(const struct wal_notes *notes, struct wal_chunk *chunk, struct arena *arena, struct error *error)
{
    struct arena scratch;
    arena_init(&scratch, LIMIT_ARENA_BYTES);
    struct wal_notes noting = *notes;
    noting.scratch = &scratch;
    bool good = await_outbox_rows(&noting, chunk, arena, error) && note_changes(&noting, chunk, arena, error);
    arena_free(&scratch);
    return good;
}
