/* pgbridge dlq: changes and messages that could not be applied. show and export print values of rows: to whoever asks
 * and may, never to the log. However many letters there are, no more than a page of them is held. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/host/dlq.h"
#include "bridge/base/limits.h"

enum { LIST_ROWS = 50, PAGE_ROWS = 1000, PAGE_BYTES = 4 << 20, NUMBER_BYTES = 24 };

void dlq_filters(const struct options *options, struct arena *arena, const char *filters[static DLQ_FILTERS])
{
    const char *ids = options->id != NULL ? arena_printf(arena, "{%s}", options->id).data : NULL;
    const char *const given[DLQ_FILTERS] = {
        ids,           options->class, options->entity, options->error, options->state, options->source, options->older,
        options->newer};
    memcpy(filters, given, sizeof given);
}

int dlq_failed(const struct options *options, struct error *error)
{
    /* Nothing else on these command lines is read by the database as a time. */
    if ((options->older != NULL || options->newer != NULL) && strncmp(error->code, "220", 3) == 0 &&
        strcmp(error->code, "22023") != 0)
        return command_bad_usage("--older and --newer take a duration (2 hours, 7 days), not",
                                 options->older != NULL ? options->older : options->newer);
    return ask_failed(error, "members of role pgbridge_operator, such as the adapter's role,");
}

static bool is_filtered(const struct options *options)
{
    return options->id != NULL || options->class != NULL || options->entity != NULL || options->error != NULL ||
           options->state != NULL || options->source != NULL || options->older != NULL || options->newer != NULL;
}

/* ---- list ---- */

enum { LIST_COLUMNS = 11, LIST_JSON = LIST_COLUMNS, LIST_TOTAL };

static void print_page(const PGresult *page, bool json, bool first)
{
    static const struct table_column columns[LIST_COLUMNS] = {
        {"ID", true},       {"FIRST SEEN (UTC)", false},
        {"CLASS", false},   {"STATE", false},
        {"ATTEMPTS", true}, {"NEXT", false},
        {"CODE", false},    {"SOURCE", false},
        {"ENTITY", false},  {"KEY", false},
        {"ERROR", false},
    };
    if (!json)
        ask_print(page, LIST_COLUMNS, columns);
    for (int row = 0; json && row < PQntuples(page); row++)
        printf("%s%s", first && row == 0 ? "[" : ",\n", PQgetvalue(page, row, LIST_JSON));
}

static int print_list_end(const struct options *options, long long shown, long long total)
{
    if (options->json)
        puts(shown == 0 ? "[]" : "]");
    else if (shown == 0)
        puts(is_filtered(options) ? "no letter is like that" : "no letter waits");
    if (total > shown)
        fprintf(options->json ? stderr : stdout, "%lld more, older: see them with --limit %lld\n", total - shown,
                total);
    return EXIT_GOOD;
}

static int list(struct pg_session *session, const struct options *options)
{
    long long most = options->limit != NULL ? atoll(options->limit) : options->json ? INT64_MAX : LIST_ROWS;
    long long shown = 0, total = 0;
    char before[NUMBER_BYTES] = "", limit[NUMBER_BYTES];
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const char *parameters[DLQ_FILTERS + 2];
    dlq_filters(options, &arena, parameters);
    for (int rows = 1; rows > 0 && shown < most;) {
        struct error error;
        snprintf(limit, sizeof limit, "%lld", most - shown < PAGE_ROWS ? most - shown : PAGE_ROWS);
        parameters[DLQ_FILTERS] = before[0] ? before : NULL;
        parameters[DLQ_FILTERS + 1] = limit;
        PG_RESULT page = ask_query(session, "queries/dlq_list", DLQ_FILTERS + 2, parameters, &error);
        if (page == NULL)
            return dlq_failed(options, &error);
        rows = PQntuples(page);
        if (shown == 0 && rows > 0)
            total = pg_integer(page, 0, LIST_TOTAL);
        print_page(page, options->json, shown == 0);
        shown += rows;
        if (rows > 0)
            snprintf(before, sizeof before, "%s", PQgetvalue(page, rows - 1, 0));
    }
    return print_list_end(options, shown, total);
}

/* ---- show ---- */

/* The columns of queries/dlq_show. */
enum { SHOW_TITLE, SHOW_LABEL, SHOW_FACT, SHOW_READABLE, SHOW_JSON };

static void print_facts(struct arena *arena, const PGresult *facts)
{
    static const struct table_column columns[] = {{NULL, false}, {NULL, false}};
    size_t rows = (size_t)PQntuples(facts);
    const char **cells = arena_take_array(arena, 2 * rows, sizeof *cells);
    for (size_t row = 0; row < rows; row++) {
        cells[2 * row] = ask_cell(arena, facts, (int)row, SHOW_LABEL);
        cells[2 * row + 1] = ask_cell(arena, facts, (int)row, SHOW_FACT);
    }
    printf("%s\n\n", ask_cell(arena, facts, 0, SHOW_TITLE));
    table_print(stdout, 2, columns, rows, cells);
}

static void print_commands(struct arena *arena, const struct options *options, bool readable, const char *field)
{
    static const struct table_column columns[] = {{NULL, false}, {NULL, false}};
    const char *command = arena_printf(arena, "  pgbridge -c %s dlq ", options->config_path).data,
               *id = options->words[1];
    const char *cells[] = {
        arena_printf(arena, "%sreplay --id %s", command, id).data,
        readable ? "try it once more, when the cause is mended" : "when edit has made a message of it",
        readable ? arena_printf(arena, "%sedit %s '{\"%s\": \"...\"}'", command, id, field).data
                 : arena_printf(arena, "%sedit %s - <message.json", command, id).data,
        readable ? "change what it says, here only; then replay" : "the whole message, as it should have been",
        arena_printf(arena, "%sdiscard --id %s --reason '...'", command, id).data,
        "give it up",
    };
    puts("\nTo settle it:");
    table_print(stdout, 2, columns, sizeof cells / sizeof *cells / 2, cells);
}

static int show(struct pg_session *session, const struct options *options)
{
    static const struct table_column columns[] = {{"FIELD", false}, {"VALUE", false}};
    const char *const *id = (const char *const *)options->words + 1;
    struct error error;
    if (!pg_execute(session, "begin isolation level repeatable read read only", &error))
        return dlq_failed(options, &error);
    PG_RESULT facts = ask_query(session, "queries/dlq_show", 1, id, &error);
    if (facts == NULL)
        return dlq_failed(options, &error);
    if (PQntuples(facts) == 0) {
        error_set(&error, FAULT_PERMANENT, NULL, "there is no letter %s", *id);
        error_hint(&error, "see \"pgbridge dlq list\"");
        return dlq_failed(options, &error);
    }
    if (options->json) {
        puts(PQgetvalue(facts, 0, SHOW_JSON));
        return EXIT_GOOD;
    }
    PG_RESULT rows = ask_query(session, "queries/dlq_rows", 1, id, &error);
    if (rows == NULL)
        return dlq_failed(options, &error);
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    print_facts(&arena, facts);
    if (PQntuples(rows) > 0)
        putchar('\n');
    ask_print(rows, sizeof columns / sizeof *columns, columns);
    print_commands(&arena, options, pg_boolean(facts, 0, SHOW_READABLE),
                   PQntuples(rows) > 0 ? PQgetvalue(rows, PQntuples(rows) - 1, 0) : "field");
    return EXIT_GOOD;
}

/* ---- export ---- */

static int export(struct pg_session *session, const struct options *options)
{
    char after[NUMBER_BYTES] = "0", limit[NUMBER_BYTES], bytes[NUMBER_BYTES];
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const char *parameters[DLQ_FILTERS + 3];
    dlq_filters(options, &arena, parameters);
    snprintf(limit, sizeof limit, "%d", PAGE_ROWS);
    snprintf(bytes, sizeof bytes, "%d", PAGE_BYTES);
    parameters[DLQ_FILTERS] = after;
    parameters[DLQ_FILTERS + 1] = limit;
    parameters[DLQ_FILTERS + 2] = bytes;
    for (int rows = 1; rows > 0;) {
        struct error error;
        PG_RESULT page = ask_query(session, "queries/dlq_export", DLQ_FILTERS + 3, parameters, &error);
        if (page == NULL)
            return dlq_failed(options, &error);
        rows = PQntuples(page);
        for (int row = 0; row < rows; row++)
            puts(PQgetvalue(page, row, 1));
        if (rows > 0)
            snprintf(after, sizeof after, "%s", PQgetvalue(page, rows - 1, 0));
    }
    return EXIT_GOOD;
}

/* ---- the command ---- */

/* What a subcommand takes. */
enum { TAKES_FILTERS = 1, TAKES_LIMIT = 2, TAKES_DRY_RUN = 4, TAKES_REASON = 8, TAKES_RATE = 16 };

static const struct subcommand {
    const char *name, *usage;
    int word_count; /* itself included */
    int takes;
    int (*run)(struct pg_session *session, const struct options *options);
} subcommands[] = {
    {"list", "dlq list", 1, TAKES_FILTERS | TAKES_LIMIT, list},
    {"show", "dlq show ID", 2, 0, show},
    {"replay", "dlq replay", 1, TAKES_FILTERS | TAKES_DRY_RUN | TAKES_REASON | TAKES_RATE, dlq_replay},
    {"edit", "dlq edit ID JSON", 3, TAKES_REASON, dlq_edit},
    {"discard", "dlq discard --reason WHY", 1, TAKES_FILTERS | TAKES_DRY_RUN | TAKES_REASON, dlq_discard},
    {"export", "dlq export", 1, TAKES_FILTERS, export},
};

static const struct subcommand *subcommand_find(const char *name)
{
    for (size_t i = 0; i < sizeof subcommands / sizeof *subcommands; i++)
        if (strcmp(subcommands[i].name, name) == 0)
            return &subcommands[i];
    return NULL;
}

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words != NULL && strcmp(*words, word) != 0)
        words++;
    return *words != NULL;
}

/* "7" or "7,8,9". */
static bool is_id_list(const char *word)
{
    char id[NUMBER_BYTES];
    for (;; word++) {
        size_t length = strcspn(word, ",");
        if (length >= sizeof id)
            return false;
        memcpy(id, word, length);
        id[length] = '\0';
        if (!ask_is_number(id))
            return false;
        word += length;
        if (*word == '\0')
            return true;
    }
}

static bool is_rate(const char *word)
{
    size_t digits = strspn(word, "0123456789."), zeros = strspn(word, "0.");
    return digits > 0 && digits < NUMBER_BYTES && word[digits] == '\0' && zeros < digits &&
           strchr(word, '.') == strrchr(word, '.');
}

static int check_values(const struct options *options)
{
    static const char *const classes[] = {"transient", "permanent", "poison", NULL};
    static const char *const states[] = {"retrying", "parked",    "quarantined", "released", "superseded",
                                         "settled",  "discarded", "all",         NULL};
    if (options->class != NULL && !is_one_of(options->class, classes))
        return command_bad_usage("--class is transient, permanent or poison, not", options->class);
    if (options->state != NULL && !is_one_of(options->state, states))
        return command_bad_usage(
            "--state is retrying, parked, quarantined, released, superseded, settled, discarded or all, not",
            options->state);
    if (options->id != NULL && !is_id_list(options->id))
        return command_bad_usage("--id is a letter's number, or several with commas between, not", options->id);
    if (options->limit != NULL && (!ask_is_number(options->limit) || atoll(options->limit) < 1))
        return command_bad_usage("--limit is a number from 1, not", options->limit);
    if (options->rate != NULL && !is_rate(options->rate))
        return command_bad_usage("--rate is a number of letters a second, not", options->rate);
    return EXIT_GOOD;
}

/* No option is overlooked: who discards letters of one entity does not want all discarded because the option is
 * another's. */
static int check_options(const struct options *options, const struct subcommand *subcommand)
{
    const struct {
        const char *name;
        bool given;
        int kind;
    } given[] = {
        {"--id, --class, --entity, --error, --state, --source, --older and --newer are not of dlq",
         is_filtered(options), TAKES_FILTERS},
        {"--limit is not of dlq", options->limit != NULL, TAKES_LIMIT},
        {"--dry-run is not of dlq", options->dry_run, TAKES_DRY_RUN},
        {"--reason is not of dlq", options->reason != NULL, TAKES_REASON},
        {"--rate and --no-wait are not of dlq", options->rate != NULL || options->no_wait, TAKES_RATE},
        {"--open, --key and --since are not of dlq", options->open || options->key != NULL || options->since != NULL,
         0},
    };
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        if (given[i].given && (subcommand->takes & given[i].kind) == 0)
            return command_bad_usage(given[i].name, subcommand->name);
    return EXIT_GOOD;
}

/* EXIT_GOOD when the words make sense. */
static int check_usage(const struct options *options, const struct subcommand *subcommand)
{
    if (subcommand == NULL)
        return command_bad_usage("dlq is followed by list, show, replay, edit, discard or export, not by",
                                 options->words[0]);
    if (options->word_count < subcommand->word_count)
        return command_bad_usage("usage:", subcommand->usage);
    if (options->word_count > subcommand->word_count)
        return command_bad_usage("unexpected argument", options->words[subcommand->word_count]);
    if (subcommand->word_count > 1 && !ask_is_number(options->words[1]))
        return command_bad_usage("a letter's id is a number, not", options->words[1]);
    int code = check_options(options, subcommand);
    if (code == EXIT_GOOD)
        code = check_values(options);
    if (code != EXIT_GOOD || subcommand->run != dlq_discard)
        return code;
    if (options->reason == NULL || options->reason[strspn(options->reason, " ")] == '\0')
        return command_bad_usage("letters are discarded for a --reason, which is kept in bridge.audit_log", "");
    if (!is_filtered(options))
        return command_bad_usage(
            "dlq discard wants to know which: --id, --class, --entity, --error, --state, --source, --older or --newer",
            "");
    return EXIT_GOOD;
}

int command_dlq(const struct options *options)
{
    if (options->word_count == 0)
        return command_bad_usage("dlq is followed by list, show, replay, edit, discard or export", "");
    const struct subcommand *subcommand = subcommand_find(options->words[0]);
    int code = check_usage(options, subcommand);
    return code != EXIT_GOOD ? code : ask_run(options, "pgbridge dlq", subcommand->run);
}
