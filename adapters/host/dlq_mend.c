/* pgbridge dlq replay, discard and edit. The database does it, and notes it in bridge.audit; the adapter applies what
 * is replayed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "adapters/host/dlq.h"
#include "bridge/base/limits.h"
#include "bridge/base/memory.h"

enum { LOOK_MS = 250, AWAY_LOOKS_MAX = 40 }; /* how often to look at a replay, and for how long without an adapter */

/* ---- replay ---- */

struct replay {
    const char *id;
    int64_t letters, left_out;
    /* what has become of them */
    int64_t waiting, released, superseded, failed;
    char away[32]; /* the state of an adapter that does not try them; empty: it does */
};

static bool look(struct pg_session *session, struct replay *replay, struct error *error)
{
    PG_RESULT result = ask_query(session, "queries/dlq_progress", 1, &replay->id, error);
    if (result == NULL)
        return false;
    replay->waiting = pg_integer(result, 0, 0);
    replay->released = pg_integer(result, 0, 1);
    replay->superseded = pg_integer(result, 0, 2);
    replay->failed = pg_integer(result, 0, 3);
    snprintf(replay->away, sizeof replay->away, "%s", PQgetvalue(result, 0, 4));
    return true;
}

/* Until each letter has been tried, or nobody is there to try them. */
static bool wait_for_outcome(struct pg_session *session, struct replay *replay, struct error *error)
{
    bool terminal = isatty(STDERR_FILENO);
    for (int looks_away = 0;;) {
        if (!look(session, replay, error))
            return false;
        if (terminal)
            fprintf(stderr, "\r%" PRId64 " of %" PRId64 " tried", replay->letters - replay->waiting, replay->letters);
        looks_away = replay->away[0] != '\0' ? looks_away + 1 : 0;
        if (replay->waiting == 0 || looks_away > AWAY_LOOKS_MAX)
            break;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    }
    if (terminal)
        fputs("\r\033[K", stderr);
    return true;
}

static void print_json(const struct options *options, const struct replay *replay, bool waited)
{
    printf("{\"replay\":%s,\"dry_run\":%s,\"letters\":%" PRId64 ",\"left_out\":%" PRId64,
           options->dry_run ? "null" : replay->id, options->dry_run ? "true" : "false", replay->letters,
           replay->left_out);
    if (waited)
        printf(",\"released\":%" PRId64 ",\"superseded\":%" PRId64 ",\"failed_again\":%" PRId64 ",\"waiting\":%" PRId64,
               replay->released, replay->superseded, replay->failed, replay->waiting);
    puts("}");
}

static const char *plural(int64_t number)
{
    return number == 1 ? "" : "s";
}

static void print_start(const struct options *options, const struct replay *replay)
{
    if (options->dry_run)
        printf("nothing is done; %" PRId64 " letter%s would be replayed", replay->letters, plural(replay->letters));
    else
        printf("%" PRId64 " letter%s replayed", replay->letters, replay->letters == 1 ? " is" : "s are");
    if (replay->left_out > 0)
        printf(", %" PRId64 " cannot be", replay->left_out);
    putchar('\n');
    if (replay->left_out > 0)
        puts("HINT: what could not be read is replayed after \"pgbridge dlq edit\" has made a message of it");
    fflush(stdout);
}

static void print_outcome(const struct replay *replay)
{
    printf("released %" PRId64 ", superseded %" PRId64 ", failed again %" PRId64 "\n", replay->released,
           replay->superseded, replay->failed);
    if (replay->failed > 0)
        puts("HINT: \"pgbridge dlq list\" tells why; those that are retrying are tried again");
}

static int report_away(const struct replay *replay)
{
    fprintf(stderr, "pgbridge: %" PRId64 " letter%s still wait%s: the adapter is not running (state: %s)\n", replay->waiting,
            plural(replay->waiting), replay->waiting == 1 ? "s" : "", replay->away);
    fputs("HINT: see \"pgbridge status\"; it will try them when it runs again\n", stderr);
    return EXIT_TRY_AGAIN;
}

static int follow(struct pg_session *session, const struct options *options, struct replay *replay)
{
    struct error error;
    bool waits = !options->dry_run && !options->no_wait && replay->letters > 0;
    if (!options->json && replay->letters > 0)
        print_start(options, replay);
    if (waits && !wait_for_outcome(session, replay, &error))
        return dlq_failed(options, &error);
    if (options->json)
        print_json(options, replay, waits);
    else if (replay->letters == 0)
        puts("no letter is like that");
    else if (waits)
        print_outcome(replay);
    if (waits && replay->waiting > 0)
        return report_away(replay);
    return replay->letters == 0 || (waits && replay->failed > 0) ? EXIT_NO : EXIT_GOOD;
}

/* Begins what --dry-run shall take back. */
static bool begin_dry(struct pg_session *session, const struct options *options, struct error *error)
{
    return !options->dry_run || pg_execute(session, "begin", error);
}

static bool end_dry(struct pg_session *session, const struct options *options, struct error *error)
{
    return !options->dry_run || pg_execute(session, "rollback", error);
}

int dlq_replay(struct pg_session *session, const struct options *options)
{
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const char *parameters[DLQ_FILTERS + 2];
    dlq_filters(options, &arena, parameters);
    parameters[DLQ_FILTERS] = options->rate;
    parameters[DLQ_FILTERS + 1] = options->reason;
    struct error error;
    if (!begin_dry(session, options, &error))
        return dlq_failed(options, &error);
    PG_RESULT result = ask_query(session, "queries/dlq_replay", DLQ_FILTERS + 2, parameters, &error);
    if (result == NULL || !end_dry(session, options, &error))
        return dlq_failed(options, &error);
    struct replay replay = {
        .id = PQgetvalue(result, 0, 0), .letters = pg_integer(result, 0, 1), .left_out = pg_integer(result, 0, 2)};
    return follow(session, options, &replay);
}

/* ---- discard ---- */

int dlq_discard(struct pg_session *session, const struct options *options)
{
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const char *parameters[DLQ_FILTERS + 1];
    dlq_filters(options, &arena, parameters);
    parameters[DLQ_FILTERS] = options->reason;
    struct error error;
    if (!begin_dry(session, options, &error))
        return dlq_failed(options, &error);
    PG_RESULT result = ask_query(session, "queries/dlq_discard", DLQ_FILTERS + 1, parameters, &error);
    if (result == NULL || !end_dry(session, options, &error))
        return dlq_failed(options, &error);
    int64_t letters = pg_integer(result, 0, 0);
    if (options->json)
        printf("{\"dry_run\":%s,\"letters\":%" PRId64 "}\n", options->dry_run ? "true" : "false", letters);
    else if (letters == 0)
        puts("no letter is like that");
    else if (options->dry_run)
        printf("nothing is done; %" PRId64 " letter%s would be discarded\n", letters, plural(letters));
    else
        printf("%" PRId64 " letter%s discarded\n", letters, letters == 1 ? " is" : "s are");
    return letters == 0 ? EXIT_NO : EXIT_GOOD;
}

/* ---- edit ---- */

/* All of stdin, to be freed; NULL when it is more than a message can be. */
static char *read_input(void)
{
    char *text = malloc(LIMIT_RECEIVED_BYTES + 1);
    if (text == NULL)
        memory_exhausted(__func__);
    size_t length = fread(text, 1, LIMIT_RECEIVED_BYTES + 1, stdin);
    if (length > LIMIT_RECEIVED_BYTES || memchr(text, '\0', length) != NULL) {
        free(text);
        return NULL;
    }
    text[length] = '\0';
    return text;
}

int dlq_edit(struct pg_session *session, const struct options *options)
{
    char *input = strcmp(options->words[2], "-") == 0 ? read_input() : strdup(options->words[2]);
    if (input == NULL)
        return command_bad_usage("what comes by stdin is no JSON, or more than a message may have", "");
    const char *parameters[] = {options->words[1], input, options->reason};
    struct error error;
    PG_RESULT result = ask_query(session, "queries/dlq_edit", 3, parameters, &error);
    free(input);
    if (result == NULL)
        return dlq_failed(options, &error);
    if (options->json) {
        puts(PQgetvalue(result, 0, 0));
        return EXIT_GOOD;
    }
    printf("letter %s is edited: %s\nHINT: pgbridge dlq replay --id %s\n", options->words[1], PQgetvalue(result, 0, 0),
           options->words[1]);
    return EXIT_GOOD;
}
