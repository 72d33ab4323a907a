#include "adapters/host/config_file.h"

#include <assert.h>
#include <cyaml/cyaml.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "bridge/base/arena.h"
#include "bridge/base/limits.h"
#include "bridge/control/config_model.h"
#include "bridge/control/name.h"
#include "bridge/control/reading.h"

/* libcyaml fills the structs of the schema table below. What it reports is no help to people: an unknown key carries
 * the place of the value before it, and enums and numbers are taken loosely. So the text is read twice: first with
 * libyaml's own parser into an outline (what stands where), which is held against the same table and gives every
 * message its line and column; then by libcyaml. */

enum {
    FILE_BYTES_MAX = 1 << 20,
    PASSWORD_BYTES_MAX = 4096,
    NESTING_MAX = 8,
    NODES_MAX = 200000, /* five bytes each in a file of 1 MiB; names are longer */
    KEYS_MAX = 64,      /* in one mapping; keeps the search for doubled ones short */
    OUTLINE_BYTES_MAX = 128 << 20,
};

/* ---- the keys there are ------------------------------------------------------------------------------------------ */

#define OPTIONAL (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define STRICT_OPTIONAL (CYAML_FLAG_STRICT | CYAML_FLAG_OPTIONAL)
#define KEY_TEXT(flags, type, member) CYAML_FIELD_STRING_PTR(#member, flags, type, member, 0, CYAML_UNLIMITED)
#define KEY_WORD(type, member, words)                                                                                  \
    CYAML_FIELD_ENUM(#member, STRICT_OPTIONAL, type, member, words, CYAML_ARRAY_LEN(words))
#define KEY_LIST(flags, type, member, entry, min, max)                                                                 \
    CYAML_FIELD_SEQUENCE(#member, flags, type, member, entry, min, max)

static const cyaml_strval_t capture_words[] = {{"outbox", CAPTURE_OUTBOX}, {"wal", CAPTURE_WAL}};
static const cyaml_strval_t log_words[] = {{"text", LOG_TEXT}, {"json", LOG_JSON}};
static const cyaml_strval_t triggers_words[] = {{"suppress", TRIGGERS_SUPPRESS}, {"fire", TRIGGERS_FIRE}};
static const cyaml_strval_t truncate_words[] = {{"capture", TRUNCATE_CAPTURE}, {"refuse", TRUNCATE_REFUSE}};
static const cyaml_strval_t revives_words[] = {{"false", REVIVES_FALSE}, {"true", REVIVES_TRUE}};
static const cyaml_strval_t coalesce_words[] = {{"true", COALESCE_TRUE}, {"false", COALESCE_FALSE}};

/* Numbers are read as texts: libcyaml would take 010 for 8. */
static const cyaml_schema_value_t text_schema = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

static const cyaml_schema_field_t broker_keys[] = {
    KEY_TEXT(CYAML_FLAG_POINTER, struct config_raw_broker, url),
    KEY_TEXT(OPTIONAL, struct config_raw_broker, password_file),
    KEY_TEXT(OPTIONAL, struct config_raw_broker, exchange),
    KEY_TEXT(OPTIONAL, struct config_raw_broker, queue),
    KEY_TEXT(OPTIONAL, struct config_raw_broker, dead_exchange),
    KEY_TEXT(OPTIONAL, struct config_raw_broker, dead_queue),
    KEY_TEXT(OPTIONAL, struct config_raw_broker, ca_file),
    KEY_TEXT(OPTIONAL, struct config_raw_broker, cert_file),
    KEY_TEXT(OPTIONAL, struct config_raw_broker, key_file),
    KEY_TEXT(OPTIONAL, struct config_raw_broker, heartbeat),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t retry_keys[] = {
    KEY_TEXT(OPTIONAL, struct config_raw_retry, base),
    KEY_TEXT(OPTIONAL, struct config_raw_retry, factor),
    KEY_TEXT(OPTIONAL, struct config_raw_retry, cap),
    KEY_TEXT(OPTIONAL, struct config_raw_retry, max_attempts),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t ping_pong_keys[] = {
    KEY_TEXT(OPTIONAL, struct config_raw_ping_pong, times),
    KEY_TEXT(OPTIONAL, struct config_raw_ping_pong, within),
    KEY_TEXT(OPTIONAL, struct config_raw_ping_pong, cool_down),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t mass_delete_keys[] = {
    KEY_TEXT(OPTIONAL, struct config_raw_mass_delete, rows),
    KEY_TEXT(OPTIONAL, struct config_raw_mass_delete, percent),
    KEY_TEXT(OPTIONAL, struct config_raw_mass_delete, within),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t entity_keys[] = {
    KEY_TEXT(CYAML_FLAG_POINTER, struct config_raw_entity, name),
    KEY_TEXT(CYAML_FLAG_POINTER, struct config_raw_entity, table),
    KEY_LIST(CYAML_FLAG_POINTER, struct config_raw_entity, key, &text_schema, 1, LIMIT_FIELDS),
    KEY_LIST(OPTIONAL, struct config_raw_entity, fields, &text_schema, 0, LIMIT_FIELDS),
    KEY_WORD(struct config_raw_entity, triggers, triggers_words),
    KEY_WORD(struct config_raw_entity, truncate, truncate_words),
    KEY_WORD(struct config_raw_entity, coalesce, coalesce_words),
    KEY_TEXT(OPTIONAL, struct config_raw_entity, policy),
    KEY_LIST(OPTIONAL, struct config_raw_entity, priority, &text_schema, 1, LIMIT_PEERS),
    KEY_LIST(OPTIONAL, struct config_raw_entity, owners, &text_schema, 1, LIMIT_FIELDS),
    KEY_LIST(OPTIONAL, struct config_raw_entity, counters, &text_schema, 1, LIMIT_FIELDS),
    KEY_WORD(struct config_raw_entity, update_revives, revives_words),
    CYAML_FIELD_MAPPING("retry", CYAML_FLAG_OPTIONAL, struct config_raw_entity, retry, retry_keys),
    KEY_TEXT(OPTIONAL, struct config_raw_entity, max_changes_per_second),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t entity_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_raw_entity, entity_keys)};

static const cyaml_schema_field_t top_keys[] = {
    KEY_TEXT(CYAML_FLAG_POINTER, struct config_raw, node),
    KEY_TEXT(CYAML_FLAG_POINTER, struct config_raw, database),
    KEY_TEXT(OPTIONAL, struct config_raw, database_password_file),
    CYAML_FIELD_MAPPING("broker", CYAML_FLAG_DEFAULT, struct config_raw, broker, broker_keys),
    KEY_LIST(CYAML_FLAG_POINTER, struct config_raw, peers, &text_schema, 0, LIMIT_PEERS),
    KEY_WORD(struct config_raw, capture, capture_words),
    KEY_TEXT(OPTIONAL, struct config_raw, wal_keep_max),
    KEY_TEXT(OPTIONAL, struct config_raw, http),
    KEY_WORD(struct config_raw, log, log_words),
    KEY_TEXT(OPTIONAL, struct config_raw, message_bytes),
    KEY_TEXT(OPTIONAL, struct config_raw, max_clock_skew),
    KEY_TEXT(OPTIONAL, struct config_raw, tombstone_retention),
    KEY_TEXT(OPTIONAL, struct config_raw, dead_letter_retention),
    KEY_TEXT(OPTIONAL, struct config_raw, conflict_retention),
    CYAML_FIELD_MAPPING("retry", CYAML_FLAG_OPTIONAL, struct config_raw, retry, retry_keys),
    KEY_TEXT(OPTIONAL, struct config_raw, max_held_changes),
    CYAML_FIELD_MAPPING_PTR("ping_pong", OPTIONAL, struct config_raw, ping_pong, ping_pong_keys),
    CYAML_FIELD_MAPPING_PTR("mass_delete", OPTIONAL, struct config_raw, mass_delete, mass_delete_keys),
    KEY_LIST(CYAML_FLAG_POINTER, struct config_raw, entities, &entity_schema, 1, LIMIT_ENTITIES),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t top_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config_raw, top_keys)};

static const struct section {
    const char *name;
    const char *place; /* in sentences */
    const cyaml_schema_field_t *keys;
} sections[] = {
    {"", "at the top level", top_keys},
    {"broker", "in broker", broker_keys},
    {"retry", "in retry", retry_keys},
    {"entities", "in an entity", entity_keys},
    {"ping_pong", "in ping_pong", ping_pong_keys},
    {"mass_delete", "in mass_delete", mass_delete_keys},
};

enum { SECTION_COUNT = sizeof sections / sizeof *sections };

static const struct section *section_of(const cyaml_schema_field_t *keys)
{
    size_t i = 0;
    while (i < SECTION_COUNT && sections[i].keys != keys)
        i++;
    assert(i < SECTION_COUNT); /* every mapping of the table is a section */
    return &sections[i];
}

bool config_key(size_t index, const char **section, const char **key)
{
    for (size_t i = 0; i < SECTION_COUNT; i++)
        for (const cyaml_schema_field_t *field = sections[i].keys; field->key != NULL; field++)
            if (index-- == 0) {
                *section = sections[i].name;
                *key = field->key;
                return true;
            }
    return false;
}

/* ---- the outline from libyaml's events --------------------------------------------------------------------------- */

struct builder {
    struct outline *open[NESTING_MAX]; /* the mappings and lists around the next event */
    size_t depth;
    size_t nodes;
    size_t documents;
    const char *key; /* read, its value not yet */
    struct mark key_mark;
};

static struct mark mark_of(yaml_mark_t mark)
{
    return (struct mark){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

/* The reader's errors (bad UTF-8, control characters) have a byte offset only. */
static struct mark mark_at(struct text text, size_t offset)
{
    struct mark mark = {1, 1};
    for (size_t i = 0; i < offset && i < text.length; i++) {
        if (text.data[i] == '\n')
            mark = (struct mark){mark.line + 1, 1};
        else if (((unsigned char)text.data[i] & 0xC0) != 0x80)
            mark.column++;
    }
    return mark;
}

static bool fail_syntax(struct reading *reading, const yaml_parser_t *parser, struct text text)
{
    if (parser->error == YAML_READER_ERROR)
        return reading_fail(reading, mark_at(text, parser->problem_offset), "this is not UTF-8 text: %s",
                            parser->problem);
    if (parser->problem == NULL)
        return reading_fail(reading, (struct mark){1, 1}, "out of memory");
    struct mark mark = mark_of(parser->problem_mark);
    if (parser->context == NULL)
        reading_fail(reading, mark, "this is not YAML: %s", parser->problem);
    else
        reading_fail(reading, mark, "this is not YAML: %s %s that began in line %u", parser->problem, parser->context,
                     mark_of(parser->context_mark).line);
    if (strstr(parser->problem, "tab character") != NULL)
        error_hint(reading->error, "Indent with blanks, not tabs");
    else if (strstr(parser->problem, "cannot start any token") != NULL)
        error_hint(reading->error, "A text that begins with %%, @ or ` needs quotes, and a tab cannot indent");
    return false;
}

/* A NUL within would end the text early for everybody after us; other control characters would reach the log. */
static bool is_printable(const yaml_event_t *event)
{
    for (size_t i = 0; i < event->data.scalar.length; i++) {
        unsigned char c = event->data.scalar.value[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F)
            return false;
    }
    return true;
}

static const char *keep(struct reading *reading, const yaml_event_t *event)
{
    struct text text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    return arena_string(&reading->arena, text);
}

static bool take_key(struct reading *reading, struct builder *builder, const yaml_event_t *event)
{
    struct outline *mapping = builder->open[builder->depth - 1];
    struct mark mark = mark_of(event->start_mark);
    if (event->type != YAML_SCALAR_EVENT)
        return reading_fail(reading, mark, "a key must be a word");
    if (!is_printable(event))
        return reading_fail(reading, mark, "a key has a control character");
    builder->key = keep(reading, event);
    builder->key_mark = mark;
    const struct outline *earlier = reading_find(mapping, builder->key);
    if (earlier != NULL) {
        struct text key = reading_shown(builder->key);
        return reading_fail(reading, mark, "key \"%.*s\" is given twice, first in line %u", TEXT_PRINTF(key),
                            earlier->key_mark.line);
    }
    if (mapping->count == KEYS_MAX)
        return reading_fail(reading, mark, "more than %d keys in one place", KEYS_MAX);
    return true;
}

static bool take_value(struct reading *reading, struct builder *builder, const yaml_event_t *event)
{
    struct mark mark = mark_of(event->start_mark);
    if (builder->nodes++ == NODES_MAX)
        return reading_fail(reading, mark, "more than %d values", NODES_MAX);
    struct outline *node = arena_take(&reading->arena, sizeof *node);
    *node = (struct outline){.mark = mark, .key = builder->key, .key_mark = builder->key_mark};
    builder->key = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        if (!is_printable(event))
            return reading_fail(reading, mark, "the text has a control character");
        node->kind = OUTLINE_TEXT;
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        node->double_quoted = event->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;
        node->value = keep(reading, event);
    } else {
        node->kind = event->type == YAML_SEQUENCE_START_EVENT ? OUTLINE_LIST : OUTLINE_MAPPING;
    }
    if (builder->depth == 0) {
        reading->root = node;
    } else {
        struct outline *parent = builder->open[builder->depth - 1];
        if (parent->last == NULL)
            parent->first = node;
        else
            parent->last->next = node;
        parent->last = node;
        parent->count++;
    }
    if (node->kind == OUTLINE_TEXT)
        return true;
    if (builder->depth == NESTING_MAX)
        return reading_fail(reading, mark, "nested too deeply");
    builder->open[builder->depth++] = node;
    return true;
}

static bool take_content(struct reading *reading, struct builder *builder, const yaml_event_t *event,
                         const yaml_char_t *anchor, const yaml_char_t *tag)
{
    /* A few aliases of aliases would expand to gigabytes, and nothing here needs them. */
    if (anchor != NULL || tag != NULL)
        return reading_fail(reading, mark_of(event->start_mark), "anchors and tags are not supported");
    bool in_mapping = builder->depth > 0 && builder->open[builder->depth - 1]->kind == OUTLINE_MAPPING;
    if (in_mapping && builder->key == NULL)
        return take_key(reading, builder, event);
    return take_value(reading, builder, event);
}

static bool take_event(struct reading *reading, struct builder *builder, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (builder->documents++ > 0)
            return reading_fail(reading, mark_of(event->start_mark),
                                "a second YAML document begins here, one is all there is");
        return true;
    case YAML_ALIAS_EVENT:
        return reading_fail(reading, mark_of(event->start_mark), "aliases are not supported");
    case YAML_SCALAR_EVENT:
        return take_content(reading, builder, event, event->data.scalar.anchor, event->data.scalar.tag);
    case YAML_SEQUENCE_START_EVENT:
        return take_content(reading, builder, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return take_content(reading, builder, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        builder->depth--;
        return true;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return true;
    }
    return true;
}

static bool take_events(struct reading *reading, yaml_parser_t *parser, struct text text)
{
    struct builder builder = {0};
    for (bool done = false; !done;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return fail_syntax(reading, parser, text);
        bool taken = take_event(reading, &builder, &event);
        done = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
        if (!taken)
            return false;
    }
    if (reading->root == NULL)
        return reading_fail(reading, (struct mark){1, 1}, "the configuration is empty");
    return true;
}

static bool read_outline(struct reading *reading, struct text text)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return reading_fail(reading, (struct mark){1, 1}, "out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.length);
    bool taken = take_events(reading, &parser, text);
    yaml_parser_delete(&parser);
    return taken;
}

/* ---- the outline held against the table -------------------------------------------------------------------------- */

static const cyaml_schema_field_t *field_named(const cyaml_schema_field_t *keys, const char *name)
{
    for (const cyaml_schema_field_t *field = keys; field->key != NULL; field++)
        if (strcmp(field->key, name) == 0)
            return field;
    return NULL;
}

static bool fail_unknown(struct reading *reading, const struct outline *node, const struct section *section)
{
    struct text key = reading_shown(node->key);
    reading_fail(reading, node->key_mark, "unknown key \"%.*s\" %s", TEXT_PRINTF(key), section->place);
    for (size_t i = 0; i < SECTION_COUNT; i++)
        if (field_named(sections[i].keys, node->key) != NULL)
            return error_hint(reading->error, "It belongs %s", sections[i].place);
    const char *names[KEYS_MAX];
    size_t count = 0;
    for (const cyaml_schema_field_t *field = section->keys; field->key != NULL && count < KEYS_MAX; field++)
        names[count++] = field->key;
    const char *nearest = name_nearest(node->key, names, count);
    return nearest == NULL ? false : error_hint(reading->error, "did you mean \"%s\"?", nearest);
}

static bool is_nothing(const struct outline *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; node->plain && i < sizeof words / sizeof *words; i++)
        if (strcmp(node->value, words[i]) == 0)
            return true;
    return false;
}

static bool match_text(struct reading *reading, const struct outline *node, const char *key)
{
    if (node->kind != OUTLINE_TEXT) {
        const char *found = node->kind == OUTLINE_LIST ? "a list" : "keys of their own";
        if (node->key != NULL)
            return reading_fail(reading, node->mark, "\"%s\" must be a text, not %s", key, found);
        reading_fail(reading, node->mark, "an entry of \"%s\" must be a text, not %s", key, found);
        if (strcmp(key, "peers") == 0)
            return false;
        return error_hint(reading->error, "Write canonical = column, or the name alone when they are equal");
    }
    if (node->value[0] != '\0')
        return true;
    if (node->key != NULL)
        return reading_fail(reading, node->mark, "\"%s\" is empty", key);
    return reading_fail(reading, node->mark, "an entry of \"%s\" is empty", key);
}

static bool match_word(struct reading *reading, const struct outline *node, const cyaml_schema_value_t *schema,
                       const char *key)
{
    for (uint32_t i = 0; node->kind == OUTLINE_TEXT && i < schema->enumeration.count; i++)
        if (strcmp(node->value, schema->enumeration.strings[i].str) == 0)
            return true;
    assert(schema->enumeration.count == 2);
    return reading_fail(reading, node->mark, "\"%s\" must be %s or %s", key, schema->enumeration.strings[0].str,
                        schema->enumeration.strings[1].str);
}

static bool match_list(struct reading *reading, const struct outline *node, const cyaml_schema_value_t *schema,
                       const char *key)
{
    if (node->kind != OUTLINE_LIST) {
        reading_fail(reading, node->mark, "\"%s\" must be a list", key);
        return error_hint(reading->error, "Write [one, two], or one entry a line, each behind a dash");
    }
    if (node->count < schema->sequence.min)
        return reading_fail(reading, node->mark, "\"%s\" needs at least %u entry", key, schema->sequence.min);
    if (node->count > schema->sequence.max)
        return reading_fail(reading, reading_entry(node, schema->sequence.max)->mark, "\"%s\" has more than %u entries",
                            key, schema->sequence.max);
    return true;
}

static bool match_mapping(struct reading *reading, const struct outline *node, const cyaml_schema_field_t *keys);

static bool match_value(struct reading *reading, const struct outline *node, const cyaml_schema_value_t *schema,
                        const char *key)
{
    if (schema->type == CYAML_STRING)
        return match_text(reading, node, key);
    if (schema->type == CYAML_ENUM)
        return match_word(reading, node, schema, key);
    if (schema->type == CYAML_MAPPING && node->kind == OUTLINE_MAPPING)
        return match_mapping(reading, node, schema->mapping.fields);
    if (schema->type == CYAML_MAPPING)
        return reading_fail(reading, node->mark,
                            node->key != NULL ? "\"%s\" must have keys of its own"
                                              : "an entry of \"%s\" must have keys of its own",
                            key);
    assert(schema->type == CYAML_SEQUENCE);
    if (!match_list(reading, node, schema, key))
        return false;
    for (const struct outline *child = node->first; child != NULL; child = child->next)
        if (!match_value(reading, child, schema->sequence.entry, key))
            return false;
    return true;
}

static bool match_mapping(struct reading *reading, const struct outline *node, const cyaml_schema_field_t *keys)
{
    const struct section *section = section_of(keys);
    for (const struct outline *child = node->first; child != NULL; child = child->next) {
        const cyaml_schema_field_t *field = field_named(keys, child->key);
        if (field == NULL)
            return fail_unknown(reading, child, section);
        if (is_nothing(child)) {
            reading_fail(reading, child->key_mark, "\"%s\" has no value", field->key);
            return (field->value.flags & CYAML_FLAG_OPTIONAL) == 0
                       ? false
                       : error_hint(reading->error, "Leave the key out for its default");
        }
        if (!match_value(reading, child, &field->value, field->key))
            return false;
    }
    for (const cyaml_schema_field_t *field = keys; field->key != NULL; field++) {
        if ((field->value.flags & CYAML_FLAG_OPTIONAL) != 0 || reading_find(node, field->key) != NULL)
            continue;
        reading_fail(reading, node->mark, "key \"%s\" is missing %s", field->key, section->place);
        return strcmp(field->key, "peers") != 0
                   ? false
                   : error_hint(reading->error, "A node that only publishes has `peers: []`");
    }
    return true;
}

static bool match_outline(struct reading *reading)
{
    if (reading->root->kind != OUTLINE_MAPPING)
        return reading_fail(reading, reading->root->mark, "the configuration must consist of keys with values");
    return match_mapping(reading, reading->root, top_keys);
}

/* ---- libcyaml ---------------------------------------------------------------------------------------------------- */

/* Keeps the first line of what libcyaml says; the rest is its backtrace. */
__attribute__((format(printf, 3, 0))) static void keep_first(cyaml_log_t level, void *context, const char *format,
                                                             va_list arguments)
{
    char *first = context;
    if (level >= CYAML_LOG_ERROR && first[0] == '\0')
        vsnprintf(first, 256, format, arguments);
}

/* What the text is in the table's structs, or NULL. After match_outline only a lack of memory should bring an error. */
static struct config_raw *load(struct reading *reading, struct text text, const cyaml_config_t *cyaml)
{
    cyaml_data_t *data = NULL;
    cyaml_err_t result = cyaml_load_data((const uint8_t *)text.data, text.length, cyaml, &top_schema, &data, NULL);
    if (result == CYAML_OK)
        return data;
    char *first = cyaml->log_ctx;
    first[strcspn(first, "\n")] = '\0';
    reading_fail(reading, reading->root->mark, "%s", first[0] != '\0' ? first : cyaml_strerror(result));
    return NULL;
}

/* ---- files it names ---------------------------------------------------------------------------------------------- */

/* Puts the path of a credential's file in the place of `credential:NAME`. */
static bool find_credential(struct reading *reading, const struct outline *node, char **path)
{
    if (*path == NULL || strncmp(*path, "credential:", strlen("credential:")) != 0)
        return true;
    const char *name = *path + strlen("credential:");
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    if (directory == NULL || directory[0] == '\0') {
        reading_fail(reading, node->mark, "\"%s\" names a credential, but CREDENTIALS_DIRECTORY is not set", node->key);
        return error_hint(reading->error, "systemd sets it for a service with LoadCredential=; elsewhere name a file");
    }
    char *found = NULL;
    if (asprintf(&found, "%s/%s", directory, name) < 0)
        return reading_fail(reading, node->mark, "out of memory");
    free(*path);
    *path = found;
    return true;
}

/* At most size bytes; -1 with errno on failure. */
static ssize_t read_bytes(int file, char *buffer, size_t size)
{
    size_t length = 0;
    while (length < size) {
        ssize_t got = read(file, buffer + length, size - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        length += (size_t)got;
    }
    return (ssize_t)length;
}

static bool check_password_file(struct reading *reading, const struct outline *node, const char *path, int file)
{
    struct stat status;
    if (fstat(file, &status) != 0)
        return reading_fail(reading, node->mark, "could not read \"%s\": %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return reading_fail(reading, node->mark, "\"%s\" is not a regular file", path);
    if ((status.st_mode & (S_IROTH | S_IWOTH)) != 0) {
        reading_fail(reading, node->mark, "the password file \"%s\" is open to all users of this machine", path);
        return error_hint(reading->error, "chmod 600 %s", path);
    }
    return true;
}

static bool take_password(struct reading *reading, const struct outline *node, const char *path, struct text content,
                          char **password)
{
    if (content.length > PASSWORD_BYTES_MAX)
        return reading_fail(reading, node->mark, "the password file \"%s\" is larger than %d bytes", path,
                            PASSWORD_BYTES_MAX);
    const char *newline = content.length == 0 ? NULL : memchr(content.data, '\n', content.length);
    struct text line = {content.data, newline == NULL ? content.length : (size_t)(newline - content.data)};
    if (line.length > 0 && line.data[line.length - 1] == '\r')
        line.length--;
    if (line.length == 0)
        return reading_fail(reading, node->mark, "the first line of the password file \"%s\" is empty", path);
    if (memchr(line.data, '\0', line.length) != NULL)
        return reading_fail(reading, node->mark, "the password in \"%s\" has a NUL byte", path);
    *password = name_copy(line);
    return true;
}

static bool read_password(struct reading *reading, const struct outline *node, const char *path, char **password)
{
    if (path == NULL)
        return true;
    /* O_NONBLOCK: a named pipe must not hold us. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return reading_fail(reading, node->mark, "could not open \"%s\": %s", path, strerror(errno));
    char content[PASSWORD_BYTES_MAX + 1];
    bool taken = check_password_file(reading, node, path, file);
    if (taken) {
        ssize_t length = read_bytes(file, content, sizeof content);
        if (length < 0)
            taken = reading_fail(reading, node->mark, "could not read \"%s\": %s", path, strerror(errno));
        else
            taken = take_password(reading, node, path, (struct text){content, (size_t)length}, password);
    }
    explicit_bzero(content, sizeof content);
    close(file);
    return taken;
}

static bool read_files(struct reading *reading, struct config *config)
{
    struct broker_config *broker = &config->broker;
    const struct outline *section = reading_require(reading->root, "broker");
    const struct outline *database = reading_find(reading->root, "database_password_file");
    const struct outline *password = reading_find(section, "password_file");
    return find_credential(reading, database, &config->database_password_file) &&
           find_credential(reading, password, &broker->password_file) &&
           find_credential(reading, reading_find(section, "ca_file"), &broker->ca_file) &&
           find_credential(reading, reading_find(section, "cert_file"), &broker->cert_file) &&
           find_credential(reading, reading_find(section, "key_file"), &broker->key_file) &&
           read_password(reading, database, config->database_password_file, &config->database_password) &&
           read_password(reading, password, broker->password_file, &broker->password);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static bool read_text(struct reading *reading, struct text text, struct config *config)
{
    if (text.length > FILE_BYTES_MAX)
        return reading_fail(reading, (struct mark){1, 1}, "the configuration is larger than %d bytes", FILE_BYTES_MAX);
    if (!read_outline(reading, text) || !match_outline(reading))
        return false;
    char first_log[256] = "";
    const cyaml_config_t cyaml = {.log_fn = keep_first,
                                  .log_ctx = first_log,
                                  .mem_fn = cyaml_mem,
                                  .log_level = CYAML_LOG_ERROR,
                                  .flags = CYAML_CFG_NO_ALIAS};
    struct config_raw *raw = load(reading, text, &cyaml);
    bool built = raw != NULL && config_model_build(reading, raw, config);
    cyaml_free(&cyaml, &top_schema, raw, 0);
    return built;
}

static bool read_reading(const char *path, struct text text, bool with_files, struct config *config,
                         struct error *error)
{
    struct reading reading = {.path = path, .error = error};
    arena_init(&reading.arena, OUTLINE_BYTES_MAX);
    struct config model;
    bool done = read_text(&reading, text, &model);
    if (done && with_files && !read_files(&reading, &model)) {
        config_free(&model);
        done = false;
    }
    arena_free(&reading.arena);
    if (done)
        *config = model;
    return done;
}

bool config_read_text(const char *path, struct text text, struct config *config, struct error *error)
{
    return read_reading(path, text, false, config, error);
}

bool config_read(const char *path, struct config *config, struct error *error)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return error_set(error, FAULT_OPERATOR, NULL, "could not open the configuration \"%s\": %s", path,
                         strerror(errno));
    char *content = malloc(FILE_BYTES_MAX + 1);
    ssize_t length = content == NULL ? -1 : read_bytes(file, content, FILE_BYTES_MAX + 1);
    bool read = length >= 0 ? read_reading(path, (struct text){content, (size_t)length}, true, config, error)
                            : error_set(error, FAULT_OPERATOR, NULL, "could not read the configuration \"%s\": %s",
                                        path, strerror(errno));
    close(file);
    if (length > 0)
        explicit_bzero(content, (size_t)length); /* the url may have a password */
    free(content);
    return read;
}
