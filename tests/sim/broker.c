#include "tests/sim/broker.h"

#include <stdlib.h>
#include <string.h>

#include "bridge/base/memory.h"
#include "tests/sim/world.h"

void broker_init(struct broker *broker)
{
    arena_init(&broker->arena, SIZE_MAX / 2);
}

void broker_clear(struct broker *broker, struct world *world)
{
    broker->world = world;
    arena_reset(&broker->arena);
    for (size_t i = 0; i < NODES_MAX; i++) {
        struct queue *queue = &broker->queues[i];
        queue->count = queue->settled = queue->acked = queue->delivered = queue->tag_base = queue->dead_count = 0;
        struct channel *channel = &broker->channels[i];
        channel->sent = channel->confirmed = 0;
        memset(channel->routed, 0, sizeof channel->routed);
        broker->late[i].first = broker->late[i].count = 0;
    }
    broker->away_us = 0;
    broker->parcel_count = 0;
}

/* ---- parcels: a message is read here by its text alone, without the codec under test ---- */

/* What stands after the mark, NULL when it is missing. */
static const char *after(const char *text, const char *mark)
{
    const char *found = text != NULL ? strstr(text, mark) : NULL;
    return found != NULL ? found + strlen(mark) : NULL;
}

static const char *take_field(struct world *world, const char *at, int *number)
{
    if (strncmp(at, "null", 4) == 0) {
        *number = NOBODY;
        return at + 4;
    }
    char *end;
    if (*at != '"')
        world_fail(world, "a message holds a value that is no text: %s", at);
    *number = (int)strtol(at + 1, &end, 10);
    return end + 1;
}

/* Checks one row of a message against the history. Returns where the next may begin. */
static const char *take_row(struct world *world, struct parcel *parcel, bool child, bool deleted, const char *at,
                            const char **versions)
{
    int fields[3] = {NOBODY, NOBODY, NOBODY};
    at++;
    for (size_t i = 0; i < 3 && at[-1] != ']'; i++)
        at = take_field(world, at, &fields[i]) + 1;
    char *end;
    struct stamp version = {strtoll(*versions, &end, 10), parcel->source};
    *versions = end + 1;
    size_t row = (size_t)fields[0] + (child ? KEYS_MAX : 0);
    int number = history_find(&world->history, row, version);
    char name[32];
    row_name(row, name, sizeof name);
    if (number == NOBODY || world->history.writes[row][number].state != WRITTEN_COMMITTED)
        world_fail(world, "published what nobody has committed: %s version %lld of %.*s", name, (long long)version.us,
                   TEXT_PRINTF(node_name(version.node)));
    struct written *written = &world->history.writes[row][number];
    struct content content = {!deleted, fields[1], child ? NOBODY : fields[2], child ? fields[2] : NOBODY};
    if (!content_equal(&content, &written->content))
        world_fail(world, "published another content than %s had in version %lld", name, (long long)version.us);
    if (++written->publications > 1 && world->nodes[parcel->source].upsets == 0)
        world_fail(world, "published twice without any failure: %s version %lld", name, (long long)version.us);
    parcel->rows[parcel->row_count].row = row;
    parcel->rows[parcel->row_count++].write = number;
    return at;
}

static void envelope_copy(struct arena *arena, const struct envelope *from, struct envelope *to)
{
    *to = *from;
    to->routing_key = arena_copy(arena, from->routing_key);
    to->body = arena_copy(arena, from->body);
    to->content_type = arena_copy(arena, from->content_type);
    to->message_id = arena_copy(arena, from->message_id);
    to->correlation_id = arena_copy(arena, from->correlation_id);
    to->type = arena_copy(arena, from->type);
    to->app_id = arena_copy(arena, from->app_id);
    for (size_t i = 0; i < from->header_count; i++) {
        to->headers[i].name = arena_copy(arena, from->headers[i].name);
        to->headers[i].text = arena_copy(arena, from->headers[i].text);
    }
}

static struct parcel *parcel_new(struct broker *broker, int source, const struct envelope *envelope)
{
    struct world *world = broker->world;
    struct parcel *parcel = arena_take(&broker->arena, sizeof *parcel + PARCEL_ROWS_MAX * sizeof parcel->rows[0]);
    parcel->source = source;
    envelope_copy(&broker->arena, envelope, &parcel->envelope);
    const char *body = parcel->envelope.body.data;
    bool heartbeat = after(body, "\"control\":\"heartbeat\"") != NULL;
    bool child = after(body, "\"entity\":\"child\"") != NULL, deleted = after(body, "\"op\":\"deleted\"") != NULL;
    const char *rows = after(body, "\"rows\":["), *versions = after(rows, "\"versions\":[");
    if (versions == NULL && !heartbeat)
        world_fail(world, "a message has no versions: %s", body);
    while (!heartbeat && rows[0] == '[' && parcel->row_count < PARCEL_ROWS_MAX) {
        rows = take_row(world, parcel, child, deleted, rows, &versions);
        rows += rows[0] == ',';
    }
    if (broker->parcel_count == broker->parcel_capacity) {
        broker->parcel_capacity = broker->parcel_capacity * 2 + 256;
        broker->parcels = realloc(broker->parcels, broker->parcel_capacity * sizeof(struct parcel *));
        if (broker->parcels == NULL)
            memory_exhausted(__func__);
    }
    broker->parcels[broker->parcel_count++] = parcel;
    world->statistics.messages++;
    world->statistics.rows += parcel->row_count;
    world_trace(world, "broker takes from %.*s %s", TEXT_PRINTF(node_name(source)), body);
    return parcel;
}

/* ---- channels ---- */

bool channel_routes(const struct broker *broker, int from, int to)
{
    return from != to || broker->world->schedule.echoes;
}

size_t channel_arrived(const struct broker *broker, int from)
{
    const struct channel *channel = &broker->channels[from];
    size_t arrived = channel->sent;
    for (int to = 0; to < (int)broker->world->schedule.node_count; to++)
        if (channel_routes(broker, from, to) && channel->routed[to] < arrived)
            arrived = channel->routed[to];
    return arrived;
}

static void queue_add(struct broker *broker, int node, struct parcel *parcel)
{
    struct queue *queue = &broker->queues[node];
    if (queue->count == QUEUE_MAX)
        world_fail(broker->world, "messages are published without end");
    queue->places[queue->count++] = (struct place){.parcel = parcel};
}

static struct parcel *channel_parcel(struct broker *broker, int from, size_t number)
{
    struct channel *channel = &broker->channels[from];
    struct parcel **parcel = &channel->messages[number % CHANNEL_MAX].parcel;
    if (*parcel == NULL)
        *parcel = parcel_new(broker, from, channel->messages[number % CHANNEL_MAX].borrowed);
    return *parcel;
}

static void route_to(struct broker *broker, int from, int to)
{
    size_t number = ++broker->channels[from].routed[to];
    queue_add(broker, to, channel_parcel(broker, from, number));
    world_trace(broker->world, "broker puts number %zu of %.*s into the queue of %.*s", number,
                TEXT_PRINTF(node_name(from)), TEXT_PRINTF(node_name(to)));
}

bool channel_busy(const struct broker *broker, int from)
{
    return broker->late[from].first < broker->late[from].count ||
           channel_arrived(broker, from) < broker->channels[from].sent;
}

void channel_route(struct broker *broker, int from)
{
    struct channel *channel = &broker->channels[from];
    struct late *late = &broker->late[from];
    struct random *random = &broker->world->random;
    bool busy = channel_arrived(broker, from) < channel->sent;
    if (late->first < late->count && (!busy || random_chance(random, 3))) {
        size_t i = late->first++;
        queue_add(broker, late->messages[i].to, late->messages[i].parcel);
        world_trace(broker->world, "broker puts a late message of %.*s into the queue of %.*s",
                    TEXT_PRINTF(node_name(from)), TEXT_PRINTF(node_name(late->messages[i].to)));
        return;
    }
    int node_count = (int)broker->world->schedule.node_count, first = (int)random_below(random, (size_t)node_count);
    for (int i = 0; i < node_count; i++) {
        int to = (first + i) % node_count;
        if (channel_routes(broker, from, to) && channel->routed[to] < channel->sent) {
            route_to(broker, from, to);
            return;
        }
    }
}

static void route_late(struct broker *broker, int from, int to)
{
    struct late *late = &broker->late[from];
    size_t number = ++broker->channels[from].routed[to];
    if (late->count == LATE_MAX)
        world_fail(broker->world, "messages are late without end");
    late->messages[late->count].parcel = channel_parcel(broker, from, number);
    late->messages[late->count++].to = to;
}

void channel_break(struct broker *broker, int from)
{
    struct channel *channel = &broker->channels[from];
    struct random *random = &broker->world->random;
    bool late = broker->world->schedule.stragglers && random_chance(random, 2);
    for (int to = 0; to < (int)broker->world->schedule.node_count; to++) {
        if (!channel_routes(broker, from, to) || channel->routed[to] == channel->sent)
            continue;
        size_t arrive = random_below(random, channel->sent - channel->routed[to] + 1);
        while (arrive-- > 0) {
            if (late)
                route_late(broker, from, to);
            else
                route_to(broker, from, to);
        }
    }
    channel->sent = channel->confirmed = 0;
    memset(channel->routed, 0, sizeof channel->routed);
}

/* ---- queues ---- */

/* Takes those out of what was delivered and not settled that have been it too often. */
static void queue_give_up(struct broker *broker, struct queue *queue)
{
    size_t limit = broker->world->schedule.deliveries, kept = queue->settled;
    for (size_t i = queue->settled; i < queue->count; i++) {
        struct place *place = &queue->places[i];
        place->deliveries += i < queue->delivered;
        if (limit == 0 || place->deliveries < limit || i >= queue->delivered)
            queue->places[kept++] = *place;
        else
            queue->dead[queue->dead_count++] = *place;
    }
    broker->world->statistics.dead += queue->count - kept;
    queue->delivered -= queue->count - kept;
    queue->count = kept;
}

void queue_break(struct broker *broker, int node)
{
    struct queue *queue = &broker->queues[node];
    struct random *random = &broker->world->random;
    /* Acknowledgements may still have been on their way. */
    if (queue->acked > queue->settled)
        queue->settled += random_below(random, queue->acked - queue->settled + 1);
    broker->world->statistics.redeliveries += queue->delivered - queue->settled;
    if (broker->world->schedule.shuffles) {
        for (size_t i = queue->delivered; i > queue->settled + 1; i--) {
            size_t other = queue->settled + random_below(random, i - queue->settled);
            struct place kept = queue->places[i - 1];
            queue->places[i - 1] = queue->places[other];
            queue->places[other] = kept;
        }
    }
    queue_give_up(broker, queue);
    queue->acked = queue->delivered = queue->tag_base = queue->settled;
}

void queue_duplicate(struct broker *broker, int node)
{
    struct queue *queue = &broker->queues[node];
    if (queue->count == 0)
        return;
    queue_add(broker, node, queue->places[random_below(&broker->world->random, queue->count)].parcel);
    broker->world->statistics.duplicates++;
    world_trace(broker->world, "broker gives a message to %.*s once more", TEXT_PRINTF(node_name(node)));
}
