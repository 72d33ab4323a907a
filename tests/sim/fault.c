/* What goes wrong, and when: drawn call by call, as often as the schedule wants. */
#include "tests/sim/world.h"

enum { SECOND_US = 1000000 };

static int64_t draw_outage_us(struct world *world)
{
    int64_t longest = world->schedule.outages_last ? 30 * SECOND_US : SECOND_US / 2;
    if (world->schedule.pauses > 0)
        longest = 60 * SECOND_US;
    return (int64_t)random_below(&world->random, (size_t)longest);
}

/* The server's side of a connection that is gone, whoever has noticed. */
void link_cut(struct node *node, enum link_kind link)
{
    struct broker *broker = &node->world->broker;
    if (!node->links[link].open || node->links[link].cut)
        return;
    node->links[link].cut = true;
    switch (link) {
    case LINK_SOURCE:
        return;
    case LINK_TARGET:
        target_lose(node);
        return;
    case LINK_OUTLET:
        channel_break(broker, node->number);
        return;
    case LINK_INLET:
        queue_break(broker, node->number);
        return;
    case LINK_DEAD:
        node->dead_inlet.in_hand = false;
        return;
    case LINKS:
        return;
    }
}

static void cut(struct node *node, enum link_kind link)
{
    static const char *const names[] = {"source", "target", "outlet", "inlet", "inlet of the dead"};
    if (!node->links[link].open)
        return;
    world_trace(node->world, "%.*s loses its %s", TEXT_PRINTF(node->name), names[link]);
    node->upsets++;
    node->world->statistics.cuts++;
    link_cut(node, link);
}

void node_crash(struct node *node)
{
    struct world *world = node->world;
    if (node->state != NODE_UP)
        return;
    world_trace(world, "%.*s crashes", TEXT_PRINTF(node->name));
    node->upsets++;
    world->statistics.crashes++;
    for (int link = 0; link < LINKS; link++)
        link_cut(node, (enum link_kind)link);
    node->state = NODE_ENDING;
    node->dead = true;
    node->restart_us = world->now_us + draw_outage_us(world);
    atomic_store(&node->stop, true);
}

void node_stop(struct node *node)
{
    struct world *world = node->world;
    if (node->state != NODE_UP)
        return;
    world_trace(world, "%.*s is told to stop", TEXT_PRINTF(node->name));
    world->statistics.stops += !world->ending;
    node->upsets++;
    node->state = NODE_ENDING;
    node->restart_us = world->now_us + draw_outage_us(world);
    atomic_store(&node->stop, true);
}

static void jump_clock(struct node *node)
{
    struct world *world = node->world;
    int64_t farthest = world->schedule.skew_us + 10;
    if (!world->schedule.clocks_jump)
        return;
    node->clock_offset_us = (int64_t)random_below(&world->random, (size_t)(2 * farthest)) - farthest;
    world->statistics.jumps++;
    world_trace(world, "the clock of %.*s jumps to %lld us from the truth", TEXT_PRINTF(node->name),
                (long long)node->clock_offset_us);
}

static void restart_broker(struct world *world)
{
    world_trace(world, "the broker restarts");
    world->statistics.outages++;
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        cut(&world->nodes[i], LINK_OUTLET);
        cut(&world->nodes[i], LINK_INLET);
        cut(&world->nodes[i], LINK_DEAD);
    }
    world->broker.away_us = world->now_us + draw_outage_us(world);
}

static void restart_database(struct node *node)
{
    world_trace(node->world, "the database of %.*s restarts", TEXT_PRINTF(node->name));
    node->world->statistics.outages++;
    cut(node, LINK_SOURCE);
    cut(node, LINK_TARGET);
    node->database_away_us = node->world->now_us + draw_outage_us(node->world);
}

/* A message that ends a second process, as it seems, is for a human. Nothing ends anything here. */
static bool is_suspected(const struct node *node)
{
    for (size_t i = 0; i < node->database.suspect_count; i++)
        if (node->database.suspects[i].deaths > 0)
            return true;
    return false;
}

/* How this call fails by itself. */
static enum failing fail_call(struct node *node, enum link_kind link, enum call call, struct error *error)
{
    struct world *world = node->world;
    struct random *random = &world->random;
    bool half_done = call == CALL_RELEASE || call == CALL_PUBLISH || call == CALL_SETTLE || call == CALL_COMMIT ||
                     call == CALL_RETRY || call == CALL_TARGET_REPORT;
    node->upsets++;
    if ((call == CALL_APPLY || call == CALL_COMMIT || call == CALL_TRY) && random_chance(random, 3)) {
        world->statistics.contentions++;
        world_trace(world, "%.*s meets a deadlock", TEXT_PRINTF(node->name));
        error_set(error, FAULT_CONTENTION, random_chance(random, 3) ? "26000" : "40P01", "deadlock");
        return FAILS_BEFORE;
    }
    if (call == CALL_SOURCE_OPEN && !node->said_in_use) {
        node->said_in_use = true;
        error_set(error, FAULT_TRANSIENT, SOURCE_IN_USE, "another adapter leads");
        return FAILS_BEFORE;
    }
    if (half_done && random_chance(random, 2)) {
        world->statistics.lost_replies++;
        return FAILS_AFTER;
    }
    world->statistics.cuts++;
    if (call == CALL_CONFIRM && random_chance(random, 2)) {
        world_trace(world, "the broker refuses a message of %.*s", TEXT_PRINTF(node->name));
        error_set(error, FAULT_TRANSIENT, NULL, "nacked");
        return FAILS_BEFORE;
    }
    world_trace(world, "%.*s loses its connection", TEXT_PRINTF(node->name));
    link_break(node, link, error);
    return FAILS_BEFORE;
}

enum failing fault_draw(struct node *node, enum link_kind link, enum call call, struct error *error)
{
    struct world *world = node->world;
    struct node *other = &world->nodes[random_below(&world->random, world->schedule.node_count)];
    /* At the end nobody would learn any more that an entity is not paused. */
    if (world->duplicates_left > 0 && !(world->ending && world->schedule.holds > 0) && random_chance(&world->random, 2)) {
        world->duplicates_left--;
        queue_duplicate(&world->broker, other->number);
        return FAILS_NOT;
    }
    /* The end is not postponed by restarts. */
    if (world->ending)
        return FAILS_NOT;
    switch (random_below(&world->random, 12)) {
    case 0:
    case 1:
        if (!is_suspected(other))
            node_crash(other);
        break;
    case 2:
        if (!is_suspected(other))
            node_stop(other);
        break;
    case 3:
        restart_broker(world);
        break;
    case 4:
        restart_database(other);
        break;
    case 5:
        cut(other, (enum link_kind)random_below(&world->random, LINKS));
        break;
    case 6:
        jump_clock(other);
        jump_clock(node);
        break;
    default:
        return fail_call(node, link, call, error);
    }
    if (!node->dead && !node->links[link].cut)
        return FAILS_NOT;
    link_break(node, link, error);
    return FAILS_BEFORE;
}
