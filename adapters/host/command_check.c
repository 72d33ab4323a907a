/* pgbridge check: looks at everything the config names and says what is wrong or will be, each finding with a hint.
 * Changes nothing. What cannot be looked at is a finding too, and the rest is looked at all the same. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/host/command.h"
#include "adapters/host/table.h"
#include "adapters/postgres/schema.h"
#include "adapters/postgres/session.h"
#include "adapters/postgres/wal_link.h"
#include "adapters/rabbitmq/topology.h"
#include "bridge/base/limits.h"
#include "bridge/base/log.h"
#include "bridge/flow/policy.h"

enum {
    SERVER_VERSION_MIN = 150000,
    JSON_ESCAPE_BYTES = 6, /* a byte becomes \u001f at worst */
};

enum level { LEVEL_ERROR, LEVEL_WARNING, LEVEL_NOTE, LEVELS };

static const char *const level_names[LEVELS] = {"error", "warning", "note"};

struct finding {
    struct finding *next;
    enum level level;
    const char *where; /* "database", "role", "entity customer", "broker" */
    const char *text;
    const char *hint; /* NULL: none */
};

struct examination {
    const struct config *config;
    struct arena arena;
    struct finding *findings, **last;
    size_t counts[LEVELS];
    struct pg_session session;
    const char *mapping; /* JSON, made by queries/check_resolve */
    bool installed;      /* schema bridge can be looked into */
};

/* ---- findings ---- */

static void add_finding(struct examination *examination, enum level level, const char *where, struct text text,
                        struct text hint)
{
    struct finding *finding = arena_take(&examination->arena, sizeof *finding);
    *finding = (struct finding){.level = level,
                                .where = arena_string(&examination->arena, text_from(where)),
                                .text = arena_string(&examination->arena, text),
                                .hint = hint.length > 0 ? arena_string(&examination->arena, hint) : NULL};
    *examination->last = finding;
    examination->last = &finding->next;
    examination->counts[level]++;
}

/* A text as errors have it: "what happened\nDETAIL: more\nHINT: what to do". */
static void add_failure(struct examination *examination, const char *where, const char *text)
{
    static const char mark[] = "\nHINT: ";
    const char *hint = strstr(text, mark);
    size_t length = hint != NULL ? (size_t)(hint - text) : strlen(text);
    char *said = arena_string(&examination->arena, (struct text){text, length});
    for (char *at = said; (at = strchr(at, '\n')) != NULL;)
        *at = ' ';
    add_finding(examination, LEVEL_ERROR, where, text_from(said),
                hint != NULL ? text_from(hint + sizeof mark - 1) : TEXT_NULL);
}

static enum level level_from(struct text name)
{
    for (size_t i = 0; i < LEVELS; i++)
        if (text_equal(name, text_from(level_names[i])))
            return (enum level)i;
    return LEVEL_ERROR;
}

/* ---- what the queries are given ---- */

static _Noreturn void out_of_memory(void)
{
    fputs("pgbridge: out of memory\n", stderr);
    exit(EXIT_TRY_AGAIN);
}

/* One JSON object of texts; json_to_recordset makes numbers of those that shall be. */
static void put_object(FILE *out, const struct log_member *members, size_t count)
{
    size_t size = 64;
    for (size_t i = 0; i < count; i++)
        size += JSON_ESCAPE_BYTES * members[i].value.length + 64;
    char *line = malloc(size);
    if (line == NULL)
        out_of_memory();
    size_t length = log_json_line(members, count, line, size);
    assert(length > 0);
    fwrite(line, 1, length, out);
    free(line);
}

static void put_field(FILE *out, const struct config *config, const struct entity_config *entity, size_t index)
{
    char position[24], key_count[24], nodes[24], retry[64];
    snprintf(position, sizeof position, "%zu", index + 1);
    snprintf(key_count, sizeof key_count, "%zu", entity->key_count);
    snprintf(nodes, sizeof nodes, "%zu", config->peer_count + 1);
    snprintf(retry, sizeof retry, "%d %d %d %d", entity->retry.base_s, entity->retry.factor, entity->retry.cap_s,
             entity->retry.max_attempts);
    const struct log_member members[] = {
        {"entity", text_from(entity->name)},
        {"schema", text_from(entity->schema != NULL ? entity->schema : "public")},
        {"table", text_from(entity->table)},
        {"field", text_from(entity->fields[index].field)},
        {"column", text_from(entity->fields[index].column)},
        {"position", text_from(position)},
        {"key_count", text_from(key_count)},
        {"triggers", text_from(entity->triggers == TRIGGERS_FIRE ? "fire" : "suppress")},
        {"truncate", text_from(entity->truncate == TRUNCATE_REFUSE ? "refuse" : "capture")},
        {"coalesced", text_from(entity->coalesce ? "true" : "false")},
        {"policy", text_from(entity->policy->name)},
        {"counter", text_from(entity->fields[index].counter ? "true" : "false")},
        {"update_revives", text_from(entity->update_revives ? "true" : "false")},
        {"nodes", text_from(nodes)},
        {"retry", text_from(retry)},
    };
    put_object(out, members, sizeof members / sizeof *members);
}

static FILE *json_open(char **json, size_t *length)
{
    FILE *out = open_memstream(json, length);
    if (out == NULL)
        out_of_memory();
    return out;
}

/* A JSON array with an object per entity and field, to be freed. */
static char *mapping_json(const struct config *config)
{
    char *json = NULL;
    size_t length = 0;
    FILE *out = json_open(&json, &length);
    const char *separator = "[";
    for (size_t i = 0; i < config->entity_count; i++)
        for (size_t j = 0; j < config->entities[i].field_count; j++) {
            fputs(separator, out);
            put_field(out, config, &config->entities[i], j);
            separator = ",\n";
        }
    fputs(config->entity_count == 0 ? "[]" : "]", out);
    fclose(out);
    return json;
}

static char *peers_json(const struct config *config)
{
    char *json = NULL;
    size_t length = 0;
    FILE *out = json_open(&json, &length);
    fputc('[', out);
    for (size_t i = 0; i < config->peer_count; i++) {
        fputs(i > 0 ? "," : "", out);
        put_object(out, &(struct log_member){"peer", text_from(config->peers[i])}, 1);
    }
    fputc(']', out);
    fclose(out);
    return json;
}

/* ---- checks of the database ---- */

/* Runs a query whose rows are findings: level, where, text, hint. */
static bool run_query(struct examination *examination, const char *name, int parameter_count,
                      const char *const *parameters, struct error *error)
{
    PG_RESULT result = pg_query(&examination->session, name, parameter_count, parameters, error);
    if (result == NULL)
        return false;
    for (int row = 0; row < PQntuples(result); row++)
        add_finding(examination, level_from(pg_value(result, row, 0)), PQgetvalue(result, row, 1),
                    pg_value(result, row, 2), pg_value(result, row, 3));
    return true;
}

static bool check_plain(struct examination *examination, const char *name, struct error *error)
{
    return run_query(examination, name, 0, NULL, error);
}

static bool check_capture_mode(struct examination *examination, const char *name, struct error *error)
{
    const char *const parameters[] = {capture_name(examination->config->capture)};
    return run_query(examination, name, 1, parameters, error);
}

/* pg_hba.conf may let the role in, and not to read the log; so may a proxy. */
static bool check_link(struct examination *examination, const char *name, struct error *error)
{
    (void)name;
    struct wal_link link = {0};
    if (examination->config->capture != CAPTURE_WAL)
        return true;
    bool opened = wal_link_open(&link, examination->config, error);
    wal_link_close(&link);
    return opened;
}

static bool check_tables(struct examination *examination, const char *name, struct error *error)
{
    return run_query(examination, name, 1, &examination->mapping, error);
}

static bool check_schema(struct examination *examination, const char *name, struct error *error)
{
    size_t before = examination->counts[LEVEL_ERROR];
    bool looked = run_query(examination, name, 0, NULL, error);
    examination->installed = looked && examination->counts[LEVEL_ERROR] == before;
    return looked;
}

static bool check_version(struct examination *examination, const char *name, struct error *error)
{
    char number[24];
    snprintf(number, sizeof number, "%d", schema_version());
    return run_query(examination, name, 1, (const char *const[]){number}, error);
}

static bool check_node(struct examination *examination, const char *name, struct error *error)
{
    const struct config *config = examination->config;
    char *peers = peers_json(config);
    const char *const parameters[] = {config->node, config->broker.exchange, config->broker.queue, peers};
    bool looked = run_query(examination, name, 4, parameters, error);
    free(peers);
    return looked;
}

static const struct check {
    const char *query; /* in sql/queries: its first lines say what it finds; empty: there is none */
    bool (*run)(struct examination *examination, const char *query, struct error *error);
    bool needs_schema;
} checks[] = {
    {"check_server", check_plain, false},        {"check_role", check_capture_mode, false},
    {"check_wal", check_capture_mode, false},    {"", check_link, false},
    {"check_schema", check_schema, false},       {"check_version", check_version, true},
    {"check_grants", check_plain, true},         {"check_node", check_node, true},
    {"check_tables", check_tables, false},       {"check_columns", check_tables, false},
    {"check_policies", check_tables, false},
    {"check_keys", check_tables, false},         {"check_privileges", check_tables, false},
    {"check_defaults", check_tables, false},     {"check_sequences", check_tables, false},
    {"check_foreign_keys", check_tables, false}, {"check_row_security", check_tables, false},
    {"check_triggers", check_tables, false},     {"check_mapping", check_tables, true},
    {"check_capture", check_tables, true},       {"check_slot", check_capture_mode, true},
};

static bool resolve_mapping(struct examination *examination, struct error *error)
{
    char *json = mapping_json(examination->config);
    PG_RESULT result = pg_query(&examination->session, "check_resolve", 1, (const char *const[]){json}, error);
    free(json);
    if (result == NULL)
        return false;
    examination->mapping = arena_string(&examination->arena, pg_value(result, 0, 0));
    return true;
}

static void run_checks(struct examination *examination)
{
    struct error error;
    if (!resolve_mapping(examination, &error)) {
        add_failure(examination, "database", error.text);
        return;
    }
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (checks[i].needs_schema && !examination->installed)
            continue;
        if (!checks[i].run(examination, checks[i].query, &error))
            add_failure(examination, "database", error.text);
    }
}

/* False when the database could not be reached. */
static bool check_database(struct examination *examination)
{
    const struct config *config = examination->config;
    struct error error;
    if (!pg_session_open(&examination->session, config->database, config->database_password, "pgbridge check",
                         &error)) {
        add_failure(examination, "database", error.text);
        return error.fault != FAULT_CONNECTION;
    }
    int version = PQserverVersion(examination->session.connection);
    if (version >= SERVER_VERSION_MIN)
        run_checks(examination);
    else
        add_finding(examination, LEVEL_ERROR, "database",
                    arena_printf(&examination->arena, "it is PostgreSQL %d; the bridge needs %d or newer",
                                 version / 10000, SERVER_VERSION_MIN / 10000),
                    TEXT_LITERAL("upgrade the server"));
    bool reachable = examination->session.connection != NULL;
    pg_session_close(&examination->session);
    return reachable;
}

/* ---- checks of the broker ---- */

static void broker_found(void *context, const char *text)
{
    add_failure(context, "broker", text);
}

static void check_broker(struct examination *examination)
{
    struct error error;
    if (!mq_topology_check(examination->config, broker_found, examination, &error))
        add_failure(examination, "broker", error.text);
}

/* ---- printing ---- */

static void print_json(const struct examination *examination)
{
    const char *separator = "[";
    for (const struct finding *finding = examination->findings; finding != NULL; finding = finding->next) {
        const struct log_member members[] = {
            {"level", text_from(level_names[finding->level])},
            {"where", text_from(finding->where)},
            {"text", text_from(finding->text)},
            {"hint", text_from(finding->hint != NULL ? finding->hint : "")},
        };
        fputs(separator, stdout);
        put_object(stdout, members, sizeof members / sizeof *members);
        separator = ",\n";
    }
    puts(examination->findings == NULL ? "[]" : "]");
}

/* The worst first; within a level in the order they were found. */
static void print_findings(struct examination *examination)
{
    static const struct table_column columns[] = {{NULL, false}, {NULL, false}, {NULL, false}};
    size_t count = 0, at = 0;
    for (size_t i = 0; i < LEVELS; i++)
        count += examination->counts[i];
    const char **cells = arena_take_array(&examination->arena, 3 * count + 1, sizeof *cells);
    for (size_t level = 0; level < LEVELS; level++)
        for (const struct finding *finding = examination->findings; finding != NULL; finding = finding->next) {
            if (finding->level != (enum level)level)
                continue;
            cells[at++] = level_names[level];
            cells[at++] = finding->where;
            cells[at++] = finding->hint == NULL
                              ? finding->text
                              : arena_printf(&examination->arena, "%s\nHINT: %s", finding->text, finding->hint).data;
        }
    table_print(stdout, sizeof columns / sizeof *columns, columns, count, cells);
}

static void print_count(const char *separator, size_t count, const char *one, const char *many)
{
    if (count > 0)
        printf("%s%zu %s", separator, count, count == 1 ? one : many);
}

/* "3 checks failed, 2 warnings", "all good, 1 note". */
static void print_summary(const struct examination *examination)
{
    const size_t *counts = examination->counts;
    if (counts[LEVEL_ERROR] > 0)
        print_count("", counts[LEVEL_ERROR], "check failed", "checks failed");
    else
        fputs(counts[LEVEL_WARNING] > 0 ? "no check failed" : "all good", stdout);
    print_count(", ", counts[LEVEL_WARNING], "warning", "warnings");
    print_count(", ", counts[LEVEL_NOTE], "note", "notes");
    putchar('\n');
}

int command_check(const struct options *options)
{
    struct config config;
    if (!command_config(options, &config))
        return EXIT_BAD_CONFIG;
    struct examination examination = {.config = &config};
    examination.last = &examination.findings;
    arena_init(&examination.arena, LIMIT_ARENA_BYTES);
    bool reachable = check_database(&examination);
    check_broker(&examination);
    if (options->json) {
        print_json(&examination);
    } else {
        print_findings(&examination);
        print_summary(&examination);
    }
    int code = !reachable ? EXIT_UNREACHABLE : examination.counts[LEVEL_ERROR] > 0 ? EXIT_BAD_CONFIG : EXIT_GOOD;
    arena_free(&examination.arena);
    config_free(&config);
    return code;
}
