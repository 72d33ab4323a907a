/* pgbridge status: what is mirrored, how far behind, what is wrong. Asks the database, so that it tells the truth about
 * an adapter that runs, hangs or is gone. */
#include <stdio.h>

#include "adapters/host/ask.h"
#include "adapters/host/command.h"

enum health { HEALTH_GOOD, HEALTH_WARNING, HEALTH_CRITICAL };

/* The views are read in one snapshot, so that sums agree. Without statistics the planner takes their small tables for
 * large ones, and the just-in-time compiler then costs seconds. */
static bool open_status(struct pg_session *session, const struct config *config, struct error *error)
{
    return ask_open(session, config, "pgbridge status", error) &&
           pg_execute(session, "begin isolation level repeatable read read only; set local jit = off", error);
}

static enum health health_of(struct text status)
{
    if (text_equal(status, TEXT_LITERAL("critical")))
        return HEALTH_CRITICAL;
    return text_equal(status, TEXT_LITERAL("warning")) ? HEALTH_WARNING : HEALTH_GOOD;
}

/* ---- for people ---- */

static bool print_query(struct pg_session *session, const char *name, size_t column_count,
                        const struct table_column *columns, const char *when_empty, struct error *error)
{
    PG_RESULT result = pg_query(session, name, 0, NULL, error);
    if (result == NULL)
        return false;
    if (PQntuples(result) == 0 && when_empty != NULL)
        printf("\n%s\n", when_empty);
    if (PQntuples(result) > 0)
        putchar('\n');
    ask_print(result, column_count, columns);
    return true;
}

static bool print_header(struct pg_session *session, const struct config *config, enum health *health,
                         struct error *error)
{
    PG_RESULT result = pg_query(session, "status_node", 0, NULL, error);
    if (result == NULL)
        return false;
    if (PQntuples(result) == 0)
        return ask_not_installed(config, error);
    *health = health_of(pg_value(result, 0, 2));
    struct text program = pg_value(result, 0, 4);
    printf("node %s   pgbridge %s   schema %s   adapter %.*s   health: %s", PQgetvalue(result, 0, 0), PGBRIDGE_VERSION,
           PQgetvalue(result, 0, 1), TEXT_PRINTF(text_is_null(program) ? TEXT_LITERAL("never ran") : program),
           PQgetvalue(result, 0, 2));
    if (!PQgetisnull(result, 0, 3))
        printf(" (%s)", PQgetvalue(result, 0, 3));
    putchar('\n');
    return true;
}

static bool print_peers(struct pg_session *session, struct error *error)
{
    static const struct table_column columns[] = {
        {"PEER", false}, {"DIRECTION", false}, {"STATE", false},        {"CIRCUIT", false},
        {"PENDING", true}, {"LAG", true},      {"CHANGES", true},       {"LAST MESSAGE", false},
    };
    return print_query(session, "status_peers", sizeof columns / sizeof *columns, columns, "no peers", error);
}

static bool print_totals(struct pg_session *session, struct error *error)
{
    static const struct table_column columns[] = {
        {"RECEIVED FROM", false}, {"MESSAGES", true}, {"CHANGES", true}, {"APPLIED", true}, {"SAME", true},
        {"DUPLICATE", true},      {"STALE", true},    {"ECHO", true},    {"KEPT", true},    {"DEAD", true},
        {"CONFLICTS", true},      {"REFUSED", true},  {"GAPS", true},
    };
    PG_RESULT published = pg_query(session, "status_published", 0, NULL, error);
    if (published == NULL)
        return false;
    printf("\npublished: %s changes in %s messages, %s; captured: %s changes\n", PQgetvalue(published, 0, 1),
           PQgetvalue(published, 0, 2), PQgetvalue(published, 0, 3), PQgetvalue(published, 0, 0));
    return print_query(session, "status_sources", sizeof columns / sizeof *columns, columns, NULL, error);
}

static bool print_health(struct pg_session *session, struct error *error)
{
    static const struct table_column columns[] = {
        {"CHECK", false}, {"STATUS", false}, {"VALUE", true}, {"HINT", false}};
    return print_query(session, "status_health", sizeof columns / sizeof *columns, columns, NULL, error);
}

static bool print_errors(struct pg_session *session, struct error *error)
{
    static const struct table_column columns[] = {
        {"LAST ERROR", false}, {"AT (UTC)", false}, {"WHAT", false}, {"CODE", false}};
    return print_query(session, "status_errors", sizeof columns / sizeof *columns, columns, NULL, error);
}

static bool print_tables(struct pg_session *session, const struct config *config, enum health *health,
                         struct error *error)
{
    return print_header(session, config, health, error) && print_peers(session, error) &&
           print_totals(session, error) && print_health(session, error) && print_errors(session, error);
}

/* ---- for programs ---- */

static bool print_json(struct pg_session *session, const struct config *config, enum health *health,
                       struct error *error)
{
    const char *parameters[] = {PGBRIDGE_VERSION};
    PG_RESULT summary = pg_query(session, "status_node", 0, NULL, error);
    if (summary == NULL)
        return false;
    PG_RESULT json = pg_query(session, "status_json", 1, parameters, error);
    if (json == NULL)
        return false;
    if (PQntuples(summary) == 0 || PQntuples(json) == 0)
        return ask_not_installed(config, error);
    *health = health_of(pg_value(summary, 0, 2));
    puts(PQgetvalue(json, 0, 0));
    return true;
}

int command_status(const struct options *options)
{
    struct config config;
    if (!command_config(options, &config))
        return EXIT_BAD_CONFIG;
    struct pg_session session = {0};
    struct error error;
    enum health health = HEALTH_GOOD;
    bool shown =
        open_status(&session, &config, &error) && (options->json ? print_json(&session, &config, &health, &error)
                                                                 : print_tables(&session, &config, &health, &error));
    int code = shown ? (health == HEALTH_CRITICAL ? EXIT_NO : EXIT_GOOD) : command_fail(&error);
    pg_session_close(&session);
    config_free(&config);
    return code;
}
