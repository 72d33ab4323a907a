#include "tests/sim/collection.h"
#include "tests/sim/letters.h"

enum { CHECK_US = 60000000 };

void collection_say(struct node *node)
{
    struct source_port *source = &node->source;
    struct collection *collection = &node->database.collection;
    int64_t now_us = node_clock_us(node);
    /* Never the same twice, nor back with the clock: who has heard it has heard all before it. */
    collection->said_us = now_us > collection->said_us ? now_us : collection->said_us + 1;
    source->heartbeat =
        (struct heartbeat){.source = node->name, .time_us = collection->said_us, .heard = source->heard};
    for (int i = 0; i < (int)node->world->schedule.node_count; i++) {
        const struct peer *peer = &node->database.peers[i];
        if (i != node->number && peer->sent_us != 0 && !letters_hide_deletion(node, i))
            source->heard[source->heartbeat.heard_count++] =
                (struct heard){node_name(i), peer->sent_us, peer->received_us};
    }
    source->has_heartbeat = true;
}

void collection_say_again(struct node *node)
{
    struct source_port *source = &node->source;
    int64_t said_us = node->database.collection.said_us;
    source->heartbeat = (struct heartbeat){.source = node->name, .time_us = said_us > 0 ? said_us : 1, .heard = source->heard, .again = true};
    source->has_heartbeat = true;
}

void collection_hear(struct node *node, const struct heartbeat *heartbeat)
{
    struct transaction *transaction = &node->target.transaction;
    int from = node_number(heartbeat->source);
    node->world->statistics.signs += heartbeat->again;
    if (from == node->number || heartbeat->again || numbering_has_gap(&node->target.noted, heartbeat->source))
        return;
    const struct peer *known = transaction->heard[from] ? &transaction->peers[from] : &node->database.peers[from];
    if (heartbeat->time_us <= known->sent_us)
        return;
    struct peer peer = {.sent_us = heartbeat->time_us, .received_us = node_clock_us(node)};
    for (size_t i = 0; i < heartbeat->heard_count; i++)
        peer.heard_us[node_number(heartbeat->heard[i].node)] = heartbeat->heard[i].sent_us;
    transaction->heard[from] = true;
    transaction->peers[from] = peer;
    node->world->statistics.heartbeats++;
}

/* Everybody has heard what everybody said after the mark. */
static bool everybody_knows(const struct node *node)
{
    const struct database *database = &node->database;
    int node_count = (int)node->world->schedule.node_count;
    for (int peer = 0; peer < node_count; peer++)
        for (int of = 0; of < node_count; of++)
            if (peer != node->number && of != peer &&
                database->peers[peer].heard_us[of] <= database->collection.heard_us[of])
                return false;
    return true;
}

/* Up to when by everybody's clock: whatever a node writes from now on is later. */
static int64_t time_of_all_us(const struct node *node)
{
    int64_t earliest_us = node_clock_us(node);
    for (int i = 0; i < (int)node->world->schedule.node_count; i++) {
        const struct peer *peer = &node->database.peers[i];
        if (i != node->number && peer->sent_us < earliest_us && node->world->variant != VARIANT_AHEAD)
            earliest_us = peer->sent_us;
    }
    return earliest_us;
}

static void sweep(struct node *node)
{
    struct database *database = &node->database;
    struct collection *collection = &database->collection;
    int64_t until_us = time_of_all_us(node) - node->world->schedule.retention_us;
    for (size_t i = 0; i < ROWS_MAX; i++) {
        struct row *row = &database->rows[i];
        char name[32];
        if (row->content.present || row->version.us == 0 || row->version.us >= until_us ||
            (database->wal && !row->entry.deleted) || row->touched > collection->mark || database_has_letter(database, i) || (row->open & ~row->past) != 0)
            continue;
        if (row->version.us > collection->horizon_us)
            collection->horizon_us = row->version.us;
        row->version = row->base = (struct stamp){0};
        row->entry.here = false;
        row->entry.former_count = 0;
        memset(row->seen_us, 0, sizeof row->seen_us);
        row->forgotten = row->ever_forgotten = true;
        node->world->statistics.forgotten++;
        world_trace(node->world, "%.*s forgets the deletion of %s", TEXT_PRINTF(node->name),
                    row_name(i, name, sizeof name));
    }
}

int64_t collection_collect(struct node *node)
{
    struct database *database = &node->database;
    struct collection *collection = &database->collection;
    int64_t now_us = node_clock_us(node), retention_us = node->world->schedule.retention_us;
    if (collection->checked_us > now_us - (retention_us < CHECK_US ? retention_us : CHECK_US))
        return collection->horizon_us;
    collection->checked_us = now_us;
    if (collection->marked_us == 0) {
        collection->marked_us = now_us;
        world_trace(node->world, "%.*s sets a mark", TEXT_PRINTF(node->name));
        collection->mark = database->touches;
        for (int i = 0; i < NODES_MAX; i++)
            collection->heard_us[i] = database->peers[i].sent_us;
        collection->heard_us[node->number] = now_us > collection->said_us ? now_us : collection->said_us;
        return collection->horizon_us;
    }
    if (node->world->variant != VARIANT_HORIZON && !everybody_knows(node))
        return collection->horizon_us;
    world_trace(node->world, "%.*s sweeps", TEXT_PRINTF(node->name));
    sweep(node);
    collection->marked_us = 0;
    return collection->horizon_us;
}
