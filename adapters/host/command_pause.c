/* pgbridge pause, pgbridge resume: keep changes back, and let them go. The adapter obeys the database, not this program: it need not
 * run. */
#include <stdio.h>
#include <string.h>

#include "adapters/host/ask.h"
#include "adapters/host/command.h"
#include "adapters/postgres/sql.h"

enum { JSON_COLUMN = 4 };

static PGresult *query(struct pg_session *session, const char *path, int parameter_count, const char *const *parameters,
                       struct error *error)
{
    return pg_query_text(session, sql_text(path), parameter_count, parameters, error);
}

static int failed(struct error *error)
{
    if (strcmp(error->code, "42501") == 0)
        error_hint(error, "\"database\" in the config names a role that may not; the adapter's role and members of "
                          "pgbridge_operator may pause and resume");
    int code = command_fail(error);
    return error->fault == FAULT_PERMANENT || error->fault == FAULT_TRANSIENT ? EXIT_NO : code;
}

static void print_json(const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++)
        printf("%s%s", row == 0 ? "[" : ",\n", PQgetvalue(result, row, JSON_COLUMN));
    puts(PQntuples(result) == 0 ? "[]" : "]");
}

static bool print_open(struct pg_session *session, const char *title, struct error *error)
{
    static const struct table_column columns[] = {
        {"DIRECTION", false}, {"ENTITY", false}, {"SINCE (UTC)", false}, {"BY", false}, {"HELD", true}, {"REASON", false}, {"TO RESUME", false},
    };
    PG_RESULT result = query(session, "queries/pauses_open", 0, NULL, error);
    if (result == NULL)
        return false;
    if (PQntuples(result) > 0)
        printf("%s\n", title);
    ask_print(result, sizeof columns / sizeof *columns, columns);
    return true;
}

static int pause_it(struct pg_session *session, const struct options *options)
{
    const char *parameters[] = {options->direction, options->entity, options->reason, ask_person()};
    struct error error;
    PG_RESULT result = query(session, "queries/pause", 4, parameters, &error);
    if (result == NULL)
        return failed(&error);
    if (options->json) {
        print_json(result);
        return EXIT_GOOD;
    }
    if (PQntuples(result) == 0)
        puts("that is paused already");
    return print_open(session, "paused now:", &error) ? EXIT_GOOD : failed(&error);
}

static void print_resumed(const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++) {
        printf("resumed: direction %s, entity %s", PQgetvalue(result, row, 0), PQgetvalue(result, row, 1));
        if (PQgetvalue(result, row, 2)[0] != '\0')
            printf("; %s held changes are applied now", PQgetvalue(result, row, 2));
        if (PQgetvalue(result, row, 3)[0] != '\0')
            printf("; %s deletions are undone", PQgetvalue(result, row, 3));
        putchar('\n');
    }
}

static int resume_it(struct pg_session *session, const struct options *options)
{
    const char *parameters[] = {options->direction, options->entity, options->key, options->discard_deletions ? "true" : "false", ask_person()};
    struct error error;
    PG_RESULT result = query(session, "queries/resume", 5, parameters, &error);
    if (result == NULL)
        return failed(&error);
    if (options->json) {
        print_json(result);
        return EXIT_GOOD;
    }
    if (options->key != NULL)
        puts("the row's held changes are applied now");
    else if (PQntuples(result) == 0)
        puts("that was not paused");
    print_resumed(result);
    return print_open(session, "still paused:", &error) ? EXIT_GOOD : failed(&error);
}

static int run_checked(const struct options *options, const char *name, int (*run)(struct pg_session *, const struct options *))
{
    if (options->direction != NULL && strcmp(options->direction, "in") != 0 && strcmp(options->direction, "out") != 0)
        return command_bad_usage("--direction is in or out, not", options->direction);
    if (options->entity == NULL && (options->key != NULL || options->discard_deletions))
        return command_bad_usage(options->key != NULL ? "--key needs --entity" : "--discard-deletions needs --entity", "");
    return ask_run(options, name, run);
}

int command_pause(const struct options *options)
{
    if (options->key != NULL || options->discard_deletions)
        return command_bad_usage(options->key != NULL ? "--key is of resume" : "--discard-deletions is of resume", "");
    return run_checked(options, "pgbridge pause", pause_it);
}

int command_resume(const struct options *options)
{
    if (options->reason != NULL)
        return command_bad_usage("--reason is of pause", "");
    return run_checked(options, "pgbridge resume", resume_it);
}
