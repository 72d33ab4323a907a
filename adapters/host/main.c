/* pgbridge: reads the command line and runs one command. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/host/command.h"
#include "adapters/host/config_file.h"
#include "bridge/base/log.h"

static const char usage_text[] =
    "pgbridge keeps PostgreSQL systems equal in both directions over RabbitMQ.\n"
    "\n"
    "Usage: pgbridge [-c FILE] COMMAND [OPTION...]\n"
    "\n"
    "Commands:\n"
    "  check       look at config, database, tables and broker; each finding with a hint\n"
    "  install     make or update schema, role, capture triggers and broker topology\n"
    "  uninstall   take all of that away again\n"
    "  run         mirror, until stopped\n"
    "  status      what is mirrored, how far behind, what is wrong; asks the database\n"
    "  conflict    list: which there are; show ID: both rows; resolve ID local|remote|JSON|null: settle it\n"
    "  dlq         changes that could not be applied. list; show ID: why, and the row; replay: try them once more;\n"
    "              edit ID JSON: change what one says; discard: give them up; export: with their rows, a line of JSON each\n"
    "  pause       keep changes back, until resume; what is on its way comes to its end\n"
    "  resume      go on; prints what is still paused\n"
    "  resend      send rows of an entity once more, as they are here: for peers that lack them\n"
    "  version     print the version\n"
    "  help        print this\n"
    "\n"
    "Options:\n"
    "  -c, --config FILE        the node's config (default: $PGBRIDGE_CONFIG)\n"
    "      --json               check, status, conflict, dlq, pause, resume, resend, version: print JSON\n"
    "  -v, --verbose            log every message\n"
    "  -q, --quiet              log warnings and errors only\n"
    "      --print              install, uninstall: print the SQL, do nothing\n"
    "      --admin CONNINFO     install, uninstall: connect with these settings over the config's own,\n"
    "                           as a role that may create schema, role and triggers\n"
    "      --broker-admin URL   install, uninstall: an AMQP user that may declare\n"
    "      --open               conflict list: only those that nobody has settled\n"
    "      --entity NAME, --key KEY, --since TIME|INTERVAL\n"
    "                           conflict list, resend: of this entity, of this key, since (\"2 hours\", \"2025-11-20 14:00\" UTC)\n"
    "      --limit N            conflict list, dlq list: the newest N (default: 50; with --json all, or 100000 conflicts)\n"
    "      --dry-run            conflict resolve, dlq replay, dlq discard, resend: show what would be done, do nothing\n"
    "      --id N[,N...], --class transient|permanent|poison, --entity NAME, --error CODE, --source NODE,\n"
    "      --state retrying|parked|quarantined|released|superseded|settled|discarded|all, --older DURATION, --newer DURATION\n"
    "                           dlq list, replay, discard, export: which (default: all that wait; first seen so long ago)\n"
    "      --rate N             dlq replay: N letters a second (default: as fast as it goes)\n"
    "      --no-wait            dlq replay: leave it to the adapter, do not wait for what becomes of them\n"
    "      --reason TEXT        dlq discard, replay, edit: why, for bridge.audit_log\n"
    "      --entity NAME, --direction in|out\n"
    "                           pause, resume: of this entity (else all), in this direction (else both)\n"
    "      --reason TEXT        pause: why, for whoever finds it paused\n"
    "      --key KEY            resume: a row that cools down, of this entity\n"
    "      --discard-deletions  resume: held deletions of the entity are undone, here and where they come from\n"
    "  -h, --help; -V, --version\n"
    "\n"
    "Exit codes: 0 good, 1 a clean no, 64 usage, 69 unreachable, 70 bug, 75 try again, 77 permission,\n"
    "78 configuration.\n";

static const struct {
    const char *name;
    int (*run)(const struct options *options);
} commands[] = {
    {"check", command_check},         {"install", command_install}, {"uninstall", command_uninstall},
    {"run", command_run},             {"status", command_status},   {"conflict", command_conflict},
    {"dlq", command_dlq},
    {"pause", command_pause},         {"resume", command_resume},   {"resend", command_resend},
};

enum { OPTION_JSON = 256, OPTION_PRINT, OPTION_ADMIN, OPTION_BROKER_ADMIN,
       OPTION_OPEN, OPTION_ENTITY, OPTION_KEY, OPTION_SINCE, OPTION_LIMIT, OPTION_DRY_RUN,
       OPTION_CLASS, OPTION_ERROR, OPTION_STATE, OPTION_SOURCE, OPTION_OLDER, OPTION_NEWER, OPTION_ID,
       OPTION_RATE, OPTION_REASON, OPTION_NO_WAIT, OPTION_DIRECTION, OPTION_DISCARD_DELETIONS };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {"print", no_argument, NULL, OPTION_PRINT},
    {"admin", required_argument, NULL, OPTION_ADMIN},
    {"broker-admin", required_argument, NULL, OPTION_BROKER_ADMIN},
    {"open", no_argument, NULL, OPTION_OPEN},
    {"entity", required_argument, NULL, OPTION_ENTITY},
    {"key", required_argument, NULL, OPTION_KEY},
    {"since", required_argument, NULL, OPTION_SINCE},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"class", required_argument, NULL, OPTION_CLASS},
    {"error", required_argument, NULL, OPTION_ERROR},
    {"state", required_argument, NULL, OPTION_STATE},
    {"source", required_argument, NULL, OPTION_SOURCE},
    {"older", required_argument, NULL, OPTION_OLDER},
    {"newer", required_argument, NULL, OPTION_NEWER},
    {"id", required_argument, NULL, OPTION_ID},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"reason", required_argument, NULL, OPTION_REASON},
    {"no-wait", no_argument, NULL, OPTION_NO_WAIT},
    {"direction", required_argument, NULL, OPTION_DIRECTION},
    {"discard-deletions", no_argument, NULL, OPTION_DISCARD_DELETIONS},
    {0},
};

bool command_config(const struct options *options, struct config *config)
{
    if (options->config_path == NULL) {
        fputs("pgbridge: no config given\nHINT: use -c FILE, or set PGBRIDGE_CONFIG\n", stderr);
        return false;
    }
    struct error error;
    if (!config_read(options->config_path, config, &error)) {
        command_fail(&error);
        return false;
    }
    log_configure(config->log == LOG_JSON,
                  options->verbose ? LOG_LEVEL_DEBUG : options->quiet ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, config->node);
    return true;
}

int command_fail(const struct error *error)
{
    int said = (int)strcspn(error->text, "\n"); /* then come the hints */
    fprintf(stderr, "pgbridge: %.*s%s%s%s%s\n", said, error->text, error->code[0] ? " (" : "", error->code,
            error->code[0] ? ")" : "", error->text + said);
    switch (error->fault) {
    case FAULT_CONNECTION:
        return EXIT_UNREACHABLE;
    case FAULT_CONTENTION:
    case FAULT_TRANSIENT:
        return EXIT_TRY_AGAIN;
    case FAULT_OPERATOR:
        return strcmp(error->code, "42501") == 0 || strcmp(error->code, "403") == 0 ? EXIT_NO_PERMISSION
                                                                                     : EXIT_BAD_CONFIG;
    case FAULT_PERMANENT:
    case FAULT_POISON:
        return EXIT_BAD_CONFIG;
    case FAULT_NONE:
    case FAULT_BUG:
        break;
    }
    return EXIT_BUG;
}

static int print_usage(void)
{
    fputs(usage_text, stdout);
    return EXIT_GOOD;
}

static int print_version(const struct options *options)
{
    printf(options->json ? "{\"name\":\"pgbridge\",\"version\":\"%s\",\"protocol\":1}\n" : "pgbridge %s\n", PGBRIDGE_VERSION);
    return EXIT_GOOD;
}

int command_bad_usage(const char *problem, const char *word)
{
    fprintf(stderr, "pgbridge: %s%s%s%s\nHINT: pgbridge help\n", problem, word[0] ? " \"" : "", word, word[0] ? "\"" : "");
    return EXIT_BAD_USAGE;
}

int main(int argc, char **argv)
{
    struct options options = {.config_path = getenv("PGBRIDGE_CONFIG")};
    bool wants_version = false;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:vqhV", long_options, NULL)) != -1) {
        switch (option) {
        case 'c':
            options.config_path = optarg;
            break;
        case 'v':
            options.verbose = true;
            break;
        case 'q':
            options.quiet = true;
            break;
        case 'h':
            return print_usage();
        case 'V':
            wants_version = true;
            break;
        case OPTION_JSON:
            options.json = true;
            break;
        case OPTION_PRINT:
            options.print = true;
            break;
        case OPTION_ADMIN:
            options.admin = optarg;
            break;
        case OPTION_BROKER_ADMIN:
            options.broker_admin = optarg;
            break;
        case OPTION_OPEN:
            options.open = true;
            break;
        case OPTION_ENTITY:
            options.entity = optarg;
            break;
        case OPTION_KEY:
            options.key = optarg;
            break;
        case OPTION_SINCE:
            options.since = optarg;
            break;
        case OPTION_LIMIT:
            options.limit = optarg;
            break;
        case OPTION_DRY_RUN:
            options.dry_run = true;
            break;
        case OPTION_CLASS:
            options.class = optarg;
            break;
        case OPTION_ERROR:
            options.error = optarg;
            break;
        case OPTION_STATE:
            options.state = optarg;
            break;
        case OPTION_SOURCE:
            options.source = optarg;
            break;
        case OPTION_OLDER:
            options.older = optarg;
            break;
        case OPTION_NEWER:
            options.newer = optarg;
            break;
        case OPTION_ID:
            options.id = optarg;
            break;
        case OPTION_RATE:
            options.rate = optarg;
            break;
        case OPTION_DIRECTION:
            options.direction = optarg;
            break;
        case OPTION_REASON:
            options.reason = optarg;
            break;
        case OPTION_NO_WAIT:
            options.no_wait = true;
            break;
        case OPTION_DISCARD_DELETIONS:
            options.discard_deletions = true;
            break;
        default:
            return command_bad_usage("unknown or incomplete option", argv[optind - 1]);
        }
    }
    if (wants_version)
        return print_version(&options);
    if (optind >= argc)
        return command_bad_usage("no command given", "");
    const char *name = argv[optind];
    options.words = argv + optind + 1;
    options.word_count = argc - optind - 1;
    bool takes_words = strcmp(name, "conflict") == 0 || strcmp(name, "dlq") == 0;
    if (options.word_count > 0 && !takes_words)
        return command_bad_usage("unexpected argument", options.words[0]);
    /* Of all options this one must not be overlooked: who tries a command dry wants nothing written. */
    if (options.dry_run && !takes_words && strcmp(name, "resend") != 0)
        return command_bad_usage("--dry-run is of conflict resolve, dlq replay, dlq discard and resend, not of", name);
    if (strcmp(name, "help") == 0)
        return print_usage();
    if (strcmp(name, "version") == 0)
        return print_version(&options);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            int code = commands[i].run(&options);
            if (fflush(stdout) != 0)
                return EXIT_TRY_AGAIN;
            return code;
        }
    }
    return command_bad_usage("unknown command", name);
}
