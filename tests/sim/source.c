/* The source port on the model database's outbox, and the clock port. */
#include "tests/sim/collection.h"
#include "tests/sim/wal.h"

static const struct text parent_fields[] = {{"id", 2}, {"value", 5}, {"code", 4}};
static const struct text child_fields[] = {{"id", 2}, {"value", 5}, {"parent", 6}};

/* [entity][coalesce] */
static const struct layout layouts[ENTITIES][2] = {
    {{.id = 1, .entity = {"parent", 6}, .key_count = 1, .field_count = 3, .fields = parent_fields, .schema = {"p1", 2}},
     {.id = 2,
      .entity = {"parent", 6},
      .key_count = 1,
      .field_count = 3,
      .fields = parent_fields,
      .schema = {"p1", 2},
      .coalesce = true}},
    {{.id = 3, .entity = {"child", 5}, .key_count = 1, .field_count = 3, .fields = child_fields, .schema = {"c1", 2}},
     {.id = 4,
      .entity = {"child", 5},
      .key_count = 1,
      .field_count = 3,
      .fields = child_fields,
      .schema = {"c1", 2},
      .coalesce = true}},
};

static struct node *node_of(struct source *port)
{
    return ((struct source_port *)port)->node;
}

static struct text number_text(int number, struct arena *arena)
{
    static const char digits[] = "0123456789";
    if (number == NOBODY)
        return TEXT_NULL;
    if (number < 10)
        return (struct text){digits + number, 1};
    return arena_printf(arena, "%d", number);
}

/* A batch's note of where it stands in the outbox. */
struct ticket {
    uint64_t generation;
    size_t from, to;
    int64_t newest_us;
};

static bool source_open(struct source *port, struct error *error)
{
    struct node *node = node_of(port);
    link_close(node, LINK_SOURCE);
    if (world_call(node, LINK_SOURCE, CALL_SOURCE_OPEN, error) != FAILS_NOT)
        return false;
    node->links[LINK_SOURCE] = (struct link){.open = true};
    node->source.generation++;
    node->source.newest_us = node->database.given_us;
    node->source.given = node->source.window = node->database.outbox_released;
    node->source.has_heartbeat = false;
    return true;
}

static bool has_changes(const struct node *node)
{
    return node->source.given < node->database.outbox_count;
}

static bool has_anything(const struct node *node)
{
    return has_changes(node) || node->source.heartbeat_due;
}

/* Looks at what is there, once everything that was seen before is given out. A heartbeat speaks of that moment. */
static void look(struct node *node)
{
    struct source_port *source = &node->source;
    if (source->given < source->window)
        return;
    source->window = node->database.outbox_count;
    source->has_heartbeat = false;
    if (source->heartbeat_due)
        collection_say(node);
}

/* Comes with the last of what was seen in its moment. */
static void give_heartbeat(struct node *node, struct batch *batch)
{
    struct source_port *source = &node->source;
    if (!source->has_heartbeat || source->given < source->window)
        return;
    struct heartbeat *heartbeat = arena_take(&batch->arena, sizeof *heartbeat);
    struct heard *heard = arena_take_array(&batch->arena, NODES_MAX, sizeof *heard);
    memcpy(heard, source->heard, sizeof source->heard);
    *heartbeat = source->heartbeat;
    heartbeat->heard = heard;
    batch->heartbeat = heartbeat;
    source->has_heartbeat = false;
}

static void fill(struct node *node, const struct outbox_change *from, struct batch *batch, struct change *to)
{
    const struct schedule *schedule = &node->world->schedule;
    enum entity entity = row_entity(from->row);
    struct text *values = arena_take_array(&batch->arena, 3, sizeof *values);
    values[0] = number_text((int)(from->row % KEYS_MAX), &batch->arena);
    values[1] = number_text(from->content.value, &batch->arena);
    values[2] = number_text(entity == ENTITY_PARENT ? from->content.code : from->content.parent, &batch->arena);
    struct write write = write_of(from->version, from->base, from->seen_us, &batch->arena);
    *to = (struct change){.layout = &layouts[entity][schedule->coalesce[entity]],
                          .op = from->op,
                          .values = values,
                          .version = write.version,
                          .base = write.base,
                          .seen = write.seen};
}

static bool apply_is_done(const struct node *node)
{
    return !node->target.in_transaction;
}

/* The changes get their versions, durably, before anybody hears of them. */
static bool note(struct node *node, size_t from, size_t to, struct error *error)
{
    int64_t newest_us = node->source.newest_us;
    if (!node->database.wal)
        return true;
    while (!wal_only_reads(node, from, to, newest_us) && !apply_is_done(node) && !node->dead)
        if (!world_wait(node, LINK_SOURCE, 1000, apply_is_done, error))
            return false;
    if (!node->dead)
        wal_note(node, from, to, &newest_us);
    node->source.newest_us = newest_us;
    return world_call(node, LINK_SOURCE, CALL_NOTED, error) == FAILS_NOT;
}

static bool source_next(struct source *port, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    struct node *node = node_of(port);
    struct database *database = &node->database;
    node->source.heartbeat_due = batch->heartbeat_due;
    if (world_call(node, LINK_SOURCE, CALL_NEXT, error) != FAILS_NOT ||
        !world_wait(node, LINK_SOURCE, wait_ms, has_anything, error))
        return false;
    if (batch->change_count != 0)
        world_fail(node->world, "next was given a batch that is not empty");
    look(node);
    if (node->source.given == node->source.window) {
        give_heartbeat(node, batch);
        *found = batch->heartbeat != NULL;
        return true;
    }
    *found = true;
    size_t most = 1 + random_below(&node->world->random, node->world->schedule.batch_transactions);
    size_t from = node->source.given, to = from;
    while (to < node->source.window && most > 0)
        most -= database->outbox[to++].last;
    if (!note(node, from, to, error))
        return false;
    struct ticket *ticket = arena_take(&batch->arena, sizeof *ticket);
    *ticket = (struct ticket){node->source.generation, from, to, node->source.newest_us};
    batch->ticket = ticket;
    batch->changes = arena_take_array(&batch->arena, to - from, sizeof *batch->changes);
    for (size_t i = from; i < to; i++)
        fill(node, &database->outbox[i], batch, &batch->changes[batch->change_count++]);
    batch->captured_count = batch->change_count;
    node->source.given = to;
    give_heartbeat(node, batch);
    world_trace(node->world, "%.*s captures changes %zu to %zu", TEXT_PRINTF(node->name), from, to - 1);
    return true;
}

static bool source_release(struct source *port, const struct batch *batch, const struct receipt *receipt,
                           struct error *error)
{
    struct node *node = node_of(port);
    struct database *database = &node->database;
    const struct ticket *ticket = batch->ticket;
    enum failing failing = world_call(node, LINK_SOURCE, CALL_RELEASE, error);
    if (failing == FAILS_BEFORE)
        return false;
    if (ticket == NULL)
        return failing == FAILS_NOT || link_break(node, LINK_SOURCE, error);
    if (ticket->generation != node->source.generation || ticket->from != database->outbox_released)
        world_fail(node->world, "%.*s releases changes %zu to %zu out of order", TEXT_PRINTF(node->name), ticket->from,
                   ticket->to - 1);
    if (receipt->captured != ticket->to - ticket->from)
        world_fail(node->world, "%.*s has a receipt of %llu changes, but %zu were captured", TEXT_PRINTF(node->name),
                   (unsigned long long)receipt->captured, ticket->to - ticket->from);
    for (size_t i = ticket->from; i < ticket->to; i++)
        if (database->outbox[i].version.us > node->source.confirmed_us[database->outbox[i].row])
            world_fail(node->world, "%.*s releases change %zu before it is confirmed", TEXT_PRINTF(node->name), i);
    database->outbox_released = ticket->to;
    database->given_us = ticket->newest_us;
    database->released_lsn = database->outbox[ticket->to - 1].lsn;
    world_trace(node->world, "%.*s releases changes %zu to %zu", TEXT_PRINTF(node->name), ticket->from, ticket->to - 1);
    return failing == FAILS_NOT || link_break(node, LINK_SOURCE, error);
}

static bool source_report(struct source *port, const struct report *report, struct error *error)
{
    (void)report;
    return world_call(node_of(port), LINK_SOURCE, CALL_SOURCE_REPORT, error) == FAILS_NOT;
}

static void source_close(struct source *port)
{
    link_close(node_of(port), LINK_SOURCE);
}

static const struct source_ops ops = {source_open, source_next, source_release, source_report, source_close};

void source_init(struct node *node)
{
    node->source = (struct source_port){.port = {&ops}, .node = node};
}

/* ---- the clock ---- */

static struct node *node_of_clock(struct clock *port)
{
    return ((struct node_clock *)port)->node;
}

static int64_t clock_now_us(struct clock *port)
{
    return node_clock_us(node_of_clock(port));
}

static int64_t clock_monotonic_ms(struct clock *port)
{
    return node_of_clock(port)->world->now_us / 1000;
}

static void clock_sleep_ms(struct clock *port, int wait_ms)
{
    struct error error;
    world_wait(node_of_clock(port), LINKS, wait_ms, NULL, &error);
}

static const struct clock_ops clock_ops = {clock_now_us, clock_monotonic_ms, clock_sleep_ms};

void clock_init(struct node *node)
{
    node->clock = (struct node_clock){.port = {&clock_ops}, .node = node};
}
