#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/postgres/array_text.h"
#include "adapters/postgres/wal_join.h"
#include "adapters/postgres/wal_reader_private.h"
#include "bridge/base/log.h"
#include "bridge/message/codec.h"

enum {
    SHAPES_MAX = 4096, /* sets of columns that rows have come with */
    LEARNT_BYTES_MAX = 8 << 20, /* of tables, which are told of anew whenever they change */
};

static const char prefix_heartbeat[] = "pgbridge.heartbeat", prefix_correlation[] = "pgbridge.correlation",
                  prefix_traceparent[] = "pgbridge.traceparent", prefix_origin[] = "pgbridge_";

enum outbox_column {
    OUTBOX_TXID, OUTBOX_SEQ, OUTBOX_LAYOUT, OUTBOX_OP, OUTBOX_FIELDS, OUTBOX_TS, OUTBOX_NODE, OUTBOX_BASE_TS, OUTBOX_BASE_NODE,
    OUTBOX_CORRELATION, OUTBOX_TRACEPARENT, OUTBOX_SEEN, OUTBOX_LSN, OUTBOX_COLUMNS
};
static const char *const outbox_columns[OUTBOX_COLUMNS] = {"txid", "seq", "layout", "op", "fields", "ts", "node", "base_ts", "base_node",
                                                           "correlation", "traceparent", "seen", "lsn"};

/* ---- joining the changes of one key ---- */

static uint64_t key_hash(const struct wal_entity *entity, const struct text *values)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)entity->id;
    for (size_t i = 0; i < entity->layout->key_count; i++) {
        for (size_t j = 0; j < values[i].length; j++)
            hash = (hash ^ (unsigned char)values[i].data[j]) * UINT64_C(1099511628211);
        hash = (hash ^ 0x100) * UINT64_C(1099511628211);
    }
    return hash | 1;
}

static bool same_key(const struct wal_entity *entity, const struct text *a, const struct text *b)
{
    for (size_t i = 0; i < entity->layout->key_count; i++)
        if (!text_equal(a[i], b[i]))
            return false;
    return true;
}

/* The slot of this key among the transaction's rows in the chunk, or the free one where it belongs. */
static struct key_slot *find_slot(struct wal_reader *reader, const struct wal_entity *entity, const struct text *values, uint64_t hash)
{
    for (size_t at = hash & (KEY_SLOTS - 1);; at = (at + 1) & (KEY_SLOTS - 1)) {
        struct key_slot *slot = &reader->slots[at];
        if (slot->stamp != reader->stamp)
            return slot;
        size_t i = reader->start + slot->place;
        if (slot->hash == hash && reader->chunk->rows[i].entity == entity && same_key(entity, reader->chunk->changes[i].values, values))
            return slot;
    }
}

/* ---- shapes ---- */

static bool shape_layout(struct wal_reader *reader, struct relation *relation, const uint64_t lacks[MASK_WORDS], const struct layout **layout,
                         struct error *error)
{
    for (struct shape *shape = relation->shapes; shape != NULL; shape = shape->next)
        if (memcmp(shape->lacks, lacks, sizeof shape->lacks) == 0) {
            *layout = &shape->layout;
            return true;
        }
    if (reader->shape_count++ == SHAPES_MAX)
        return error_set(error, FAULT_CONTENTION, NULL, "rows have come with more than %d sets of columns: reading anew", SHAPES_MAX);
    const struct layout *whole = relation->entity->layout;
    struct shape *shape = arena_take(&reader->arena, sizeof *shape);
    struct text *fields = arena_take_array(&reader->arena, whole->field_count, sizeof *fields);
    memcpy(shape->lacks, lacks, sizeof shape->lacks);
    shape->layout = *whole;
    shape->layout.fields = fields;
    shape->layout.field_count = 0;
    for (size_t i = 0; i < whole->field_count; i++)
        if (!(lacks[i / 64] & UINT64_C(1) << i % 64))
            fields[shape->layout.field_count++] = whole->fields[i];
    shape->next = relation->shapes;
    relation->shapes = shape;
    *layout = &shape->layout;
    return true;
}

/* A change's value of a field of the whole row; NULL when it lacks it. */
static const struct text *value_of(const struct change *change, const struct layout *whole, size_t field)
{
    if (change->op == CHANGE_DELETED)
        return field < whole->key_count ? &change->values[field] : NULL;
    if (change->layout == whole)
        return &change->values[field];
    for (size_t i = 0; i < change->layout->field_count; i++)
        if (change->layout->fields[i].data == whole->fields[field].data)
            return &change->values[i];
    return NULL;
}

/* ---- parts of a transaction ---- */

/* Takes out what was joined, and remembers the keys of a part that is followed by another. */
static void tidy(struct wal_reader *reader, bool part)
{
    struct wal_chunk *chunk = reader->chunk;
    size_t kept = reader->start;
    chunk->captured += chunk->count - reader->start;
    for (size_t i = reader->start; i < chunk->count; i++) {
        if (chunk->changes[i].values == NULL)
            continue;
        if (part && chunk->rows[i].entity != NULL)
            wal_keys_add(&reader->keys, key_hash(chunk->rows[i].entity, chunk->changes[i].values));
        chunk->changes[kept] = chunk->changes[i];
        chunk->rows[kept++] = chunk->rows[i];
    }
    chunk->count = kept;
    reader->stamp++;
}

/* The transaction gets a chunk for itself, and what was there before goes its way. */
static bool split_off(struct wal_reader *reader, struct error *error)
{
    struct wal_chunk *full = reader->chunk, *fresh;
    size_t from = reader->start, count = full->count;
    pthread_mutex_lock(&reader->mutex);
    fresh = wal_chunk_new(reader);
    pthread_mutex_unlock(&reader->mutex);
    for (size_t i = from; i < count; i++) {
        struct wal_row *row;
        struct change *change = wal_add_change(fresh, &row);
        *change = full->changes[i];
        *row = full->rows[i];
        if (change->values != NULL)
            wal_change_move(&fresh->arena, row, change);
    }
    reader->transaction.said_length = 0;
    fresh->bytes = full->bytes - reader->start_bytes;
    full->count = from;
    full->bytes = reader->start_bytes;
    full->open = false;
    pthread_mutex_lock(&reader->mutex);
    wal_enqueue(reader, full);
    bool room = wal_await_room(reader, error);
    reader->chunk = fresh;
    reader->busy = true;
    pthread_mutex_unlock(&reader->mutex);
    wal_begin_in_chunk(reader);
    reader->start = reader->start_bytes = 0;
    return room;
}

/* A transaction that is too large goes in parts. */
static bool finish_part(struct wal_reader *reader, struct error *error)
{
    struct transaction *transaction = &reader->transaction;
    tidy(reader, true);
    transaction->split = true;
    if (transaction->repeated)
        reader->place.given_us = transaction->repeat_us;
    transaction->repeated = false;
    transaction->repeat_us = reader->place.given_us + 1;
    struct wal_chunk *chunk = reader->chunk;
    transaction->said_length = 0; /* of ours, which have no rows, none is lost */
    chunk->whole = chunk->open = false;
    pthread_mutex_lock(&reader->mutex);
    wal_enqueue(reader, chunk);
    pthread_mutex_unlock(&reader->mutex);
    return wal_have_chunk(reader, error);
}

/* What a row takes of the chunk: nulls are not for nothing. */
static size_t row_cost(const struct layout *layout, size_t bytes)
{
    return bytes + layout->field_count * sizeof(struct text);
}

static bool make_room(struct wal_reader *reader, const struct layout *layout, size_t value_bytes, struct error *error)
{
    const struct wal_chunk *chunk = reader->chunk;
    size_t bytes = row_cost(layout, value_bytes);
    /* An update of a key is two. */
    bool full = chunk->count + 2 > LIMIT_BATCH_ROWS || (chunk->count > 0 && chunk->bytes + bytes > LIMIT_BATCH_BYTES);
    if (full && reader->start > 0 && !split_off(reader, error))
        return false;
    chunk = reader->chunk;
    full = chunk->count + 2 > LIMIT_BATCH_ROWS || (chunk->count > 0 && chunk->bytes + bytes > LIMIT_BATCH_BYTES);
    return !full || finish_part(reader, error);
}

/* ---- rows ---- */

static struct text label_in_chunk(struct wal_reader *reader, const char *label, struct text *copy)
{
    if (label[0] != '\0' && text_is_null(*copy))
        *copy = arena_copy(&reader->chunk->arena, text_from(label));
    return label[0] != '\0' ? *copy : TEXT_NULL;
}

/* The first row that counts gives the transaction its time: later than any before, whatever the clock says. */
static void give_time(struct wal_reader *reader)
{
    struct transaction *transaction = &reader->transaction;
    if (transaction->given_us != 0)
        return;
    transaction->given_us = transaction->commit_us > reader->place.given_us ? transaction->commit_us : reader->place.given_us + 1;
    reader->place.given_us = transaction->given_us;
}

/* Puts a change into the chunk, in the place of an earlier one of its key in this transaction. values has the whole row's, and lacks what of
 * it is missing; of a deletion the key's alone. */
static bool put_change(struct wal_reader *reader, struct relation *relation, enum change_op op, struct text *values, uint64_t lacks[MASK_WORDS],
                       bool moved, size_t bytes, struct error *error)
{
    const struct wal_entity *entity = relation->entity;
    const struct layout *whole = entity->layout;
    struct transaction *transaction = &reader->transaction;
    struct wal_chunk *chunk = reader->chunk;
    give_time(reader);
    uint64_t hash = key_hash(entity, values);
    struct key_slot *slot = find_slot(reader, entity, values, hash);
    struct change *before = slot->stamp == reader->stamp ? &chunk->changes[reader->start + slot->place] : NULL;
    if (before != NULL) {
        if (op != CHANGE_DELETED)
            op = before->op == CHANGE_CREATED ? CHANGE_CREATED : CHANGE_UPDATED;
        for (size_t i = 0; op != CHANGE_DELETED && i < whole->field_count; i++) {
            const struct text *known = lacks[i / 64] & UINT64_C(1) << i % 64 ? value_of(before, whole, i) : NULL;
            if (known != NULL) {
                values[i] = *known;
                lacks[i / 64] &= ~(UINT64_C(1) << i % 64);
            }
        }
        /* What the one before lacked of a key that is new, this one lacks. */
        moved = moved || chunk->rows[reader->start + slot->place].made;
        before->values = NULL;
    }
    const struct layout *layout = whole;
    bool lost = false;
    if (op != CHANGE_DELETED) {
        bool partial = false;
        for (size_t i = 0; i < whole->field_count; i++) {
            bool absent = lacks[i / 64] & UINT64_C(1) << i % 64;
            partial = partial || absent;
            lost = lost || (absent && !entity->generated[i]);
        }
        if (partial && !shape_layout(reader, relation, lacks, &layout, error))
            return false;
        size_t kept = 0;
        for (size_t i = 0; partial && i < whole->field_count; i++)
            if (!(lacks[i / 64] & UINT64_C(1) << i % 64))
                values[kept++] = values[i];
    }
    struct wal_row *row;
    struct change *change = wal_add_change(chunk, &row);
    *slot = (struct key_slot){.hash = hash, .stamp = reader->stamp, .place = chunk->count - 1 - reader->start};
    int64_t given_us = transaction->given_us;
    if (transaction->split && wal_keys_have(&reader->keys, hash)) {
        given_us = transaction->repeat_us;
        transaction->repeated = true;
    }
    *change = (struct change){
        .layout = layout,
        .op = op,
        .values = values,
        .version = {given_us, reader->node},
        .correlation = label_in_chunk(reader, transaction->correlation, &reader->chunk_correlation),
        .traceparent = label_in_chunk(reader, transaction->traceparent, &reader->chunk_traceparent),
    };
    *row = (struct wal_row){
        .entity = entity,
        .commit_lsn = transaction->commit_lsn,
        .commit_us = transaction->commit_us,
        .xid = transaction->xid,
        .given_us = given_us,
        .later_us = given_us - transaction->given_us,
        .lacks = lost,
        .made = lost && (moved || relation->older),
    };
    if (bytes > LIMIT_ROW_BYTES)
        row->bytes = bytes;
    chunk->bytes += row_cost(whole, bytes);
    return true;
}

static const struct pgoutput_value *value_at(const struct pgoutput_tuple *tuple, int column)
{
    return column >= 0 && (size_t)column < tuple->count ? &tuple->values[column] : NULL;
}

/* The key's values of a row as it was or is. */
static bool read_key(const struct relation *relation, const struct pgoutput_tuple *tuple, const struct pgoutput_tuple *old, struct text *key,
                     struct error *error)
{
    for (size_t i = 0; i < relation->entity->layout->key_count; i++) {
        const struct pgoutput_value *value = value_at(tuple, relation->columns[i]);
        if (value != NULL && value->presence == PGOUTPUT_UNCHANGED)
            value = value_at(old, relation->columns[i]);
        if (value == NULL || value->presence != PGOUTPUT_TEXT) {
            error_set(error, FAULT_OPERATOR, NULL, "entity \"%.*s\": the log of its table does not tell the key of a row",
                      TEXT_PRINTF(relation->entity->layout->entity));
            return error_hint(error, "its replica identity must have the key: \"pgbridge check\" says how to mend it; what was written before that "
                                     "can only be left out, by dropping the slot: bridge.gaps then says from where to where");
        }
        key[i] = value->text;
    }
    return true;
}

static void copy_key(struct arena *arena, const struct layout *layout, const struct text *key, struct text *values)
{
    for (size_t i = 0; i < layout->key_count; i++)
        values[i] = arena_copy(arena, key[i]);
}

static bool read_deletion(struct wal_reader *reader, struct relation *relation, const struct pgoutput_tuple *old, struct error *error)
{
    const struct layout *whole = relation->entity->layout;
    struct text key[LIMIT_KEY_FIELDS];
    uint64_t lacks[MASK_WORDS] = {0};
    if (!read_key(relation, old, old, key, error))
        return false;
    size_t bytes = 0;
    for (size_t i = 0; i < whole->key_count; i++)
        bytes += key[i].length;
    if (!make_room(reader, whole, bytes, error))
        return false;
    struct text *values = arena_take_array(&reader->chunk->arena, whole->key_count, sizeof *values);
    copy_key(&reader->chunk->arena, whole, key, values);
    return put_change(reader, relation, CHANGE_DELETED, values, lacks, false, bytes, error);
}

static bool read_row(struct wal_reader *reader, struct relation *relation, enum change_op op, const struct pgoutput_message *message, bool moved,
                     struct error *error)
{
    const struct layout *whole = relation->entity->layout;
    struct text key[LIMIT_KEY_FIELDS];
    if (!read_key(relation, &message->row, &message->old, key, error))
        return false;
    size_t bytes = 0;
    for (size_t i = 0; i < message->row.count; i++) {
        const struct pgoutput_value *value = &message->row.values[i];
        if (value->presence == PGOUTPUT_UNCHANGED)
            value = value_at(&message->old, (int)i);
        bytes += value != NULL ? value->text.length : 0;
    }
    if (!make_room(reader, whole, bytes, error))
        return false;
    struct arena *arena = &reader->chunk->arena;
    struct text *values = arena_take_array(arena, whole->field_count, sizeof *values);
    uint64_t lacks[MASK_WORDS] = {0};
    copy_key(arena, whole, key, values);
    for (size_t i = whole->key_count; i < whole->field_count; i++) {
        const struct pgoutput_value *value = value_at(&message->row, relation->columns[i]);
        if (value != NULL && value->presence == PGOUTPUT_UNCHANGED && message->old_is_whole)
            value = value_at(&message->old, relation->columns[i]);
        if (value == NULL || value->presence == PGOUTPUT_UNCHANGED || bytes > LIMIT_ROW_BYTES)
            lacks[i / 64] |= UINT64_C(1) << i % 64;
        else
            values[i] = arena_copy(arena, value->text);
    }
    return put_change(reader, relation, op, values, lacks, moved, bytes, error);
}

/* ---- the outbox's rows ---- */

static int64_t number_of(struct text text)
{
    char digits[24] = "";
    snprintf(digits, sizeof digits, "%.*s", TEXT_PRINTF(text));
    return strtoll(digits, NULL, 10);
}

static bool read_outbox(struct wal_reader *reader, struct relation *relation, const struct pgoutput_tuple *tuple, struct error *error)
{
    struct text columns[OUTBOX_COLUMNS] = {{0}};
    size_t bytes = 0;
    for (size_t i = 0; i < OUTBOX_COLUMNS; i++) {
        const struct pgoutput_value *value = value_at(tuple, relation->columns[i]);
        if (value != NULL && value->presence == PGOUTPUT_TEXT)
            columns[i] = value->text;
        bytes += columns[i].length;
    }
    if (!text_is_null(columns[OUTBOX_LSN])) /* put aside: the log has told of it */
        return true;
    const struct layout *layout = pg_layouts_find(&reader->mapping->layouts, (int32_t)number_of(columns[OUTBOX_LAYOUT]));
    if (layout == NULL) /* an entity was mapped anew while we ran */
        return error_set(error, FAULT_CONTENTION, NULL, "the log has a row of an entity that was mapped since it is read: reading anew");
    if (!wal_have_chunk(reader, error) || !make_room(reader, layout, bytes, error))
        return false;
    struct arena *arena = &reader->chunk->arena;
    char op = columns[OUTBOX_OP].length > 0 ? columns[OUTBOX_OP].data[0] : 'u';
    struct wal_row *row;
    struct change *change = wal_add_change(reader->chunk, &row);
    *change = (struct change){
        .layout = layout,
        .op = op == 'd' ? CHANGE_DELETED : op == 'c' ? CHANGE_CREATED : CHANGE_UPDATED,
        .version = {number_of(columns[OUTBOX_TS]), arena_copy(arena, columns[OUTBOX_NODE])},
        .base = {number_of(columns[OUTBOX_BASE_TS]), arena_copy(arena, columns[OUTBOX_BASE_NODE])},
        .correlation = arena_copy(arena, columns[OUTBOX_CORRELATION]),
        .traceparent = arena_copy(arena, columns[OUTBOX_TRACEPARENT]),
    };
    if (text_is_null(change->version.node))
        change->version.node = reader->node;
    if (!codec_decode_seen(columns[OUTBOX_SEEN], arena, &change->seen, error))
        return false;
    *row = (struct wal_row){.commit_lsn = reader->transaction.commit_lsn, .outbox_txid = (uint64_t)number_of(columns[OUTBOX_TXID]),
                            .outbox_seq = number_of(columns[OUTBOX_SEQ])};
    struct text *values = arena_take_array(arena, change_value_count(change), sizeof *values);
    reader->chunk->bytes += row_cost(layout, bytes);
    change->values = values;
    if (bytes > LIMIT_ROW_BYTES) {
        row->bytes = bytes;
        return true;
    }
    if (!array_text_read(arena_string(arena, columns[OUTBOX_FIELDS]), columns[OUTBOX_FIELDS].length, change_value_count(change), values))
        return error_set(error, FAULT_BUG, NULL, "an outbox row does not match its layout %" PRId32, layout->id);
    return true;
}

/* ---- messages ---- */

static struct relation *find_relation(struct wal_reader *reader, uint32_t number)
{
    if (reader->relation != NULL && reader->relation->number == number)
        return reader->relation;
    for (size_t i = 0; i < reader->relation_count; i++)
        if (reader->relations[i].number == number)
            return reader->relation = &reader->relations[i];
    return NULL;
}

static int find_column(const struct pgoutput_message *message, struct text name)
{
    for (size_t i = 0; i < message->column_count; i++)
        if (text_equal(message->columns[i].name, name))
            return (int)i;
    return -1;
}

static void log_passed_over(struct text schema, struct text table)
{
    char schema_word[160], table_word[160];
    log_event(LOG_LEVEL_WARNING, "passed_over", "schema=%s table=%s reason=\"the log tells of rows of a table that is not mapped, or cannot be read any more\"",
              log_value(schema, schema_word, sizeof schema_word), log_value(table, table_word, sizeof table_word));
}

static bool learn_relation(struct wal_reader *reader, const struct pgoutput_message *message, struct error *error)
{
    struct relation *relation = find_relation(reader, message->relation);
    if (reader->arena.used_bytes > LEARNT_BYTES_MAX)
        return error_set(error, FAULT_CONTENTION, NULL, "the log has told of many changes of tables: reading anew");
    if (relation == NULL) {
        if (reader->relation_count == RELATIONS_MAX)
            return error_set(error, FAULT_CONTENTION, NULL, "the log has told of more than %d tables: reading anew", RELATIONS_MAX);
        relation = &reader->relations[reader->relation_count++];
    }
    *relation = (struct relation){.number = message->relation};
    bool own = text_equal(message->schema, TEXT_LITERAL("bridge"));
    if (own && text_equal(message->name, TEXT_LITERAL("outbox"))) {
        relation->kind = RELATION_OUTBOX;
        relation->columns = arena_take_array(&reader->arena, OUTBOX_COLUMNS, sizeof *relation->columns);
        for (size_t i = 0; i < OUTBOX_COLUMNS; i++)
            relation->columns[i] = find_column(message, text_from(outbox_columns[i]));
        return true;
    }
    if (own && text_equal(message->name, TEXT_LITERAL("capture_switch"))) {
        relation->kind = RELATION_SWITCH;
        relation->columns = arena_take_array(&reader->arena, 1, sizeof *relation->columns);
        relation->columns[0] = find_column(message, TEXT_LITERAL("capture"));
        return true;
    }
    atomic_store(&reader->met_table, true);
    relation->entity = wal_mapping_find(reader->mapping, message->relation, message->schema, message->name);
    if (relation->entity == NULL) {
        log_passed_over(message->schema, message->name);
        return true;
    }
    relation->kind = RELATION_ENTITY;
    size_t fields = relation->entity->layout->field_count;
    relation->columns = arena_take_array(&reader->arena, fields, sizeof *relation->columns);
    for (size_t i = 0; i < fields; i++) {
        relation->columns[i] = find_column(message, relation->entity->columns[i]);
        relation->older = relation->older || (relation->columns[i] < 0 && !relation->entity->generated[i]);
    }
    return true;
}

static bool read_update(struct wal_reader *reader, struct relation *relation, const struct pgoutput_message *message, struct error *error)
{
    struct text old_key[LIMIT_KEY_FIELDS], key[LIMIT_KEY_FIELDS];
    if (message->old.count == 0)
        return read_row(reader, relation, CHANGE_UPDATED, message, false, error);
    if (!read_key(relation, &message->old, &message->old, old_key, error) || !read_key(relation, &message->row, &message->old, key, error))
        return false;
    if (same_key(relation->entity, old_key, key))
        return read_row(reader, relation, CHANGE_UPDATED, message, false, error);
    /* A new key is the old key's end and another row's beginning. */
    return read_deletion(reader, relation, &message->old, error) && read_row(reader, relation, CHANGE_CREATED, message, true, error);
}

static bool read_rows(struct wal_reader *reader, struct relation *relation, const struct pgoutput_message *message, struct error *error)
{
    if (message->kind == PGOUTPUT_INSERT)
        return read_row(reader, relation, CHANGE_CREATED, message, false, error);
    if (message->kind == PGOUTPUT_UPDATE)
        return read_update(reader, relation, message, error);
    return read_deletion(reader, relation, &message->old, error);
}

static bool read_change(struct wal_reader *reader, const struct pgoutput_message *message, struct error *error)
{
    struct transaction *transaction = &reader->transaction;
    struct relation *relation = find_relation(reader, message->relation);
    if (relation == NULL)
        return error_set(error, FAULT_BUG, NULL, "the log has a row of a table that it has not told of");
    if (transaction->skipped || relation->kind == RELATION_OTHER)
        return true;
    if (relation->kind == RELATION_OUTBOX)
        return message->kind != PGOUTPUT_INSERT || read_outbox(reader, relation, &message->row, error);
    if (relation->kind == RELATION_SWITCH) {
        const struct pgoutput_value *value = message->kind == PGOUTPUT_INSERT ? value_at(&message->row, relation->columns[0]) : NULL;
        transaction->switched = transaction->switched || value != NULL;
        if (value != NULL)
            transaction->captures = text_equal(value->text, TEXT_LITERAL("wal"));
        return true;
    }
    if (transaction->ours || !reader->place.captures)
        return true;
    if (!wal_have_chunk(reader, error))
        return false;
    bool good = read_rows(reader, relation, message, error);
    if (good || error->fault != FAULT_OPERATOR || relation->entity->active)
        return good;
    /* Nobody can mend an entity that was taken out. */
    log_passed_over(relation->entity->schema, relation->entity->table);
    return true;
}

/* What was written before the first label has it as well: an application may give it at any time. */
static void label_rows(struct wal_reader *reader, const char *label, struct text content, char *out)
{
    /* Anybody may write one: what cannot travel is no label. */
    if (!text_is_utf8(content) || memchr(content.data, '\0', content.length) != NULL)
        return;
    bool first = out[0] == '\0';
    snprintf(out, LABEL_BYTES_MAX + 1, "%.*s", TEXT_PRINTF(content));
    text_trim_cut(out);
    bool traces = label == prefix_traceparent;
    struct text *copy = traces ? &reader->chunk_traceparent : &reader->chunk_correlation;
    *copy = TEXT_NULL;
    if (!first || out[0] == '\0' || reader->chunk == NULL)
        return;
    struct text text = label_in_chunk(reader, out, copy);
    for (size_t i = reader->start; i < reader->chunk->count; i++)
        if (reader->chunk->rows[i].entity != NULL)
            *(traces ? &reader->chunk->changes[i].traceparent : &reader->chunk->changes[i].correlation) = text;
}

static bool read_message(struct wal_reader *reader, const struct pgoutput_message *message, struct error *error)
{
    struct transaction *transaction = &reader->transaction;
    if (!transaction->running || !message->transactional || transaction->skipped)
        return true;
    if (text_equal(message->name, text_from(prefix_correlation)))
        label_rows(reader, prefix_correlation, message->content, transaction->correlation);
    else if (text_equal(message->name, text_from(prefix_traceparent)))
        label_rows(reader, prefix_traceparent, message->content, transaction->traceparent);
    else if (text_equal(message->name, text_from(prefix_heartbeat)) && message->content.length <= LIMIT_HEARTBEAT_BYTES) {
        /* Anybody may say one, and as often as he likes. */
        if (!wal_have_chunk(reader, error))
            return false;
        memcpy(reader->said, message->content.data, message->content.length);
        transaction->said_length = message->content.length;
    }
    return true;
}

static void begin_transaction(struct wal_reader *reader, const struct pgoutput_message *message)
{
    reader->transaction = (struct transaction){
        .running = true,
        .skipped = message->lsn < reader->place.lsn,
        .commit_lsn = message->lsn,
        .commit_us = message->committed_us,
        .xid = message->xid,
    };
    reader->stamp++;
}

static void commit_transaction(struct wal_reader *reader, uint64_t end_lsn)
{
    struct transaction *transaction = &reader->transaction;
    struct wal_chunk *chunk = reader->chunk;
    if (transaction->repeated)
        reader->place.given_us = transaction->repeat_us;
    if (transaction->switched)
        reader->place.captures = transaction->captures;
    if (end_lsn > reader->place.lsn)
        reader->place.lsn = end_lsn;
    wal_keys_clear(&reader->keys);
    if (chunk != NULL) {
        tidy(reader, false);
        chunk->whole = true;
        chunk->place = reader->place;
        /* Nothing that was committed after a heartbeat comes before it, and nothing of the other mode with what was before the switch. */
        bool said = transaction->said_length > 0;
        chunk->heartbeat = said ? arena_copy(&chunk->arena, (struct text){reader->said, transaction->said_length}) : TEXT_NULL;
        chunk->bytes += transaction->said_length;
        chunk->ends = said || transaction->switched;
        chunk->open = !chunk->ends && chunk->count < LIMIT_BATCH_ROWS / 2 &&
                      chunk->bytes < LIMIT_BATCH_BYTES / 2;
    }
    pthread_mutex_lock(&reader->mutex);
    if (chunk != NULL)
        wal_enqueue(reader, chunk);
    else if (reader->last != NULL && reader->last->whole && !transaction->switched)
        reader->last->place = reader->place;
    reader->read = reader->place;
    pthread_mutex_unlock(&reader->mutex);
    reader->transaction = (struct transaction){0};
}

bool wal_read_data(struct wal_reader *reader, struct text bytes, struct error *error)
{
    struct pgoutput_message message;
    if (!pgoutput_decode(&reader->decoder, bytes, &message, error))
        return false;
    switch (message.kind) {
    case PGOUTPUT_BEGIN:
        begin_transaction(reader, &message);
        return true;
    case PGOUTPUT_COMMIT:
        commit_transaction(reader, message.lsn);
        return true;
    case PGOUTPUT_ORIGIN:
        reader->transaction.ours = message.name.length >= sizeof prefix_origin - 1 &&
                                   memcmp(message.name.data, prefix_origin, sizeof prefix_origin - 1) == 0;
        return true;
    case PGOUTPUT_RELATION:
        return learn_relation(reader, &message, error);
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        return read_change(reader, &message, error);
    case PGOUTPUT_MESSAGE:
        return read_message(reader, &message, error);
    case PGOUTPUT_TYPE:
    case PGOUTPUT_TRUNCATE: /* a trigger has said which rows */
        return true;
    }
    return true;
}
