#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "bridge/base/log.h"
#include "tests/sim/checker.h"
#include "tests/sim/letters.h"
#include "tests/sim/script.h"
#include "tests/sim/uuid.h"
#include "tests/sim/workload.h"

enum {
    EPOCH_S = 1763675000,
    CALLS_MAX = 200000, /* of one schedule: beyond that it does not come to rest */
};

static const char *const peer_lists[NODES_MAX][NODES_MAX - 1] = {
    {"ab", "b", "c"}, {"a", "b", "c"}, {"a", "ab", "c"}, {"a", "ab", "b"}};

/* ---- what is wrong, and what happens ---- */

void world_print(struct world *world, const char *format, ...)
{
    va_list arguments;
    printf("%10.3f ms  ", (double)world->now_us / 1000.0);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

void world_fail(struct world *world, const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    printf("\nFAILED: schedule %llu: ", (unsigned long long)world->schedule.seed);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\nreplay: %s --seed %llu --count 1 --verbose\n", world->replay, (unsigned long long)world->schedule.seed);
    fflush(stdout);
    _exit(1);
}

int64_t node_clock_us(const struct node *node)
{
    const struct schedule *schedule = &node->world->schedule;
    int64_t us = EPOCH_S * INT64_C(1000000) + node->world->now_us + node->clock_offset_us;
    return us - us % schedule->tick_us;
}

/* ---- the scheduler ---- */

static bool actor_can_go(const struct actor *actor)
{
    const struct node *node = actor->node;
    if (!actor->active)
        return false;
    if (!actor->waiting || node->dead || atomic_load_explicit(&node->stop, memory_order_relaxed) ||
        actor->until_us <= node->world->now_us)
        return true;
    if (actor->ready == NULL)
        return false;
    return node->links[actor->link].cut || actor->ready(node);
}

/* Everything that was written is everywhere, and nobody has anything to do. */
static bool is_quiet(const struct world *world)
{
    if (world->writes_left > 0)
        return false;
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        const struct node *node = &world->nodes[i];
        const struct queue *queue = &world->broker.queues[i];
        if (node->apart && node->state == NODE_DOWN)
            continue;
        if (node->apart || node->state != NODE_UP || node->database.outbox_released < node->database.outbox_count ||
            queue->acked < queue->count || queue->dead_count > 0 || world->broker.channels[i].confirmed < world->broker.channels[i].sent ||
            node->links[LINK_INLET].cut || !letters_rest(node))
            return false;
    }
    return true;
}

enum doer { DOER_WORKER, DOER_APPLICATION, DOER_ROUTING, DOER_RESTART, DOER_PAUSE, DOER_OPERATOR };

struct choice {
    unsigned weight;
    enum doer doer;
    struct node *node;
    struct actor *actor;
};

enum { CHOICES_MAX = NODES_MAX * (ACTORS_EACH + 3) + 2 };

struct choices {
    size_t count;
    unsigned weight;
    struct choice of[CHOICES_MAX];
};

static void offer(struct choices *choices, unsigned weight, enum doer doer, struct node *node, struct actor *actor)
{
    choices->of[choices->count++] = (struct choice){weight, doer, node, actor};
    choices->weight += weight;
}

static void gather_choices(struct world *world, struct choices *choices)
{
    const struct schedule *schedule = &world->schedule;
    choices->count = choices->weight = 0;
    for (size_t i = 0; i < schedule->node_count; i++) {
        struct node *node = &world->nodes[i];
        for (size_t j = 0; j < ACTORS_EACH; j++)
            if (actor_can_go(&node->actors[j]))
                offer(choices, schedule->worker_weight[2 * i + j], DOER_WORKER, node, &node->actors[j]);
        if (world->writes_left > 0 && !node->application_blocked && node->database_away_us <= world->now_us)
            offer(choices, schedule->application_weight[i], DOER_APPLICATION, node, NULL);
        if (channel_busy(&world->broker, (int)i))
            offer(choices, schedule->routing_weight[i], DOER_ROUTING, node, NULL);
        if (node->state == NODE_DOWN && !node->apart && node->restart_us <= world->now_us)
            offer(choices, 8, DOER_RESTART, node, NULL);
    }
    if (choices->count > 0 && world->pauses_left > 0 && world->interrupts)
        offer(choices, 1, DOER_PAUSE, NULL, NULL);
    if (choices->count > 0 && world->holds_left > 0)
        offer(choices, 1, DOER_OPERATOR, NULL, NULL);
}

/* To when somebody has something to do; those who only wait for work come later than they wanted. */
static void leap(struct world *world)
{
    int64_t wanted_us = INT64_MAX, idle_us = INT64_MAX, letters_us = INT64_MAX;
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        const struct node *node = &world->nodes[i];
        if (node->state == NODE_DOWN && !node->apart && node->restart_us < wanted_us)
            wanted_us = node->restart_us;
        if (world->writes_left > 0 && node->database_away_us > world->now_us && node->database_away_us < wanted_us)
            wanted_us = node->database_away_us;
        if (node->state == NODE_UP && letters_due_us(node) < letters_us)
            letters_us = letters_due_us(node);
        for (size_t j = 0; j < ACTORS_EACH; j++) {
            const struct actor *actor = &node->actors[j];
            int64_t *earliest = actor->idle ? &idle_us : &wanted_us;
            if (actor->active && actor->waiting && actor->until_us < *earliest)
                *earliest = actor->until_us;
        }
    }
    if (letters_us < INT64_MAX && idle_us < letters_us)
        idle_us = letters_us;
    int64_t to = wanted_us < INT64_MAX ? wanted_us : idle_us;
    if (to == INT64_MAX)
        world_fail(world, "nobody will ever go on");
    world->now_us = to;
}

static void node_start(struct node *node)
{
    struct world *world = node->world;
    size_t i = (size_t)node->number;
    node->state = NODE_UP;
    node->dead = false;
    atomic_store(&node->stop, false);
    memset(&node->counters, 0, sizeof node->counters);
    memset(node->links, 0, sizeof node->links);
    source_init(node);
    target_init(node);
    outlet_init(node);
    inlet_init(node);
    dead_init(node);
    brake_init(node);
    node->process++;
    clock_init(node);
    node->outbound.source = &node->source.port;
    node->outbound.outlet = &node->outlet.port;
    node->outbound.message_bytes = world->schedule.message_bytes;
    node->inbound = (struct inbound){.inlet = &node->inlet.port,
                                     .dead = &node->dead_inlet.port,
                                     .target = &node->target.port,
                                     .peer_count = world->schedule.node_count - 1,
                                     .peers = peer_lists[i],
                                     .max_clock_skew_us = world->schedule.max_clock_skew_us,
                                     .waits_for_clock = node->database.wal && world->variant != VARIANT_HASTY};
    worker_init(&node->outbound.worker, "out", node->name, &node->clock.port, &node->counters, &node->stop);
    worker_init(&node->inbound.worker, "in", node->name, &node->clock.port, &node->counters, &node->stop);
    node->outbound.worker.brake = node->inbound.worker.brake = &node->brake.port;
    for (size_t j = 0; j < ACTORS_EACH; j++) {
        node->actors[j].active = true;
        node->actors[j].waiting = false;
    }
    world_trace(world, "%.*s starts", TEXT_PRINTF(node->name));
}

static void pause_all(struct world *world)
{
    int64_t least_us = world->schedule.pause_us / 2;
    world->pauses_left--;
    world->interrupts = false;
    world->statistics.pauses++;
    world->now_us += least_us + (int64_t)random_below(&world->random, (size_t)least_us);
}

static void replay(struct world *world, size_t count)
{
    world->replays_left -= count;
    world->statistics.replays += count;
    while (count-- > 0)
        queue_duplicate(&world->broker, (int)random_below(&world->random, world->schedule.node_count));
}

/* When nobody has anything to do: time passes, so that deletions are forgotten; applications go on, and messages come
 * once more that may be as old as the world. False: nothing of that is left. */
static bool go_on(struct world *world)
{
    struct random *random = &world->random;
    if (world->script != NULL)
        return script_go_on(world);
    if (world->pauses_left > 0) {
        pause_all(world);
        world->interrupts = random_chance(random, 4);
        size_t writes = random_chance(random, 2) ? random_below(random, world->writes_later + 1) : 0;
        world->writes_left += writes;
        world->writes_later -= writes;
        if (random_chance(random, 6))
            replay(world, random_below(random, world->replays_left + 1));
        return true;
    }
    if (world->replays_left == 0)
        return false;
    replay(world, 1 + random_below(random, world->replays_left));
    return true;
}

/* Who goes on; what happens at once happens on the way. NULL: the schedule is over. */
static struct actor *choose(struct world *world)
{
    struct choices choices;
    for (;;) {
        gather_choices(world, &choices);
        if (choices.count == 0) {
            bool all_ended = true;
            for (size_t i = 0; i < world->schedule.node_count; i++)
                all_ended = all_ended && world->nodes[i].state == NODE_ENDED;
            if (all_ended)
                return NULL;
            /* Also while somebody is away. */
            bool quiet = is_quiet(world), pauses = world->pauses_left > 0 && random_chance(&world->random, 3);
            if (!world->ending && (quiet || pauses) && go_on(world))
                continue;
            /* What is paused would never come to rest. */
            if (!world->ending && !quiet && random_chance(&world->random, 8) && brake_release(world))
                continue;
            if (!world->ending && quiet) {
                world_trace(world, "all is quiet");
                world->ending = true;
                for (size_t i = 0; i < world->schedule.node_count; i++) {
                    world->nodes[i].for_good = true;
                    node_stop(&world->nodes[i]);
                }
                continue;
            }
            leap(world);
            continue;
        }
        size_t drawn = random_below(&world->random, choices.weight), at = 0;
        while (drawn >= choices.of[at].weight)
            drawn -= choices.of[at++].weight;
        struct choice *choice = &choices.of[at];
        switch (choice->doer) {
        case DOER_WORKER:
            return choice->actor;
        case DOER_APPLICATION:
            arena_reset(&world->scratch);
            workload_transact(choice->node, &world->random);
            world->now_us += world->schedule.call_us;
            break;
        case DOER_ROUTING:
            channel_route(&world->broker, choice->node->number);
            break;
        case DOER_RESTART:
            node_start(choice->node);
            break;
        case DOER_PAUSE:
            pause_all(world);
            break;
        case DOER_OPERATOR:
            brake_touch(world);
            break;
        }
    }
}

static void hand_over(struct world *world)
{
    struct coroutine *from = world->running != NULL ? &world->running->coroutine : &world->main;
    world->running = choose(world);
    struct coroutine *to = world->running != NULL ? &world->running->coroutine : &world->main;
    if (from != to)
        coroutine_hand_over(from, to);
}

/* A worker's life: from each start of its node to the end, for as many schedules as there are. */
static void work(void *context)
{
    struct actor *actor = context;
    struct node *node = actor->node;
    for (;;) {
        if (actor->outbound)
            outbound_run(&node->outbound);
        else
            inbound_run(&node->inbound);
        actor->active = false;
        if (!node->actors[OUTBOUND_ACTOR].active && !node->actors[INBOUND_ACTOR].active) {
            node->state = node->for_good ? NODE_ENDED : NODE_DOWN;
            world_trace(node->world, "%.*s has ended", TEXT_PRINTF(node->name));
        }
        hand_over(node->world);
    }
}

/* ---- port calls ---- */

static bool is_open_call(enum call call)
{
    return call == CALL_SOURCE_OPEN || call == CALL_OUTLET_OPEN || call == CALL_INLET_OPEN || call == CALL_TARGET_OPEN;
}

static bool is_away(const struct node *node, enum link_kind link)
{
    bool database = link == LINK_SOURCE || link == LINK_TARGET;
    return (database ? node->database_away_us : node->world->broker.away_us) > node->world->now_us;
}

bool link_break(struct node *node, enum link_kind link, struct error *error)
{
    link_cut(node, link);
    node->links[link] = (struct link){0};
    return error_set(error, FAULT_CONNECTION, NULL, "the connection is lost");
}

void link_close(struct node *node, enum link_kind link)
{
    if (node->links[link].open)
        link_cut(node, link);
    node->links[link] = (struct link){0};
}

/* Says what keeps everybody busy. */
static void fail_restless(struct world *world)
{
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        const struct node *node = &world->nodes[i];
        const struct queue *queue = &world->broker.queues[i];
        const struct channel *channel = &world->broker.channels[i];
        printf("%.*s: state %d, outbox %zu of %zu released, queue %zu of %zu acknowledged, %zu of %zu confirmed\n",
               TEXT_PRINTF(node->name), (int)node->state, node->database.outbox_released, node->database.outbox_count,
               queue->acked, queue->count, channel->confirmed, channel->sent);
        printf("%zu letters%s\n", node->database.letters.count, letters_rest(node) ? "" : ", not all tried");
    }
    world_fail(world, "there is no rest after %d calls, %zu writes are left", CALLS_MAX, world->writes_left);
}

enum failing world_call(struct node *node, enum link_kind link, enum call call, struct error *error)
{
    struct world *world = node->world;
    /* The depth of a queue may be asked for at any time. */
    bool opens = is_open_call(call) || (call == CALL_DEPTH && !node->links[link].open);
    if (!node->dead) {
        if (!opens && !node->links[link].open)
            world_fail(world, "%.*s uses a connection that is not open: call %d", TEXT_PRINTF(node->name), (int)call);
        if (++world->calls > CALLS_MAX)
            fail_restless(world);
        world->now_us += world->schedule.call_us;
        hand_over(world);
        arena_reset(&world->scratch);
    }
    if (node->dead || node->links[link].cut || (opens && is_away(node, link))) {
        link_break(node, link, error);
        return FAILS_BEFORE;
    }
    if (world->faults_left == 0 || !random_chance(&world->random, world->schedule.fault_every))
        return FAILS_NOT;
    world->faults_left--;
    return fault_draw(node, link, call, error);
}

bool world_wait(struct node *node, enum link_kind link, int wait_ms, bool (*ready)(const struct node *),
                struct error *error)
{
    struct world *world = node->world;
    struct actor *actor = world->running;
    if (node->dead || (link == LINKS && atomic_load(&node->stop)))
        return true;
    if (wait_ms == 0 || (ready != NULL && ready(node)))
        return true;
    actor->waiting = true;
    actor->idle = link != LINKS;
    actor->link = link;
    actor->ready = ready;
    actor->until_us = world->now_us + (int64_t)wait_ms * 1000;
    hand_over(world);
    actor->waiting = false;
    arena_reset(&world->scratch);
    if (link != LINKS && (node->dead || node->links[link].cut))
        return link_break(node, link, error);
    return true;
}

/* ---- a schedule ---- */

void world_init(struct world *world)
{
    log_configure(false, (enum log_level)0, NULL);
    arena_init(&world->scratch, 1 << 20);
    broker_init(&world->broker);
    coroutine_adopt(&world->main);
    for (int i = 0; i < NODES_MAX; i++) {
        struct node *node = &world->nodes[i];
        node->world = world;
        node->number = i;
        node->name = node_name(i);
        for (size_t j = 0; j < ACTORS_EACH; j++) {
            node->actors[j].node = node;
            node->actors[j].outbound = j == OUTBOUND_ACTOR;
            coroutine_init(&node->actors[j].coroutine, work, &node->actors[j]);
        }
    }
}

static void node_clear(struct node *node)
{
    struct world *world = node->world;
    int64_t skew_us = world->schedule.skew_us;
    node->state = NODE_DOWN;
    node->dead = node->for_good = node->application_blocked = node->said_in_use = false;
    node->apart = world->script != NULL;
    node->restart_us = node->database_away_us = 0;
    node->clock_offset_us = skew_us > 0 ? (int64_t)random_below(&world->random, (size_t)(2 * skew_us)) - skew_us : 0;
    node->upsets = 0;
    database_clear(&node->database, world, node->number);
}

void world_play(struct world *world)
{
    uuid_begin(world->schedule.seed);
    if (world->verbose)
        schedule_print(&world->schedule);
    world->now_us = 1;
    world->calls = 0;
    world->writes_later = world->schedule.pauses > 0 ? random_below(&world->random, world->schedule.writes) : 0;
    world->writes_left = world->schedule.writes - world->writes_later;
    world->faults_left = world->schedule.faults;
    world->duplicates_left = world->schedule.duplicates;
    world->pauses_left = world->schedule.pauses;
    world->replays_left = world->schedule.replays;
    world->holds_left = world->schedule.holds;
    world->ending = false;
    world->interrupts = random_chance(&world->random, 2);
    history_clear(&world->history);
    broker_clear(&world->broker, world);
    for (size_t i = 0; i < world->schedule.node_count; i++)
        node_clear(&world->nodes[i]);
    world->running = NULL;
    hand_over(world);
    world->statistics.schedules++;
    world->statistics.calls += world->calls;
    if (world->calls > world->statistics.calls_max)
        world->statistics.calls_max = world->calls;
}

void world_run(struct world *world, uint64_t seed, size_t node_count, bool forgets, enum capture capture, bool jumps)
{
    schedule_draw(&world->schedule, seed, node_count, forgets, &world->random);
    schedule_draw_capture(&world->schedule, capture, jumps);
    world_play(world);
    checker_check(world);
}
