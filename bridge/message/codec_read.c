#include "bridge/base/limits.h"
#include "bridge/message/codec_private.h"
#include "bridge/message/scan.h"

enum { TOTAL_BYTES_MAX = 1000 }; /* of a counter's total */

/* More messages than anybody sends; a sum of many such numbers fits, too. */
static const int64_t SEQUENCE_MAX = INT64_C(1) << 53;

static void tokener_free(struct json_tokener **tokener)
{
    if (*tokener != NULL)
        json_tokener_free(*tokener);
}

#define TOKENER_OWNED __attribute__((cleanup(tokener_free))) struct json_tokener

/* Texts are copied behind one another into one block: none is longer than its JSON form with its quotes, which leaves
 * room for a NUL behind each. */
struct reader {
    struct json_object *root;
    struct arena *arena;
    struct error *error;
    struct message *message;
    size_t known;
    char *next;
};

static struct text view(struct json_object *string)
{
    return (struct text){json_object_get_string(string), (size_t)json_object_get_string_len(string)};
}

static struct text keep_bytes(struct reader *reader, struct text text)
{
    char *copy = reader->next;
    memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    reader->next += text.length + 1;
    return (struct text){copy, text.length};
}

static struct text keep(struct reader *reader, struct json_object *string)
{
    return keep_bytes(reader, view(string));
}

static struct json_object *find(struct reader *reader, const char *name)
{
    struct json_object *member = NULL;
    if (json_object_object_get_ex(reader->root, name, &member))
        reader->known++;
    return member;
}

static struct json_object *find_typed(struct reader *reader, const char *name, enum json_type type)
{
    struct json_object *member = find(reader, name);
    if (json_object_is_type(member, type))
        return member;
    if (member == NULL)
        scan_refuse(reader->error, "\"%s\" is missing", name);
    else
        scan_refuse(reader->error, "\"%s\" is not %s", name, type == json_type_string ? "a string" : "an array");
    return NULL;
}

static bool is_name(struct json_object *object)
{
    if (!json_object_is_type(object, json_type_string))
        return false;
    int length = json_object_get_string_len(object);
    return length >= 1 && length <= LIMIT_NAME_BYTES;
}

static bool read_head(struct reader *reader)
{
    struct json_object *entity = find_typed(reader, "entity", json_type_string);
    if (entity == NULL)
        return false;
    if (!is_name(entity))
        return scan_refuse(reader->error, "\"entity\" is not a name of 1 to %d bytes", LIMIT_NAME_BYTES);
    reader->message->entity = keep(reader, entity);
    struct json_object *op = find_typed(reader, "op", json_type_string);
    if (op == NULL)
        return false;
    if (!change_op_parse(view(op), &reader->message->op))
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
    struct json_object *columns = find_typed(reader, "columns", json_type_array);
    struct json_object *key = columns != NULL ? find_typed(reader, "key", json_type_array) : NULL;
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
        if (!is_name(name))
            return scan_refuse(reader->error, "\"columns\" has an item that is not a name of 1 to %d bytes",
                               LIMIT_NAME_BYTES);
        received[i] = keep(reader, name);
    }
    if (!refuse_repeated_names(reader, count, received))
        return false;

    struct text *ordered = arena_take_array(reader->arena, count, sizeof *ordered);
    bool *placed = arena_take_array(reader->arena, count, sizeof *placed);
    *order = arena_take_array(reader->arena, count, sizeof **order);
    for (size_t i = 0; i < key_count; i++) {
        struct json_object *name = json_object_array_get_idx(key, i);
        if (!is_name(name))
            return scan_refuse(reader->error, "\"key\" has an item that is not a name of 1 to %d bytes",
                               LIMIT_NAME_BYTES);
        size_t at = 0;
        while (at < count && !text_equal(received[at], view(name)))
            at++;
        if (at == count || placed[at])
            return scan_refuse(reader->error, "\"key\" names %.*s, which is %s", TEXT_PRINTF(view(name)),
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
            values[i] = keep(reader, value);
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
    struct json_object *rows = find_typed(reader, "rows", json_type_array);
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

/* json-c turns what does not fit into the greatest number it has, without a word: that one is refused too. */
static bool read_timestamp(struct json_object *number, int64_t *timestamp)
{
    if (!json_object_is_type(number, json_type_int))
        return false;
    *timestamp = json_object_get_int64(number);
    return *timestamp > 0 && *timestamp < INT64_MAX;
}

/* An array with one item per row; *array is NULL when the member is not there. */
static bool find_per_row(struct reader *reader, const char *name, struct json_object **array)
{
    *array = find(reader, name);
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
        if (!read_timestamp(json_object_array_get_idx(array, i), &versions[i]))
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
            !read_timestamp(json_object_array_get_idx(base, 0), &bases[i].timestamp_us) ||
            !is_name(json_object_array_get_idx(base, 1)))
            return scan_refuse(reader->error, "base %zu is neither null nor a timestamp and a node", i + 1);
        struct json_object *name = json_object_array_get_idx(base, 1);
        if (!text_equal(node, view(name)))
            node = keep(reader, name);
        bases[i].node = node;
    }
    reader->message->bases = bases;
    return true;
}

/* {"node": timestamp}: sorted by node, as everybody keeps it. */
static bool read_seen_of(struct reader *reader, struct json_object *object, struct seen *seen)
{
    size_t count = (size_t)json_object_object_length(object);
    if (count > LIMIT_PEERS)
        return scan_refuse(reader->error, "\"seen\" names %zu nodes, more than %d", count, LIMIT_PEERS);
    struct version *versions = arena_take_array(reader->arena, count, sizeof *versions);
    size_t filled = 0;
    json_object_object_foreach(object, name, timestamp)
    {
        struct version version = {.node = {name, strlen(name)}};
        if (version.node.length == 0 || version.node.length > LIMIT_NAME_BYTES ||
            !read_timestamp(timestamp, &version.timestamp_us))
            return scan_refuse(reader->error, "\"seen\" has an entry that is not a node and a timestamp");
        size_t at = filled++;
        for (; at > 0 && text_compare(versions[at - 1].node, version.node) > 0; at--)
            versions[at] = versions[at - 1];
        version.node = keep_bytes(reader, version.node);
        versions[at] = version;
    }
    *seen = (struct seen){filled, versions};
    return true;
}

/* One object for all rows, or an array with an object or null for each. */
static bool read_seen(struct reader *reader)
{
    struct json_object *member = find(reader, "seen");
    if (member == NULL)
        return true;
    size_t count = reader->message->row_count;
    struct seen *seen = arena_take_array(reader->arena, count, sizeof *seen);
    if (json_object_is_type(member, json_type_object)) {
        if (!read_seen_of(reader, member, &seen[0]))
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
            if (item != NULL && !read_seen_of(reader, item, &seen[i]))
                return false;
        }
    }
    reader->message->seen = seen;
    return true;
}

static bool read_version(struct reader *reader, struct json_object *pair, struct version *version)
{
    if (!json_object_is_type(pair, json_type_array) || json_object_array_length(pair) != 2 ||
        !read_timestamp(json_object_array_get_idx(pair, 0), &version->timestamp_us) ||
        !is_name(json_object_array_get_idx(pair, 1)))
        return false;
    version->node = keep(reader, json_object_array_get_idx(pair, 1));
    return true;
}

static bool is_name_text(struct text name)
{
    return name.length >= 1 && name.length <= LIMIT_NAME_BYTES;
}

/* As numeric is written: digits with at most one point between them, or what is not a number at all. */
static bool is_decimal(struct text text)
{
    if (text_equal(text, TEXT_LITERAL("NaN")) || text_equal(text, TEXT_LITERAL("Infinity")) ||
        text_equal(text, TEXT_LITERAL("-Infinity")))
        return true;
    size_t i = text.length > 0 && (text.data[0] == '-' || text.data[0] == '+');
    bool point = false, digit = false;
    if (text.length > TOTAL_BYTES_MAX)
        return false;
    for (; i < text.length; i++) {
        if (text.data[i] >= '0' && text.data[i] <= '9')
            digit = true;
        else if (text.data[i] == '.' && digit && !point)
            point = true, digit = false;
        else
            return false;
    }
    return digit;
}

static int group_order(const void *a, const void *b)
{
    return text_compare(((const struct merge_group *)a)->name, ((const struct merge_group *)b)->name);
}

static bool read_groups(struct reader *reader, struct json_object *object, struct merge *merge)
{
    if (!json_object_is_type(object, json_type_object))
        return scan_refuse(reader->error, "\"g\" is not an object");
    size_t count = (size_t)json_object_object_length(object);
    if (count > LIMIT_FIELDS)
        return scan_refuse(reader->error, "\"g\" names %zu groups, more than %d", count, LIMIT_FIELDS);
    struct merge_group *groups = arena_take_array(reader->arena, count, sizeof *groups);
    size_t filled = 0;
    json_object_object_foreach(object, name, pair)
    {
        struct merge_group *group = &groups[filled++];
        group->name = text_from(name);
        if (!is_name_text(group->name) || !read_version(reader, pair, &group->version))
            return scan_refuse(reader->error, "\"g\" has an entry that is not a group and its version");
        group->name = keep_bytes(reader, group->name);
    }
    qsort(groups, count, sizeof *groups, group_order);
    /* What goes without saying is not listed: else equal states would differ. */
    for (size_t i = 0; i < count; i++)
        if (!version_equal(groups[i].version, merge->rest))
            groups[merge->group_count++] = groups[i];
    merge->groups = groups;
    return true;
}

static int total_order(const void *a, const void *b)
{
    const struct merge_total *one = a, *other = b;
    int order = text_compare(one->field, other->field);
    return order != 0 ? order : text_compare(one->version.node, other->version.node);
}

/* [timestamp, "total"] of a node; at 0 what nobody has counted, under no name. */
static bool read_total(struct reader *reader, const char *node, struct json_object *pair, struct merge_total *total)
{
    struct text name = text_from(node);
    if (!json_object_is_type(pair, json_type_array) || json_object_array_length(pair) != 2)
        return false;
    struct json_object *timestamp = json_object_array_get_idx(pair, 0), *value = json_object_array_get_idx(pair, 1);
    bool nobody =
        name.length == 0 && json_object_is_type(timestamp, json_type_int) && json_object_get_int64(timestamp) == 0;
    if (!nobody && (!is_name_text(name) || !read_timestamp(timestamp, &total->version.timestamp_us)))
        return false;
    if (!json_object_is_type(value, json_type_string) || !is_decimal(view(value)))
        return false;
    total->version.node = keep_bytes(reader, name);
    total->total = keep(reader, value);
    return true;
}

static bool read_totals(struct reader *reader, struct json_object *object, struct merge *merge)
{
    if (!json_object_is_type(object, json_type_object))
        return scan_refuse(reader->error, "\"c\" is not an object");
    size_t count = 0;
    json_object_object_foreach(object, counter, nodes)
    {
        size_t length = json_object_is_type(nodes, json_type_object) ? (size_t)json_object_object_length(nodes) : 0;
        if (!is_name_text(text_from(counter)) || length < 1 || length > MERGE_NODES_MAX)
            return scan_refuse(reader->error,
                               "\"c\" has an entry that is not a counter with the totals of 1 to %d nodes",
                               MERGE_NODES_MAX);
        count += length;
    }
    if (json_object_object_length(object) > LIMIT_FIELDS)
        return scan_refuse(reader->error, "\"c\" names more than %d counters", LIMIT_FIELDS);
    struct merge_total *totals = arena_take_array(reader->arena, count, sizeof *totals);
    size_t filled = 0;
    json_object_object_foreach(object, field, shares)
    {
        struct text name = keep_bytes(reader, text_from(field));
        json_object_object_foreach(shares, node, pair)
        {
            totals[filled].field = name;
            if (!read_total(reader, node, pair, &totals[filled++]))
                return scan_refuse(reader->error, "\"c\" has an entry that is not a node, a timestamp and a decimal");
        }
    }
    qsort(totals, count, sizeof *totals, total_order);
    merge->totals = totals;
    merge->total_count = count;
    return true;
}

/* Strict: a member that is not known might be one that the join needs. */
static bool read_merge_of(struct reader *reader, struct json_object *object, struct merge *merge)
{
    const struct {
        const char *name;
        struct version *version;
    } versions[] = {{"d", &merge->died}, {"s", &merge->survived}, {"v", &merge->rest}};
    struct json_object *member = NULL;
    int known = 0;
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        if (!json_object_object_get_ex(object, versions[i].name, &member))
            continue;
        if (!read_version(reader, member, versions[i].version))
            return scan_refuse(reader->error, "\"%s\" is not a version", versions[i].name);
        known++;
    }
    if (!version_is_none(merge->survived) && version_compare(merge->survived, merge->died) <= 0)
        return scan_refuse(reader->error, "\"s\" is not later than \"d\"");
    if (json_object_object_get_ex(object, "g", &member) && (known++, !read_groups(reader, member, merge)))
        return false;
    if (json_object_object_get_ex(object, "c", &member) && (known++, !read_totals(reader, member, merge)))
        return false;
    if (known != json_object_object_length(object))
        return scan_refuse(reader->error, "the merge state has a member that is not known");
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
        if (item != NULL && !read_merge_of(reader, item, &merges[i]))
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
        correlations[i] = keep(reader, correlation);
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
    find(reader, "changed");
    reader->message->unknown_members += (size_t)json_object_object_length(reader->root) - reader->known;
    return true;
}

static bool parse(struct text body, struct json_object **root, struct error *error)
{
    /* One level more than the scan has let pass: the parser never meets its own limit. */
    TOKENER_OWNED *tokener = must(json_tokener_new_ex(SCAN_DEPTH_MAX + 2));
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    *root = json_tokener_parse_ex(tokener, body.data, (int)body.length);
    enum json_tokener_error result = json_tokener_get_error(tokener);
    if (result == json_tokener_continue)
        return scan_refuse(error, "the body ends too early");
    if (result != json_tokener_success)
        return scan_refuse(error, "the body is not JSON: %s at byte %zu", json_tokener_error_desc(result),
                           json_tokener_get_parse_end(tokener));
    if (json_tokener_get_parse_end(tokener) != body.length)
        return scan_refuse(error, "the body goes on after its end at byte %zu", json_tokener_get_parse_end(tokener));
    if (*root == NULL)
        return error_set(error, FAULT_TRANSIENT, NULL, "no memory to parse a body of %zu bytes", body.length);
    return true;
}

/* root is NULL when the body could not be parsed: the same must come of it once more. */
static void confirm_parse(struct text body, struct json_object *root)
{
    JSON_OWNED *again = NULL;
    struct error ignored;
    bool parsed = parse(body, &again, &ignored);
    if (parsed != (root != NULL) || (parsed && !json_object_equal(root, again)))
        must(NULL);
}

static bool parse_body(struct text body, struct json_object **root, struct error *error)
{
    errno = 0;
    bool parsed = parse(body, root, error);
    if (memory_was_short())
        confirm_parse(body, parsed ? *root : NULL);
    return parsed;
}

static bool read_heard(struct reader *reader, struct json_object *list, struct heartbeat *heartbeat)
{
    size_t count = json_object_array_length(list);
    if (count > LIMIT_PEERS)
        return scan_refuse(reader->error, "\"heard\" names %zu nodes, more than %d", count, LIMIT_PEERS);
    struct heard *heard = arena_take_array(reader->arena, count, sizeof *heard);
    for (size_t i = 0; i < count; i++) {
        struct json_object *entry = json_object_array_get_idx(list, i);
        if (!json_object_is_type(entry, json_type_array) || json_object_array_length(entry) != 3 ||
            !is_name(json_object_array_get_idx(entry, 0)) ||
            !read_timestamp(json_object_array_get_idx(entry, 1), &heard[i].sent_us) ||
            !read_timestamp(json_object_array_get_idx(entry, 2), &heard[i].received_us))
            return scan_refuse(reader->error, "\"heard\" has an entry that is not a node and two timestamps");
        heard[i].node = keep(reader, json_object_array_get_idx(entry, 0));
    }
    heartbeat->heard = heard;
    heartbeat->heard_count = count;
    return true;
}

static bool read_sequence(struct json_object *number, int64_t *sequence)
{
    if (!json_object_is_type(number, json_type_int))
        return false;
    *sequence = json_object_get_int64(number);
    return *sequence >= 0 && *sequence <= SEQUENCE_MAX;
}

static bool read_confirmed(struct reader *reader, struct json_object *list, struct heartbeat *heartbeat)
{
    size_t count = list != NULL && json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    if (list != NULL && (!json_object_is_type(list, json_type_array) || count > LIMIT_INCARNATIONS))
        return scan_refuse(reader->error, "\"confirmed\" is not an array of at most %d incarnations", LIMIT_INCARNATIONS);
    struct confirmed *confirmed = arena_take_array(reader->arena, count, sizeof *confirmed);
    for (size_t i = 0; i < count; i++) {
        struct json_object *entry = json_object_array_get_idx(list, i);
        if (!json_object_is_type(entry, json_type_array) || json_object_array_length(entry) != 2 ||
            !is_name(json_object_array_get_idx(entry, 0)) || !read_sequence(json_object_array_get_idx(entry, 1), &confirmed[i].sequence))
            return scan_refuse(reader->error, "\"confirmed\" has an entry that is not an incarnation and a number");
        confirmed[i].epoch = keep(reader, json_object_array_get_idx(entry, 0));
    }
    heartbeat->confirmed = confirmed;
    heartbeat->confirmed_count = count;
    return true;
}

bool codec_decode_heartbeat(struct text body, struct arena *arena, struct heartbeat *heartbeat, struct error *error)
{
    size_t members;
    JSON_OWNED *root = NULL;
    if (text_is_null(body) || body.length > LIMIT_HEARTBEAT_BYTES)
        return scan_refuse(error, "a heartbeat of %zu bytes", body.length);
    if (!scan_body(body, &members, error))
        return false;
    /* There are few of them, and no hash of what is read tells whether it was cut off. */
    bool parsed = parse_body(body, &root, error);
    confirm_parse(body, parsed ? root : NULL);
    if (!parsed)
        return false;
    if (!json_object_is_type(root, json_type_object))
        return scan_refuse(error, "the heartbeat is not a JSON object");
    struct reader reader = {root, arena, error, NULL, 0, arena_take(arena, body.length + 1)};
    struct json_object *list = find_typed(&reader, "heard", json_type_array);
    if (list == NULL)
        return false;
    if (!read_timestamp(find(&reader, "time"), &heartbeat->time_us))
        return scan_refuse(error, "\"time\" is not a timestamp in microseconds");
    heartbeat->again = json_object_get_boolean(find(&reader, "again"));
    return read_heard(&reader, list, heartbeat) && read_confirmed(&reader, find(&reader, "confirmed"), heartbeat);
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
    if (!parse_body(json, &root, error))
        return false;
    if (!json_object_is_type(root, json_type_object))
        return scan_refuse(error, "\"seen\" is not an object");
    struct reader reader = {root, arena, error, NULL, 0, arena_take(arena, json.length + 1)};
    return read_seen_of(&reader, root, seen);
}

bool codec_decode_merge(struct text json, struct arena *arena, struct merge *merge, struct error *error)
{
    *merge = (struct merge){0};
    if (text_is_null(json))
        return true;
    size_t member_count = 0;
    if (!scan_body(json, &member_count, error))
        return false;
    JSON_OWNED *root = NULL;
    if (!parse_body(json, &root, error))
        return false;
    if (!json_object_is_type(root, json_type_object))
        return scan_refuse(error, "\"merge\" is not an object");
    if ((size_t)json_object_object_length(root) != member_count)
        return scan_refuse(error, "\"merge\" has two members of the same name");
    struct reader reader = {root, arena, error, NULL, 0, arena_take(arena, json.length + 1)};
    return read_merge_of(&reader, root, merge);
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
    if (!parse_body(body, &root, error))
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
