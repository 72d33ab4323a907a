/* links: config_file */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/host/config_file.h"
#include "bridge/base/limits.h"
#include "bridge/flow/policy.h"

#define PATH "/etc/pgbridge/commerce.yaml"

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static void assert_same(const char *got, const char *wanted)
{
    if (!text_equal(text_from(got), text_from(wanted)))
        fail_msg("got %s, wanted %s", got ? got : "null", wanted ? wanted : "null");
}

static void read_config(const char *yaml, struct config *config)
{
    struct error error = {0};
    if (!config_read_text(PATH, text_from(yaml), config, &error))
        fail_msg("%s", error.text);
}

static void refuse_bytes(struct text yaml, const char *message)
{
    struct config config = {.node = NULL};
    struct error error = {0};
    if (config_read_text("x.yaml", yaml, &config, &error))
        fail_msg("accepted, wanted: %s", message);
    assert_int_equal(error.fault, FAULT_OPERATOR);
    assert_null(strstr(error.text, "s3cret"));
    assert_null(config.node);
    assert_same(error.text, message);
}

static void refuse(const char *yaml, const char *message)
{
    refuse_bytes(text_from(yaml), message);
}

/* A whole configuration, each section replaced by what a test needs. Line 1 node, 2 database, 3 broker, 4 url,
 * 5 peers, 6 entities, 7.. the entity. */
struct parts {
    const char *node, *database, *broker, *peers, *entities, *more;
};

static const char *or_default(const char *given, const char *fallback)
{
    return given != NULL ? given : fallback;
}

static char *compose(struct parts parts)
{
    char *yaml = NULL;
    int length = asprintf(
        &yaml, "%s\n%s\nbroker:\n%s\n%s\nentities:\n%s\n%s", or_default(parts.node, "node: commerce"),
        or_default(parts.database, "database: dbname=shop"), or_default(parts.broker, "  url: amqp://commerce@h"),
        or_default(parts.peers, "peers: [operations]"),
        or_default(parts.entities, "  - {name: customer, table: customers, key: [id]}"), or_default(parts.more, ""));
    assert_true(length > 0);
    return yaml;
}

static void refuse_parts(struct parts parts, const char *message)
{
    char *yaml = compose(parts);
    refuse(yaml, message);
    free(yaml);
}

static void read_parts(struct parts parts, struct config *config)
{
    char *yaml = compose(parts);
    read_config(yaml, config);
    free(yaml);
}

static char *read_source(const char *path)
{
    char *content = calloc(1, 1 << 20);
    assert_non_null(content);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(content, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    return content;
}

/* ---- what is read ------------------------------------------------------------------------------------------------ */

static void assert_mapping(const struct entity_config *entity, size_t index, const char *field, const char *column)
{
    assert_true(index < entity->field_count);
    assert_same(entity->fields[index].field, field);
    assert_same(entity->fields[index].column, column);
}

static void test_a_whole_configuration_is_read(void **state)
{
    (void)state;
    struct config config;
    read_config("node: commerce\n"
                "database: host=/run/postgresql dbname=shop user=pgbridge\n"
                "broker:\n"
                "  url: amqp://commerce@127.0.0.1:5672/bridge      # amqps:// with ca_file, cert_file, key_file\n"
                "  password_file: /etc/pgbridge/commerce.amqp\n"
                "  exchange: bridge.sync                            # default\n"
                "peers: [operations]\n"
                "capture: outbox                                    # or wal\n"
                "http: 127.0.0.1:9187                               # off when left out\n"
                "entities:\n"
                "  - name: customer\n"
                "    table: shop.customers\n"
                "    key: [id = customer_id]                        # canonical field = column\n"
                "    fields: [email = email_address, name = full_name, credit = credit_limit, updated_at]\n"
                "    triggers: suppress                             # default; or fire\n"
                "  - name: order\n"
                "    table: shop.orders\n"
                "    key: [id]\n"
                "    fields: [customer_id, status, total, placed_at, notes]\n",
                &config);
    assert_same(config.path, PATH);
    assert_same(config.node, "commerce");
    assert_same(config.database, "host=/run/postgresql dbname=shop user=pgbridge");
    assert_same(config.database_password, NULL);
    assert_same(config.database_password_file, NULL);
    const struct broker_config *broker = &config.broker;
    assert_same(broker->url, "amqp://commerce@127.0.0.1:5672/bridge");
    assert_false(broker->tls);
    assert_same(broker->host, "127.0.0.1");
    assert_int_equal(broker->port, 5672);
    assert_same(broker->user, "commerce");
    assert_same(broker->password, NULL);
    assert_same(broker->password_file, "/etc/pgbridge/commerce.amqp");
    assert_same(broker->vhost, "bridge");
    assert_same(broker->exchange, "bridge.sync");
    assert_same(broker->queue, "bridge.sync.commerce");
    assert_same(broker->dead_exchange, "bridge.dead");
    assert_same(broker->dead_queue, "bridge.dead.commerce");
    assert_same(broker->ca_file, NULL);
    assert_same(broker->cert_file, NULL);
    assert_same(broker->key_file, NULL);
    assert_int_equal(broker->heartbeat_s, 30);
    assert_int_equal(config.peer_count, 1);
    assert_same(config.peers[0], "operations");
    assert_int_equal(config.capture, CAPTURE_OUTBOX);
    assert_same(config.http_host, "127.0.0.1");
    assert_int_equal(config.http_port, 9187);
    assert_int_equal(config.log, LOG_TEXT);
    assert_int_equal(config.message_bytes, 256 << 10);
    assert_int_equal(config.entity_count, 2);

    const struct entity_config *customer = config_entity(&config, "customer");
    assert_ptr_equal(customer, &config.entities[0]);
    assert_same(customer->schema, "shop");
    assert_same(customer->table, "customers");
    assert_int_equal(customer->key_count, 1);
    assert_int_equal(customer->field_count, 5);
    assert_mapping(customer, 0, "id", "customer_id");
    assert_mapping(customer, 1, "email", "email_address");
    assert_mapping(customer, 2, "name", "full_name");
    assert_mapping(customer, 3, "credit", "credit_limit");
    assert_mapping(customer, 4, "updated_at", "updated_at");
    assert_int_equal(customer->triggers, TRIGGERS_SUPPRESS);
    assert_int_equal(customer->truncate, TRUNCATE_CAPTURE);
    assert_true(customer->coalesce);
    assert_int_equal(customer->line, 11);

    const struct entity_config *order = config_entity(&config, "order");
    assert_ptr_equal(order, &config.entities[1]);
    assert_same(order->table, "orders");
    assert_int_equal(order->field_count, 6);
    assert_mapping(order, 0, "id", "id");
    assert_mapping(order, 5, "notes", "notes");
    assert_int_equal(order->line, 16);
    assert_null(config_entity(&config, "invoice"));
    config_free(&config);
    assert_null(config.node);
    config_free(&config);
    config_free(NULL);
}

static void test_every_option_has_its_effect(void **state)
{
    (void)state;
    struct config config;
    read_parts((struct parts){.database = "database: >\n  host=h\n  dbname=shop\ndatabase_password_file: db.password",
                              .broker = "  url: amqps://u@[::1]/v\n  password_file: secrets/mq\n"
                                        "  exchange: ex\n  queue: qu\n  dead_exchange: dx\n  dead_queue: dq\n"
                                        "  ca_file: ca.pem\n  cert_file: /c.pem\n  key_file: credential:key\n"
                                        "  heartbeat: 5",
                              .peers = "peers:\n- a\n- b-2",
                              .entities = "- name: c\n  table: '\"My Schema\".\"My Table\"'\n  key: [\"a\", B]\n"
                                          "  fields: [balance = \"Saldo €\", 'sum = \"a, b\"']\n"
                                          "  triggers: fire\n  truncate: refuse\n  coalesce: false",
                              .more = "http: \"[::1]:9187\"\nlog: json\nmessage_bytes: 64 KiB\n"},
               &config);
    assert_same(config.database, "host=h dbname=shop\n");
    assert_same(config.database_password_file, "/etc/pgbridge/db.password");
    assert_same(config.broker.password_file, "/etc/pgbridge/secrets/mq");
    assert_true(config.broker.tls);
    assert_same(config.broker.host, "::1");
    assert_int_equal(config.broker.port, 5671);
    assert_same(config.broker.exchange, "ex");
    assert_same(config.broker.queue, "qu");
    assert_same(config.broker.dead_exchange, "dx");
    assert_same(config.broker.dead_queue, "dq");
    assert_same(config.broker.ca_file, "/etc/pgbridge/ca.pem");
    assert_same(config.broker.cert_file, "/c.pem");
    assert_same(config.broker.key_file, "credential:key");
    assert_int_equal(config.broker.heartbeat_s, 5);
    assert_int_equal(config.peer_count, 2);
    assert_same(config.peers[1], "b-2");
    assert_same(config.http_host, "::1");
    assert_int_equal(config.http_port, 9187);
    assert_int_equal(config.log, LOG_JSON);
    assert_int_equal(config.message_bytes, 64 << 10);
    const struct entity_config *entity = &config.entities[0];
    assert_same(entity->schema, "My Schema");
    assert_same(entity->table, "My Table");
    assert_int_equal(entity->key_count, 2);
    assert_mapping(entity, 0, "a", "a");
    assert_mapping(entity, 1, "b", "b");
    assert_mapping(entity, 2, "balance", "Saldo €");
    assert_mapping(entity, 3, "sum", "a, b");
    assert_int_equal(entity->triggers, TRIGGERS_FIRE);
    assert_int_equal(entity->truncate, TRUNCATE_REFUSE);
    assert_false(entity->coalesce);
    config_free(&config);
}

static void test_little_is_needed(void **state)
{
    (void)state;
    struct config config;
    read_parts((struct parts){.broker = "  url: amqp://h", .peers = "peers: []"}, &config);
    assert_int_equal(config.peer_count, 0);
    assert_same(config.broker.user, "guest");
    assert_same(config.broker.password, "guest");
    assert_same(config.broker.vhost, "/");
    assert_same(config.http_host, NULL);
    assert_int_equal(config.entities[0].field_count, 1);
    assert_same(config.entities[0].schema, NULL);
    config_free(&config);
    /* JSON is YAML. */
    read_config("{\"node\": \"a\", \"database\": \"dbname=x\", \"broker\": {\"url\": \"amqp://u:p@h\", \"exchange\": "
                "\"x\"}, \"peers\": [\"b\"], \"entities\": [{\"name\": \"c\", \"table\": \"t\", \"key\": [\"id\"]}]}",
                &config);
    assert_same(config.broker.url, "amqp://u@h");
    assert_same(config.broker.password, "p");
    assert_same(config.broker.queue, "x.a");
    config_free(&config);
}

static void test_words_stay_words(void **state)
{
    (void)state;
    struct config config;
    /* What YAML 1.1 would take for booleans, nothing and numbers. */
    read_parts((struct parts){.node = "node: no",
                              .peers = "peers: [yes, 12, null]",
                              .entities = "  - {name: true, table: yes, key: [on, null, y], fields: [\"off\"]}"},
               &config);
    assert_same(config.node, "no");
    assert_same(config.peers[2], "null");
    assert_same(config.entities[0].name, "true");
    assert_mapping(&config.entities[0], 1, "null", "null");
    config_free(&config);
}

static void test_message_bytes_have_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t bytes;
    } cases[] = {{"1024", 1024},     {"1048576", 1 << 20}, {"1MiB", 1 << 20},
                 {"1 MiB", 1 << 20}, {"1KiB", 1024},       {"0256 KiB", 256 << 10}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char more[64];
        snprintf(more, sizeof more, "message_bytes: %s\n", cases[i].text);
        struct config config;
        read_parts((struct parts){.more = more}, &config);
        assert_int_equal(config.message_bytes, cases[i].bytes);
        config_free(&config);
    }
    static const char *const refused[] = {"1023",
                                          "1048577",
                                          "2MiB",
                                          "1.5KiB",
                                          "-1024",
                                          "0x1000",
                                          "KiB",
                                          "64 kB",
                                          "x",
                                          "99999999999999999999999",
                                          "18446744073709551615 MiB",
                                          "64 KiB x"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char more[64];
        snprintf(more, sizeof more, "message_bytes: %s\n", refused[i]);
        refuse_parts((struct parts){.more = more},
                     "x.yaml:8:16: \"message_bytes\" must be from 1 KiB to 1 MiB, such as "
                     "262144 or 256 KiB");
    }
}

/* ---- what is refused, and where ---------------------------------------------------------------------------------- */

static void test_records_are_kept_for_a_while_or_for_ever(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t days;
    } cases[] = {{"", 90}, {"dead_letter_retention: 0\n", 0}, {"dead_letter_retention: 30 d\n", 30}, {"dead_letter_retention: 3660 d\n", 3660},
                 {"conflict_retention: 0\n", 90}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config config;
        read_parts((struct parts){.more = cases[i].text}, &config);
        assert_int_equal(config.dead_letter_retention_us, cases[i].days * 86400 * INT64_C(1000000));
        assert_int_equal(config.conflict_retention_us, strstr(cases[i].text, "conflict") ? 0 : 90 * 86400 * INT64_C(1000000));
        config_free(&config);
    }
    static const char *const refused[] = {"00", "0 d", "3661 d", "-1", "never"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char more[64];
        snprintf(more, sizeof more, "dead_letter_retention: %s\n", refused[i]);
        refuse_parts((struct parts){.more = more}, "x.yaml:8:24: \"dead_letter_retention\" must be from 1 s to 87840 h, such as 300, "
                                                   "300 s, 5 min or 1 h");
    }
}

static void test_what_is_not_yaml_is_refused(void **state)
{
    (void)state;
    refuse("", "x.yaml:1:1: the configuration is empty");
    refuse("# nothing\n", "x.yaml:1:1: the configuration is empty");
    refuse("text", "x.yaml:1:1: the configuration must consist of keys with values");
    refuse("- node: a", "x.yaml:1:1: the configuration must consist of keys with values");
    refuse("node: commerce\npeers: [a, b\nlog: text\n",
           "x.yaml:3:4: this is not YAML: did not find expected ',' or ']' while parsing a flow sequence that began in "
           "line 2");
    refuse(
        "node: commerce\n\tpeers: [a]\n",
        "x.yaml:2:1: this is not YAML: found a tab character that violates indentation while scanning a plain scalar "
        "that began in line 1\nHINT: Indent with blanks, not tabs");
    refuse(
        "node: @commerce\n",
        "x.yaml:1:7: this is not YAML: found character that cannot start any token while scanning for the next token "
        "that began in line 1\nHINT: A text that begins with %, @ or ` needs quotes, and a tab cannot indent");
    refuse("node: commerce\n---\nnode: b\n", "x.yaml:2:1: a second YAML document begins here, one is all there is");
    refuse("node: a\n# \xe4xyz\n", "x.yaml:2:4: this is not UTF-8 text: invalid trailing UTF-8 octet");
    refuse("node: a\nlog: \x01\n", "x.yaml:2:6: this is not UTF-8 text: control characters are not allowed");
    refuse("node: \"a\\0b\"\n", "x.yaml:1:7: the text has a control character");
    refuse("\"no\\x1bde\": a\n", "x.yaml:1:1: a key has a control character");
    refuse("[a]: b\n", "x.yaml:1:1: a key must be a word");
}

static void test_aliases_tags_and_depth_are_refused(void **state)
{
    (void)state;
    refuse("node: &a x\n", "x.yaml:1:7: anchors and tags are not supported");
    refuse("node: !!str x\n", "x.yaml:1:7: anchors and tags are not supported");
    refuse("peers: &p [a]\n", "x.yaml:1:8: anchors and tags are not supported");
    refuse("broker: !x {}\n", "x.yaml:1:9: anchors and tags are not supported");
    refuse("node: *a\n", "x.yaml:1:7: aliases are not supported");
    refuse("&a node: x\n", "x.yaml:1:1: anchors and tags are not supported");
    refuse("a: [[[[[[[[[[[[[[[[", "x.yaml:1:11: nested too deeply");
}

static void test_too_much_is_refused(void **state)
{
    (void)state;
    size_t size = (1 << 20) + 1;
    char *yaml = malloc(size);
    assert_non_null(yaml);
    memset(yaml, ' ', size);
    refuse_bytes((struct text){yaml, size}, "x.yaml:1:1: the configuration is larger than 1048576 bytes");
    refuse_bytes((struct text){yaml, size - 1}, "x.yaml:1:1: the configuration is empty");
    for (size_t i = 0; i < size; i++)
        yaml[i] = i % 2 == 0 ? ',' : 'a';
    yaml[0] = '[';
    refuse_bytes((struct text){yaml, size - 1}, "x.yaml:1:400000: more than 200000 values");
    yaml[0] = '{';
    for (size_t i = 1; i < 1000; i++)
        snprintf(yaml + (i - 1) * 6 + 1, 7, "k%04zu,", i);
    refuse_bytes((struct text){yaml, 5995}, "x.yaml:1:386: more than 64 keys in one place");

    size_t used = 0;
    for (int i = 0; i < LIMIT_PEERS; i++)
        used += (size_t)snprintf(yaml + used, 16, "%s%d", i == 0 ? "peers: [" : ",", i + 10);
    memcpy(yaml + used, "]", 2);
    struct config config;
    read_parts((struct parts){.peers = yaml}, &config);
    assert_int_equal(config.peer_count, LIMIT_PEERS);
    config_free(&config);
    memcpy(yaml + used, ",x]", 4);
    refuse_parts((struct parts){.peers = yaml}, "x.yaml:5:201: \"peers\" has more than 64 entries");

    used = (size_t)snprintf(yaml, 64, "  - {name: c, table: t, key: [id], fields: [");
    for (int i = 1; i < LIMIT_FIELDS; i++)
        used += (size_t)snprintf(yaml + used, 16, "c%d,", i);
    memcpy(yaml + used, "]}", 3);
    read_parts((struct parts){.entities = yaml}, &config);
    assert_int_equal(config.entities[0].field_count, LIMIT_FIELDS);
    config_free(&config);
    memcpy(yaml + used, "x]}", 4);
    refuse_parts((struct parts){.entities = yaml}, "x.yaml:7:44: entity \"c\" has more than 1600 fields");

    used = 0;
    for (int i = 0; i < LIMIT_ENTITIES; i++)
        used += (size_t)snprintf(yaml + used, 64, "- {name: e%d, table: t%d, key: [id]}\n", i, i);
    yaml[used - 1] = '\0';
    read_parts((struct parts){.entities = yaml}, &config);
    assert_int_equal(config.entity_count, LIMIT_ENTITIES);
    assert_ptr_equal(config_entity(&config, "e999"), &config.entities[999]);
    config_free(&config);
    snprintf(yaml + used - 1, 64, "\n- {name: x, table: x, key: [id]}");
    refuse_parts((struct parts){.entities = yaml}, "x.yaml:1007:3: \"entities\" has more than 1000 entries");
    free(yaml);
}

static void test_unknown_keys_are_refused(void **state)
{
    (void)state;
    refuse_parts((struct parts){.entities = "  - name: c\n    tabel: t\n    key: [id]"},
                 "x.yaml:8:5: unknown key \"tabel\" in an entity\nHINT: did you mean \"table\"?");
    refuse_parts((struct parts){.more = "peer: [a]\n"},
                 "x.yaml:8:1: unknown key \"peer\" at the top level\nHINT: did you mean \"peers\"?");
    refuse_parts((struct parts){.broker = "  url: amqp://h\n  heart_beat: 5"},
                 "x.yaml:5:3: unknown key \"heart_beat\" in broker\nHINT: did you mean \"heartbeat\"?");
    refuse_parts((struct parts){.more = "exchange: x\n"},
                 "x.yaml:8:1: unknown key \"exchange\" at the top level\nHINT: It belongs in broker");
    refuse_parts((struct parts){.broker = "  url: amqp://h\n  peers: [a]"},
                 "x.yaml:5:3: unknown key \"peers\" in broker\nHINT: It belongs at the top level");
    refuse_parts((struct parts){.more = "colour: red\n"}, "x.yaml:8:1: unknown key \"colour\" at the top level");
    refuse_parts((struct parts){.more = "Node: a\n"},
                 "x.yaml:8:1: unknown key \"Node\" at the top level\nHINT: did you mean \"node\"?");
    refuse("\"\": a\n", "x.yaml:1:1: unknown key \"\" at the top level");
    refuse("<<: a\n", "x.yaml:1:1: unknown key \"<<\" at the top level");
}

static void test_doubled_keys_are_refused(void **state)
{
    (void)state;
    refuse_parts((struct parts){.more = "log: text\nnode: b\n"},
                 "x.yaml:9:1: key \"node\" is given twice, first in line 1");
    refuse_parts((struct parts){.broker = "  url: amqp://h\n  \"url\": amqp://i"},
                 "x.yaml:5:3: key \"url\" is given twice, first in line 4");
    refuse_parts((struct parts){.entities = "- name: a\n  table: t\n  key: [id]\n  table: u"},
                 "x.yaml:10:3: key \"table\" is given twice, first in line 8");
}

static void test_missing_keys_are_refused(void **state)
{
    (void)state;
    refuse("log: text\n", "x.yaml:1:1: key \"node\" is missing at the top level");
    refuse_parts((struct parts){.database = "#"}, "x.yaml:1:1: key \"database\" is missing at the top level");
    refuse_parts((struct parts){.peers = "#"}, "x.yaml:1:1: key \"peers\" is missing at the top level\n"
                                               "HINT: A node that only publishes has `peers: []`");
    refuse_parts((struct parts){.broker = "  exchange: x"}, "x.yaml:4:3: key \"url\" is missing in broker");
    refuse_parts((struct parts){.entities = "  - table: t\n    key: [id]"},
                 "x.yaml:7:5: key \"name\" is missing in an entity");
    refuse_parts((struct parts){.entities = "  - name: c\n    key: [id]"},
                 "x.yaml:7:5: key \"table\" is missing in an entity");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t}"},
                 "x.yaml:7:5: key \"key\" is missing in an entity");
    refuse("node: a\ndatabase: a=b\nbroker: {url: amqp://h}\npeers: []\n",
           "x.yaml:1:1: key \"entities\" is missing at the top level");
}

static void test_empty_values_are_refused(void **state)
{
    (void)state;
    refuse_parts((struct parts){.node = "node:"}, "x.yaml:1:1: \"node\" has no value");
    refuse_parts((struct parts){.node = "node: ~"}, "x.yaml:1:1: \"node\" has no value");
    refuse_parts((struct parts){.node = "node: ''"}, "x.yaml:1:7: \"node\" is empty");
    refuse_parts((struct parts){.entities = ""}, "x.yaml:6:1: \"entities\" has no value");
    refuse_parts((struct parts){.more = "http: null\n"},
                 "x.yaml:8:1: \"http\" has no value\nHINT: Leave the key out for its default");
    refuse_parts((struct parts){.entities = "  []"}, "x.yaml:7:3: \"entities\" needs at least 1 entry");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: []}"},
                 "x.yaml:7:30: \"key\" needs at least 1 entry");
    refuse_parts((struct parts){.peers = "peers:\n- a\n-"}, "x.yaml:7:2: an entry of \"peers\" is empty");
}

static void test_wrong_types_are_refused(void **state)
{
    (void)state;
    refuse_parts((struct parts){.node = "node: [a]"}, "x.yaml:1:7: \"node\" must be a text, not a list");
    refuse_parts((struct parts){.node = "node: {a: b}"}, "x.yaml:1:7: \"node\" must be a text, not keys of their own");
    refuse_parts((struct parts){.peers = "peers: a"},
                 "x.yaml:5:8: \"peers\" must be a list\n"
                 "HINT: Write [one, two], or one entry a line, each behind a dash");
    refuse_parts((struct parts){.peers = "peers: [[a]]"},
                 "x.yaml:5:9: an entry of \"peers\" must be a text, not a list");
    refuse_parts((struct parts){.broker = "  - url: amqp://h"}, "x.yaml:4:3: \"broker\" must have keys of its own");
    refuse_parts((struct parts){.entities = "  - customer"},
                 "x.yaml:7:5: an entry of \"entities\" must have keys of its own");
    refuse_parts((struct parts){.entities = "  name: c"},
                 "x.yaml:7:3: \"entities\" must be a list\n"
                 "HINT: Write [one, two], or one entry a line, each behind a dash");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [id: customer_id]}"},
                 "x.yaml:7:31: an entry of \"key\" must be a text, not keys of their own\n"
                 "HINT: Write canonical = column, or the name alone when they are equal");
    refuse_parts((struct parts){.more = "capture: triggers\n"}, "x.yaml:8:10: \"capture\" must be outbox or wal");
    refuse_parts((struct parts){.more = "capture: 0\n"}, "x.yaml:8:10: \"capture\" must be outbox or wal");
    refuse_parts((struct parts){.more = "log: [text]\n"}, "x.yaml:8:6: \"log\" must be text or json");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [id], coalesce: maybe}"},
                 "x.yaml:7:46: \"coalesce\" must be true or false");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [id], triggers: on}"},
                 "x.yaml:7:46: \"triggers\" must be suppress or fire");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [id], truncate: no}"},
                 "x.yaml:7:46: \"truncate\" must be capture or refuse");
}

static void test_policies_are_read(void **state)
{
    (void)state;
    struct config config;
    read_parts((struct parts){.entities = "  - {name: a, table: a, key: [id]}\n"
                                          "  - {name: b, table: b, key: [id], policy: node-priority, priority: [operations, commerce]}\n"
                                          "  - {name: c, table: c, key: [id], policy: manual}"},
               &config);
    assert_same(config.entities[0].policy->name, "last-write-wins");
    assert_same(config.entities[1].policy->name, "node-priority");
    assert_int_equal(config.entities[1].priority_count, 2);
    assert_same(config.entities[1].priority[0], "operations");
    assert_same(config.entities[1].priority[1], "commerce");
    assert_same(config.entities[2].policy->name, "manual");
    config_free(&config);
}

static void assert_policy(const struct config *config, size_t entity, const char *expected)
{
    struct arena arena;
    arena_init(&arena, 65536);
    assert_same(config_policy(&config->entities[entity], &arena).data, expected);
    arena_free(&arena);
}

static void test_policies_have_words_that_nodes_compare(void **state)
{
    (void)state;
    struct config config;
    read_parts((struct parts){.entities = "  - {name: a, table: a, key: [id], fields: [what, n = m], owners: [what = operations, n = commerce]}\n"
                                          "  - {name: b, table: b, key: [id], policy: node-priority, priority: [operations, commerce]}\n"
                                          "  - {name: c, table: c, key: [id], fields: [n, k], policy: merge, counters: [n], update_revives: true}"},
               &config);
    assert_policy(&config, 0, "last-write-wins, n is commerce's, what is operations's");
    assert_policy(&config, 1, "node-priority: operations commerce");
    assert_policy(&config, 2, "merge, update_revives, n is added");
    config_free(&config);

    /* Too long for a header: the words themselves give way to their hash. */
    char fields[1024] = "", owners[2048] = "", entity[4096];
    for (int i = 0; i < 30; i++) {
        snprintf(fields + strlen(fields), sizeof fields - strlen(fields), "%sfield%d", i > 0 ? ", " : "", i);
        snprintf(owners + strlen(owners), sizeof owners - strlen(owners), "%sfield%d = commerce", i > 0 ? ", " : "", i);
    }
    snprintf(entity, sizeof entity, "  - {name: a, table: a, key: [id], fields: [%s], owners: [%s]}", fields, owners);
    read_parts((struct parts){.entities = entity}, &config);
    assert_policy(&config, 0, "last-write-wins, sha256:ac47bb85884caf051c492c08491fa327e08f97c049b019bea0a6b232b952e1b9");
    config_free(&config);
}

static void test_retry_rules_are_the_nodes_unless_the_entity_has_its_own(void **state)
{
    (void)state;
    const struct retry_rules defaults = {1, 2, 60, 100}, node = {5, 3, 600, 7}, entity = {5, 1, 7200, 7};
    struct config config;
    read_parts((struct parts){0}, &config);
    assert_memory_equal(&config.retry, &defaults, sizeof defaults);
    assert_memory_equal(&config.entities[0].retry, &defaults, sizeof defaults);
    config_free(&config);
    read_parts((struct parts){.entities = "  - {name: a, table: a, key: [id]}\n"
                                          "  - {name: b, table: b, key: [id], retry: {factor: 1, cap: 2 h}}",
                              .more = "retry: {base: 5, factor: 3, cap: 10 min, max_attempts: 7}"},
               &config);
    assert_memory_equal(&config.retry, &node, sizeof node);
    assert_memory_equal(&config.entities[0].retry, &node, sizeof node);
    assert_memory_equal(&config.entities[1].retry, &entity, sizeof entity);
    config_free(&config);
}

static void test_retry_rules_have_bounds(void **state)
{
    (void)state;
    refuse_parts((struct parts){.more = "retry: {base: 0}"},
                 "x.yaml:8:15: \"base\" must be from 1 s to 24 h, such as 300, 300 s, 5 min or 1 h");
    refuse_parts((struct parts){.more = "retry: {cap: 2 d}"},
                 "x.yaml:8:14: \"cap\" must be from 1 s to 24 h, such as 300, 300 s, 5 min or 1 h");
    refuse_parts((struct parts){.more = "retry: {factor: 0}"}, "x.yaml:8:17: \"factor\" must be a number from 1 to 10");
    refuse_parts((struct parts){.more = "retry: {factor: 1.5}"}, "x.yaml:8:17: \"factor\" must be a number from 1 to 10");
    refuse_parts((struct parts){.more = "retry: {max_attempts: 1}"},
                 "x.yaml:8:23: \"max_attempts\" must be a number from 2 to 1000000");
    refuse_parts((struct parts){.more = "retry: {max_attempts: 1000001}"},
                 "x.yaml:8:23: \"max_attempts\" must be a number from 2 to 1000000");
    refuse_parts((struct parts){.more = "retry: {base: 2 min}"},
                 "x.yaml:8:8: \"cap\" (60 s) is shorter than \"base\" (120 s)");
    refuse_parts((struct parts){.more = "retry: {attempts: 3}"}, "x.yaml:8:9: unknown key \"attempts\" in retry");
}

static void test_storms_are_read(void **state)
{
    (void)state;
    struct config config;
    read_parts((struct parts){0}, &config);
    assert_int_equal(config.ping_pong.times, 20);
    assert_int_equal(config.ping_pong.within_ms, 10000);
    assert_int_equal(config.ping_pong.cool_down_ms, 60000);
    assert_int_equal(config.mass_delete.within_ms, 0);
    assert_int_equal(config.max_held_changes, LIMIT_HELD_CHANGES);
    assert_int_equal(config.entities[0].max_changes_per_second, 0);
    config_free(&config);
    read_parts((struct parts){.more = "ping_pong: {times: 0, within: 1 min}\nmass_delete: {percent: 60}\nmax_held_changes: 7\n",
                              .entities = "  - {name: a, table: a, key: [id], max_changes_per_second: 100}"},
               &config);
    assert_int_equal(config.ping_pong.times, 0);
    assert_int_equal(config.ping_pong.within_ms, 60000);
    assert_int_equal(config.mass_delete.rows, 0);
    assert_int_equal(config.mass_delete.percent, 60);
    assert_int_equal(config.mass_delete.within_ms, 60000);
    assert_int_equal(config.max_held_changes, 7);
    assert_int_equal(config.entities[0].max_changes_per_second, 100);
    config_free(&config);
    refuse_parts((struct parts){.more = "ping_pong: {times: 1001}\n"}, "x.yaml:8:20: \"times\" must be a number from 0 to 1000");
    refuse_parts((struct parts){.more = "ping_pong: {within: 10 years}\n"},
                 "x.yaml:8:21: \"within\" must be from 1 s to 24 h, such as 300, 300 s, 5 min or 1 h");
    refuse_parts((struct parts){.more = "ping_pong: {seconds: 10}\n"}, "x.yaml:8:13: unknown key \"seconds\" in ping_pong");
    refuse_parts((struct parts){.more = "ping_pong: 20\n"}, "x.yaml:8:12: \"ping_pong\" must have keys of its own");
    refuse_parts((struct parts){.more = "mass_delete: {within: 10 s}\n"},
                 "x.yaml:8:14: \"mass_delete\" needs \"rows\", \"percent\" or both");
    refuse_parts((struct parts){.more = "mass_delete: {percent: 101}\n"}, "x.yaml:8:24: \"percent\" must be a number from 0 to 100");
    refuse_parts((struct parts){.more = "max_held_changes: few\n"},
                 "x.yaml:8:19: \"max_held_changes\" must be a number from 1 to 1000000000");
    refuse_parts((struct parts){.entities = "  - {name: a, table: a, key: [id], max_changes_per_second: 0}"},
                 "x.yaml:7:60: \"max_changes_per_second\" must be a number from 1 to 1000000");
}

static void test_counters_are_read(void **state)
{
    (void)state;
    struct config config;
    read_parts((struct parts){.entities = "  - {name: a, table: a, key: [id], fields: [n, what], policy: merge, counters: [n], update_revives: true}"}, &config);
    assert_true(config.entities[0].fields[1].counter && !config.entities[0].fields[2].counter);
    assert_true(config.entities[0].update_revives);
    config_free(&config);
#define COUNTERS(text) ((struct parts){.entities = "  - {name: c, table: t, key: [id], fields: [n], " text "}"})
    refuse_parts(COUNTERS("counters: [n]"), "x.yaml:7:59: \"counters\" has no use without \"policy: merge\"");
    refuse_parts(COUNTERS("update_revives: true"), "x.yaml:7:65: \"update_revives\" has no use without \"policy: merge\"");
    refuse_parts(COUNTERS("policy: merge, counters: [id]"), "x.yaml:7:75: entity \"c\" has no field \"id\" beside its key");
    refuse_parts(COUNTERS("policy: merge, owners: [n = commerce], counters: [n]"),
                 "x.yaml:7:99: field \"n\" has an owner: nobody else can add to it");
}

static void test_owners_are_read(void **state)
{
    (void)state;
    struct config config;
    read_parts((struct parts){.entities = "  - {name: a, table: a, key: [id], fields: [n, what], owners: [n = commerce]}"}, &config);
    assert_null(config_owner(&config.entities[0], TEXT_LITERAL("what")));
    assert_same(config_owner(&config.entities[0], TEXT_LITERAL("n")), "commerce");
    config_free(&config);
#define OWNERS(text) ((struct parts){.entities = "  - {name: c, table: t, key: [id], fields: [n], owners: [" text "]}"})
    refuse_parts(OWNERS("id = commerce"), "x.yaml:7:58: entity \"c\" has no field \"id\" beside its key\nHINT: owners: [field = node]");
    refuse_parts(OWNERS("n = commerce, n = operations"), "x.yaml:7:72: field \"n\" is given two owners\nHINT: owners: [field = node]");
    refuse_parts(OWNERS("n = nobody"), "x.yaml:7:58: the owner of field \"n\" is neither this node nor one of its peers\n"
                                       "HINT: owners: [field = node]");
    refuse_parts(OWNERS("n"), "x.yaml:7:58: the owner of field \"n\" is neither this node nor one of its peers\n"
                              "HINT: owners: [field = node]");
}

static void test_policies_that_cannot_work_are_refused(void **state)
{
    (void)state;
#define POLICY(text) ((struct parts){.entities = "  - {name: c, table: t, key: [id], " text "}"})
    refuse_parts(POLICY("policy: last-write-win"),
                 "x.yaml:7:44: there is no policy \"last-write-win\"\nHINT: Did you mean \"last-write-wins\"?");
    refuse_parts(POLICY("policy: first"), "x.yaml:7:44: there is no policy \"first\"\n"
                                          "HINT: The policies are last-write-wins, node-priority, merge and manual");
    refuse_parts(POLICY("policy: node-priority"),
                 "x.yaml:7:44: policy node-priority needs \"priority\"\n"
                 "HINT: priority: [the node whose writes win, the next one, ...]");
    refuse_parts(POLICY("priority: [commerce]"), "x.yaml:7:46: \"priority\" has no use without \"policy: node-priority\"");
    refuse_parts(POLICY("policy: node-priority, priority: [commerce, nobody]"),
                 "x.yaml:7:80: \"nobody\" is neither this node nor one of its peers");
    refuse_parts(POLICY("policy: node-priority, priority: [commerce, commerce]"),
                 "x.yaml:7:80: node \"commerce\" is given twice");
}

static void test_capture_from_the_wal_is_read(void **state)
{
    (void)state;
    struct config config;
    read_parts((struct parts){.more = "capture: wal\nwal_keep_max: 2 GiB\n"}, &config);
    assert_int_equal(config.capture, CAPTURE_WAL);
    assert_int_equal(config.wal_keep_max_bytes, 2ULL << 30);
    config_free(&config);
    read_parts((struct parts){0}, &config);
    assert_int_equal(config.wal_keep_max_bytes, 8ULL << 30);
    config_free(&config);
    refuse_parts((struct parts){.more = "wal_keep_max: 1 MiB\n"},
                 "x.yaml:8:15: \"wal_keep_max\" must be from 64 MiB to 1048576 GiB, such as 8 GiB");
}

static void test_what_needs_the_triggers_is_refused_with_the_wal(void **state)
{
    (void)state;
#define WAL(text) ((struct parts){.entities = "  - {name: c, table: t, key: [id], fields: [n], " text "}", .more = "capture: wal\n"})
    refuse_parts(WAL("policy: merge"), "x.yaml:7:57: policy merge needs to know which fields a write has changed\n"
                                       "HINT: Use `capture: outbox` for this node, or leave it out here");
    struct config config;
    read_parts(WAL("policy: manual, coalesce: false, owners: [n = commerce], truncate: refuse"), &config);
    config_free(&config);
}

static void test_names_are_checked(void **state)
{
    (void)state;
    refuse_parts((struct parts){.node = "node: a.b"},
                 "x.yaml:1:7: \"a.b\" cannot be the name of a node\n"
                 "HINT: It becomes part of routing keys: use letters of a-z, A-Z, digits, _ and -");
    refuse_parts((struct parts){.node = "node: control"},
                 "x.yaml:1:7: \"control\" cannot be the name of a node\n"
                 "HINT: Routing keys of control messages have this word in the entity's place");
    refuse_parts((struct parts){.peers = "peers: [a, 'b c']"},
                 "x.yaml:5:12: \"b c\" cannot be the name of a peer\n"
                 "HINT: It becomes part of routing keys: use letters of a-z, A-Z, digits, _ and -");
    refuse_parts((struct parts){.entities = "  - {name: control, table: t, key: [id]}"},
                 "x.yaml:7:12: \"control\" cannot be the name of an entity\n"
                 "HINT: Routing keys of control messages have this word in the entity's place");
    refuse_parts((struct parts){.peers = "peers: [a, commerce]"},
                 "x.yaml:5:12: node \"commerce\" cannot be its own peer");
    refuse_parts((struct parts){.peers = "peers: [a, b, c, b, a]"}, "x.yaml:5:18: peer \"b\" is given twice");
}

static void test_the_database_carries_no_password(void **state)
{
    (void)state;
    refuse_parts((struct parts){.database = "database: dbname=x password=s3cret"},
                 "x.yaml:2:11: the database's conninfo carries a password, and conninfo is shown in status and log\n"
                 "HINT: Put it into a file and name it as database_password_file; PGPASSFILE, ~/.pgpass and service "
                 "files work as well");
    refuse_parts((struct parts){.database = "database: shop"},
                 "x.yaml:2:11: the database's conninfo is malformed\n"
                 "HINT: host=/run/postgresql dbname=shop user=pgbridge; a value with blanks stands in single quotes");
}

static void test_the_broker_is_checked(void **state)
{
    (void)state;
    refuse_parts((struct parts){.broker = "  url: u:s3cret@h"},
                 "x.yaml:4:8: the broker's url does not begin with amqp:// or amqps://");
    refuse_parts((struct parts){.broker = "  url: amqp://u:s3cret@h\n  password_file: x"},
                 "x.yaml:5:18: \"url\" has a password already");
    refuse_parts((struct parts){.broker = "  url: amqp://h\n  password_file: x"},
                 "x.yaml:5:18: \"password_file\" is given, but no user\nHINT: amqp://user@host");
    refuse_parts((struct parts){.broker = "  url: amqps://u@h"},
                 "x.yaml:4:8: amqps needs \"ca_file\"\nHINT: For a certificate of a public authority: "
                 "ca_file: /etc/ssl/certs/ca-certificates.crt");
    refuse_parts((struct parts){.broker = "  url: amqp://u@h\n  ca_file: x"},
                 "x.yaml:5:12: \"ca_file\" has no use without TLS\nHINT: Begin the url with amqps://");
    refuse_parts((struct parts){.broker = "  url: amqp://u@h\n  key_file: x"},
                 "x.yaml:5:13: \"key_file\" has no use without TLS\nHINT: Begin the url with amqps://");
    refuse_parts((struct parts){.broker = "  url: amqps://u@h\n  ca_file: x\n  cert_file: y"},
                 "x.yaml:6:14: \"cert_file\" and \"key_file\" go together, \"cert_file\" stands alone");
    refuse_parts((struct parts){.broker = "  url: amqps://u@h\n  ca_file: \"a\\nb\""},
                 "x.yaml:5:12: the path has a control character");
    refuse_parts((struct parts){.broker = "  url: amqp://u@h\n  password_file: credential:../x"},
                 "x.yaml:5:18: \"password_file\" does not name a credential");
    refuse_parts((struct parts){.broker = "  url: amqp://u@h\n  exchange: amq.topic"},
                 "x.yaml:5:13: the name of \"exchange\" begins with amq., which the broker keeps for itself");
    refuse_parts((struct parts){.broker = "  url: amqp://u@h\n  dead_exchange: bridge.sync"},
                 "x.yaml:5:18: \"exchange\" and \"dead_exchange\" have the same name");
    refuse_parts((struct parts){.broker = "  url: amqp://u@h\n  exchange: bridge.dead"},
                 "x.yaml:4:3: \"exchange\" and \"dead_exchange\" have the same name");
    refuse_parts((struct parts){.broker = "  url: amqp://u@h\n  dead_queue: bridge.sync.commerce"},
                 "x.yaml:5:15: \"queue\" and \"dead_queue\" have the same name");
    refuse_parts((struct parts){.broker = "  url: amqp://u@h\n  queue: \"a\\nb\""},
                 "x.yaml:5:10: the name of \"queue\" has a control character");
    static const char *const refused[] = {"4", "601", "30s", "0x1e", "-30", "3.5", "[30]"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char broker[64];
        snprintf(broker, sizeof broker, "  url: amqp://u@h\n  heartbeat: %s", refused[i]);
        refuse_parts((struct parts){.broker = broker},
                     refused[i][0] == '[' ? "x.yaml:5:14: \"heartbeat\" must be a text, not a list"
                                          : "x.yaml:5:14: \"heartbeat\" must be a number of seconds from 5 to 600");
    }
    char broker[320] = "  url: amqp://u@h\n  exchange: ";
    size_t used = strlen(broker);
    memset(broker + used, 'x', 250);
    refuse_parts((struct parts){.broker = broker}, "x.yaml:4:3: the name of \"queue\" is longer than 255 bytes");
    memset(broker + used, 'x', 256);
    refuse_parts((struct parts){.broker = broker}, "x.yaml:5:13: the name of \"exchange\" is longer than 255 bytes");
}

static void test_the_address_to_listen_on_is_checked(void **state)
{
    (void)state;
    refuse_parts((struct parts){.more = "http: 9187\n"},
                 "x.yaml:8:7: this is not an address to listen on\nHINT: host:port, \"[::1]:9187\" (in quotes, or YAML "
                 "takes it for a list), or :9187 for 127.0.0.1");
}

static void test_mappings_are_checked(void **state)
{
    (void)state;
    refuse_parts((struct parts){.entities = "  - {name: c, table: a.b.c, key: [id]}"},
                 "x.yaml:7:22: 'a.b.c' is not the name of a table: unexpected '.c'\n"
                 "HINT: Write schema.table, without database; a name that contains a dot needs double quotes");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [id], fields: [a, full name]}"},
                 "x.yaml:7:48: 'full name' is not the name of a column: unexpected 'name'\n"
                 "HINT: A name with blanks, signs or other special characters needs double quotes");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [id = \"a, b\"]}"},
                 "x.yaml:7:31: a double quote is not closed in 'id = \"a'\n"
                 "HINT: In a [list], a name with a comma, bracket or colon needs YAML's quotes around it too: "
                 "'total = \"a, b\"'");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [id], fields: [a, b, a = x]}"},
                 "x.yaml:7:51: field \"a\" is given twice");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [id, b, id = x]}"},
                 "x.yaml:7:38: field \"id\" is given twice");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [id], fields: [a, id = x]}"},
                 "x.yaml:7:48: field \"id\" is part of the key already\nHINT: Name the key's fields in \"key\" only");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [id], fields: [a, b = ID]}"},
                 "x.yaml:7:48: column \"id\" is mapped twice");
    refuse_parts((struct parts){.entities = "- {name: c, table: t, key: [id]}\n- {name: c, table: u, key: [id]}"},
                 "x.yaml:8:10: entity \"c\" is given twice");
    refuse_parts((struct parts){.entities = "- {name: c, table: s.t, key: [id]}\n"
                                            "- {name: d, table: S.T, key: [id]}"},
                 "x.yaml:8:20: table \"t\" belongs to another entity already");
    refuse_parts((struct parts){.entities = "- {name: c, table: t, key: [id]}\n- {name: d, table: T, key: [id]}"},
                 "x.yaml:8:20: table \"t\" belongs to another entity already");
}

static void test_similar_tables_are_different(void **state)
{
    (void)state;
    struct config config;
    read_parts((struct parts){.entities = "- {name: a, table: t, key: [id]}\n- {name: b, table: s.t, key: [id]}\n"
                                          "- {name: c, table: '\"s.t\"', key: [id]}\n"
                                          "- {name: d, table: '\"s.t\".u', key: [id]}\n"
                                          "- {name: e, table: 's.\"t.u\"', key: [id]}\n"
                                          "- {name: f, table: '\"T\"', key: [id]}"},
               &config);
    assert_int_equal(config.entity_count, 6);
    config_free(&config);
}

static void test_quotes_that_yaml_removes_are_noticed(void **state)
{
    (void)state;
    refuse_parts((struct parts){.entities = "  - {name: c, table: \"Customers\", key: [id]}"},
                 "x.yaml:7:22: YAML removes the quotes of \"Customers\", and without them it means customers\n"
                 "HINT: To keep capital letters, put single quotes around the double ones: '\"Customers\"'; otherwise "
                 "leave the quotes out");
    refuse_parts((struct parts){.entities = "  - {name: c, table: t, key: [\"Id\"]}"},
                 "x.yaml:7:31: YAML removes the quotes of \"Id\", and without them it means id\n"
                 "HINT: To keep capital letters, put single quotes around the double ones: '\"Id\"'; otherwise "
                 "leave the quotes out");
    struct config config;
    read_parts((struct parts){.entities = "  - {name: c, table: Customers, key: ['\"Id\"', \"x = \\\"Y\\\"\"]}"},
               &config);
    assert_same(config.entities[0].table, "customers");
    assert_mapping(&config.entities[0], 0, "Id", "Id");
    assert_mapping(&config.entities[0], 1, "x", "Y");
    config_free(&config);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static char directory[] = "/tmp/pgbridge-config-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory);
}

static const char *in_directory(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, struct text content, mode_t mode)
{
    FILE *file = fopen(in_directory(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content.data, 1, content.length, file), content.length);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(in_directory(name), mode), 0);
}

static void write_config(const char *broker, const char *database)
{
    char *yaml = compose((struct parts){.broker = broker, .database = database});
    write_file("config.yaml", text_from(yaml), 0644);
    free(yaml);
}

static void read_file(struct config *config)
{
    struct error error = {0};
    if (!config_read(in_directory("config.yaml"), config, &error))
        fail_msg("%s", error.text);
}

/* message: "%s" stands for the directory. */
static void refuse_file(const char *name, const char *place, const char *message)
{
    struct config config;
    struct error error = {0};
    assert_false(config_read(in_directory(name), &config, &error));
    assert_int_equal(error.fault, FAULT_OPERATOR);
    assert_null(strstr(error.text, "s3cret"));
    if (strstr(error.text, place) == NULL || strstr(error.text, message) == NULL)
        fail_msg("%s", error.text);
}

static void remove_files(void)
{
    static const char *const names[] = {"config.yaml", "mq", "db", "pipe"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(in_directory(names[i]));
}

static void test_passwords_come_from_files(void **state)
{
    (void)state;
    write_config("  url: amqp://u@h\n  password_file: mq", "database: dbname=x\ndatabase_password_file: db");
    write_file("mq", TEXT_LITERAL("s3cret one\nsecond line\n"), 0600);
    write_file("db", TEXT_LITERAL(" s3cret\r\n"), 0440);
    struct config config;
    read_file(&config);
    assert_same(config.broker.password, "s3cret one");
    assert_same(config.database_password, " s3cret");
    assert_same(config.broker.password_file, in_directory("mq"));
    config_free(&config);
    write_file("mq", TEXT_LITERAL("s3cret"), 0640);
    read_file(&config);
    assert_same(config.broker.password, "s3cret");
    config_free(&config);
    remove_files();
}

static void test_bad_password_files_are_refused(void **state)
{
    (void)state;
    write_config("  url: amqp://u@h\n  password_file: mq", NULL);
    refuse_file("config.yaml", "config.yaml:5:18: could not open", "/mq\": No such file or directory");
    write_file("mq", TEXT_LITERAL("s3cret"), 0604);
    refuse_file("config.yaml", "config.yaml:5:18: ", "/mq\" is open to all users of this machine\nHINT: chmod 600 /");
    write_file("mq", TEXT_LITERAL("s3cret"), 0602);
    refuse_file("config.yaml", "config.yaml:5:18: ", "/mq\" is open to all users of this machine\nHINT: chmod 600 /");
    write_file("mq", TEXT_LITERAL(""), 0600);
    refuse_file("config.yaml", "config.yaml:5:18: ", "the first line of the password file");
    write_file("mq", TEXT_LITERAL("\r\ns3cret"), 0600);
    refuse_file("config.yaml", "config.yaml:5:18: ", "the first line of the password file");
    write_file("mq", TEXT_LITERAL("s3cret\0x\n"), 0600);
    refuse_file("config.yaml", "config.yaml:5:18: ", "has a NUL byte");
    char large[4097];
    memset(large, 'x', sizeof large);
    write_file("mq", (struct text){large, sizeof large}, 0600);
    refuse_file("config.yaml", "config.yaml:5:18: ", "is larger than 4096 bytes");
    write_file("mq", (struct text){large, sizeof large - 1}, 0600);
    struct config config;
    read_file(&config);
    assert_int_equal(strlen(config.broker.password), 4096);
    config_free(&config);

    write_config("  url: amqp://u@h\n  password_file: pipe", NULL);
    assert_int_equal(mkfifo(in_directory("pipe"), 0600), 0);
    refuse_file("config.yaml", "config.yaml:5:18: ", "/pipe\" is not a regular file");
    write_config("  url: amqp://u@h\n  password_file: .", NULL);
    refuse_file("config.yaml", "config.yaml:5:18: ", "is not a regular file");
    remove_files();
}

static void test_credentials_come_from_systemd(void **state)
{
    (void)state;
    write_config("  url: amqps://u@h\n  password_file: credential:mq\n  ca_file: credential:ca",
                 "database: dbname=x\ndatabase_password_file: credential:db");
    write_file("mq", TEXT_LITERAL("s3cret\n"), 0400);
    write_file("db", TEXT_LITERAL("s3cret2\n"), 0400);
    unsetenv("CREDENTIALS_DIRECTORY");
    refuse_file("config.yaml", "config.yaml:3:25: ",
                "\"database_password_file\" names a credential, but CREDENTIALS_DIRECTORY is not set\nHINT: systemd");
    setenv("CREDENTIALS_DIRECTORY", directory, 1);
    struct config config;
    read_file(&config);
    assert_same(config.broker.password, "s3cret");
    assert_same(config.database_password, "s3cret2");
    assert_same(config.broker.ca_file, in_directory("ca"));
    config_free(&config);
    unsetenv("CREDENTIALS_DIRECTORY");
    remove_files();
}

static void test_a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    refuse_file("config.yaml", "could not open the configuration", "/config.yaml\": No such file or directory");
    refuse_file(".", "could not read the configuration", "Is a directory");
    char *large = malloc((1 << 20) + 1);
    assert_non_null(large);
    memset(large, '#', (1 << 20) + 1);
    write_file("config.yaml", (struct text){large, (1 << 20) + 1}, 0600);
    refuse_file("config.yaml", "config.yaml:1:1: ", "the configuration is larger than 1048576 bytes");
    free(large);
    remove_files();
}

static void test_relative_paths_begin_at_the_configuration(void **state)
{
    (void)state;
    char *yaml = compose((struct parts){.broker = "  url: amqp://u@h\n  password_file: mq"});
    static const char *const paths[][2] = {
        {"a.yaml", "mq"}, {"./a.yaml", "./mq"}, {"/a.yaml", "/mq"}, {"b/a.yaml", "b/mq"}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct config config;
        struct error error;
        assert_true(config_read_text(paths[i][0], text_from(yaml), &config, &error));
        assert_same(config.broker.password_file, paths[i][1]);
        config_free(&config);
    }
    free(yaml);
}

/* ---- the example ------------------------------------------------------------------------------------------------- */

static char *read_example(void)
{
    return read_source(TESTS_DIR "/../deploy/config/example.yaml");
}

static void test_the_example_is_valid(void **state)
{
    (void)state;
    char *yaml = read_example();
    struct config config;
    read_config(yaml, &config);
    assert_int_equal(config.entity_count, 3);
    assert_mapping(&config.entities[0], 3, "balance", "Saldo €");
    config_free(&config);
    free(yaml);
}

/* Takes the # from lines like `  #key: value`, which show a default or an option that is off. */
static void uncomment(char *yaml)
{
    for (char *line = yaml; line != NULL && *line != '\0';) {
        char *sign = line + strspn(line, " ");
        if (sign[0] == '#' && sign[1] >= 'a' && sign[1] <= 'z')
            memmove(sign, sign + 1, strlen(sign));
        line = strchr(line, '\n');
        if (line != NULL)
            line++;
    }
}

static void test_the_example_shows_the_defaults(void **state)
{
    (void)state;
    char *yaml = read_example();
    struct config plain, full;
    read_config(yaml, &plain);
    uncomment(yaml);
    read_config(yaml, &full);
    assert_same(full.broker.exchange, plain.broker.exchange);
    assert_same(full.broker.queue, plain.broker.queue);
    assert_same(full.broker.dead_exchange, plain.broker.dead_exchange);
    assert_same(full.broker.dead_queue, plain.broker.dead_queue);
    assert_int_equal(full.broker.heartbeat_s, plain.broker.heartbeat_s);
    assert_int_equal(full.capture, plain.capture);
    assert_int_equal(full.log, plain.log);
    assert_int_equal(full.message_bytes, plain.message_bytes);
    assert_int_equal(full.wal_keep_max_bytes, plain.wal_keep_max_bytes);
    assert_int_equal(full.max_clock_skew_us, plain.max_clock_skew_us);
    assert_int_equal(full.tombstone_retention_us, plain.tombstone_retention_us);
    assert_int_equal(full.dead_letter_retention_us, plain.dead_letter_retention_us);
    assert_int_equal(full.conflict_retention_us, plain.conflict_retention_us);
    assert_memory_equal(&full.retry, &plain.retry, sizeof full.retry);
    assert_memory_equal(&full.ping_pong, &plain.ping_pong, sizeof plain.ping_pong);
    assert_int_equal(full.max_held_changes, plain.max_held_changes);
    assert_int_equal(plain.mass_delete.within_ms, 0);
    assert_int_equal(full.mass_delete.within_ms, 60000);
    assert_int_equal(full.entities[0].triggers, plain.entities[0].triggers);
    assert_int_equal(full.entities[0].truncate, plain.entities[0].truncate);
    assert_int_equal(full.entities[0].coalesce, plain.entities[0].coalesce);
    assert_ptr_equal(full.entities[0].policy, plain.entities[0].policy);
    assert_non_null(full.database_password_file);
    assert_non_null(full.broker.key_file);
    config_free(&plain);
    config_free(&full);
    free(yaml);
}

static void test_every_key_is_in_the_example(void **state)
{
    (void)state;
    char *yaml = read_example();
    uncomment(yaml);
    const char *section, *key;
    size_t count = 0;
    for (; config_key(count, &section, &key); count++) {
        char line[80];
        const char *indent = section[0] == '\0' ? "" : strcmp(section, "entities") != 0 ? "  " : "    ";
        snprintf(line, sizeof line, "\n%s%s:", indent, key);
        bool found = strstr(yaml, line) != NULL;
        if (!found && strcmp(section, "entities") == 0) {
            snprintf(line, sizeof line, "\n  - %s:", key);
            found = strstr(yaml, line) != NULL;
        }
        if (!found)
            fail_msg("deploy/config/example.yaml does not show key \"%s\" of \"%s\"", key, section);
    }
    assert_int_equal(count, 53);
    free(yaml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_configuration_is_read),
        cmocka_unit_test(test_every_option_has_its_effect),
        cmocka_unit_test(test_little_is_needed),
        cmocka_unit_test(test_words_stay_words),
        cmocka_unit_test(test_message_bytes_have_units),
        cmocka_unit_test(test_records_are_kept_for_a_while_or_for_ever),
        cmocka_unit_test(test_what_is_not_yaml_is_refused),
        cmocka_unit_test(test_aliases_tags_and_depth_are_refused),
        cmocka_unit_test(test_too_much_is_refused),
        cmocka_unit_test(test_unknown_keys_are_refused),
        cmocka_unit_test(test_doubled_keys_are_refused),
        cmocka_unit_test(test_missing_keys_are_refused),
        cmocka_unit_test(test_empty_values_are_refused),
        cmocka_unit_test(test_wrong_types_are_refused),
        cmocka_unit_test(test_policies_are_read),
        cmocka_unit_test(test_policies_have_words_that_nodes_compare),
        cmocka_unit_test(test_retry_rules_are_the_nodes_unless_the_entity_has_its_own),
        cmocka_unit_test(test_retry_rules_have_bounds),
        cmocka_unit_test(test_storms_are_read),
        cmocka_unit_test(test_counters_are_read),
        cmocka_unit_test(test_owners_are_read),
        cmocka_unit_test(test_policies_that_cannot_work_are_refused),
        cmocka_unit_test(test_capture_from_the_wal_is_read),
        cmocka_unit_test(test_what_needs_the_triggers_is_refused_with_the_wal),
        cmocka_unit_test(test_names_are_checked),
        cmocka_unit_test(test_the_database_carries_no_password),
        cmocka_unit_test(test_the_broker_is_checked),
        cmocka_unit_test(test_the_address_to_listen_on_is_checked),
        cmocka_unit_test(test_mappings_are_checked),
        cmocka_unit_test(test_similar_tables_are_different),
        cmocka_unit_test(test_quotes_that_yaml_removes_are_noticed),
        cmocka_unit_test(test_passwords_come_from_files),
        cmocka_unit_test(test_bad_password_files_are_refused),
        cmocka_unit_test(test_credentials_come_from_systemd),
        cmocka_unit_test(test_a_file_that_cannot_be_read_is_named),
        cmocka_unit_test(test_relative_paths_begin_at_the_configuration),
        cmocka_unit_test(test_the_example_is_valid),
        cmocka_unit_test(test_the_example_shows_the_defaults),
        cmocka_unit_test(test_every_key_is_in_the_example),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
