#include "bridge/base/log.h"
#include "bridge/message/codec_private.h"

enum { WRITE_FLAGS = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE };

static struct json_object *new_string(struct text text)
{
    return must(json_object_new_string_len(text.data, (int)text.length));
}

static struct json_object *new_names(size_t count, const struct text *names)
{
    struct json_object *array = must(json_object_new_array_ext((int)count));
    for (size_t i = 0; i < count; i++)
        json_object_array_add(array, new_string(names[i]));
    return array;
}

static void add_member(struct json_object *root, const char *name, struct json_object *value)
{
    if (json_object_object_add_ex(root, name, value, JSON_C_OBJECT_ADD_KEY_IS_NEW | JSON_C_OBJECT_KEY_IS_CONSTANT) != 0)
        must(NULL);
}

static struct text confirm(struct text text, struct text again)
{
    if (!text_equal(text, again))
        must(NULL);
    return text;
}

/* The large arrays never become trees: an object per value costs twice as much as writing it. They are members with a
 * serializer of their own, in which two objects, one text and one number, take each value in turn to be written by
 * json-c. */
struct writer {
    const struct message *message;
    struct json_object *text;
    struct json_object *number;
};

static void put_raw(struct printbuf *out, const char *bytes, size_t length)
{
    if (printbuf_memappend(out, bytes, (int)length) < 0)
        must(NULL);
}

static void put_char(struct printbuf *out, char c)
{
    put_raw(out, &c, 1);
}

static void put_object(struct printbuf *out, struct json_object *object)
{
    size_t length = 0;
    const char *text = json_object_to_json_string_length(object, WRITE_FLAGS, &length);
    if (text == NULL)
        must(NULL);
    put_raw(out, text, length);
}

static void put_text(const struct writer *writer, struct printbuf *out, struct text text)
{
    if (text_is_null(text)) {
        put_raw(out, "null", 4);
        return;
    }
    /* json-c 0.16 forgets its buffer when a text object is set to the empty text (json-c issue 780). */
    if (text.length == 0) {
        put_raw(out, "\"\"", 2);
        return;
    }
    if (json_object_set_string_len(writer->text, text.data, (int)text.length) != 1)
        must(NULL);
    put_object(out, writer->text);
}

static void put_number(const struct writer *writer, struct printbuf *out, int64_t number)
{
    json_object_set_int64(writer->number, number);
    put_object(out, writer->number);
}

static void put_values(const struct writer *writer, struct printbuf *out, size_t row)
{
    const struct text *values = message_row(writer->message, row);
    for (size_t column = 0; column < writer->message->column_count; column++) {
        put_char(out, column == 0 ? '[' : ',');
        put_text(writer, out, values[column]);
    }
    put_char(out, ']');
}

static void put_row_version(const struct writer *writer, struct printbuf *out, size_t row)
{
    put_number(writer, out, writer->message->versions[row]);
}

static void put_version(const struct writer *writer, struct printbuf *out, struct version version)
{
    put_char(out, '[');
    put_number(writer, out, version.timestamp_us);
    put_char(out, ',');
    put_text(writer, out, version.node);
    put_char(out, ']');
}

static void put_base(const struct writer *writer, struct printbuf *out, size_t row)
{
    struct version base = writer->message->bases[row];
    if (version_is_none(base))
        put_raw(out, "null", 4);
    else
        put_version(writer, out, base);
}

static void put_seen_of(const struct writer *writer, struct printbuf *out, struct seen seen)
{
    for (size_t i = 0; i < seen.count; i++) {
        put_char(out, i == 0 ? '{' : ',');
        put_text(writer, out, seen.versions[i].node);
        put_char(out, ':');
        put_number(writer, out, seen.versions[i].timestamp_us);
    }
    put_raw(out, seen.count == 0 ? "null" : "}", seen.count == 0 ? 4 : 1);
}

static void put_seen(const struct writer *writer, struct printbuf *out, size_t row)
{
    put_seen_of(writer, out, writer->message->seen[row]);
}

static void put_merge_version(const struct writer *writer, struct printbuf *out, bool *any, const char *name,
                              struct version version)
{
    if (version_is_none(version))
        return;
    put_raw(out, *any ? ",\"" : "{\"", 2);
    put_raw(out, name, 1);
    put_raw(out, "\":", 2);
    put_version(writer, out, version);
    *any = true;
}

static void put_merge_totals(const struct writer *writer, struct printbuf *out, const struct merge *merge)
{
    for (size_t i = 0; i < merge->total_count; i++) {
        const struct merge_total *total = &merge->totals[i];
        bool first = i == 0 || !text_equal(merge->totals[i - 1].field, total->field);
        if (first) {
            put_raw(out, i == 0 ? "{" : "},", i == 0 ? 1 : 2);
            put_text(writer, out, total->field);
        }
        put_raw(out, first ? ":{" : ",", first ? 2 : 1);
        put_text(writer, out, total->version.node);
        put_raw(out, ":[", 2);
        put_number(writer, out, total->version.timestamp_us);
        put_char(out, ',');
        put_text(writer, out, total->total);
        put_char(out, ']');
    }
    put_raw(out, "}}", 2);
}

static void put_merge_of(const struct writer *writer, struct printbuf *out, const struct merge *merge)
{
    bool any = false;
    put_merge_version(writer, out, &any, "d", merge->died);
    put_merge_version(writer, out, &any, "s", merge->survived);
    put_merge_version(writer, out, &any, "v", merge->rest);
    if (merge->group_count > 0) {
        put_raw(out, any ? ",\"g\":" : "{\"g\":", 5);
        any = true;
        for (size_t i = 0; i < merge->group_count; i++) {
            put_char(out, i == 0 ? '{' : ',');
            put_text(writer, out, merge->groups[i].name);
            put_char(out, ':');
            put_version(writer, out, merge->groups[i].version);
        }
        put_char(out, '}');
    }
    if (merge->total_count > 0) {
        put_raw(out, any ? ",\"c\":" : "{\"c\":", 5);
        any = true;
        put_merge_totals(writer, out, merge);
    }
    put_raw(out, any ? "}" : "null", any ? 1 : 4);
}

static void put_merge(const struct writer *writer, struct printbuf *out, size_t row)
{
    put_merge_of(writer, out, &writer->message->merges[row]);
}

static void put_correlation(const struct writer *writer, struct printbuf *out, size_t row)
{
    put_text(writer, out, writer->message->correlations[row]);
}

/* A member that is an array with an item for each row. */
struct items {
    const char *name;
    bool wanted;
    void (*put)(const struct writer *writer, struct printbuf *out, size_t row);
    const struct writer *writer;
};

static int put_items(struct json_object *member, struct printbuf *out, int level, int flags)
{
    (void)level, (void)flags;
    const struct items *items = json_object_get_userdata(member);
    put_char(out, '[');
    for (size_t row = 0; row < items->writer->message->row_count; row++) {
        if (row > 0)
            put_char(out, ',');
        items->put(items->writer, out, row);
    }
    put_char(out, ']');
    return 0;
}

static void add_items(struct json_object *root, struct items *items)
{
    struct json_object *member = must(json_object_new_array_ext(1));
    json_object_set_serializer(member, put_items, items, NULL);
    add_member(root, items->name, member);
}

static bool has_correlation(const struct message *message)
{
    for (size_t row = 0; message->correlations != NULL && row < message->row_count; row++)
        if (!text_is_null(message->correlations[row]))
            return true;
    return false;
}

static struct text write_message(const struct message *message, struct arena *arena)
{
    JSON_OWNED *text = new_string(TEXT_LITERAL(""));
    JSON_OWNED *number = must(json_object_new_int64(0));
    JSON_OWNED *root = must(json_object_new_object());
    struct writer writer = {message, text, number};
    add_member(root, "entity", new_string(message->entity));
    add_member(root, "op", new_string(text_from(change_op_name(message->op))));
    add_member(root, "key", new_names(message->key_count, message->columns));
    add_member(root, "columns", new_names(message->column_count, message->columns));
    struct items items[] = {
        {"rows", true, put_values, &writer},
        {"versions", message->versions != NULL, put_row_version, &writer},
        {"bases", message->bases != NULL, put_base, &writer},
        {"seen", message->seen != NULL, put_seen, &writer},
        {"merge", message->merges != NULL, put_merge, &writer},
        {"correlations", has_correlation(message), put_correlation, &writer},
    };
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++)
        if (items[i].wanted)
            add_items(root, &items[i]);
    struct text body = TEXT_NULL;
    body.data = json_object_to_json_string_length(root, WRITE_FLAGS, &body.length);
    if (text_is_null(body))
        must(NULL);
    return arena_copy(arena, body);
}

struct text codec_encode(const struct message *message, struct arena *arena)
{
    errno = 0;
    struct text text = write_message(message, arena);
    return memory_was_short() ? confirm(text, write_message(message, arena)) : text;
}

/* log.h declares it; it stands here because the codec alone knows json-c. */
size_t log_json_line(const struct log_member *members, size_t count, char *out, size_t size)
{
    JSON_OWNED *root = must(json_object_new_object());
    for (size_t i = 0; i < count; i++)
        if (json_object_object_add(root, members[i].name, new_string(members[i].value)) != 0)
            must(NULL);
    size_t length = 0;
    const char *line = json_object_to_json_string_length(root, WRITE_FLAGS, &length);
    if (line == NULL || length >= size)
        return 0;
    memcpy(out, line, length + 1);
    return length;
}

static struct text write_seen(struct seen seen, struct arena *arena)
{
    if (seen.count == 0)
        return TEXT_NULL;
    JSON_OWNED *root = must(json_object_new_object());
    for (size_t i = 0; i < seen.count; i++) {
        struct json_object *timestamp = must(json_object_new_int64(seen.versions[i].timestamp_us));
        if (json_object_object_add(root, arena_string(arena, seen.versions[i].node), timestamp) != 0)
            must(NULL);
    }
    struct text text = TEXT_NULL;
    text.data = json_object_to_json_string_length(root, WRITE_FLAGS, &text.length);
    return text_is_null(text) ? (must(NULL), text) : arena_copy(arena, text);
}

struct text codec_encode_seen(struct seen seen, struct arena *arena)
{
    errno = 0;
    struct text text = write_seen(seen, arena);
    return memory_was_short() ? confirm(text, write_seen(seen, arena)) : text;
}

static struct text write_merge(const struct merge *merge, struct arena *arena)
{
    JSON_OWNED *text = new_string(TEXT_LITERAL(""));
    JSON_OWNED *number = must(json_object_new_int64(0));
    struct writer writer = {NULL, text, number};
    struct printbuf *out = must(printbuf_new());
    put_merge_of(&writer, out, merge);
    struct text json = {out->buf, (size_t)out->bpos};
    json = text_equal(json, TEXT_LITERAL("null")) ? TEXT_NULL : arena_copy(arena, json);
    printbuf_free(out);
    return json;
}

struct text codec_encode_merge(const struct merge *merge, struct arena *arena)
{
    errno = 0;
    struct text text = write_merge(merge, arena);
    return memory_was_short() ? confirm(text, write_merge(merge, arena)) : text;
}

static struct json_object *new_confirmed(const struct heartbeat *heartbeat)
{
    struct json_object *list = must(json_object_new_array_ext((int)heartbeat->confirmed_count));
    for (size_t i = 0; i < heartbeat->confirmed_count; i++) {
        struct json_object *entry = must(json_object_new_array_ext(2));
        json_object_array_add(entry, new_string(heartbeat->confirmed[i].epoch));
        json_object_array_add(entry, must(json_object_new_int64(heartbeat->confirmed[i].sequence)));
        json_object_array_add(list, entry);
    }
    return list;
}

static struct text write_heartbeat(const struct heartbeat *heartbeat, struct arena *arena)
{
    JSON_OWNED *root = must(json_object_new_object());
    add_member(root, "control", new_string(TEXT_LITERAL("heartbeat")));
    add_member(root, "time", must(json_object_new_int64(heartbeat->time_us)));
    struct json_object *list = must(json_object_new_array_ext((int)heartbeat->heard_count));
    for (size_t i = 0; i < heartbeat->heard_count; i++) {
        const struct heard *heard = &heartbeat->heard[i];
        struct json_object *entry = must(json_object_new_array_ext(3));
        json_object_array_add(entry, new_string(heard->node));
        json_object_array_add(entry, must(json_object_new_int64(heard->sent_us)));
        json_object_array_add(entry, must(json_object_new_int64(heard->received_us)));
        json_object_array_add(list, entry);
    }
    add_member(root, "heard", list);
    if (heartbeat->confirmed_count > 0)
        add_member(root, "confirmed", new_confirmed(heartbeat));
    if (heartbeat->again)
        add_member(root, "again", must(json_object_new_boolean(1)));
    struct text body = TEXT_NULL;
    body.data = json_object_to_json_string_length(root, WRITE_FLAGS, &body.length);
    return text_is_null(body) ? (must(NULL), body) : arena_copy(arena, body);
}

struct text codec_encode_heartbeat(const struct heartbeat *heartbeat, struct arena *arena)
{
    errno = 0;
    struct text text = write_heartbeat(heartbeat, arena);
    return memory_was_short() ? confirm(text, write_heartbeat(heartbeat, arena)) : text;
}
