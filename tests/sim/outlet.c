/* The outlet port on the model broker's channel. */
#include "tests/sim/world.h"

static struct node *node_of(struct outlet *port)
{
    return ((struct outlet_port *)port)->node;
}

static struct channel *channel_of(const struct node *node)
{
    return &node->world->broker.channels[node->number];
}

static bool outlet_open(struct outlet *port, struct error *error)
{
    struct node *node = node_of(port);
    link_close(node, LINK_OUTLET);
    if (world_call(node, LINK_OUTLET, CALL_OUTLET_OPEN, error) != FAILS_NOT)
        return false;
    node->links[LINK_OUTLET] = (struct link){.open = true};
    return true;
}

static bool outlet_publish(struct outlet *port, const struct envelope *envelope, struct error *error)
{
    struct node *node = node_of(port);
    struct channel *channel = channel_of(node);
    enum failing failing = world_call(node, LINK_OUTLET, CALL_PUBLISH, error);
    if (failing == FAILS_BEFORE)
        return false;
    if (channel->sent - channel->confirmed >= CHANNEL_MAX - 1)
        world_fail(node->world, "%.*s publishes without waiting for confirmations", TEXT_PRINTF(node->name));
    channel->messages[++channel->sent % CHANNEL_MAX].borrowed = envelope;
    channel->messages[channel->sent % CHANNEL_MAX].parcel = NULL;
    return failing == FAILS_NOT || link_break(node, LINK_OUTLET, error);
}

/* Something to tell, or nothing to wait for. */
static bool has_confirmations(const struct node *node)
{
    const struct channel *channel = channel_of(node);
    return channel->confirmed == channel->sent ||
           channel_arrived(&node->world->broker, node->number) > channel->confirmed;
}

static void note_confirmed(struct node *node, const struct parcel *parcel)
{
    const struct header *epoch = envelope_header(&parcel->envelope, "x-epoch"), *number = envelope_header(&parcel->envelope, "x-seq");
    snprintf(node->source.confirmed.epoch, sizeof node->source.confirmed.epoch, "%.*s", TEXT_PRINTF(epoch->text));
    node->source.confirmed.sequence = number->number;
    for (size_t i = 0; i < parcel->row_count; i++) {
        size_t row = parcel->rows[i].row;
        int64_t us = node->world->history.writes[row][parcel->rows[i].write].version.us;
        if (us > node->source.confirmed_us[row])
            node->source.confirmed_us[row] = us;
    }
}

static bool outlet_confirm(struct outlet *port, int wait_ms, uint64_t *confirmed, struct error *error)
{
    struct node *node = node_of(port);
    struct channel *channel = channel_of(node);
    if (world_call(node, LINK_OUTLET, CALL_CONFIRM, error) != FAILS_NOT ||
        !world_wait(node, LINK_OUTLET, wait_ms, has_confirmations, error))
        return false;
    size_t arrived = channel_arrived(&node->world->broker, node->number);
    /* Any part of the confirmations may be on its way still. */
    if (arrived > channel->confirmed)
        arrived -= random_below(&node->world->random, arrived - channel->confirmed);
    while (channel->confirmed < arrived)
        note_confirmed(node, channel->messages[++channel->confirmed % CHANNEL_MAX].parcel);
    *confirmed = channel->confirmed;
    return true;
}

static const char *outlet_blocked(struct outlet *port)
{
    (void)port;
    return NULL;
}

static void outlet_close(struct outlet *port)
{
    link_close(node_of(port), LINK_OUTLET);
}

static const struct outlet_ops ops = {outlet_open, outlet_publish, outlet_confirm, outlet_blocked, outlet_close};

void outlet_init(struct node *node)
{
    node->outlet = (struct outlet_port){.port = {&ops}, .node = node};
}
