/* The brake port: what operators have paused on a node, and the scheduler's hand on it. */
#include "tests/sim/world.h"

static const struct text entity_names[ENTITIES] = {{"parent", 6}, {"child", 5}};

static struct node *node_of(struct brake *port)
{
    return ((struct brake_port *)port)->node;
}

static bool brake_look(struct brake *port, const char *direction, struct holds *holds, struct error *error)
{
    struct node *node = node_of(port);
    bool out = strcmp(direction, "out") == 0;
    if (world_call(node, out ? LINK_SOURCE : LINK_TARGET, CALL_LOOK, error) != FAILS_NOT)
        return false;
    const struct pauses *pauses = &node->database.pauses[out];
    holds->all = pauses->all;
    for (size_t i = 0; i < ENTITIES; i++)
        if (pauses->entities[i])
            holds_add(holds, entity_names[i]);
    return true;
}

/* Nobody holds or deletes too much here. */
static bool brake_pull(struct brake *port, const char *direction, struct text entity, const char *reason, struct error *error)
{
    (void)entity, (void)error;
    world_fail(node_of(port)->world, "%s is paused by itself: %s", direction, reason);
}

static bool brake_size(struct brake *port, struct text entity, uint64_t *rows, struct error *error)
{
    (void)port, (void)entity, (void)rows, (void)error;
    return true;
}

static const struct brake_ops ops = {brake_look, brake_pull, brake_size};

void brake_init(struct node *node)
{
    node->brake = (struct brake_port){.port = {&ops}, .node = node};
}

/* ---- the operators ---- */

static void note(struct node *node, bool out, const char *what, bool paused)
{
    world_trace(node->world, "%.*s %s %s, %s", TEXT_PRINTF(node->name), paused ? "pauses" : "resumes", what, out ? "out" : "in");
}

static void set_entity(struct node *node, bool out, size_t entity, bool paused)
{
    struct letters *letters = &node->database.letters;
    node->database.pauses[out].entities[entity] = paused;
    note(node, out, entity_names[entity].data, paused);
    /* What was put aside may go now. */
    for (size_t i = 0; i < letters->count && !paused && !out; i++)
        if (row_entity(letters->list[i].row) == entity && strcmp(letters->list[i].code, "PAUSED") == 0)
            letters->list[i].next_us = node_clock_us(node);
}

static void set_all(struct node *node, bool out, bool paused)
{
    node->database.pauses[out].all = paused;
    note(node, out, "everything", paused);
}

void brake_touch(struct world *world)
{
    struct random *random = &world->random;
    struct node *node = &world->nodes[random_below(random, world->schedule.node_count)];
    bool out = random_chance(random, 2);
    struct pauses *pauses = &node->database.pauses[out];
    size_t which = random_below(random, ENTITIES + 1);
    world->holds_left--;
    world->statistics.holds++;
    if (which == ENTITIES)
        set_all(node, out, !pauses->all);
    else
        set_entity(node, out, which, !pauses->entities[which]);
}

bool brake_release(struct world *world)
{
    bool released = false;
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        struct node *node = &world->nodes[i];
        for (int out = 0; out < 2; out++) {
            struct pauses *pauses = &node->database.pauses[out];
            if (pauses->all)
                set_all(node, out, false), released = true;
            for (size_t entity = 0; entity < ENTITIES; entity++)
                if (pauses->entities[entity])
                    set_entity(node, out, entity, false), released = true;
        }
    }
    return released;
}
