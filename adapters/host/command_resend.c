/* pgbridge resend: says rows of this node once more, as they are. For peers that lack them: what was there before the entity was mapped, was lost
 * with a gap, or went with a restored database. The rows go the way of all changes; the adapter need not run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "adapters/host/ask.h"
#include "adapters/host/command.h"
#include "adapters/postgres/parameters.h"
#include "bridge/base/limits.h"

enum {
    LOOK_MS = 200,         /* how often to try rows that somebody holds, */
    VAIN_MS = 30000,       /* until none was free for so long */
    PORTION_LOOKS_MAX = 5, /* all of a portion, before its rows are tried one by one */
};

struct resend {
    struct pg_session *session;
    const struct options *options;
    int64_t total, said, gone; /* gone: not here any more when it was their turn */
    int64_t said_ms; /* when one was said */
    bool bad_since;
    /* those that others hold */
    struct arena arena;
    size_t held_count, held_capacity;
    struct text *held;
};

static void add_held(struct resend *resend, struct text key)
{
    if (resend->held_count == resend->held_capacity) {
        size_t capacity = 2 * resend->held_capacity + 64;
        struct text *held = arena_take_array(&resend->arena, capacity, sizeof *held);
        if (resend->held_count > 0)
            memcpy(held, resend->held, resend->held_count * sizeof *held);
        resend->held = held;
        resend->held_capacity = capacity;
    }
    resend->held[resend->held_count++] = arena_copy(&resend->arena, key);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool in_vain(const struct resend *resend)
{
    return now_ms() - resend->said_ms > VAIN_MS;
}

static void look_later(void)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
}

static bool is_held(const PGresult *result, int row)
{
    return pg_boolean(result, row, 1);
}

static void show_progress(const struct resend *resend)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%" PRId64 " of %" PRId64 " rows", resend->said, resend->total);
}

/* *result: which were said, and which others hold; NULL: all of them may be held, and none was said. */
static bool say(struct resend *resend, const struct text *keys, size_t count, PGresult **result, struct error *error)
{
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const char *parameters[] = {resend->options->entity, parameters_literal(&arena, keys, count)};
    *result = ask_query(resend->session, "queries/resend", 2, parameters, error);
    if (*result == NULL)
        return error->fault == FAULT_CONTENTION;
    int rows = PQntuples(*result);
    resend->gone += (int64_t)count - rows;
    for (int row = 0; row < rows; row++) {
        if (is_held(*result, row))
            continue;
        resend->said++;
        resend->said_ms = now_ms();
    }
    show_progress(resend);
    return true;
}

/* One portion; *more: there was one. */
static bool say_portion(struct resend *resend, bool *more, struct error *error)
{
    PG_RESULT portion = ask_query(resend->session, "queries/resend_next", 0, NULL, error);
    if (portion == NULL)
        return false;
    size_t count = (size_t)PQntuples(portion);
    *more = count > 0;
    if (count == 0)
        return true;
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    struct text *keys = arena_take_array(&arena, count, sizeof *keys);
    for (size_t i = 0; i < count; i++)
        keys[i] = pg_value(portion, (int)i, 0);
    PG_RESULT result = NULL;
    for (int looks = 0; looks < PORTION_LOOKS_MAX && result == NULL; looks++) {
        if (looks > 0)
            look_later();
        if (!say(resend, keys, count, &result, error))
            return false;
    }
    for (size_t i = 0; result == NULL && i < count; i++)
        add_held(resend, keys[i]);
    for (int row = 0; result != NULL && row < PQntuples(result); row++)
        if (is_held(result, row))
            add_held(resend, pg_value(result, row, 0));
    return true;
}

/* One by one, so that a row that somebody holds keeps no other back. */
static bool try_held(struct resend *resend, struct error *error)
{
    size_t left = 0;
    for (size_t i = 0; i < resend->held_count; i++) {
        PG_RESULT result = NULL;
        if (!in_vain(resend) && !say(resend, &resend->held[i], 1, &result, error))
            return false;
        if (result == NULL || (PQntuples(result) > 0 && is_held(result, 0)))
            resend->held[left++] = resend->held[i];
    }
    resend->held_count = left;
    return true;
}

/* Who holds rows for long is not waited for. */
static bool say_held(struct resend *resend, struct error *error)
{
    while (resend->held_count > 0 && !in_vain(resend)) {
        if (!try_held(resend, error))
            return false;
        if (resend->held_count > 0)
            look_later();
    }
    return true;
}

static bool count_keys(struct resend *resend, struct error *error)
{
    PG_RESULT moved = ask_query(resend->session, "queries/resend_count", 0, NULL, error);
    if (moved == NULL)
        return false;
    resend->total = strtoll(PQcmdTuples(moved), NULL, 10);
    PG_RESULT back = ask_query(resend->session, "queries/resend_again", 0, NULL, error);
    return back != NULL;
}

/* Looking for the keys takes as long as it takes, as long as somebody waits for them. */
static const char select_settings[] = "set statement_timeout = 0; set client_connection_check_interval = '2s'";
static const char say_settings[] = "set statement_timeout = '5min'; set lock_timeout = '400ms'";

static bool select_keys(struct resend *resend, struct error *error)
{
    const struct options *options = resend->options;
    const char *parameters[] = {options->entity, options->since, options->key, ask_person(), options->dry_run ? "true" : "false"};
    PG_RESULT begun = ask_query(resend->session, "queries/resend_begin", 5, parameters, error);
    if (begun == NULL || !pg_execute(resend->session, select_settings, error))
        return false;
    PG_RESULT declared = ask_query(resend->session, "queries/resend_keys", 3, parameters, error);
    resend->bad_since = declared == NULL && options->since != NULL && strncmp(error->code, "22", 2) == 0;
    return declared != NULL && pg_execute(resend->session, say_settings, error) && count_keys(resend, error);
}

static bool say_all(struct resend *resend, struct error *error)
{
    bool more = !resend->options->dry_run;
    resend->said_ms = now_ms();
    while (more && !in_vain(resend))
        if (!say_portion(resend, &more, error))
            return false;
    return say_held(resend, error);
}

static int64_t left_out(const struct resend *resend)
{
    return resend->options->dry_run ? 0 : resend->total - resend->said - resend->gone;
}

static void print_outcome(const struct resend *resend)
{
    const struct options *options = resend->options;
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (options->json)
        printf("{\"dry_run\":%s,\"rows\":%" PRId64 ",\"sent\":%" PRId64 ",\"held\":%" PRId64 "}\n", options->dry_run ? "true" : "false", resend->total,
               resend->said, left_out(resend));
    else if (resend->total == 0)
        puts("no row is like that");
    else if (options->dry_run)
        printf("nothing is done; %" PRId64 " row%s would be sent again\n", resend->total, resend->total == 1 ? "" : "s");
    else
        printf("%" PRId64 " row%s sent again, in %s turn\n", resend->said, resend->said == 1 ? " is" : "s are", resend->said == 1 ? "its" : "their");
}

static int resend_them(struct pg_session *session, const struct options *options)
{
    struct resend resend = {.session = session, .options = options};
    struct error error;
    arena_init(&resend.arena, LIMIT_ARENA_BYTES);
    bool good = select_keys(&resend, &error) && say_all(&resend, &error);
    int code = resend.total == 0 ? EXIT_NO : EXIT_GOOD;
    if (good) {
        print_outcome(&resend);
        if (left_out(&resend) > 0) {
            fprintf(stderr, "pgbridge: not sent: %" PRId64 " of the rows; others hold them, or the clock has gone back before they were written\n"
                            "HINT: see pg_locks, and run it again\n", left_out(&resend));
            code = EXIT_TRY_AGAIN;
        }
    } else if (resend.bad_since) {
        code = command_bad_usage("--since takes an interval (2 hours) or a time (2025-11-20 14:00), not", options->since);
    } else {
        code = ask_failed(&error, "the adapter's role");
    }
    arena_free(&resend.arena);
    return code;
}

int command_resend(const struct options *options)
{
    if (options->entity == NULL)
        return command_bad_usage("resend needs --entity", "");
    if (options->limit || options->class || options->error || options->state || options->source || options->older || options->newer || options->id ||
        options->rate || options->reason || options->direction || options->open || options->no_wait || options->discard_deletions)
        return command_bad_usage("of resend are --entity, --since, --key, --dry-run and --json", "");
    return ask_run(options, "pgbridge resend", resend_them);
}
