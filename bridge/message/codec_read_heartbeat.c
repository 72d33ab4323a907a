#include "bridge/base/limits.h"
#include "bridge/message/codec_reader.h"
#include "bridge/message/scan.h"

/* More messages than anybody sends; a sum of many such numbers fits, too. */
static const int64_t SEQUENCE_MAX = INT64_C(1) << 53;

static bool read_heard(struct reader *reader, struct json_object *list, struct heartbeat *heartbeat)
{
    size_t count = json_object_array_length(list);
    if (count > LIMIT_PEERS)
        return scan_refuse(reader->error, "\"heard\" names %zu nodes, more than %d", count, LIMIT_PEERS);
    struct heard *heard = arena_take_array(reader->arena, count, sizeof *heard);
    for (size_t i = 0; i < count; i++) {
        struct json_object *entry = json_object_array_get_idx(list, i);
        if (!json_object_is_type(entry, json_type_array) || json_object_array_length(entry) != 3 ||
            !reader_is_name(json_object_array_get_idx(entry, 0)) ||
            !reader_timestamp(json_object_array_get_idx(entry, 1), &heard[i].sent_us) ||
            !reader_timestamp(json_object_array_get_idx(entry, 2), &heard[i].received_us))
            return scan_refuse(reader->error, "\"heard\" has an entry that is not a node and two timestamps");
        heard[i].node = reader_keep_string(reader, json_object_array_get_idx(entry, 0));
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
            !reader_is_name(json_object_array_get_idx(entry, 0)) || !read_sequence(json_object_array_get_idx(entry, 1), &confirmed[i].sequence))
            return scan_refuse(reader->error, "\"confirmed\" has an entry that is not an incarnation and a number");
        confirmed[i].epoch = reader_keep_string(reader, json_object_array_get_idx(entry, 0));
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
    bool parsed = reader_parse(body, &root, error);
    reader_confirm_parse(body, parsed ? root : NULL);
    if (!parsed)
        return false;
    if (!json_object_is_type(root, json_type_object))
        return scan_refuse(error, "the heartbeat is not a JSON object");
    struct reader reader = {root, arena, error, NULL, 0, arena_take(arena, body.length + 1)};
    struct json_object *list = reader_find_typed(&reader, "heard", json_type_array);
    if (list == NULL)
        return false;
    if (!reader_timestamp(reader_find(&reader, "time"), &heartbeat->time_us))
        return scan_refuse(error, "\"time\" is not a timestamp in microseconds");
    heartbeat->again = json_object_get_boolean(reader_find(&reader, "again"));
    return read_heard(&reader, list, heartbeat) && read_confirmed(&reader, reader_find(&reader, "confirmed"), heartbeat);
}
