/* pgbridge conflict: what both sides wrote without having seen each other, and how a human settles it. The one command
 * that shows values of rows: to whoever asks and may, never to the log. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/host/ask.h"
#include "adapters/host/command.h"
#include "bridge/base/limits.h"
#include "bridge/flow/policy.h"

enum { LIST_ROWS = 50, LIST_ROWS_MAX = 100000 };

static int failed(struct error *error)
{
    return ask_failed(error, "the adapter's role, its members and superusers");
}

/* ---- list ---- */

enum { LIST_COLUMNS = 10, LIST_JSON = LIST_COLUMNS, LIST_TOTAL };

static void print_list(const PGresult *result)
{
    static const struct table_column columns[LIST_COLUMNS] = {
        {"ID", true},      {"TIME (UTC)", false}, {"ENTITY", false}, {"KEY", false},   {"KIND", false},
        {"POLICY", false}, {"RULING", false},     {"STATE", false},  {"LOCAL", false}, {"REMOTE", false},
    };
    ask_print(result, LIST_COLUMNS, columns);
}

static void print_json_list(const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++)
        printf("%s%s", row == 0 ? "[" : ",\n", PQgetvalue(result, row, LIST_JSON));
    puts(PQntuples(result) == 0 ? "[]" : "]");
}

static int list(struct pg_session *session, const struct options *options)
{
    char limit[24];
    snprintf(limit, sizeof limit, "%d", options->json ? LIST_ROWS_MAX : LIST_ROWS);
    const char *parameters[] = {options->open ? "true" : "false", options->entity, options->key, options->since,
                                options->limit != NULL ? options->limit : limit};
    struct error error;
    PG_RESULT result = ask_query(session, "queries/conflict_list", 5, parameters, &error);
    if (result == NULL && options->since != NULL && strncmp(error.code, "22", 2) == 0)
        return command_bad_usage("--since takes an interval (2 hours) or a time (2025-11-20 14:00), not",
                                 options->since);
    if (result == NULL)
        return failed(&error);
    int rows = PQntuples(result);
    if (options->json)
        print_json_list(result);
    else if (rows > 0)
        print_list(result);
    else
        puts(options->entity != NULL || options->key != NULL || options->since != NULL ? "no conflict is like that"
             : options->open                                                           ? "no conflict is open"
                             : "no conflict has been recorded");
    long long total = rows == 0 ? 0 : pg_integer(result, 0, LIST_TOTAL);
    if (total > rows)
        fprintf(options->json ? stderr : stdout, "%lld more, older: see them with --limit %lld\n", total - rows,
                total < LIST_ROWS_MAX ? total : LIST_ROWS_MAX);
    return EXIT_GOOD;
}

/* ---- show ---- */

/* The columns of queries/conflict_show. */
enum {
    SHOW_TITLE,
    SHOW_AT,
    SHOW_POLICY,
    SHOW_RULING,
    SHOW_STATE,
    SHOW_WRITTEN,
    SHOW_NODES,
    SHOW_TIMES = SHOW_NODES + 2,
    SHOW_ROWS = SHOW_TIMES + 2,
    SHOW_CORRELATIONS = SHOW_ROWS + 2,
    SHOW_JSON = SHOW_CORRELATIONS + 2,
};

static void print_facts(struct arena *arena, const PGresult *conflict)
{
    static const struct table_column columns[] = {{NULL, false}, {NULL, false}};
    const struct policy *policy = policy_find(pg_value(conflict, 0, SHOW_POLICY));
    const char *cells[] = {
        "recorded",
        ask_cell(arena, conflict, 0, SHOW_AT),
        "policy",
        arena_printf(arena, "%s: %s", PQgetvalue(conflict, 0, SHOW_POLICY),
                     policy != NULL ? policy->sentence : "this program does not know it")
            .data,
        "ruling",
        ask_cell(arena, conflict, 0, SHOW_RULING),
        "state",
        ask_cell(arena, conflict, 0, SHOW_STATE),
        "written",
        arena_printf(arena, "once more here, %s; below is the row as it was at the conflict",
                     PQgetvalue(conflict, 0, SHOW_WRITTEN))
            .data,
    };
    printf("%s\n\n", ask_cell(arena, conflict, 0, SHOW_TITLE));
    table_print(stdout, 2, columns, PQgetisnull(conflict, 0, SHOW_WRITTEN) ? 4 : 5, cells);
}

static void print_versions(struct arena *arena, const PGresult *conflict)
{
    static const struct table_column columns[] = {{"", false}, {"LOCAL", false}, {"REMOTE", false}};
    static const struct {
        const char *name;
        int column;
    } lines[] = {
        {"node", SHOW_NODES}, {"time (UTC)", SHOW_TIMES}, {"row", SHOW_ROWS}, {"correlation", SHOW_CORRELATIONS}};
    const char *cells[3 * sizeof lines / sizeof *lines];
    size_t at = 0;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        cells[at++] = lines[i].name;
        cells[at++] = ask_cell(arena, conflict, 0, lines[i].column);
        cells[at++] = ask_cell(arena, conflict, 0, lines[i].column + 1);
    }
    putchar('\n');
    table_print(stdout, 3, columns, sizeof lines / sizeof *lines, cells);
}

/* A field for the example: the last one that differs, which is never the key unless there is nothing else. */
static const char *field_to_choose(const PGresult *rows)
{
    int row = PQntuples(rows) - 1;
    while (row > 0 && PQgetvalue(rows, row, 1)[0] == '\0')
        row--;
    return row < 0 ? "field" : PQgetvalue(rows, row, 0);
}

static void print_commands(struct arena *arena, const struct options *options, const PGresult *conflict,
                           const PGresult *rows)
{
    static const struct table_column columns[] = {{NULL, false}, {NULL, false}};
    const char *command =
        arena_printf(arena, "  pgbridge -c %s conflict resolve %s ", options->config_path, options->words[1]).data;
    const char *cells[] = {
        arena_printf(arena, "%slocal", command).data,
        arena_printf(arena, "the row of %s, on all nodes", PQgetvalue(conflict, 0, SHOW_NODES)).data,
        arena_printf(arena, "%sremote", command).data,
        arena_printf(arena, "the row of %s", PQgetvalue(conflict, 0, SHOW_NODES + 1)).data,
        arena_printf(arena, "%s'{\"%s\": \"...\"}'", command, field_to_choose(rows)).data,
        "these fields, the others as they are here now",
        arena_printf(arena, "%snull", command).data,
        "no row",
    };
    printf("\nTo settle it%s (--dry-run shows what would be written):\n",
           text_equal(pg_value(conflict, 0, SHOW_STATE), TEXT_LITERAL("open")) ? "" : " otherwise");
    table_print(stdout, 2, columns, 4, cells);
}

static int show(struct pg_session *session, const struct options *options)
{
    static const struct table_column columns[] = {{"FIELD", false}, {"", false}, {"LOCAL", false}, {"REMOTE", false}};
    struct error error;
    if (!pg_execute(session, "begin isolation level repeatable read read only", &error))
        return failed(&error);
    PG_RESULT conflict = ask_query(session, "queries/conflict_show", 1, (const char *const *)options->words + 1, &error);
    if (conflict == NULL)
        return failed(&error);
    if (PQntuples(conflict) == 0) {
        error_set(&error, FAULT_PERMANENT, NULL, "there is no conflict %s", options->words[1]);
        error_hint(&error, "see \"pgbridge conflict list\"");
        return failed(&error);
    }
    if (options->json) {
        puts(PQgetvalue(conflict, 0, SHOW_JSON));
        return EXIT_GOOD;
    }
    PG_RESULT rows = ask_query(session, "queries/conflict_rows", 1, (const char *const *)options->words + 1, &error);
    if (rows == NULL)
        return failed(&error);
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    print_facts(&arena, conflict);
    print_versions(&arena, conflict);
    putchar('\n');
    ask_print(rows, sizeof columns / sizeof *columns, columns);
    print_commands(&arena, options, conflict, rows);
    return EXIT_GOOD;
}

/* ---- resolve ---- */

/* The columns of queries/conflict_resolve. */
enum { RESOLVE_FIELD, RESOLVE_VALUE, RESOLVE_COLUMNS, RESOLVE_ROW = RESOLVE_COLUMNS, RESOLVE_PRESENT, RESOLVE_JSON };

static void print_resolution(const PGresult *result, const struct options *options)
{
    static const struct table_column columns[RESOLVE_COLUMNS] = {{NULL, false}, {NULL, false}};
    bool present = pg_boolean(result, 0, RESOLVE_PRESENT);
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const char *row = ask_cell(&arena, result, 0, RESOLVE_ROW);
    if (options->dry_run)
        printf("nothing is written; %s would be %s\n", row, present ? "written as:" : "deleted");
    else
        printf("conflict %s is resolved; %s is %s\n", options->words[1], row, present ? "now:" : "deleted");
    if (!PQgetisnull(result, 0, RESOLVE_FIELD))
        ask_print(result, RESOLVE_COLUMNS, columns);
}

static int resolve(struct pg_session *session, const struct options *options)
{
    const char *parameters[] = {options->words[1], options->words[2], options->dry_run ? "true" : "false"};
    struct error error;
    /* What a commit would find, a rollback would not. */
    if (options->dry_run && !pg_execute(session, "begin; set constraints all immediate", &error))
        return failed(&error);
    PG_RESULT result = ask_query(session, "queries/conflict_resolve", 3, parameters, &error);
    if (result == NULL || (options->dry_run && !pg_execute(session, "rollback", &error)))
        return failed(&error);
    if (options->json)
        puts(PQgetvalue(result, 0, RESOLVE_JSON));
    else
        print_resolution(result, options);
    return EXIT_GOOD;
}

/* ---- the command ---- */

static const struct subcommand {
    const char *name;
    int word_count; /* itself included */
    int (*run)(struct pg_session *session, const struct options *options);
} subcommands[] = {{"list", 1, list}, {"show", 2, show}, {"resolve", 3, resolve}};

static const struct subcommand *subcommand_find(const char *name)
{
    for (size_t i = 0; i < sizeof subcommands / sizeof *subcommands; i++)
        if (strcmp(subcommands[i].name, name) == 0)
            return &subcommands[i];
    return NULL;
}

static bool is_choice(const char *word)
{
    return strcmp(word, "local") == 0 || strcmp(word, "remote") == 0 || strcmp(word, "null") == 0 || word[0] == '{';
}

/* EXIT_GOOD when the words make sense. */
static int check_usage(const struct options *options, const struct subcommand *subcommand)
{
    if (subcommand == NULL)
        return command_bad_usage("conflict is followed by list, show or resolve, not by", options->words[0]);
    if (options->word_count < subcommand->word_count)
        return command_bad_usage(subcommand->word_count == 2 ? "usage: conflict show ID"
                                                             : "usage: conflict resolve ID local|remote|JSON|null",
                                 "");
    if (options->word_count > subcommand->word_count)
        return command_bad_usage("unexpected argument", options->words[subcommand->word_count]);
    if (subcommand->word_count > 1 && !ask_is_number(options->words[1]))
        return command_bad_usage("a conflict's id is a number, not", options->words[1]);
    if (subcommand->word_count > 2 && !is_choice(options->words[2]))
        return command_bad_usage("a conflict is resolved by local, remote, a JSON object of fields, or null, not by",
                                 options->words[2]);
    if (options->dry_run && subcommand->run != resolve)
        return command_bad_usage("--dry-run is of conflict resolve, not of", subcommand->name);
    if (options->limit != NULL &&
        (!ask_is_number(options->limit) || atoll(options->limit) < 1 || atoll(options->limit) > LIST_ROWS_MAX))
        return command_bad_usage("--limit is a number from 1 to 100000, not", options->limit);
    return EXIT_GOOD;
}

int command_conflict(const struct options *options)
{
    if (options->word_count == 0)
        return command_bad_usage("conflict is followed by list, show or resolve", "");
    const struct subcommand *subcommand = subcommand_find(options->words[0]);
    int code = check_usage(options, subcommand);
    return code != EXIT_GOOD ? code : ask_run(options, "pgbridge conflict", subcommand->run);
}
