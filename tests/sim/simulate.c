/* simulate: runs seeded schedules of 2 to 4 whole bridges over ports in memory, and looks for one that breaks what the
 * bridge promises. Schedule i has the seed base + i; the same seed is the same history, on any machine. With --script
 * it prints schedules for real servers instead, and how they must end. */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/script.h"

struct options {
    bool seeded, forgets, counted, script, jumps;
    uint64_t seed, count;
    size_t node_count;
    enum capture capture;
};

static struct world world;

static void usage(void)
{
    printf("usage: simulate [--seed N] [--count N] [--nodes N] [--forget] [--capture HOW] [--jumps]\n"
           "                [--variant NAME] [--verbose]\n"
           "       simulate --script [--seed N] [--count N] [--nodes N]\n\n"
           "  --seed     of the first schedule; drawn and printed when it is not given\n"
           "  --count    how many schedules: 1000; or scripts: 1\n"
           "  --nodes    2 to %d; otherwise every schedule has its own number\n"
           "  --forget   only schedules in which deletions are forgotten: otherwise every eighth\n"
           "  --capture  outbox, wal, or mixed, the default: a third of the schedules has nodes of both kinds\n"
           "  --jumps    clocks of nodes that capture from the WAL go back, too: not always made good\n"
           "  --script   prints scripts that real servers can run, and what every node must hold after each step\n"
           "  --verbose  one line for every step\n"
           "  --variant  a rule broken on purpose:\n",
           NODES_MAX);
    for (int i = 0; i < VARIANTS; i++)
        printf("               %-10s %s\n", variant_name((enum variant)i), variant_sentence((enum variant)i));
}

static uint64_t number_of(const char *text)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "simulate: \"%s\" is no number\n", text);
        exit(2);
    }
    return number;
}

static enum capture capture_of(const char *text)
{
    static const char *const names[] = {"mixed", "outbox", "wal"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum capture)i;
    usage();
    exit(2);
}

static struct options read_options(int argc, char **argv)
{
    static const struct option known[] = {{"seed", required_argument, NULL, 's'},
                                          {"count", required_argument, NULL, 'c'},
                                          {"nodes", required_argument, NULL, 'n'},
                                          {"forget", no_argument, NULL, 'f'},
                                          {"capture", required_argument, NULL, 'C'},
                                          {"jumps", no_argument, NULL, 'j'},
                                          {"variant", required_argument, NULL, 'V'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"script", no_argument, NULL, 'S'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct options options = {0};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 's':
            options.seeded = true;
            options.seed = number_of(optarg);
            break;
        case 'c':
            options.counted = true;
            options.count = number_of(optarg);
            break;
        case 'n':
            options.node_count = (size_t)number_of(optarg);
            break;
        case 'f':
            options.forgets = true;
            break;
        case 'j':
            options.jumps = true;
            break;
        case 'C':
            options.capture = capture_of(optarg);
            break;
        case 'S':
            options.script = true;
            break;
        case 'V':
            world.variant = variant_find(text_from(optarg));
            break;
        case 'v':
            world.verbose = true;
            break;
        default:
            usage();
            exit(option == 'h' ? 0 : 2);
        }
    }
    if (optind < argc || world.variant == VARIANTS || options.node_count == 1 || options.node_count > NODES_MAX) {
        usage();
        exit(2);
    }
    if (!options.counted)
        options.count = options.script ? 1 : 1000;
    return options;
}

/* What every replay needs besides the seed. */
static const char *replay_command(const char *program, const struct options *options)
{
    static char command[512];
    int length = snprintf(command, sizeof command, "%s", program);
    if (options->node_count > 0)
        length += snprintf(command + length, sizeof command - (size_t)length, " --nodes %zu", options->node_count);
    if (options->forgets)
        length += snprintf(command + length, sizeof command - (size_t)length, " --forget");
    static const char *const captures[] = {"", " --capture outbox", " --capture wal"};
    length += snprintf(command + length, sizeof command - (size_t)length, "%s", captures[options->capture]);
    if (options->jumps)
        length += snprintf(command + length, sizeof command - (size_t)length, " --jumps");
    if (options->script)
        length += snprintf(command + length, sizeof command - (size_t)length, " --script");
    if (world.variant != VARIANT_NONE)
        snprintf(command + length, sizeof command - (size_t)length, " --variant %s", variant_name(world.variant));
    return command;
}

/* An assertion of the core does not hold, or worse. */
static void on_signal(int number)
{
    signal(number, SIG_DFL);
    world_fail(&world, "signal %d", number);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t draw_seed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct random random = {(uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 30 ^ (uint64_t)getpid() << 16};
    return random_next(&random) % 1000000000000;
}

static void print_statistics(double seconds)
{
    const struct statistics *s = &world.statistics;
    double n = s->schedules > 0 ? (double)s->schedules : 1;
    printf("%llu schedules in %.1f s: %.0f a second\n", (unsigned long long)s->schedules, seconds, n / seconds);
    printf("each: %.1f writes, %.1f messages of %.1f changes, %.0f port calls (at most %llu), %.2f conflicts, %.2f "
           "assertions\n",
           (double)s->writes / n, (double)s->messages / n, s->messages > 0 ? (double)s->rows / (double)s->messages : 0,
           (double)s->calls / n, (unsigned long long)s->calls_max, (double)s->conflicts / n, (double)s->assertions / n);
    printf("in all: %llu crashes, %llu stops, %llu lost connections, %llu lost replies, %llu deadlocks, %llu outages, "
           "%llu clock jumps, %llu redeliveries, %llu duplicates, %llu exchanged unique values\n",
           (unsigned long long)s->crashes, (unsigned long long)s->stops, (unsigned long long)s->cuts,
           (unsigned long long)s->lost_replies, (unsigned long long)s->contentions, (unsigned long long)s->outages,
           (unsigned long long)s->jumps, (unsigned long long)s->redeliveries, (unsigned long long)s->duplicates,
           (unsigned long long)s->exchanges);
    printf("held: %llu letters buried, %llu tries, %llu released, %llu superseded, %llu parents kept, %llu circles, "
           "%llu open at the end; %llu pauses, %llu heartbeats heard, %llu signs of life, %llu deletions forgotten, %llu replays\n"
           "operators paused or resumed %llu times; %llu messages among the broker's dead, %llu drained\n",
           (unsigned long long)s->letters, (unsigned long long)s->tries, (unsigned long long)s->released,
           (unsigned long long)s->superseded, (unsigned long long)s->settled, (unsigned long long)s->circles,
           (unsigned long long)s->unsettled, (unsigned long long)s->pauses, (unsigned long long)s->heartbeats,
           (unsigned long long)s->signs, (unsigned long long)s->forgotten, (unsigned long long)s->replays,
           (unsigned long long)s->holds, (unsigned long long)s->dead, (unsigned long long)s->drained);
}

int main(int argc, char **argv)
{
    struct options options = read_options(argc, argv);
    /* Every worker takes megabytes and gives them back: the kernel need not hear of it. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    signal(SIGABRT, on_signal);
    /* Unless somebody has seen to that before. */
    void (*before)(int) = signal(SIGSEGV, on_signal);
    if (before != SIG_DFL)
        signal(SIGSEGV, before);
    if (!options.seeded)
        options.seed = draw_seed();
    world.replay = replay_command(argv[0], &options);
    variant_choose(world.variant);
    world_init(&world);
    for (uint64_t i = 0; i < options.count && options.script; i++)
        script_print(&world, options.seed + i, options.node_count);
    if (options.script)
        return 0;
    printf("%s --seed %llu --count %llu\n", world.replay, (unsigned long long)options.seed,
           (unsigned long long)options.count);
    fflush(stdout);
    double start = seconds_now();
    for (uint64_t i = 0; i < options.count; i++)
        world_run(&world, options.seed + i, options.node_count, options.forgets, options.capture, options.jumps);
    print_statistics(seconds_now() - start);
    return 0;
}
