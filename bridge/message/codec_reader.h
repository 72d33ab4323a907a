#pragma once
/* A JSON text being read: what the codec's readers of messages, merge states and heartbeats share. What they refuse is FAULT_POISON. */
#include "bridge/message/codec_private.h"

/* Texts are copied behind one another into one block: none is longer than its JSON form with its quotes, which leaves
 * room for a NUL behind each. */
struct reader {
    struct json_object *root;
    struct arena *arena;
    struct error *error;
    struct message *message;
    size_t known; /* members of the root that were found */
    char *next;   /* in the block */
};

/* FAULT_TRANSIENT when there is no memory. */
bool reader_parse(struct text body, struct json_object **root, struct error *error);
/* The same must come of it once more, or the process ends; root is NULL when the body could not be parsed. */
void reader_confirm_parse(struct text body, struct json_object *root);

/* NULL: the root has no such member, or it is null. */
struct json_object *reader_find(struct reader *reader, const char *name);
/* The same refused, and what has another type. */
struct json_object *reader_find_typed(struct reader *reader, const char *name, enum json_type type);

bool reader_is_name(struct json_object *object);
/* json-c turns what does not fit into the greatest number it has, without a word: that one is refused too. */
bool reader_timestamp(struct json_object *number, int64_t *timestamp);
/* [timestamp, node] */
bool reader_version(struct reader *reader, struct json_object *pair, struct version *version);
/* {"node": timestamp}: sorted by node, as everybody keeps it. */
bool reader_seen(struct reader *reader, struct json_object *object, struct seen *seen);
/* A merge state. Strict: a member that is not known might be one that the join needs. */
bool reader_merge(struct reader *reader, struct json_object *object, struct merge *merge);

static inline struct text reader_view(struct json_object *string)
{
    return (struct text){json_object_get_string(string), (size_t)json_object_get_string_len(string)};
}

static inline struct text reader_keep(struct reader *reader, struct text text)
{
    char *copy = reader->next;
    memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    reader->next += text.length + 1;
    return (struct text){copy, text.length};
}

static inline struct text reader_keep_string(struct reader *reader, struct json_object *string)
{
    return reader_keep(reader, reader_view(string));
}
