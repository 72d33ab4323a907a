#include "tests/sim/schedule.h"

#include "bridge/flow/policy.h"

/* Whether a change that breaks a constraint is held, and tried again when the cause is gone. Until it is, it becomes a
 * dead letter for good, and schedules with constraints are drawn so that only a change can come to this that comes once
 * more right away: a batch is one transaction, nothing is late and no broker is away for long. When it is, this becomes
 * true, workload.c writes what collides between nodes, and checker.c wants no letter to be left. */
static const bool changes_are_held = false;

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
}

static void draw_failures(struct schedule *schedule, struct random *random)
{
    schedule->faults = random_chance(random, 4) ? 0 : 1 + random_below(random, 6);
    schedule->fault_every = ONE_OF(random, 10, 30, 100, 300);
    bool anything = !schedule->constraints || changes_are_held;
    schedule->outages_last = random_chance(random, 8) && anything;
    schedule->duplicates = random_chance(random, 3) && anything ? random_below(random, 5) : 0;
    schedule->stragglers = random_chance(random, 4) && anything;
    schedule->shuffles = random_chance(random, 8) && anything;
    schedule->echoes = random_chance(random, 8);
}

void schedule_draw(struct schedule *schedule, uint64_t seed, size_t node_count, struct random *random)
{
    *random = (struct random){seed};
    *schedule = (struct schedule){.seed = seed};
    size_t drawn_count = 2 + random_below(random, NODES_MAX - 1);
    schedule->node_count = node_count > 0 ? node_count : drawn_count;
    schedule->writes = 5 + random_below(random, 20);
    schedule->transaction_rows = ONE_OF(random, 1, 2, 4, 8);
    schedule->constraints = random_chance(random, 4);
    schedule->keys = schedule->constraints ? KEYS_MAX : 1 + random_below(random, 6);
    schedule->values = 1 + random_below(random, 4);
    schedule->message_bytes = ONE_OF(random, 1, 300, 256 << 10, 256 << 10);
    schedule->batch_transactions = ONE_OF(random, 1, 2, 100);
    if (schedule->constraints && !changes_are_held)
        schedule->batch_transactions = 1;
    draw_policies(schedule, random);
    draw_time(schedule, random);
    draw_failures(schedule, random);
    for (size_t i = 0; i < NODES_MAX; i++) {
        schedule->application_weight[i] = (unsigned)ONE_OF(random, 1, 2, 8, 32);
        schedule->routing_weight[i] = (unsigned)ONE_OF(random, 1, 8, 32);
    }
    for (size_t i = 0; i < 2 * NODES_MAX; i++)
        schedule->worker_weight[i] = (unsigned)ONE_OF(random, 4, 16, 64);
}
