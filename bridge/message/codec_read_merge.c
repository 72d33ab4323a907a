#include "bridge/base/limits.h"
#include "bridge/message/codec_reader.h"
#include "bridge/message/scan.h"

enum { TOTAL_BYTES_MAX = 1000 }; /* of a counter's total */

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
        if (!is_name_text(group->name) || !reader_version(reader, pair, &group->version))
            return scan_refuse(reader->error, "\"g\" has an entry that is not a group and its version");
        group->name = reader_keep(reader, group->name);
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
    if (!nobody && (!is_name_text(name) || !reader_timestamp(timestamp, &total->version.timestamp_us)))
        return false;
    if (!json_object_is_type(value, json_type_string) || !is_decimal(reader_view(value)))
        return false;
    total->version.node = reader_keep(reader, name);
    total->total = reader_keep_string(reader, value);
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
        struct text name = reader_keep(reader, text_from(field));
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

bool reader_merge(struct reader *reader, struct json_object *object, struct merge *merge)
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
        if (!reader_version(reader, member, versions[i].version))
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

bool codec_decode_merge(struct text json, struct arena *arena, struct merge *merge, struct error *error)
{
    *merge = (struct merge){0};
    if (text_is_null(json))
        return true;
    size_t member_count = 0;
    if (!scan_body(json, &member_count, error))
        return false;
    JSON_OWNED *root = NULL;
    if (!reader_parse(json, &root, error))
        return false;
    if (!json_object_is_type(root, json_type_object))
        return scan_refuse(error, "\"merge\" is not an object");
    if ((size_t)json_object_object_length(root) != member_count)
        return scan_refuse(error, "\"merge\" has two members of the same name");
    struct reader reader = {root, arena, error, NULL, 0, arena_take(arena, json.length + 1)};
    return reader_merge(&reader, root, merge);
}
