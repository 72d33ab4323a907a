#include "adapters/postgres/outbox_row.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

#include "adapters/postgres/session.h"
#include "bridge/message/codec.h"

enum { TRANSACTION, SEQ, LAYOUT, OP, VERSION_TS, BASE_TS, VERSION_NODE, BASE_NODE, CORRELATION, TRACEPARENT, SEEN, MERGE, VALUES };

static int64_t binary_int8(const PGresult *row, int column)
{
    if (PQgetisnull(row, 0, column))
        return 0;
    uint64_t bytes;
    memcpy(&bytes, PQgetvalue(row, 0, column), sizeof bytes);
    return (int64_t)be64toh(bytes);
}

static int32_t binary_int4(const char *at)
{
    uint32_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    return (int32_t)be32toh(bytes);
}

/* The elements of a binary text[]: dimensions, has-null flag, element type, length, lower bound, then length and bytes of
 * each (src/backend/utils/adt/arrayfuncs.c, array_send). Returns NULL when it has not exactly count elements. */
static struct text *binary_texts(struct arena *arena, struct text array, size_t count)
{
    if (array.length < 20 || binary_int4(array.data) != 1 || (size_t)binary_int4(array.data + 12) != count)
        return NULL;
    struct text all = arena_copy(arena, array);
    struct text *texts = arena_take_array(arena, count, sizeof *texts);
    const char *at = all.data + 20, *end = all.data + all.length;
    for (size_t i = 0; i < count; i++) {
        if (end - at < 4)
            return NULL;
        int32_t length = binary_int4(at);
        at += 4;
        if (length < 0)
            continue;
        if (end - at < length)
            return NULL;
        texts[i] = (struct text){at, (size_t)length};
        at += length;
    }
    return texts;
}

struct outbox_row outbox_row_head(const PGresult *row)
{
    return (struct outbox_row){binary_int8(row, TRANSACTION), binary_int8(row, SEQ), binary_int4(PQgetvalue(row, 0, LAYOUT)),
                               (size_t)PQgetlength(row, 0, VALUES)};
}

static struct text copy(struct arena *arena, const PGresult *row, int column)
{
    return arena_copy(arena, pg_value(row, 0, column));
}

bool outbox_row_change(const PGresult *row, const struct layout *layout, struct text node, struct arena *arena, struct change *change,
                       struct error *error)
{
    char op = PQgetvalue(row, 0, OP)[0];
    *change = (struct change){
        .layout = layout,
        .op = op == 'd' ? CHANGE_DELETED : op == 'c' ? CHANGE_CREATED : CHANGE_UPDATED,
        .version = {binary_int8(row, VERSION_TS), copy(arena, row, VERSION_NODE)},
        .base = {binary_int8(row, BASE_TS), copy(arena, row, BASE_NODE)},
        .correlation = copy(arena, row, CORRELATION),
        .traceparent = copy(arena, row, TRACEPARENT),
    };
    if (!codec_decode_seen(pg_value(row, 0, SEEN), arena, &change->seen, error))
        return false;
    if (!PQgetisnull(row, 0, MERGE)) {
        struct merge *merge = arena_take(arena, sizeof *merge);
        if (!codec_decode_merge(pg_value(row, 0, MERGE), arena, merge, error))
            return false;
        change->merge = merge;
    }
    if (text_is_null(change->version.node))
        change->version.node = node;
    change->values = binary_texts(arena, pg_value(row, 0, VALUES), change_value_count(change));
    return change->values != NULL || error_set(error, FAULT_BUG, NULL, "outbox row %" PRId64 " does not match its layout", binary_int8(row, SEQ));
}
