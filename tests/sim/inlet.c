/* The inlet port on the model broker's queue. */
#include "tests/sim/apply.h"

static struct node *node_of(struct inlet *port)
{
    return ((struct inlet_port *)port)->node;
}

static struct queue *queue_of(const struct node *node)
{
    return &node->world->broker.queues[node->number];
}

static bool inlet_open(struct inlet *port, struct error *error)
{
    struct node *node = node_of(port);
    link_close(node, LINK_INLET);
    if (world_call(node, LINK_INLET, CALL_INLET_OPEN, error) != FAILS_NOT)
        return false;
    node->links[LINK_INLET] = (struct link){.open = true};
    queue_of(node)->tag_base = queue_of(node)->delivered;
    return true;
}

static bool has_messages(const struct node *node)
{
    const struct queue *queue = queue_of(node);
    return !node->inlet.port.dry && queue->delivered < queue->count && queue->delivered - queue->acked < LIMIT_PREFETCH_MESSAGES;
}

static bool inlet_receive(struct inlet *port, int wait_ms, struct delivery **delivery, struct error *error)
{
    struct node *node = node_of(port);
    struct queue *queue = queue_of(node);
    if (world_call(node, LINK_INLET, CALL_RECEIVE, error) != FAILS_NOT ||
        !world_wait(node, LINK_INLET, wait_ms, has_messages, error))
        return false;
    *delivery = NULL;
    /* What is in the queue need not have reached us yet. */
    if (!has_messages(node) || (wait_ms == 0 && random_chance(&node->world->random, 4)))
        return true;
    struct place *place = &queue->places[queue->delivered++];
    *delivery = delivery_new();
    (*delivery)->envelope = place->parcel->envelope;
    (*delivery)->envelope.redelivered = place->delivered;
    (*delivery)->tag = queue->delivered - queue->tag_base;
    place->delivered = true;
    world_trace(node->world, "%.*s receives tag %llu of %.*s: %.*s", TEXT_PRINTF(node->name),
                (unsigned long long)(*delivery)->tag, TEXT_PRINTF(node_name(place->parcel->source)),
                TEXT_PRINTF(place->parcel->envelope.body));
    return true;
}

/* Everything in it is known here, and durably: nothing is settled while a transaction is open. */
static void check_durable(struct node *node, const struct parcel *parcel)
{
    for (size_t i = 0; i < parcel->row_count && parcel->source != node->number; i++) {
        const struct row *row = &node->database.rows[parcel->rows[i].row];
        past buried = node->database.letters.buried[parcel->rows[i].row];
        char name[32];
        if (((row->past | row->open | buried) & history_bit(parcel->rows[i].write)) == 0 &&
            !news_is_outdone(node->world, parcel->rows[i].row, parcel->rows[i].write))
            world_fail(node->world, "%.*s settles write %d of %s, which it does not have", TEXT_PRINTF(node->name),
                       parcel->rows[i].write, row_name(parcel->rows[i].row, name, sizeof name));
    }
}

static bool inlet_settle(struct inlet *port, uint64_t tag, struct error *error)
{
    struct node *node = node_of(port);
    struct queue *queue = queue_of(node);
    size_t upto = queue->tag_base + (size_t)tag;
    enum failing failing = world_call(node, LINK_INLET, CALL_SETTLE, error);
    if (failing == FAILS_BEFORE)
        return false;
    if (tag < 1 || upto > queue->delivered || upto <= queue->acked || node->target.in_transaction)
        world_fail(node->world, "%.*s settles tag %llu out of order", TEXT_PRINTF(node->name), (unsigned long long)tag);
    for (size_t i = queue->acked; i < upto; i++)
        check_durable(node, queue->places[i].parcel);
    /* The broker has heard of earlier ones by now, as a rule. */
    if (!random_chance(&node->world->random, 4))
        queue->settled = queue->acked;
    queue->acked = upto;
    world_trace(node->world, "%.*s settles up to tag %llu", TEXT_PRINTF(node->name), (unsigned long long)tag);
    return failing == FAILS_NOT || link_break(node, LINK_INLET, error);
}

static bool inlet_depth(struct inlet *port, uint64_t *messages, struct error *error)
{
    struct node *node = node_of(port);
    if (world_call(node, LINK_INLET, CALL_DEPTH, error) != FAILS_NOT)
        return false;
    *messages = queue_of(node)->count - queue_of(node)->delivered;
    return true;
}

static void inlet_close(struct inlet *port)
{
    link_close(node_of(port), LINK_INLET);
}

static const struct inlet_ops ops = {inlet_open, inlet_receive, inlet_settle, inlet_depth, inlet_close};

void inlet_init(struct node *node)
{
    node->inlet = (struct inlet_port){.port = {&ops}, .node = node};
}

/* ---- the dead ---- */

static struct node *node_of_dead(struct inlet *port)
{
    return ((struct dead_port *)port)->node;
}

static bool dead_open(struct inlet *port, struct error *error)
{
    struct node *node = node_of_dead(port);
    link_close(node, LINK_DEAD);
    if (world_call(node, LINK_DEAD, CALL_INLET_OPEN, error) != FAILS_NOT)
        return false;
    node->links[LINK_DEAD] = (struct link){.open = true};
    node->dead_inlet.in_hand = false;
    return true;
}

static bool has_dead(const struct node *node)
{
    return !node->dead_inlet.in_hand && queue_of(node)->dead_count > 0;
}

static bool dead_receive(struct inlet *port, int wait_ms, struct delivery **delivery, struct error *error)
{
    struct node *node = node_of_dead(port);
    if (world_call(node, LINK_DEAD, CALL_RECEIVE, error) != FAILS_NOT || !world_wait(node, LINK_DEAD, wait_ms, has_dead, error))
        return false;
    *delivery = NULL;
    if (!has_dead(node))
        return true;
    struct place *place = &queue_of(node)->dead[0];
    *delivery = delivery_new();
    (*delivery)->envelope = place->parcel->envelope;
    (*delivery)->envelope.redelivered = place->delivered;
    (*delivery)->tag = 1;
    place->delivered = node->dead_inlet.in_hand = true;
    world_trace(node->world, "%.*s receives of the dead: %.*s", TEXT_PRINTF(node->name), TEXT_PRINTF(place->parcel->envelope.body));
    return true;
}

static bool dead_settle(struct inlet *port, uint64_t tag, struct error *error)
{
    struct node *node = node_of_dead(port);
    struct queue *queue = queue_of(node);
    (void)tag;
    enum failing failing = world_call(node, LINK_DEAD, CALL_SETTLE, error);
    if (failing == FAILS_BEFORE)
        return false;
    if (!node->dead_inlet.in_hand || node->target.in_transaction)
        world_fail(node->world, "%.*s settles what it has not received", TEXT_PRINTF(node->name));
    check_durable(node, queue->dead[0].parcel);
    memmove(&queue->dead[0], &queue->dead[1], --queue->dead_count * sizeof queue->dead[0]);
    node->dead_inlet.in_hand = false;
    node->world->statistics.drained++;
    return failing == FAILS_NOT || link_break(node, LINK_DEAD, error);
}

static bool dead_depth(struct inlet *port, uint64_t *messages, struct error *error)
{
    struct node *node = node_of_dead(port);
    if (world_call(node, LINK_DEAD, CALL_DEPTH, error) != FAILS_NOT)
        return false;
    *messages = queue_of(node)->dead_count;
    return true;
}

static void dead_close(struct inlet *port)
{
    link_close(node_of_dead(port), LINK_DEAD);
}

static const struct inlet_ops dead_ops = {dead_open, dead_receive, dead_settle, dead_depth, dead_close};

void dead_init(struct node *node)
{
    node->dead_inlet = (struct dead_port){.port = {&dead_ops}, .node = node};
}
