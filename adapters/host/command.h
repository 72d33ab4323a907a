#pragma once
/* The commands of the program, one file each (command_<name>.c), and what they share. Results go to stdout, messages to
 * stderr; exit codes follow sysexits. */
#include "bridge/base/error.h"
#include "bridge/control/config.h"

enum exit_code {
    EXIT_GOOD = 0,
    EXIT_NO = 1,             /* a clean no */
    EXIT_BAD_USAGE = 64,
    EXIT_UNREACHABLE = 69,
    EXIT_BUG = 70,
    EXIT_TRY_AGAIN = 75,
    EXIT_NO_PERMISSION = 77,
    EXIT_BAD_CONFIG = 78,
};

struct options {
    const char *config_path;
    bool json, verbose, quiet;
    bool print;               /* install, uninstall: show the SQL */
    const char *admin;        /* conninfo that may create schema, role and triggers */
    const char *broker_admin; /* amqp url that may declare */
    bool open, dry_run;       /* conflict list; conflict resolve, dlq replay and discard, resend */
    const char *entity, *key, *since, *limit; /* which conflicts, letters, rows; what to pause */
    const char *class, *error, *state, *source, *older, *newer, *id; /* dlq: which letters */
    const char *rate, *reason; /* dlq; pause: why */
    bool no_wait;
    const char *direction;    /* pause, resume */
    bool discard_deletions;   /* resume */
    char *const *words;       /* what follows the command */
    int word_count;
};

int command_check(const struct options *options);
int command_conflict(const struct options *options);
int command_dlq(const struct options *options);
int command_install(const struct options *options);
int command_uninstall(const struct options *options);
int command_pause(const struct options *options);
int command_resume(const struct options *options);
int command_resend(const struct options *options);
int command_run(const struct options *options);
int command_status(const struct options *options);

/* Reads the config or says why not; false: exit with EXIT_BAD_CONFIG. */
bool command_config(const struct options *options, struct config *config);

/* Prints what is wrong with the command line, and the word in question unless it is empty; gives EXIT_BAD_USAGE. */
int command_bad_usage(const char *problem, const char *word);

/* Prints "pgbridge: <text>" and its hints to stderr, and gives the exit code for its fault and code. */
int command_fail(const struct error *error);
