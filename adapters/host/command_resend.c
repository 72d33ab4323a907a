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
    LOOK_MS = 200,
    HELD_LOOKS_MAX = 50,   /* so often in vain for rows that somebody holds */
    PORTION_LOOKS_MAX = 5, /* for all of a portion, before its rows are tried one by one */
};

struct resend {
    struct pg_session *session;
    const struct options *options;
    int64_t total, said;
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

static void look_later(void)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
}

static void show_progress(const struct resend *resend)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%" PRId64 " of %" PRId64 " rows", resend->said, resend->total);
}

/* *held: those of the keys that others hold; NULL: some are, and none was said. */
static bool say(struct resend *resend, const struct text *keys, size_t count, PGresult **held, struct error *error)
{
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const char *parameters[] = {resend->options->entity, parameters_literal(&arena, keys, count)};
    *held = ask_query(resend->session, "queries/resend", 2, parameters, error);
    if (*held == NULL && error->fault != FAULT_CONTENTION)
        return false;
    size_t left = *held == NULL ? count : (size_t)PQntuples(*held);
    resend->said += (int64_t)(count - left);
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
    PG_RESULT held = NULL;
    for (int looks = 0; looks < PORTION_LOOKS_MAX && held == NULL; looks++) {
        if (looks > 0)
            look_later();
        if (!say(resend, keys, count, &held, error))
            return false;
    }
    for (size_t i = 0; held == NULL && i < count; i++)
        add_held(resend, keys[i]);
    for (int i = 0; held != NULL && i < PQntuples(held); i++)
        add_held(resend, pg_value(held, i, 0));
    return true;
}

/* One by one, so that a row that somebody holds keeps no other back; -> those that are still held. */
static bool try_held(struct resend *resend, struct error *error)
{
    size_t left = 0;
    for (size_t i = 0; i < resend->held_count; i++) {
        PG_RESULT held = NULL;
        int64_t before = resend->said;
        if (!say(resend, &resend->held[i], 1, &held, error))
            return false;
        if (resend->said == before)
            resend->held[left++] = resend->held[i];
    }
    resend->held_count = left;
    return true;
}

/* Who holds rows for long is not waited for. */
static bool say_held(struct resend *resend, struct error *error)
{
    for (int looks = 0; resend->held_count > 0 && looks < HELD_LOOKS_MAX; looks++) {
        size_t before = resend->held_count;
        if (!try_held(resend, error))
            return false;
        if (resend->held_count < before)
            looks = 0;
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

static bool select_keys(struct resend *resend, struct error *error)
{
    const struct options *options = resend->options;
    const char *parameters[] = {options->entity, options->since, options->key, ask_person()};
    PG_RESULT begun = ask_query(resend->session, "queries/resend_begin", 4, parameters, error);
    if (begun == NULL || !pg_execute(resend->session, "set lock_timeout = '400ms'", error))
        return false;
    PG_RESULT declared = ask_query(resend->session, "queries/resend_keys", 3, parameters, error);
    return declared != NULL && count_keys(resend, error);
}

static bool say_all(struct resend *resend, struct error *error)
{
    bool more = !resend->options->dry_run;
    while (more)
        if (!say_portion(resend, &more, error))
            return false;
    return say_held(resend, error);
}

static void print_outcome(const struct resend *resend)
{
    const struct options *options = resend->options;
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (options->json)
        printf("{\"dry_run\":%s,\"rows\":%" PRId64 ",\"sent\":%" PRId64 ",\"held\":%zu}\n", options->dry_run ? "true" : "false", resend->total,
               resend->said, resend->held_count);
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
        if (resend.held_count > 0) {
            fprintf(stderr, "pgbridge: %zu rows are held by others and were not sent\nHINT: run it again when those have ended: see pg_locks\n",
                    resend.held_count);
            code = EXIT_TRY_AGAIN;
        }
    } else if (options->since != NULL && strncmp(error.code, "22", 2) == 0) {
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
    return ask_run(options, "pgbridge resend", resend_them);
}
