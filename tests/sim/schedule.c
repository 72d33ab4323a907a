#include "tests/sim/history.h"

#include "bridge/flow/policy.h"

static size_t one_of(struct random *random, size_t count, const int64_t *choices)
{
    return (size_t)choices[random_below(random, count)];
}

#define ONE_OF(random, ...)                                                                                            \
    one_of(random, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[]){__VA_ARGS__})

static size_t policy_by_name(const char *name)
{
    size_t number = 0;
    while (policy_number(number) != policy_find(text_from(name)))
        number++;
    return number;
}

static void draw_policies(struct schedule *schedule, struct random *random)
{
    static const char *const names[] = {"last-write-wins", "last-write-wins", "node-priority", "manual"};
    for (size_t i = 0; i < ENTITIES; i++) {
        schedule->policies[i] = policy_by_name(names[random_below(random, 4)]);
        schedule->coalesce[i] = !random_chance(random, 4);
    }
    for (size_t i = 0; i < NODES_MAX; i++)
        schedule->priority[i] = i;
    for (size_t i = schedule->node_count; i > 1; i--) {
        size_t other = random_below(random, i), kept = schedule->priority[i - 1];
        schedule->priority[i - 1] = schedule->priority[other];
        schedule->priority[other] = kept;
    }
    schedule->priority_count = 1 + random_below(random, schedule->node_count);
}

static void draw_time(struct schedule *schedule, struct random *random)
{
    enum { SECOND = 1000000 };
    schedule->call_us = (int64_t)ONE_OF(random, 1, 20, 500);
    /* From clocks that nobody can tell apart to clocks that show the hour. */
    schedule->tick_us = (int64_t)ONE_OF(random, 1, 1, 100, 1000, SECOND, 3600LL * SECOND);
    schedule->skew_us = (int64_t)ONE_OF(random, 0, 10, 1000, SECOND, 3 * 3600LL * SECOND);
    schedule->clocks_jump = random_chance(random, 2);
    schedule->max_clock_skew_us = random_chance(random, 4) ? (int64_t)ONE_OF(random, 1, SECOND, 3600LL * SECOND) : 0;
}

/* Heartbeats are made every few seconds, and deletions forgotten when two of each node have been heard everywhere: in
 * most schedules it never comes to that. A clock that goes back farther than deletions are remembered is not promised
 * anything. */
static void draw_forgetting(struct schedule *schedule, bool forgets, struct random *random)
{
    enum { SECOND = 1000000 };
    schedule->deletes_one_in = 3;
    schedule->retention_us = SECOND;
    schedule->replays = random_chance(random, 4) ? random_below(random, 8) : 0;
    if (!random_chance(random, 8) && !forgets)
        return;
    schedule->writes += 10 + random_below(random, 20);
    schedule->keys = 1 + random_below(random, 3);
    schedule->deletes_one_in = 2;
    schedule->pauses = 8 + random_below(random, 16);
    schedule->pause_us = (int64_t)ONE_OF(random, 11LL * SECOND, 11LL * SECOND, 20LL * SECOND, 3600LL * SECOND);
    schedule->replays = random_below(random, 12);
    schedule->retention_us = (int64_t)ONE_OF(random, SECOND, SECOND, 10LL * SECOND);
    if (schedule->tick_us > schedule->pause_us)
        schedule->tick_us = SECOND;
    if (!schedule->clocks_jump)
        return;
    if (schedule->skew_us > SECOND)
        schedule->skew_us = SECOND;
    if (schedule->tick_us > SECOND)
        schedule->tick_us = SECOND;
    schedule->retention_us = 10LL * SECOND;
}

static void draw_failures(struct schedule *schedule, struct random *random)
{
    schedule->faults = random_chance(random, 4) ? 0 : 1 + random_below(random, 6);
    schedule->fault_every = ONE_OF(random, 10, 30, 100, 300);
    if (schedule->pauses > 0 && schedule->faults > 0) {
        schedule->faults += random_below(random, 10);
        schedule->fault_every *= 3;
    }
    schedule->outages_last = random_chance(random, 8);
    schedule->duplicates = random_chance(random, 3) ? random_below(random, 5) : 0;
    schedule->stragglers = random_chance(random, 4);
    schedule->shuffles = random_chance(random, schedule->pauses > 0 ? 3 : 8);
    schedule->echoes = random_chance(random, 8);
}

void schedule_draw(struct schedule *schedule, uint64_t seed, size_t node_count, bool forgets, struct random *random)
{
    *random = (struct random){seed};
    *schedule = (struct schedule){.seed = seed};
    size_t drawn_count = 2 + random_below(random, NODES_MAX - 1);
    schedule->node_count = node_count > 0 ? node_count : drawn_count;
    schedule->writes = 5 + random_below(random, 20);
    schedule->transaction_rows = ONE_OF(random, 1, 2, 4, 8);
    schedule->constraints = random_chance(random, 3);
    schedule->keys = 1 + random_below(random, schedule->constraints ? 4 : 6);
    schedule->codes = 1 + random_below(random, 5);
    schedule->values = 1 + random_below(random, 4);
    schedule->message_bytes = ONE_OF(random, 1, 300, 256 << 10, 256 << 10);
    schedule->batch_transactions = ONE_OF(random, 1, 2, 100);
    draw_policies(schedule, random);
    draw_time(schedule, random);
    draw_forgetting(schedule, forgets, random);
    draw_failures(schedule, random);
    schedule->holds = random_chance(random, 4) ? 1 + random_below(random, 8) : 0;
    schedule->deliveries = schedule->faults > 0 && random_chance(random, 4) ? 1 + random_below(random, 3) : 0;
    for (size_t i = 0; i < NODES_MAX; i++) {
        schedule->application_weight[i] = (unsigned)ONE_OF(random, 1, 2, 8, 32);
        schedule->routing_weight[i] = (unsigned)ONE_OF(random, 1, 8, 32);
    }
    for (size_t i = 0; i < 2 * NODES_MAX; i++)
        schedule->worker_weight[i] = (unsigned)ONE_OF(random, 4, 16, 64);
}

void schedule_draw_capture(struct schedule *schedule, enum capture capture, bool jumps)
{
    struct random random = {schedule->seed ^ UINT64_C(0x77616c)};
    size_t kind = random_below(&random, 3);
    size_t laggard = random_below(&random, 3 * schedule->node_count);
    for (size_t i = 0; i < NODES_MAX; i++) {
        bool drawn = random_chance(&random, 2);
        schedule->wal[i] = capture == CAPTURE_WAL || (capture == CAPTURE_MIXED && (kind == 1 || (kind == 2 && drawn)));
        if (!schedule->wal[i] || i >= schedule->node_count)
            continue;
        schedule->clocks_jump = schedule->clocks_jump && jumps;
        /* Commit times come from a clock that shows more than that, and somebody waits for it. */
        if (schedule->tick_us > 1000)
            schedule->tick_us = 1000;
        /* Peers write what waits in the log. */
        if (i == laggard) {
            schedule->worker_weight[2 * i] = 1;
            schedule->batch_transactions = 100;
            schedule->writes += 20;
            schedule->keys = 1;
            schedule->deletes_one_in = 12;
        }
    }
}

void schedule_print(const struct schedule *schedule)
{
    for (size_t i = 0; i < schedule->node_count; i++)
        if (schedule->wal[i])
            printf("%.*s captures from the WAL; ", TEXT_PRINTF(node_name((int)i)));
    printf("%zu nodes, %zu writes, policies %s and %s (%zu nodes in order, the first %s)%s%s; clocks show multiples of "
           "%lld us, are %lld us off%s, and may be %lld us ahead; deletions are remembered for %lld us, %zu pauses of "
           "%lld us; %zu faults%s%s%s; paused or resumed %zu times; at most %zu deliveries (0: any number)\n",
           schedule->node_count, schedule->writes, policy_number(schedule->policies[ENTITY_PARENT])->name,
           policy_number(schedule->policies[ENTITY_CHILD])->name, schedule->priority_count,
           node_name((int)schedule->priority[0]).data, schedule->constraints ? ", constraints" : "",
           schedule->coalesce[ENTITY_PARENT] ? "" : ", parents one by one", (long long)schedule->tick_us,
           (long long)schedule->skew_us, schedule->clocks_jump ? " and jump" : "",
           (long long)schedule->max_clock_skew_us, (long long)schedule->retention_us, schedule->pauses,
           (long long)schedule->pause_us, schedule->faults, schedule->stragglers ? ", stragglers" : "",
           schedule->shuffles ? ", shuffles" : "", schedule->echoes ? ", echoes" : "", schedule->holds, schedule->deliveries);
}
