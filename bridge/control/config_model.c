#include "bridge/control/config_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/base/limits.h"
#include "bridge/base/memory.h"
#include "bridge/control/address.h"
#include "bridge/control/mapping.h"
#include "bridge/control/name.h"
#include "bridge/flow/policy.h"

enum {
    HEARTBEAT_DEFAULT_S = 30,
    HEARTBEAT_MIN_S = 5,
    HEARTBEAT_MAX_S = 600,
    CLOCK_SKEW_DEFAULT_S = 300,
    CLOCK_SKEW_MAX_S = 86400,
    RETENTION_DEFAULT_S = 86400,
    RETENTION_MAX_S = 366 * 86400,
    RECORDS_DEFAULT_S = 90 * 86400,
    RECORDS_MAX_S = 3660 * 86400,
    RETRY_MAX_S = 86400,
    RETRY_FACTOR_MAX = 10,
    RETRY_ATTEMPTS_MIN = 2, /* the first is that of the message */
    RETRY_ATTEMPTS_MAX = 1000000,
    PING_PONG_TIMES = 20,
    PING_PONG_TIMES_MAX = 1000,
    PING_PONG_WITHIN_S = 10,
    PING_PONG_COOL_DOWN_S = 60,
    MASS_DELETE_WITHIN_S = 60,
    STORM_MAX_S = 86400,
    HELD_CHANGES_MAX = 1000000000,
    CHANGES_PER_SECOND_MAX = 1000000,
    MESSAGE_BYTES_MIN = 1 << 10,
    MESSAGE_BYTES_MAX = 1 << 20,
    BROKER_NAME_BYTES_MAX = 255, /* AMQP's short string */
};

#define WAL_KEEP_MIN (64UL << 20) /* four segments */
#define WAL_KEEP_DEFAULT (8UL << 30)
#define WAL_KEEP_MAX (1UL << 50)

struct numbered {
    const char *name;
    size_t index;
};

static int compare_numbered(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

/* Of the names that repeat an earlier one, the first; count when there is none. */
static size_t first_repeat(struct reading *reading, const char *const *names, size_t count)
{
    if (count == 0)
        return 0;
    struct numbered *sorted = arena_take_array(&reading->arena, count, sizeof *sorted);
    for (size_t i = 0; i < count; i++)
        sorted[i] = (struct numbered){names[i], i};
    qsort(sorted, count, sizeof *sorted, compare_numbered);
    size_t first = count;
    for (size_t i = 1; i < count; i++)
        if (strcmp(sorted[i - 1].name, sorted[i].name) == 0 && sorted[i].index < first)
            first = sorted[i].index;
    return first;
}

static void *take_array(size_t count, size_t item_bytes)
{
    void *array = calloc(count, item_bytes);
    if (array == NULL)
        memory_exhausted(__func__);
    return array;
}

/* All of text must be a number. */
static bool parse_number(struct text text, unsigned long max, unsigned long *number)
{
    unsigned long value = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (unsigned long)(text.data[i] - '0');
        if (value > max)
            return false;
    }
    *number = value;
    return text.length > 0;
}

static bool has_control(const char *string)
{
    for (; *string != '\0'; string++)
        if ((unsigned char)*string < 0x20 || *string == 0x7F)
            return true;
    return false;
}

static char *join(struct text directory, const char *name)
{
    char *path = take_array(directory.length + strlen(name) + 2, 1);
    snprintf(path, directory.length + strlen(name) + 2, "%.*s/%s", TEXT_PRINTF(directory), name);
    return path;
}

static bool is_file_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Relative paths begin at the configuration's directory. node: NULL leaves *path as it is. */
static bool read_path(struct reading *reading, const struct outline *node, char **path)
{
    if (node == NULL)
        return true;
    if (has_control(node->value))
        return reading_fail(reading, node->mark, "the path has a control character");
    bool credential = strncmp(node->value, "credential:", strlen("credential:")) == 0;
    if (credential && !is_file_name(node->value + strlen("credential:")))
        return reading_fail(reading, node->mark, "\"%s\" does not name a credential", node->key);
    const char *slash = strrchr(reading->path, '/');
    if (node->value[0] == '/' || credential || slash == NULL)
        *path = name_copy(text_from(node->value));
    else
        *path = join((struct text){reading->path, (size_t)(slash - reading->path)}, node->value);
    return true;
}

/* ---- sections -------------------------------------------------------------------------------------------------- */

static bool read_node(struct reading *reading, const struct config_raw *raw, struct config *config)
{
    if (!name_check("node", text_from(raw->node), reading->error))
        return reading_fail_at(reading, reading_require(reading->root, "node"));
    config->node = name_copy(text_from(raw->node));
    return true;
}

static bool read_peers(struct reading *reading, const struct config_raw *raw, struct config *config)
{
    const struct outline *list = reading_require(reading->root, "peers");
    const struct outline *node = list->first;
    config->peers = take_array(raw->peers_count + 1, sizeof *config->peers);
    for (size_t i = 0; i < raw->peers_count; i++, node = node->next) {
        if (!name_check("peer", text_from(raw->peers[i]), reading->error))
            return reading_fail_at(reading, node);
        if (strcmp(raw->peers[i], raw->node) == 0)
            return reading_fail(reading, node->mark, "node \"%s\" cannot be its own peer", raw->node);
        config->peers[config->peer_count++] = name_copy(text_from(raw->peers[i]));
    }
    size_t repeat = first_repeat(reading, (const char *const *)raw->peers, raw->peers_count);
    if (repeat < raw->peers_count)
        return reading_fail(reading, reading_entry(list, repeat)->mark, "peer \"%s\" is given twice",
                            raw->peers[repeat]);
    return true;
}

static bool read_database(struct reading *reading, struct config *config)
{
    const struct outline *node = reading_require(reading->root, "database");
    if (!address_check_conninfo(text_from(node->value), reading->error))
        return reading_fail_at(reading, node);
    config->database = name_copy(text_from(node->value));
    const struct outline *file = reading_find(reading->root, "database_password_file");
    return read_path(reading, file, &config->database_password_file);
}

/* One of the broker's exchanges and queues: the given name, or the default, which this takes over. */
static bool read_broker_name(struct reading *reading, const char *key, char *fallback, char **name)
{
    const struct outline *broker = reading_require(reading->root, "broker");
    const struct outline *node = reading_find(broker, key);
    *name = fallback;
    if (node != NULL) {
        free(fallback);
        *name = name_copy(text_from(node->value));
    }
    struct mark mark = node != NULL ? node->mark : broker->mark;
    if (strlen(*name) > BROKER_NAME_BYTES_MAX)
        return reading_fail(reading, mark, "the name of \"%s\" is longer than %d bytes", key, BROKER_NAME_BYTES_MAX);
    if (has_control(*name))
        return reading_fail(reading, mark, "the name of \"%s\" has a control character", key);
    if (strncmp(*name, "amq.", 4) == 0)
        return reading_fail(reading, mark, "the name of \"%s\" begins with amq., which the broker keeps for itself",
                            key);
    return true;
}

static char *dotted(const char *exchange, const char *node)
{
    size_t size = strlen(exchange) + strlen(node) + 2;
    char *name = take_array(size, 1);
    snprintf(name, size, "%s.%s", exchange, node);
    return name;
}

static bool read_topology(struct reading *reading, struct config *config)
{
    struct broker_config *broker = &config->broker;
    if (!read_broker_name(reading, "exchange", name_copy(TEXT_LITERAL("bridge.sync")), &broker->exchange) ||
        !read_broker_name(reading, "queue", dotted(broker->exchange, config->node), &broker->queue) ||
        !read_broker_name(reading, "dead_exchange", name_copy(TEXT_LITERAL("bridge.dead")), &broker->dead_exchange) ||
        !read_broker_name(reading, "dead_queue", dotted(broker->dead_exchange, config->node), &broker->dead_queue))
        return false;
    const struct outline *section = reading_require(reading->root, "broker");
    const struct outline *exchange = reading_find(section, "dead_exchange");
    const struct outline *queue = reading_find(section, "dead_queue");
    if (strcmp(broker->exchange, broker->dead_exchange) == 0)
        return reading_fail(reading, (exchange != NULL ? exchange : section)->mark,
                            "\"exchange\" and \"dead_exchange\" have the same name");
    if (strcmp(broker->queue, broker->dead_queue) == 0)
        return reading_fail(reading, (queue != NULL ? queue : section)->mark,
                            "\"queue\" and \"dead_queue\" have the same name");
    return true;
}

static bool read_tls(struct reading *reading, struct broker_config *broker)
{
    const struct outline *section = reading_require(reading->root, "broker");
    const struct outline *ca = reading_find(section, "ca_file");
    const struct outline *cert = reading_find(section, "cert_file");
    const struct outline *key = reading_find(section, "key_file");
    const struct outline *any = ca != NULL ? ca : cert != NULL ? cert : key;
    if (!broker->tls && any != NULL) {
        reading_fail(reading, any->mark, "\"%s\" has no use without TLS", any->key);
        return error_hint(reading->error, "Begin the url with amqps://");
    }
    if (broker->tls && ca == NULL) {
        reading_fail(reading, reading_require(section, "url")->mark, "amqps needs \"ca_file\"");
        return error_hint(reading->error, "For a certificate of a public authority: "
                                          "ca_file: /etc/ssl/certs/ca-certificates.crt");
    }
    if ((cert == NULL) != (key == NULL)) {
        const struct outline *alone = cert != NULL ? cert : key;
        return reading_fail(reading, alone->mark, "\"cert_file\" and \"key_file\" go together, \"%s\" stands alone",
                            alone->key);
    }
    return read_path(reading, ca, &broker->ca_file) && read_path(reading, cert, &broker->cert_file) &&
           read_path(reading, key, &broker->key_file);
}

static bool read_heartbeat(struct reading *reading, struct broker_config *broker)
{
    const struct outline *node = reading_find(reading_require(reading->root, "broker"), "heartbeat");
    unsigned long seconds = HEARTBEAT_DEFAULT_S;
    if (node != NULL && (!parse_number(text_from(node->value), HEARTBEAT_MAX_S, &seconds) || seconds < HEARTBEAT_MIN_S))
        return reading_fail(reading, node->mark, "\"heartbeat\" must be a number of seconds from %d to %d",
                            HEARTBEAT_MIN_S, HEARTBEAT_MAX_S);
    broker->heartbeat_s = (int)seconds;
    return true;
}

static bool read_broker(struct reading *reading, struct config *config)
{
    struct broker_config *broker = &config->broker;
    const struct outline *section = reading_require(reading->root, "broker");
    const struct outline *url = reading_require(section, "url");
    if (!address_parse_broker(text_from(url->value), broker, reading->error))
        return reading_fail_at(reading, url);
    const struct outline *file = reading_find(section, "password_file");
    if (file != NULL && broker->password != NULL)
        return reading_fail(reading, file->mark, "\"url\" has a password already");
    if (file != NULL && broker->user == NULL) {
        reading_fail(reading, file->mark, "\"password_file\" is given, but no user");
        return error_hint(reading->error, "amqp://user@host");
    }
    if (broker->user == NULL) {
        /* The defaults of AMQP's URI; RabbitMQ lets this user in from its own machine only. */
        broker->user = name_copy(TEXT_LITERAL("guest"));
        broker->password = name_copy(TEXT_LITERAL("guest"));
    }
    return read_path(reading, file, &broker->password_file) && read_tls(reading, broker) &&
           read_heartbeat(reading, broker) && read_topology(reading, config);
}

static bool read_http(struct reading *reading, struct config *config)
{
    const struct outline *node = reading_find(reading->root, "http");
    if (node == NULL)
        return true;
    if (!address_parse_listener(text_from(node->value), &config->http_host, &config->http_port, reading->error))
        return reading_fail_at(reading, node);
    return true;
}

/* "262144", "256 KiB", "1 MiB", "8 GiB". shown: the bounds, and what it may look like. */
static bool read_bytes(struct reading *reading, const char *key, unsigned long min, unsigned long max, const char *shown, size_t *bytes)
{
    static const struct {
        const char *name;
        unsigned long bytes;
    } units[] = {{"KiB", 1UL << 10}, {"MiB", 1UL << 20}, {"GiB", 1UL << 30}};
    const struct outline *node = reading_find(reading->root, key);
    if (node == NULL)
        return true;
    struct text number = text_from(node->value);
    unsigned long unit = 1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (number.length > 3 && strcmp(node->value + number.length - 3, units[i].name) == 0)
            unit = units[i].bytes;
    if (unit > 1)
        number.length -= 3;
    while (unit > 1 && number.length > 0 && number.data[number.length - 1] == ' ')
        number.length--;
    unsigned long value = 0;
    if (!parse_number(number, max / unit, &value) || value * unit < min)
        return reading_fail(reading, node->mark, "\"%s\" must be %s", key, shown);
    *bytes = value * unit;
    return true;
}

static bool read_sizes(struct reading *reading, struct config *config)
{
    config->message_bytes = LIMIT_MESSAGE_BYTES;
    config->wal_keep_max_bytes = WAL_KEEP_DEFAULT;
    return read_bytes(reading, "message_bytes", MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX,
                      "from 1 KiB to 1 MiB, such as 262144 or 256 KiB", &config->message_bytes) &&
           read_bytes(reading, "wal_keep_max", WAL_KEEP_MIN, WAL_KEEP_MAX, "from 64 MiB to 1048576 GiB, such as 8 GiB",
                      &config->wal_keep_max_bytes);
}

/* "300", "300 s", "5 min", "1 h", "7 d". */
static bool read_duration(struct reading *reading, const struct outline *section, const char *key, unsigned long max_s,
                          unsigned long otherwise_s, int64_t *duration_us)
{
    static const struct {
        const char *name;
        unsigned long seconds;
    } units[] = {{"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}};
    const struct outline *node = section != NULL ? reading_find(section, key) : NULL;
    unsigned long number = otherwise_s, unit = 1;
    if (node != NULL) {
        struct text digits = {node->value, strspn(node->value, "0123456789")};
        const char *name = node->value + digits.length + strspn(node->value + digits.length, " ");
        bool known = *name == '\0';
        for (size_t i = 0; i < sizeof units / sizeof *units && !known; i++) {
            known = strcmp(name, units[i].name) == 0;
            unit = units[i].seconds;
        }
        if (!known || !parse_number(digits, max_s / unit, &number) || number == 0)
            return reading_fail(reading, node->mark, "\"%s\" must be from 1 s to %lu h, such as 300, 300 s, 5 min or 1 h", key,
                                max_s / 3600);
    }
    *duration_us = (int64_t)(number * unit) * 1000000;
    return true;
}

/* How long records are kept that nobody waits for any more; "0" is for ever. */
static bool read_retention(struct reading *reading, const char *key, int64_t *duration_us)
{
    const struct outline *node = reading_find(reading->root, key);
    *duration_us = 0;
    return (node != NULL && strcmp(node->value, "0") == 0) ||
           read_duration(reading, reading->root, key, RECORDS_MAX_S, RECORDS_DEFAULT_S, duration_us);
}

static bool read_number(struct reading *reading, const struct outline *section, const char *key, int min, int max, int *number)
{
    const struct outline *node = reading_find(section, key);
    unsigned long value = 0;
    if (node == NULL)
        return true;
    if (!parse_number(text_from(node->value), (unsigned long)max, &value) || value < (unsigned long)min)
        return reading_fail(reading, node->mark, "\"%s\" must be a number from %d to %d", key, min, max);
    *number = (int)value;
    return true;
}

static bool read_seconds(struct reading *reading, const struct outline *section, const char *key, int *seconds)
{
    int64_t duration_us;
    if (!read_duration(reading, section, key, RETRY_MAX_S, (unsigned long)*seconds, &duration_us))
        return false;
    *seconds = (int)(duration_us / 1000000);
    return true;
}

/* What the mapping's "retry" does not say stays as it is in *retry. */
static bool read_retry(struct reading *reading, const struct outline *mapping, struct retry_rules *retry)
{
    const struct outline *section = reading_find(mapping, "retry");
    if (section == NULL)
        return true;
    if (!read_seconds(reading, section, "base", &retry->base_s) || !read_seconds(reading, section, "cap", &retry->cap_s) ||
        !read_number(reading, section, "factor", 1, RETRY_FACTOR_MAX, &retry->factor) ||
        !read_number(reading, section, "max_attempts", RETRY_ATTEMPTS_MIN, RETRY_ATTEMPTS_MAX, &retry->max_attempts))
        return false;
    if (retry->base_s > retry->cap_s)
        return reading_fail(reading, section->mark, "\"cap\" (%d s) is shorter than \"base\" (%d s)", retry->cap_s, retry->base_s);
    return true;
}

/* A whole number; otherwise where the key is left out. */
static bool read_count(struct reading *reading, const struct outline *section, const char *key, unsigned long min, unsigned long max,
                       unsigned long otherwise, unsigned long *count)
{
    const struct outline *node = section != NULL ? reading_find(section, key) : NULL;
    *count = otherwise;
    if (node == NULL || (parse_number(text_from(node->value), max, count) && *count >= min))
        return true;
    return reading_fail(reading, node->mark, "\"%s\" must be a number from %lu to %lu", key, min, max);
}

static bool read_ping_pong(struct reading *reading, struct config *config)
{
    const struct outline *section = reading_find(reading->root, "ping_pong");
    unsigned long times;
    int64_t within_us, cool_down_us;
    if (!read_count(reading, section, "times", 0, PING_PONG_TIMES_MAX, PING_PONG_TIMES, &times) ||
        !read_duration(reading, section, "within", STORM_MAX_S, PING_PONG_WITHIN_S, &within_us) ||
        !read_duration(reading, section, "cool_down", STORM_MAX_S, PING_PONG_COOL_DOWN_S, &cool_down_us))
        return false;
    config->ping_pong = (struct rally_rule){times, within_us / 1000, cool_down_us / 1000};
    return true;
}

static bool read_mass_delete(struct reading *reading, struct config *config)
{
    const struct outline *section = reading_find(reading->root, "mass_delete");
    unsigned long rows, percent;
    int64_t within_us;
    if (section == NULL)
        return true;
    if (!read_count(reading, section, "rows", 0, HELD_CHANGES_MAX, 0, &rows) ||
        !read_count(reading, section, "percent", 0, 100, 0, &percent) ||
        !read_duration(reading, section, "within", STORM_MAX_S, MASS_DELETE_WITHIN_S, &within_us))
        return false;
    if (rows == 0 && percent == 0)
        return reading_fail(reading, section->mark, "\"mass_delete\" needs \"rows\", \"percent\" or both");
    config->mass_delete = (struct deletion_rule){rows, percent, within_us / 1000};
    return true;
}

static bool read_storms(struct reading *reading, struct config *config)
{
    unsigned long held;
    if (!read_count(reading, reading->root, "max_held_changes", 1, HELD_CHANGES_MAX, LIMIT_HELD_CHANGES, &held))
        return false;
    config->max_held_changes = (int64_t)held;
    return read_ping_pong(reading, config) && read_mass_delete(reading, config);
}

/* ---- entities -------------------------------------------------------------------------------------------------- */

/* YAML removes its own double quotes, so a name written "Saldo" arrives without, and SQL would fold it. */
static bool check_folding(struct reading *reading, const struct outline *node, const char *name)
{
    if (!node->double_quoted || name == NULL || strchr(node->value, '"') != NULL || strstr(node->value, name) != NULL)
        return true;
    struct text value = reading_shown(node->value);
    reading_fail(reading, node->mark, "YAML removes the quotes of \"%.*s\", and without them it means %s",
                 TEXT_PRINTF(value), name);
    return error_hint(reading->error,
                      "To keep capital letters, put single quotes around the double ones: '\"%.*s\"'; "
                      "otherwise leave the quotes out",
                      TEXT_PRINTF(value));
}

static bool read_table(struct reading *reading, const struct outline *node, struct entity_config *entity)
{
    if (!mapping_parse_table(text_from(node->value), &entity->schema, &entity->table, reading->error))
        return reading_fail_at(reading, node);
    return check_folding(reading, node, entity->schema) && check_folding(reading, node, entity->table);
}

static bool read_mappings(struct reading *reading, const struct outline *list, struct entity_config *entity)
{
    for (const struct outline *node = list->first; node != NULL; node = node->next) {
        struct mapping *mapping = &entity->fields[entity->field_count];
        if (!mapping_parse(text_from(node->value), mapping, reading->error))
            return reading_fail_at(reading, node);
        entity->field_count++;
        if (!check_folding(reading, node, mapping->column))
            return false;
    }
    return true;
}

static bool check_mappings(struct reading *reading, const struct outline *key, const struct outline *fields,
                           const struct entity_config *entity)
{
    const char **names = arena_take_array(&reading->arena, entity->field_count, sizeof *names);
    const char **columns = arena_take_array(&reading->arena, entity->field_count, sizeof *columns);
    for (size_t i = 0; i < entity->field_count; i++) {
        names[i] = entity->fields[i].field;
        columns[i] = entity->fields[i].column;
    }
    size_t name = first_repeat(reading, names, entity->field_count);
    size_t column = first_repeat(reading, columns, entity->field_count);
    size_t repeat = name < column ? name : column;
    if (repeat == entity->field_count)
        return true;
    bool in_key = repeat < entity->key_count;
    struct mark mark =
        in_key ? reading_entry(key, repeat)->mark : reading_entry(fields, repeat - entity->key_count)->mark;
    if (name > column)
        return reading_fail(reading, mark, "column \"%s\" is mapped twice", columns[repeat]);
    for (size_t i = 0; !in_key && i < entity->key_count; i++)
        if (strcmp(names[i], names[repeat]) == 0) {
            reading_fail(reading, mark, "field \"%s\" is part of the key already", names[repeat]);
            return error_hint(reading->error, "Name the key's fields in \"key\" only");
        }
    return reading_fail(reading, mark, "field \"%s\" is given twice", names[repeat]);
}

static bool is_known_node(const struct config *config, const char *name)
{
    bool known = strcmp(name, config->node) == 0;
    for (size_t i = 0; i < config->peer_count; i++)
        known = known || strcmp(name, config->peers[i]) == 0;
    return known;
}

/* Every node must be told the same: they settle the same conflicts each by itself. */
static bool read_policy(struct reading *reading, const struct outline *node, const struct config_raw_entity *raw,
                        const struct config *config, struct entity_config *entity)
{
    const struct outline *given = reading_find(node, "policy"), *priority = reading_find(node, "priority");
    entity->policy = policy_default();
    if (given != NULL) {
        const char *names[16] = {0};
        size_t count = 0;
        for (; policy_number(count) != NULL; count++)
            names[count] = policy_number(count)->name;
        entity->policy = policy_find(text_from(raw->policy));
        if (entity->policy == NULL) {
            const char *nearest = name_nearest(raw->policy, names, count);
            reading_fail(reading, given->mark, "there is no policy \"%.*s\"", name_shown(text_from(raw->policy)), raw->policy);
            return nearest != NULL ? error_hint(reading->error, "Did you mean \"%s\"?", nearest)
                                   : error_hint(reading->error, "The policies are last-write-wins, node-priority, merge and manual");
        }
    }
    bool wants_priority = strcmp(entity->policy->name, "node-priority") == 0;
    if (wants_priority && priority == NULL) {
        reading_fail(reading, given->mark, "policy node-priority needs \"priority\"");
        return error_hint(reading->error, "priority: [the node whose writes win, the next one, ...]");
    }
    if (!wants_priority && priority != NULL)
        return reading_fail(reading, priority->mark, "\"priority\" has no use without \"policy: node-priority\"");
    if (priority == NULL)
        return true;
    entity->priority = take_array(raw->priority_count + 1, sizeof *entity->priority);
    const struct outline *entry = priority->first;
    for (size_t i = 0; i < raw->priority_count; i++, entry = entry->next) {
        if (!is_known_node(config, raw->priority[i]))
            return reading_fail(reading, entry->mark, "\"%.*s\" is neither this node nor one of its peers",
                                name_shown(text_from(raw->priority[i])), raw->priority[i]);
        entity->priority[entity->priority_count++] = name_copy(text_from(raw->priority[i]));
    }
    size_t repeat = first_repeat(reading, (const char *const *)raw->priority, raw->priority_count);
    if (repeat < raw->priority_count)
        return reading_fail(reading, reading_entry(priority, repeat)->mark, "node \"%s\" is given twice", raw->priority[repeat]);
    return true;
}

/* owners: [field = node, ...] */
static bool read_owners(struct reading *reading, const struct outline *node, const struct config *config,
                        struct entity_config *entity)
{
    const struct outline *list = reading_find(node, "owners");
    for (const struct outline *entry = list != NULL ? list->first : NULL; entry != NULL; entry = entry->next) {
        struct mapping pair = {0};
        if (!mapping_parse(text_from(entry->value), &pair, reading->error))
            return reading_fail_at(reading, entry);
        size_t at = entity->key_count;
        while (at < entity->field_count && strcmp(entity->fields[at].field, pair.field) != 0)
            at++;
        /* A mapping folds what stands for a column; a node's name is taken as it is written. */
        const char *owner = strrchr(entry->value, '=');
        owner = owner != NULL ? owner + 1 + strspn(owner + 1, " ") : "";
        bool good = at < entity->field_count && entity->fields[at].owner == NULL && is_known_node(config, owner);
        if (good)
            entity->fields[at].owner = name_copy(text_from(owner));
        else if (at == entity->field_count)
            reading_fail(reading, entry->mark, "entity \"%s\" has no field \"%s\" beside its key", entity->name, pair.field);
        else if (entity->fields[at].owner != NULL)
            reading_fail(reading, entry->mark, "field \"%s\" is given two owners", pair.field);
        else
            reading_fail(reading, entry->mark, "the owner of field \"%s\" is neither this node nor one of its peers", pair.field);
        free(pair.field);
        free(pair.column);
        if (!good)
            return error_hint(reading->error, "owners: [field = node]");
    }
    return true;
}

static bool read_counters(struct reading *reading, const struct outline *node, struct entity_config *entity)
{
    const struct outline *list = reading_find(node, "counters"), *revives = reading_find(node, "update_revives");
    bool merged = strcmp(entity->policy->name, "merge") == 0;
    const struct outline *wrong = list != NULL ? list : revives;
    if (!merged && wrong != NULL)
        return reading_fail(reading, wrong->mark, "\"%s\" has no use without \"policy: merge\"", wrong->key);
    for (const struct outline *entry = list != NULL ? list->first : NULL; entry != NULL; entry = entry->next) {
        size_t at = entity->key_count;
        while (at < entity->field_count && strcmp(entity->fields[at].field, entry->value) != 0)
            at++;
        if (at == entity->field_count)
            return reading_fail(reading, entry->mark, "entity \"%s\" has no field \"%.*s\" beside its key", entity->name,
                                name_shown(text_from(entry->value)), entry->value);
        if (entity->fields[at].owner != NULL)
            return reading_fail(reading, entry->mark, "field \"%s\" has an owner: nobody else can add to it", entry->value);
        entity->fields[at].counter = true;
    }
    return true;
}

/* The log has no state of a row before a write: what needs it, needs the triggers. */
static bool check_capture(struct reading *reading, const struct outline *node, const struct config *config, const struct entity_config *entity)
{
    if (config->capture == CAPTURE_OUTBOX || strcmp(entity->policy->name, "merge") != 0)
        return true;
    reading_fail(reading, reading_require(node, "policy")->mark, "policy merge needs to know which fields a write has changed");
    return error_hint(reading->error, "Use `capture: outbox` for this node, or leave it out here");
}

static bool read_budget(struct reading *reading, const struct outline *node, struct entity_config *entity)
{
    unsigned long changes;
    if (!read_count(reading, node, "max_changes_per_second", 1, CHANGES_PER_SECOND_MAX, 0, &changes))
        return false;
    entity->max_changes_per_second = (int)changes;
    return true;
}

static bool read_entity(struct reading *reading, const struct outline *node, const struct config_raw_entity *raw,
                        const struct config *config, struct entity_config *entity)
{
    entity->line = node->mark.line;
    entity->retry = config->retry;
    entity->triggers = raw->triggers;
    entity->truncate = raw->truncate;
    entity->update_revives = raw->update_revives == REVIVES_TRUE;
    entity->coalesce = raw->coalesce == COALESCE_TRUE;
    entity->key_count = raw->key_count;
    entity->name = name_copy(text_from(raw->name));
    if (!name_check("entity", text_from(raw->name), reading->error))
        return reading_fail_at(reading, reading_require(node, "name"));
    const struct outline *key = reading_require(node, "key");
    const struct outline *fields = reading_find(node, "fields");
    if (raw->key_count + raw->fields_count > LIMIT_FIELDS)
        return reading_fail(reading, fields->mark, "entity \"%s\" has more than %d fields", raw->name, LIMIT_FIELDS);
    entity->fields = take_array(raw->key_count + raw->fields_count, sizeof *entity->fields);
    return read_table(reading, reading_require(node, "table"), entity) && read_mappings(reading, key, entity) &&
           (fields == NULL || read_mappings(reading, fields, entity)) && check_mappings(reading, key, fields, entity) &&
           read_policy(reading, node, raw, config, entity) && read_owners(reading, node, config, entity) &&
           read_counters(reading, node, entity) && read_retry(reading, node, &entity->retry) && read_budget(reading, node, entity) &&
           check_capture(reading, node, config, entity);
}

/* Two entities of one table would answer each other's changes. */
static bool check_entities(struct reading *reading, const struct config *config)
{
    const struct outline *list = reading_require(reading->root, "entities");
    const char **names = arena_take_array(&reading->arena, config->entity_count, sizeof *names);
    const char **tables = arena_take_array(&reading->arena, config->entity_count, sizeof *tables);
    for (size_t i = 0; i < config->entity_count; i++) {
        const struct entity_config *entity = &config->entities[i];
        names[i] = entity->name;
        /* A line feed never stands in front of a schema's name, so no two tables look alike. */
        tables[i] = entity->schema == NULL ? entity->table
                                           : arena_printf(&reading->arena, "\n%zu %s.%s", strlen(entity->schema),
                                                          entity->schema, entity->table)
                                                 .data;
    }
    size_t name = first_repeat(reading, names, config->entity_count);
    if (name < config->entity_count)
        return reading_fail(reading, reading_require(reading_entry(list, name), "name")->mark,
                            "entity \"%s\" is given twice", names[name]);
    size_t table = first_repeat(reading, tables, config->entity_count);
    if (table < config->entity_count)
        return reading_fail(reading, reading_require(reading_entry(list, table), "table")->mark,
                            "table \"%s\" belongs to another entity already", config->entities[table].table);
    return true;
}

static bool read_entities(struct reading *reading, const struct config_raw *raw, struct config *config)
{
    config->entities = take_array(raw->entities_count, sizeof *config->entities);
    const struct outline *node = reading_require(reading->root, "entities")->first;
    for (size_t i = 0; i < raw->entities_count; i++, node = node->next) {
        config->entity_count++;
        if (!read_entity(reading, node, &raw->entities[i], config, &config->entities[i]))
            return false;
    }
    return check_entities(reading, config);
}

static bool build(struct reading *reading, const struct config_raw *raw, struct config *config)
{
    config->path = name_copy(text_from(reading->path));
    config->log = raw->log;
    config->capture = raw->capture;
    config->retry = (struct retry_rules){.base_s = 1, .factor = 2, .cap_s = 60, .max_attempts = 100};
    return read_node(reading, raw, config) && read_database(reading, config) && read_broker(reading, config) &&
           read_peers(reading, raw, config) && read_http(reading, config) &&
           read_sizes(reading, config) &&
           read_duration(reading, reading->root, "max_clock_skew", CLOCK_SKEW_MAX_S, CLOCK_SKEW_DEFAULT_S,
                         &config->max_clock_skew_us) &&
           read_duration(reading, reading->root, "tombstone_retention", RETENTION_MAX_S, RETENTION_DEFAULT_S,
                         &config->tombstone_retention_us) &&
           read_retention(reading, "dead_letter_retention", &config->dead_letter_retention_us) &&
           read_retention(reading, "conflict_retention", &config->conflict_retention_us) &&
           read_retry(reading, reading->root, &config->retry) && read_storms(reading, config) && read_entities(reading, raw, config);
}

bool config_model_build(struct reading *reading, const struct config_raw *raw, struct config *config)
{
    struct config model = {0};
    if (!build(reading, raw, &model)) {
        config_free(&model);
        return false;
    }
    *config = model;
    return true;
}
