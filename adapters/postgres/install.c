#include "adapters/postgres/install.h"

#include <stdlib.h>
#include <time.h>

#include "adapters/postgres/install_script.h"
#include "bridge/base/limits.h"

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

/* ---- what is there ---- */

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
    return pg_await(session, query, 0, NULL, AWAIT_S, error);
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

/* Each time another table first. Once it is the one that an application's transactions begin with, they wait there, and hold nothing else. */
static bool lock_tables(struct pg_session *session, const struct config *config, size_t first, struct error *error)
{
    char *sql = install_script_lock(config, first);
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

static bool run_scripts(struct pg_session *session, const struct config *config, const char *role, const struct install_scripts *scripts,
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
    install_scripts_fingerprint(config, role, !options->unguarded, fingerprint);
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
    struct install_scripts scripts = {0};
    if (good && needed)
        scripts = install_scripts_make(config, role, present.version, !options->unguarded);
    if (good && needed && options->print != NULL) {
        install_scripts_print(options->print, config, &scripts, fingerprint);
        *changed = true;
    } else if (good && needed) {
        good = check_tables(&session, config, error) && run_scripts(&session, config, role, &scripts, fingerprint, error);
        *changed = good;
        if (!good && strcmp(error->code, "42501") == 0)
            error_hint(error, "use --admin \"user=postgres\" or another role that may create schema, roles and triggers");
    }
    install_scripts_free(&scripts);
    pg_session_close(&session);
    arena_free(&arena);
    return good;
}

bool pg_uninstall(const struct config *config, const struct install_options *options, struct error *error)
{
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    struct pg_session session = {0};
    char *script = install_script_removal(pg_config_role(config, &arena));
    bool good = true;
    if (options->print != NULL)
        fprintf(options->print, "begin;\n%scommit;\n", script);
    else
        good = open_admin(&session, config, options, &arena, error) && await(&session, "install_alone", error) &&
               insist(&session, &(struct transaction){.config = config, .script = script}, error);
    pg_session_close(&session);
    free(script);
    arena_free(&arena);
    return good;
}
