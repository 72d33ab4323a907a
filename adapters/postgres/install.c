#include "adapters/postgres/install.h"

#include <stdlib.h>
#include <time.h>

#include "adapters/postgres/sql.h"
#include "bridge/base/limits.h"
#include "bridge/base/memory.h"
#include "bridge/flow/policy.h"
#include "bridge/message/digest.h"

/* ---- quoting, for names and texts of the config ---- */

static void put_quoted(FILE *out, const char *text, char quote)
{
    fputc(quote, out);
    for (; *text; text++) {
        if (*text == quote)
            fputc(quote, out);
        fputc(*text, out);
    }
    fputc(quote, out);
}

static void put_literal(FILE *out, const char *text)
{
    put_quoted(out, text, '\'');
}

static void put_table(FILE *out, const struct entity_config *entity)
{
    put_quoted(out, entity->schema ? entity->schema : "public", '"');
    fputc('.', out);
    put_quoted(out, entity->table, '"');
}

static void put_relation(FILE *out, const struct entity_config *entity)
{
    char *name = NULL;
    size_t length = 0;
    FILE *buffer = open_memstream(&name, &length);
    put_table(buffer, entity);
    fclose(buffer);
    put_literal(out, name);
    fputs("::regclass::text", out);
    free(name);
}

static void put_array(FILE *out, char *const *texts, size_t count)
{
    fputs("array[", out);
    for (size_t i = 0; i < count; i++) {
        fputs(i ? ", " : "", out);
        put_literal(out, texts[i]);
    }
    fputs("]::text[]", out);
}

static void put_counters(FILE *out, const struct entity_config *entity)
{
    bool any = false;
    fputs(", array[", out);
    for (size_t i = 0; i < entity->field_count; i++) {
        if (!entity->fields[i].counter)
            continue;
        fputs(any ? ", " : "", out);
        put_literal(out, entity->fields[i].field);
        any = true;
    }
    fputs("]::text[]", out);
}

static void put_names(FILE *out, const struct entity_config *entity, bool columns)
{
    fputs("array[", out);
    for (size_t i = 0; i < entity->field_count; i++) {
        fputs(i ? ", " : "", out);
        put_literal(out, columns ? entity->fields[i].column : entity->fields[i].field);
    }
    fputs("]", out);
}

static void put_retry(FILE *out, const struct entity_config *entity)
{
    const struct retry_rules *retry = &entity->retry;
    fprintf(out, "update bridge.entity set retry_base = '%d s', retry_factor = %d, retry_cap = '%d s', max_attempts = %d where name = ",
            retry->base_s, retry->factor, retry->cap_s, retry->max_attempts);
    put_literal(out, entity->name);
    fputs(";\n", out);
}

/* ---- connecting ---- */

const char *pg_config_role(const struct config *config, struct arena *arena)
{
    const char *role = NULL;
    PQconninfoOption *options = PQconninfoParse(config->database, NULL);
    for (PQconninfoOption *option = options; option && option->keyword; option++)
        if (strcmp(option->keyword, "user") == 0 && option->val)
            role = arena_string(arena, text_from(option->val));
    PQconninfoFree(options);
    options = role ? NULL : PQconndefaults();
    for (PQconninfoOption *option = options; option && option->keyword; option++)
        if (strcmp(option->keyword, "user") == 0 && option->val)
            role = arena_string(arena, text_from(option->val));
    PQconninfoFree(options);
    return role ? role : "pgbridge";
}

/* The config's settings, except who connects, with the admin's over them: "user=postgres" is enough. */
static bool admin_conninfo(const struct config *config, const char *admin, struct arena *arena, const char **merged,
                           struct error *error)
{
    const char *sources[] = {config->database, admin};
    const char *out = "";
    for (size_t i = 0; i < 2; i++) {
        char *problem = NULL;
        PQconninfoOption *options = PQconninfoParse(sources[i], &problem);
        if (options == NULL) {
            error_set(error, FAULT_OPERATOR, NULL, "bad connection settings: %s", problem ? problem : "out of memory");
            PQfreemem(problem);
            return false;
        }
        for (PQconninfoOption *option = options; option->keyword; option++)
            if (option->val != NULL && (i > 0 || strcmp(option->keyword, "user") != 0))
                out = arena_printf(arena, "%s%s=%s ", out, option->keyword, pg_conninfo_quote(arena, option->val)).data;
        PQconninfoFree(options);
    }
    *merged = out;
    return true;
}

static bool open_admin(struct pg_session *session, const struct config *config, const struct install_options *options,
                       struct arena *arena, struct error *error)
{
    const char *conninfo = config->database, *password = config->database_password;
    if (options->admin != NULL) {
        password = NULL;
        if (!admin_conninfo(config, options->admin, arena, &conninfo, error))
            return false;
    }
    if (!pg_session_open(session, conninfo, password, "pgbridge install", error))
        return false;
    session->shows_words = true;
    return true;
}

/* ---- the script ---- */

struct present {
    int version;            /* highest number installed; -1: no schema */
    const char *fingerprint;
    bool role_exists;
    bool whole; /* every trigger that should be there is */
    const char *node;
};

static bool look(struct pg_session *session, struct arena *arena, const char *role, struct present *present,
                 struct error *error)
{
    *present = (struct present){.version = -1, .fingerprint = ""};
    {
        const char *parameters[] = {role};
        PG_RESULT roles = pg_query(session, "install_role", 1, parameters, error);
        if (roles == NULL)
            return false;
        present->role_exists = pg_boolean(roles, 0, 0);
        if (!pg_boolean(roles, 0, 1))
            return true;
    }
    PG_RESULT state = pg_query(session, "install_state", 0, NULL, error);
    if (state == NULL)
        return false;
    present->version = (int)pg_integer(state, 0, 0);
    present->fingerprint = arena_string(arena, pg_value(state, 0, 1));
    present->whole = pg_boolean(state, 0, 2);
    present->node = arena_copy(arena, pg_value(state, 0, 3)).data;
    return true;
}

static int file_number(const char *name)
{
    const char *base = strrchr(name, '/');
    return atoi(base ? base + 1 : name);
}

static bool is_in(const char *name, const char *directory)
{
    return strncmp(name, directory, strlen(directory)) == 0;
}

static void put_schema(FILE *out, const char *role, const struct present *present)
{
    /* Names must come out with their schema, in psql as here. */
    fputs("set local search_path = pg_catalog, pg_temp;\nset local bridge.role = ", out);
    put_literal(out, role);
    fputs(";\n", out);
    for (unsigned i = 0; i < sql_file_count; i++) {
        int number = file_number(sql_files[i].name);
        if (!is_in(sql_files[i].name, "install/") || (number > 0 && number <= present->version))
            continue;
        fprintf(out, "\n-- %s\n%s", sql_files[i].name, sql_files[i].text);
        if (number > 0)
            fprintf(out, "insert into bridge.version (number, name) values (%d, '%s');\n", number, sql_files[i].name);
    }
    static const char *const directories[] = {"functions/", "views/"};
    for (size_t d = 0; d < 2; d++)
        for (unsigned i = 0; i < sql_file_count; i++)
            if (is_in(sql_files[i].name, directories[d]))
                fprintf(out, "\n-- %s\n%s", sql_files[i].name, sql_files[i].text);
}

static void put_ending(FILE *out)
{
    fputs("select bridge.refresh_entity_state();\nselect bridge.grant_adapter();\nselect bridge.own();\n", out);
}

static void put_mapping(FILE *out, const struct config *config, const char *role, bool guarded)
{
    fputs("\n-- this node, its peers and its entities\n"
          "insert into bridge.node (name, adapter_role, exchange, queue) values (",
          out);
    put_literal(out, config->node);
    fputs(", ", out);
    put_literal(out, role);
    fputs(", ", out);
    put_literal(out, config->broker.exchange);
    fputs(", ", out);
    put_literal(out, config->broker.queue);
    fputs(")\n    on conflict (only_row) do update set name = excluded.name, adapter_role = excluded.adapter_role,\n"
          "    exchange = excluded.exchange, queue = excluded.queue;\n"
          "delete from bridge.peer where name <> all (",
          out);
    put_array(out, config->peers, config->peer_count);
    fputs(");\ninsert into bridge.peer (name) select unnest(", out);
    put_array(out, config->peers, config->peer_count);
    fputs(") on conflict do nothing;\n", out);
    fprintf(out, "update bridge.node set wal_keep_max = %zu;\n", config->wal_keep_max_bytes);
    fputs("select bridge.unmap_entity(name) from bridge.entity where active and name <> all (array[", out);
    for (size_t i = 0; i < config->entity_count; i++) {
        fputs(i ? ", " : "", out);
        put_literal(out, config->entities[i].name);
    }
    fputs("]::text[]);\n", out);
    for (size_t i = 0; i < config->entity_count; i++) {
        const struct entity_config *entity = &config->entities[i];
        fputs("select bridge.map_entity(", out);
        put_literal(out, entity->name);
        fputs(", ", out);
        put_relation(out, entity);
        fprintf(out, ", %zu, ", entity->key_count);
        put_names(out, entity, false);
        fputs(", ", out);
        put_names(out, entity, true);
        fprintf(out, ", '%s', '%s', %s, ", entity->triggers == TRIGGERS_FIRE ? "fire" : "suppress",
                entity->truncate == TRUNCATE_REFUSE ? "refuse" : "capture", entity->coalesce ? "true" : "false");
        put_literal(out, entity->policy->name);
        fputs(", ", out);
        put_array(out, entity->priority, entity->priority_count);
        put_counters(out, entity);
        fprintf(out, ", %s%s);\n", entity->update_revives ? "true" : "false", guarded ? "" : ", guarded => false");
        put_retry(out, entity);
        fprintf(out, "update bridge.entity set max_changes_per_second = nullif(%d, 0) where name = ", entity->max_changes_per_second);
        put_literal(out, entity->name);
        fputs(";\n", out);
    }
    put_ending(out);
}

/* Where changes are found. Of the log a slot has to be there before it counts; then capture goes over from one to the other at one moment. */
static void put_capture(FILE *out, const struct config *config)
{
    fprintf(out, "select bridge.switch_capture('%s');\n", capture_name(config->capture));
    put_ending(out);
}

/* Capture from the log takes two transactions, with the slot's making between them, which is none; or else second is empty. Until the second
 * is done no fingerprint says that all is. */
struct scripts {
    char *first, *second;
};

static FILE *script_open(char **script, size_t *length)
{
    FILE *out = open_memstream(script, length);
    if (out == NULL)
        memory_exhausted(__func__);
    return out;
}

static struct scripts make_scripts(const struct config *config, const char *role, const struct present *present, bool guarded)
{
    struct scripts scripts = {0};
    size_t length = 0;
    FILE *out = script_open(&scripts.first, &length);
    put_schema(out, role, present);
    fprintf(out, "select bridge.check_switch('%s');\n", capture_name(config->capture));
    put_mapping(out, config, role, guarded);
    bool twice = config->capture == CAPTURE_WAL;
    if (twice)
        fputs("select bridge.publish();\ndelete from bridge.fingerprint where name = 'install';\n", out);
    else
        put_capture(out, config);
    fclose(out);
    out = script_open(&scripts.second, &length);
    if (twice)
        put_capture(out, config);
    fclose(out);
    return scripts;
}

static void scripts_free(struct scripts *scripts)
{
    free(scripts->first);
    free(scripts->second);
}

/* Everything that decides what an installation looks like. */
static void make_fingerprint(const struct config *config, const char *role, bool guarded, char out[static 65])
{
    struct present fresh = {.version = -1, .role_exists = true};
    struct scripts scripts = make_scripts(config, role, &fresh, guarded);
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    digest_bytes(arena_printf(&arena, "%s%s", scripts.first, scripts.second), out);
    arena_free(&arena);
    scripts_free(&scripts);
}

static bool check_tables(struct pg_session *session, const struct config *config, struct error *error)
{
    for (size_t i = 0; i < config->entity_count; i++) {
        const struct entity_config *entity = &config->entities[i];
        const char *schema = entity->schema ? entity->schema : "public";
        const char *parameters[] = {schema, entity->table};
        PG_RESULT result = pg_query(session, "install_table", 2, parameters, error);
        if (result == NULL)
            return false;
        if (PQntuples(result) == 0) {
            error_set(error, FAULT_OPERATOR, "42P01", "%s:%u: entity \"%s\": there is no table \"%s\".\"%s\"", config->path,
                      entity->line, entity->name, schema, entity->table);
            return error_hint(error, "names are folded to lower case unless they stand in double quotes; a name without "
                                     "a schema is looked for in \"public\"");
        }
    }
    return true;
}

static void print_scripts(FILE *out, const struct config *config, const struct scripts *scripts, const char *fingerprint)
{
    fprintf(out, "begin;\n%s", scripts->first);
    if (config->capture == CAPTURE_WAL)
        fprintf(out, "commit;\n\n%s;\nbegin;\nset local search_path = pg_catalog, pg_temp;\n", sql_text("queries/install_slot"));
    fprintf(out, "%s\ninsert into bridge.fingerprint values ('install', '%s')\n"
                 "    on conflict (name) do update set value = excluded.value;\ncommit;\n",
            scripts->second, fingerprint);
}

/* Encrypted here: a server that logs statements logs their parameters. */
static bool hand_over_password(struct pg_session *session, const struct config *config, const char *role, struct error *error)
{
    if (config->database_password == NULL)
        return true;
    char *secret = PQencryptPasswordConn(session->connection, config->database_password, role, NULL);
    if (secret == NULL)
        return error_set(error, FAULT_CONNECTION, NULL, "cannot encrypt the password: %s", PQerrorMessage(session->connection));
    const char *parameters[] = {secret};
    PG_RESULT result = pg_query(session, "install_password", 1, parameters, error);
    PQfreemem(secret);
    return result != NULL;
}

enum {
    TRIES_MAX = 120, /* about a minute */
    AWAIT_S = 300,
    SLOTS_MAX = 10,
};

static const char SLOT_GONE[] = "PB002";
static const struct timespec pause_between = {.tv_nsec = 100000000};

static bool await(struct pg_session *session, const char *query, struct error *error)
{
    if (pg_await(session, query, 0, NULL, AWAIT_S, error))
        return true;
    if (strcmp(error->code, "57014") == 0)
        error_hint(error, "another install, or a long transaction, is at work here (see pg_stat_activity, and pg_prepared_xacts): run this again when it has ended");
    return false;
}

static bool begin(struct pg_session *session, struct error *error)
{
    return pg_execute(session,
                      "begin; set local client_min_messages = warning; set local search_path = pg_catalog, pg_temp;"
                      " set local lock_timeout = '400 ms'",
                      error);
}

struct transaction {
    const struct config *config;
    bool locks;                              /* the mapped tables are there */
    const char *role, *script, *fingerprint; /* role: gets the config's password; NULL: none does. fingerprint: to be noted, or NULL */
};

/* All mapped tables, each time another one first. Once it is the one that an application's transactions begin with, they wait there,
 * and hold nothing else. */
static bool lock_tables(struct pg_session *session, const struct config *config, size_t first, struct error *error)
{
    char *sql;
    size_t length;
    FILE *out = script_open(&sql, &length);
    for (size_t i = 0; i < config->entity_count; i++) {
        const struct entity_config *entity = &config->entities[(first + i) % config->entity_count];
        fputs(i == 0 ? "lock table " : ", ", out);
        put_table(out, entity);
    }
    fputs(" in share row exclusive mode", out);
    fclose(out);
    bool good = pg_execute(session, sql, error);
    free(sql);
    return good;
}

static bool transact(struct pg_session *session, const struct transaction *transaction, size_t tries, struct error *error)
{
    if (!begin(session, error) || (transaction->locks && !lock_tables(session, transaction->config, tries, error)))
        return false;
    if (transaction->role != NULL && !hand_over_password(session, transaction->config, transaction->role, error))
        return false;
    if (!pg_execute(session, transaction->script, error))
        return false;
    if (transaction->fingerprint != NULL) {
        PG_RESULT result = pg_query(session, "install_fingerprint", 1, &transaction->fingerprint, error);
        if (result == NULL)
            return false;
    }
    return pg_commit(session, error);
}

/* Also two installations in one cluster get into each other's way, at what all databases share. */
static bool is_in_the_way(const struct error *error)
{
    return error->fault == FAULT_CONTENTION || strcmp(error->code, "XX000") == 0;
}

/* An application at work may hold the table that is wanted here, and want the one that is held: this side gives way and tries again,
 * before the server's search for deadlocks (after a second) ends one of the two. */
static bool insist(struct pg_session *session, const struct transaction *transaction, struct error *error)
{
    for (size_t tries = 0; !transact(session, transaction, tries, error); tries++) {
        if (!is_in_the_way(error))
            return false;
        if (tries == TRIES_MAX)
            return error_hint(error, "a table is in use by a long transaction (see pg_stat_activity): run this again when it has ended");
        struct error ignored;
        if (!pg_execute(session, "rollback", &ignored))
            return false;
        nanosleep(&pause_between, NULL);
    }
    return true;
}

static bool drop_slot(struct pg_session *session, bool whatever, struct error *error)
{
    const char *parameters[] = {whatever ? "true" : "false"};
    PG_RESULT result = pg_query(session, "install_drop_slot", 1, parameters, error);
    return result != NULL;
}

static bool make_slot(struct pg_session *session, struct error *error)
{
    return drop_slot(session, false, error) && await(session, "install_slot", error);
}

/* An adapter that leaves the log, or that opens anew with triggers, may give the slot up before it counts. */
static bool go_over(struct pg_session *session, const struct transaction *transaction, struct error *error)
{
    struct error ignored;
    for (int slots = 1; make_slot(session, error); slots++) {
        if (insist(session, transaction, error))
            return true;
        if (!pg_execute(session, "rollback", &ignored))
            return false;
        if (strcmp(error->code, SLOT_GONE) != 0 || slots == SLOTS_MAX)
            break;
        nanosleep(&pause_between, NULL);
    }
    /* For nothing the server would keep its log without end. */
    drop_slot(session, true, &ignored);
    return false;
}

static bool run_scripts(struct pg_session *session, const struct config *config, const char *role, const struct scripts *scripts,
                        const char *fingerprint, struct error *error)
{
    bool twice = config->capture == CAPTURE_WAL;
    struct transaction first = {.config = config, .locks = true, .role = role, .script = scripts->first,
                                .fingerprint = twice ? NULL : fingerprint};
    struct transaction second = {.config = config, .locks = true, .script = scripts->second, .fingerprint = fingerprint};
    return insist(session, &first, error) && (!twice || go_over(session, &second, error));
}

bool pg_install(const struct config *config, const struct install_options *options, bool *changed, struct error *error)
{
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const char *role = pg_config_role(config, &arena);
    struct pg_session session = {0};
    struct present present = {.version = -1, .fingerprint = ""};
    char fingerprint[65];
    make_fingerprint(config, role, !options->unguarded, fingerprint);
    *changed = false;

    bool good = open_admin(&session, config, options, &arena, error) && (options->print != NULL || await(&session, "install_alone", error)) &&
                look(&session, &arena, role, &present, error);
    if (!good && options->print != NULL && error->fault == FAULT_CONNECTION) {
        fputs("-- the database is not reachable: this is the script for an empty one\n", options->print);
        present = (struct present){.version = -1, .fingerprint = ""};
        good = true;
    }
    if (good && present.node != NULL && strcmp(present.node, config->node) != 0) {
        error_set(error, FAULT_OPERATOR, NULL, "this database is node \"%s\", and the config says \"%s\"", present.node,
                  config->node);
        error_hint(error, "other nodes know its rows by that name; to begin anew, run \"pgbridge uninstall\" first");
        good = false;
    }
    bool needed = strcmp(present.fingerprint, fingerprint) != 0 || !present.whole || !present.role_exists;
    struct scripts scripts = {0};
    if (good && needed)
        scripts = make_scripts(config, role, &present, !options->unguarded);
    if (good && needed && options->print != NULL) {
        print_scripts(options->print, config, &scripts, fingerprint);
        *changed = true;
    } else if (good && needed) {
        good = check_tables(&session, config, error) && run_scripts(&session, config, role, &scripts, fingerprint, error);
        *changed = good;
        if (!good && strcmp(error->code, "42501") == 0)
            error_hint(error, "use --admin \"user=postgres\" or another role that may create schema, roles and triggers");
    }
    scripts_free(&scripts);
    pg_session_close(&session);
    arena_free(&arena);
    return good;
}

static char *make_removal(const struct config *config)
{
    char *script;
    size_t length;
    FILE *out = script_open(&script, &length);
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    fputs("set local bridge.role = ", out);
    put_literal(out, pg_config_role(config, &arena));
    fprintf(out, ";\n%s", sql_text("queries/uninstall"));
    arena_free(&arena);
    fclose(out);
    return script;
}

bool pg_uninstall(const struct config *config, const struct install_options *options, struct error *error)
{
    char *script = make_removal(config);
    bool good = true;
    if (options->print != NULL) {
        fprintf(options->print, "begin;\n%scommit;\n", script);
    } else {
        struct arena arena;
        arena_init(&arena, LIMIT_ARENA_BYTES);
        struct pg_session session = {0};
        good = open_admin(&session, config, options, &arena, error) && await(&session, "install_alone", error) &&
               insist(&session, &(struct transaction){.config = config, .script = script}, error);
        pg_session_close(&session);
        arena_free(&arena);
    }
    free(script);
    return good;
}
