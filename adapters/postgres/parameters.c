#include "adapters/postgres/parameters.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#include "bridge/message/codec.h"

/* PostgreSQL's binary arrays: src/backend/utils/adt/arrayfuncs.c, array_recv. */

struct writer {
    char *bytes;
    size_t length;
};

static void put_int32(struct writer *writer, int32_t value)
{
    uint32_t big = htobe32((uint32_t)value);
    memcpy(writer->bytes + writer->length, &big, sizeof big);
    writer->length += sizeof big;
}

static void put_int64(struct writer *writer, int64_t value)
{
    uint64_t big = htobe64((uint64_t)value);
    memcpy(writer->bytes + writer->length, &big, sizeof big);
    writer->length += sizeof big;
}

static void put_array_head(struct writer *writer, int element_oid, size_t count)
{
    put_int32(writer, 1);
    put_int32(writer, 1); /* may hold nulls */
    put_int32(writer, element_oid);
    put_int32(writer, (int32_t)count);
    put_int32(writer, 1);
}

static void put_text(struct writer *writer, struct text text)
{
    if (text_is_null(text)) {
        put_int32(writer, -1);
        return;
    }
    put_int32(writer, (int32_t)text.length);
    if (text.length > 0)
        memcpy(writer->bytes + writer->length, text.data, text.length);
    writer->length += text.length;
}

enum { ARRAY_HEAD_BYTES = 20, MAX_SCALARS = 10, SPARE_PARAMETERS = 1 };

static void set_parameter(struct parameters *parameters, int index, Oid type, struct writer value)
{
    parameters->types[index] = type;
    parameters->values[index] = value.bytes;
    parameters->lengths[index] = (int)value.length;
    parameters->formats[index] = 1;
}

static struct writer text_array(struct arena *arena, const struct selection *selection, size_t column)
{
    const struct message *message = selection->message;
    size_t bytes = ARRAY_HEAD_BYTES;
    for (size_t i = 0; i < selection->count; i++)
        bytes += 4 + message_row(message, selection->rows[i])[column].length;
    struct writer writer = {arena_take(arena, bytes), 0};
    put_array_head(&writer, OID_TEXT, selection->count);
    for (size_t i = 0; i < selection->count; i++)
        put_text(&writer, message_row(message, selection->rows[i])[column]);
    return writer;
}

struct parameters parameters_make(struct arena *arena, const struct statement *statement,
                                  const struct selection *selection)
{
    const struct message *message = selection->message;
    size_t columns = statement->column_count, n = selection->count;
    struct parameters parameters = {
        .count = (int)columns + MAX_SCALARS,
        .types = arena_take_array(arena, columns + MAX_SCALARS + SPARE_PARAMETERS, sizeof(Oid)),
        .values = arena_take_array(arena, columns + MAX_SCALARS + SPARE_PARAMETERS, sizeof(char *)),
        .lengths = arena_take_array(arena, columns + MAX_SCALARS + SPARE_PARAMETERS, sizeof(int)),
        .formats = arena_take_array(arena, columns + MAX_SCALARS + SPARE_PARAMETERS, sizeof(int)),
    };
    int at = 0;
    for (size_t i = 0; i < columns; i++)
        set_parameter(&parameters, at++, OID_TEXT_ARRAY, text_array(arena, selection, statement->message_index[i]));

    struct writer versions = {arena_take(arena, ARRAY_HEAD_BYTES + 12 * n), 0};
    struct writer base_times = {arena_take(arena, ARRAY_HEAD_BYTES + 12 * n), 0};
    struct writer base_nodes = {arena_take(arena, ARRAY_HEAD_BYTES + (4 + LIMIT_NAME_BYTES) * n), 0};
    /* What the writers had seen, the version they replaced included. */
    struct text *seen = arena_take_array(arena, n, sizeof *seen);
    static const struct write nothing = {0};
    size_t correlation_bytes = ARRAY_HEAD_BYTES, seen_bytes = ARRAY_HEAD_BYTES;
    for (size_t i = 0; i < n; i++) {
        struct write known = message_write(message, selection->rows[i]);
        bool alone = known.seen.count == 0 && (version_is_none(known.base) || text_equal(known.base.node, message->source));
        known.version = nothing.version;
        /* Most rows are written by one node only. */
        if (!alone)
            seen[i] = codec_encode_seen(write_join(&known, &nothing, message->source, arena), arena);
        seen_bytes += 4 + seen[i].length;
    }
    struct text *merges = arena_take_array(arena, n, sizeof *merges);
    for (size_t i = 0; i < n && message->merges != NULL; i++)
        merges[i] = codec_encode_merge(&message->merges[selection->rows[i]], arena);
    struct writer seens = {arena_take(arena, seen_bytes), 0};
    put_array_head(&seens, OID_TEXT, n);
    for (size_t i = 0; i < n; i++) {
        put_text(&seens, seen[i]);
        correlation_bytes += 4 + (message->correlations ? message->correlations[selection->rows[i]].length : 0);
    }
    struct writer correlations = {arena_take(arena, correlation_bytes), 0};
    struct writer locked = {arena_take(arena, ARRAY_HEAD_BYTES + 5 * n), 0};
    put_array_head(&versions, OID_INT8, n);
    put_array_head(&base_times, OID_INT8, n);
    put_array_head(&base_nodes, OID_TEXT, n);
    put_array_head(&correlations, OID_TEXT, n);
    put_array_head(&locked, OID_BOOL, n);
    for (size_t i = 0; i < n; i++) {
        size_t row = selection->rows[i];
        struct version base = message->bases ? message->bases[row] : (struct version){0};
        if (selection->force)
            base = selection->judged[i];
        put_int32(&versions, 8);
        put_int64(&versions, message_version(message, row));
        if (base.timestamp_us == 0 || base.node.length > LIMIT_NAME_BYTES) {
            put_int32(&base_times, -1);
            put_int32(&base_nodes, -1);
        } else {
            put_int32(&base_times, 8);
            put_int64(&base_times, base.timestamp_us);
            put_text(&base_nodes, base.node);
        }
        put_text(&correlations, message->correlations ? message->correlations[row] : TEXT_NULL);
        put_int32(&locked, 1);
        locked.bytes[locked.length++] = selection->locked != NULL && selection->locked[i];
    }
    set_parameter(&parameters, at++, OID_INT8_ARRAY, versions);
    set_parameter(&parameters, at++, OID_INT8_ARRAY, base_times);
    set_parameter(&parameters, at++, OID_TEXT_ARRAY, base_nodes);
    set_parameter(&parameters, at++, OID_TEXT_ARRAY, seens);
    struct text merge_array = parameters_texts(arena, n, merges);
    set_parameter(&parameters, at++, OID_TEXT_ARRAY, (struct writer){(char *)(uintptr_t)merge_array.data, merge_array.length});
    set_parameter(&parameters, at++, OID_TEXT_ARRAY, correlations);
    set_parameter(&parameters, at++, OID_BOOL_ARRAY, locked);
    struct text source = arena_copy(arena, message->source);
    struct writer force = {arena_take(arena, 1), 1};
    force.bytes[0] = selection->force;
    parameters.types[at] = OID_TEXT;
    parameters.values[at] = source.data;
    parameters.lengths[at] = (int)source.length;
    parameters.formats[at++] = 1;
    set_parameter(&parameters, at++, OID_BOOL, force);
    struct writer horizon = {arena_take(arena, 8), 0};
    put_int64(&horizon, selection->horizon_us);
    set_parameter(&parameters, at++, OID_INT8, horizon);
    assert(at == parameters.count);
    return parameters;
}

struct text parameters_texts(struct arena *arena, size_t count, const struct text *values)
{
    size_t bytes = ARRAY_HEAD_BYTES;
    for (size_t i = 0; i < count; i++)
        bytes += 4 + values[i].length;
    struct writer writer = {arena_take(arena, bytes), 0};
    put_array_head(&writer, OID_TEXT, count);
    for (size_t i = 0; i < count; i++)
        put_text(&writer, values[i]);
    return (struct text){writer.bytes, writer.length};
}

const char *parameters_literal(struct arena *arena, const struct text *values, size_t count)
{
    size_t bytes = 3;
    for (size_t i = 0; i < count; i++) {
        bytes += values[i].length + 5;
        for (size_t j = 0; j < values[i].length; j++)
            bytes += values[i].data[j] == '"' || values[i].data[j] == '\\';
    }
    char *out = arena_take(arena, bytes), *at = out;
    *at++ = '{';
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            *at++ = ',';
        if (text_is_null(values[i])) {
            memcpy(at, "NULL", 4);
            at += 4;
            continue;
        }
        *at++ = '"';
        for (size_t j = 0; j < values[i].length; j++) {
            if (values[i].data[j] == '"' || values[i].data[j] == '\\')
                *at++ = '\\';
            *at++ = values[i].data[j];
        }
        *at++ = '"';
    }
    *at = '}';
    return out;
}

size_t parameters_selected(const PGresult *result, int column, const struct selection *selection, size_t *rows)
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
