#include "bridge/base/limits.h"
#include "bridge/message/codec_reader.h"
#include "bridge/message/scan.h"

static bool read_head(struct reader *reader)
{
    struct json_object *entity = reader_find_typed(reader, "entity", json_type_string);
    if (entity == NULL)
        return false;
    if (!reader_is_name(entity))
        return scan_refuse(reader->error, "\"entity\" is not a name of 1 to %d bytes", LIMIT_NAME_BYTES);
    reader->message->entity = reader_keep_string(reader, entity);
    struct json_object *op = reader_find_typed(reader, "op", json_type_string);
    if (op == NULL)
        return false;
    if (!change_op_parse(reader_view(op), &reader->message->op))
        return scan_refuse(reader->error, "\"op\" is neither created, updated nor deleted");
    return true;
}

static int name_order(const void *a, const void *b)
{
    return text_compare(*(const struct text *)a, *(const struct text *)b);
}

static bool refuse_repeated_names(struct reader *reader, size_t count, const struct text *columns)
{
    struct text *sorted = arena_take_array(reader->arena, count, sizeof *sorted);
    memcpy(sorted, columns, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, name_order);
    for (size_t i = 1; i < count; i++)
        if (text_equal(sorted[i - 1], sorted[i]))
            return scan_refuse(reader->error, "\"columns\" names %.*s twice", TEXT_PRINTF(sorted[i]));
    return true;
}

/* Reads key and columns. order[i] is the place in the received rows of our column i: the key comes first. */
static bool read_columns(struct reader *reader, size_t **order)
{
    struct json_object *columns = reader_find_typed(reader, "columns", json_type_array);
    struct json_object *key = columns != NULL ? reader_find_typed(reader, "key", json_type_array) : NULL;
    if (key == NULL)
        return false;
    size_t count = json_object_array_length(columns);
    size_t key_count = json_object_array_length(key);
    if (count == 0 || count > LIMIT_FIELDS)
        return scan_refuse(reader->error, "\"columns\" has %zu names, not 1 to %d", count, LIMIT_FIELDS);
    if (key_count == 0 || key_count > count)
        return scan_refuse(reader->error, "\"key\" has %zu names for %zu columns", key_count, count);
    struct text *received = arena_take_array(reader->arena, count, sizeof *received);
    for (size_t i = 0; i < count; i++) {
        struct json_object *name = json_object_array_get_idx(columns, i);
        if (!reader_is_name(name))
            return scan_refuse(reader->error, "\"columns\" has an item that is not a name of 1 to %d bytes",
                               LIMIT_NAME_BYTES);
        received[i] = reader_keep_string(reader, name);
    }
    if (!refuse_repeated_names(reader, count, received))
        return false;

    struct text *ordered = arena_take_array(reader->arena, count, sizeof *ordered);
    bool *placed = arena_take_array(reader->arena, count, sizeof *placed);
    *order = arena_take_array(reader->arena, count, sizeof **order);
    for (size_t i = 0; i < key_count; i++) {
        struct json_object *name = json_object_array_get_idx(key, i);
        if (!reader_is_name(name))
            return scan_refuse(reader->error, "\"key\" has an item that is not a name of 1 to %d bytes",
                               LIMIT_NAME_BYTES);
        size_t at = 0;
        while (at < count && !text_equal(received[at], reader_view(name)))
            at++;
        if (at == count || placed[at])
            return scan_refuse(reader->error, "\"key\" names %.*s, which is %s", TEXT_PRINTF(reader_view(name)),
                               at == count ? "not among the columns" : "named twice");
        placed[at] = true;
        (*order)[i] = at;
        ordered[i] = received[at];
    }
    for (size_t at = 0, i = key_count; at < count; at++) {
        if (placed[at])
            continue;
        (*order)[i] = at;
        ordered[i++] = received[at];
    }
    reader->message->key_count = key_count;
    reader->message->column_count = count;
    reader->message->columns = ordered;
    return true;
}

static bool read_row(struct reader *reader, struct json_object *row, size_t number, const size_t *order,
                     struct text *values)
{
    const struct message *message = reader->message;
    if (!json_object_is_type(row, json_type_array))
        return scan_refuse(reader->error, "row %zu is not an array", number);
    if (json_object_array_length(row) != message->column_count)
        return scan_refuse(reader->error, "row %zu has %zu values for %zu columns", number,
                           json_object_array_length(row), message->column_count);
    for (size_t i = 0; i < message->column_count; i++) {
        struct json_object *value = json_object_array_get_idx(row, order[i]);
        if (json_object_is_type(value, json_type_string))
            values[i] = reader_keep_string(reader, value);
        else if (value != NULL)
            return scan_refuse(reader->error, "row %zu has a value in %.*s that is neither a string nor null", number,
                               TEXT_PRINTF(message->columns[i]));
        else if (i < message->key_count)
            return scan_refuse(reader->error, "row %zu has null in the key column %.*s", number,
                               TEXT_PRINTF(message->columns[i]));
    }
    return true;
}

static bool read_rows(struct reader *reader, const size_t *order)
{
    struct message *message = reader->message;
    struct json_object *rows = reader_find_typed(reader, "rows", json_type_array);
    if (rows == NULL)
        return false;
    size_t count = json_object_array_length(rows);
    if (count == 0 || count > LIMIT_MESSAGE_ROWS)
        return scan_refuse(reader->error, "\"rows\" has %zu rows, not 1 to %d", count, LIMIT_MESSAGE_ROWS);
    size_t value_count;
    if (__builtin_mul_overflow(count, message->column_count, &value_count) || value_count > LIMIT_MESSAGE_VALUES)
        return scan_refuse(reader->error, "\"rows\" has more than %d values", LIMIT_MESSAGE_VALUES);
    struct text *values = arena_take_array(reader->arena, value_count, sizeof *values);
    for (size_t row = 0; row < count; row++)
        if (!read_row(reader, json_object_array_get_idx(rows, row), row + 1, order,
                      values + row * message->column_count))
            return false;
    message->row_count = count;
    message->values = values;
    return true;
}

/* An array with one item per row; *array is NULL when the member is not there. */
static bool find_per_row(struct reader *reader, const char *name, struct json_object **array)
{
    *array = reader_find(reader, name);
    if (*array == NULL)
        return true;
    if (!json_object_is_type(*array, json_type_array))
        return scan_refuse(reader->error, "\"%s\" is not an array", name);
    if (json_object_array_length(*array) != reader->message->row_count)
        return scan_refuse(reader->error, "\"%s\" has %zu items for %zu rows", name, json_object_array_length(*array),
                           reader->message->row_count);
    return true;
}

static bool read_versions(struct reader *reader)
{
    struct json_object *array;
    if (!find_per_row(reader, "versions", &array))
        return false;
    if (array == NULL)
        return true;
    size_t count = reader->message->row_count;
    int64_t *versions = arena_take_array(reader->arena, count, sizeof *versions);
    for (size_t i = 0; i < count; i++)
        if (!reader_timestamp(json_object_array_get_idx(array, i), &versions[i]))
            return scan_refuse(reader->error, "version %zu is not a timestamp in microseconds", i + 1);
    reader->message->versions = versions;
    return true;
}

static bool read_bases(struct reader *reader)
{
    struct json_object *array;
    if (!find_per_row(reader, "bases", &array))
        return false;
    if (array == NULL)
        return true;
    size_t count = reader->message->row_count;
    struct version *bases = arena_take_array(reader->arena, count, sizeof *bases);
    struct text node = TEXT_NULL; /* nearly always the same one */
    for (size_t i = 0; i < count; i++) {
        struct json_object *base = json_object_array_get_idx(array, i);
        if (base == NULL)
            continue;
        if (!json_object_is_type(base, json_type_array) || json_object_array_length(base) != 2 ||
            !reader_timestamp(json_object_array_get_idx(base, 0), &bases[i].timestamp_us) ||
            !reader_is_name(json_object_array_get_idx(base, 1)))
            return scan_refuse(reader->error, "base %zu is neither null nor a timestamp and a node", i + 1);
        struct json_object *name = json_object_array_get_idx(base, 1);
        if (!text_equal(node, reader_view(name)))
            node = reader_keep_string(reader, name);
        bases[i].node = node;
    }
    reader->message->bases = bases;
    return true;
}

/* One object for all rows, or an array with an object or null for each. */
static bool read_seen(struct reader *reader)
{
    struct json_object *member = reader_find(reader, "seen");
    if (member == NULL)
        return true;
    size_t count = reader->message->row_count;
    struct seen *seen = arena_take_array(reader->arena, count, sizeof *seen);
    if (json_object_is_type(member, json_type_object)) {
        if (!reader_seen(reader, member, &seen[0]))
            return false;
        for (size_t i = 1; i < count; i++)
            seen[i] = seen[0];
    } else if (!json_object_is_type(member, json_type_array) || json_object_array_length(member) != count) {
        return scan_refuse(reader->error, "\"seen\" is neither an object nor an array with an item for each row");
    } else {
        for (size_t i = 0; i < count; i++) {
            struct json_object *item = json_object_array_get_idx(member, i);
            if (item != NULL && !json_object_is_type(item, json_type_object))
                return scan_refuse(reader->error, "\"seen\" of row %zu is neither an object nor null", i + 1);
            if (item != NULL && !reader_seen(reader, item, &seen[i]))
                return false;
        }
    }
    reader->message->seen = seen;
    return true;
}

/* An array with an object or null for each row. */
static bool read_merge(struct reader *reader)
{
    struct json_object *array;
    if (!find_per_row(reader, "merge", &array))
        return false;
    if (array == NULL)
        return true;
    size_t count = reader->message->row_count;
    struct merge *merges = arena_take_array(reader->arena, count, sizeof *merges);
    for (size_t i = 0; i < count; i++) {
        struct json_object *item = json_object_array_get_idx(array, i);
        if (item != NULL && !json_object_is_type(item, json_type_object))
            return scan_refuse(reader->error, "\"merge\" of row %zu is neither an object nor null", i + 1);
        if (item != NULL && !reader_merge(reader, item, &merges[i]))
            return error_prefix(reader->error, "\"merge\" of row %zu: ", i + 1);
        merges[i].present = reader->message->op != CHANGE_DELETED;
    }
    reader->message->merges = merges;
    return true;
}

static bool read_correlations(struct reader *reader)
{
    struct json_object *array;
    if (!find_per_row(reader, "correlations", &array))
        return false;
    if (array == NULL)
        return true;
    size_t count = reader->message->row_count;
    struct text *correlations = arena_take_array(reader->arena, count, sizeof *correlations);
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        struct json_object *correlation = json_object_array_get_idx(array, i);
        if (correlation == NULL)
            continue;
        if (!json_object_is_type(correlation, json_type_string))
            return scan_refuse(reader->error, "correlation %zu is neither a string nor null", i + 1);
        correlations[i] = reader_keep_string(reader, correlation);
        any = true;
    }
    reader->message->correlations = any ? correlations : NULL;
    return true;
}

static bool read_message(struct reader *reader)
{
    size_t *order = NULL;
    if (!read_head(reader) || !read_columns(reader, &order) || !read_rows(reader, order) || !read_versions(reader) ||
        !read_bases(reader) || !read_seen(reader) || !read_merge(reader) || !read_correlations(reader))
        return false;
    /* Known to the protocol, not used by this release. */
    reader_find(reader, "changed");
    reader->message->unknown_members += (size_t)json_object_object_length(reader->root) - reader->known;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool codec_decode_seen(struct text json, struct arena *arena, struct seen *seen, struct error *error)
{
    *seen = (struct seen){0};
    if (text_is_null(json))
        return true;
    JSON_OWNED *root = NULL;
    if (!reader_parse(json, &root, error))
        return false;
    if (!json_object_is_type(root, json_type_object))
        return scan_refuse(error, "\"seen\" is not an object");
    struct reader reader = {root, arena, error, NULL, 0, arena_take(arena, json.length + 1)};
    return reader_seen(&reader, root, seen);
}

bool codec_decode(struct text body, struct arena *arena, struct message *message, struct error *error)
{
    if (text_is_null(body) || body.length == 0)
        return scan_refuse(error, "the body is empty");
    if (body.length > LIMIT_RECEIVED_BYTES)
        return scan_refuse(error, "the body has %zu bytes, more than %d", body.length, LIMIT_RECEIVED_BYTES);
    while (body.length > 0 && is_blank(body.data[body.length - 1]))
        body.length--;
    size_t blanks = 0;
    while (blanks < body.length && is_blank(body.data[blanks]))
        blanks++;
    if (blanks == body.length || body.data[blanks] != '{')
        return scan_refuse(error, "the body is not a JSON object");
    size_t member_count = 0;
    if (!scan_body(body, &member_count, error))
        return false;
    JSON_OWNED *root = NULL;
    if (!reader_parse(body, &root, error))
        return false;
    /* json-c keeps the last of members with one name, and two readers could disagree about which one counts. */
    if ((size_t)json_object_object_length(root) != member_count)
        return scan_refuse(error, "the body has two members of the same name");

    /* What is taken below grows with the body: a value takes 3 bytes of it and 16 of the arena, a column's name 4 and
     * 57, a base 5 and 24, an entry of seen 6 and 24, a merge state 3 and 112, its groups 12 and 40, its totals 10 and
     * 56, and every text at most its own length again; a row with a state takes at least 8 and 144. */
    size_t room = 20 * body.length + 1024;
    if (arena_room(arena) < room)
        return error_set(error, FAULT_TRANSIENT, NULL, "no room to decode a body of %zu bytes", body.length);
    message->versions = NULL;
    message->bases = NULL;
    message->seen = NULL;
    message->merges = NULL;
    message->correlations = NULL;
    message->unknown_members = 0;
    struct reader reader = {root, arena, error, message, 0, arena_take(arena, body.length + 1)};
    return read_message(&reader);
}
