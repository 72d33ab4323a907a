#include "bridge/message/codec_reader.h"

#include "bridge/base/limits.h"
#include "bridge/message/scan.h"

static void tokener_free(struct json_tokener **tokener)
{
    if (*tokener != NULL)
        json_tokener_free(*tokener);
}

#define TOKENER_OWNED __attribute__((cleanup(tokener_free))) struct json_tokener

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

void reader_confirm_parse(struct text body, struct json_object *root)
{
    JSON_OWNED *again = NULL;
    struct error ignored;
    bool parsed = parse(body, &again, &ignored);
    if (parsed != (root != NULL) || (parsed && !json_object_equal(root, again)))
        must(NULL);
}

bool reader_parse(struct text body, struct json_object **root, struct error *error)
{
    errno = 0;
    bool parsed = parse(body, root, error);
    if (memory_was_short())
        reader_confirm_parse(body, parsed ? *root : NULL);
    return parsed;
}

struct json_object *reader_find(struct reader *reader, const char *name)
{
    struct json_object *member = NULL;
    if (json_object_object_get_ex(reader->root, name, &member))
        reader->known++;
    return member;
}

struct json_object *reader_find_typed(struct reader *reader, const char *name, enum json_type type)
{
    struct json_object *member = reader_find(reader, name);
    if (json_object_is_type(member, type))
        return member;
    if (member == NULL)
        scan_refuse(reader->error, "\"%s\" is missing", name);
    else
        scan_refuse(reader->error, "\"%s\" is not %s", name, type == json_type_string ? "a string" : "an array");
    return NULL;
}

bool reader_is_name(struct json_object *object)
{
    if (!json_object_is_type(object, json_type_string))
        return false;
    int length = json_object_get_string_len(object);
    return length >= 1 && length <= LIMIT_NAME_BYTES;
}

bool reader_timestamp(struct json_object *number, int64_t *timestamp)
{
    if (!json_object_is_type(number, json_type_int))
        return false;
    *timestamp = json_object_get_int64(number);
    return *timestamp > 0 && *timestamp < INT64_MAX;
}

bool reader_version(struct reader *reader, struct json_object *pair, struct version *version)
{
    if (!json_object_is_type(pair, json_type_array) || json_object_array_length(pair) != 2 ||
        !reader_timestamp(json_object_array_get_idx(pair, 0), &version->timestamp_us) ||
        !reader_is_name(json_object_array_get_idx(pair, 1)))
        return false;
    version->node = reader_keep_string(reader, json_object_array_get_idx(pair, 1));
    return true;
}

bool reader_seen(struct reader *reader, struct json_object *object, struct seen *seen)
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
            !reader_timestamp(timestamp, &version.timestamp_us))
            return scan_refuse(reader->error, "\"seen\" has an entry that is not a node and a timestamp");
        size_t at = filled++;
        for (; at > 0 && text_compare(versions[at - 1].node, version.node) > 0; at--)
            versions[at] = versions[at - 1];
        version.node = reader_keep(reader, version.node);
        versions[at] = version;
    }
    *seen = (struct seen){filled, versions};
    return true;
}
