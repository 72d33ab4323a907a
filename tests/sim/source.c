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
    uint64_t aside; /* its number, when it is of what was put aside of a log */
    size_t from, to;
    int64_t newest_us;
};

static uint64_t holds_number(const struct source_port *source)
{
    return source->port.holds != NULL ? source->port.holds->number : 0;
}

/* The log has no gaps: it is read up to somewhere. */
static size_t unreleased_from(const struct node *node)
{
    return node->database.wal ? node->database.place : 0;
}

static bool is_aside(const struct outbox_change *change)
{
    return !change->released && (change->aside || change->leaves);
}

static bool source_open(struct source *port, struct error *error)
{
    struct node *node = node_of(port);
    link_close(node, LINK_SOURCE);
    if (world_call(node, LINK_SOURCE, CALL_SOURCE_OPEN, error) != FAILS_NOT)
        return false;
    node->links[LINK_SOURCE] = (struct link){.open = true};
    struct source_port *source = &node->source;
    source->generation++;
    source->newest_us = node->database.given_us;
    source->given = source->window = source->released = unreleased_from(node);
    source->unreleased = 0;
    source->has_heartbeat = false;
    source->holds_number = holds_number(source) - 1;
    for (size_t i = 0; i < node->database.outbox_count; i++) {
        struct outbox_change *change = &node->database.outbox[i];
        change->leaves = false;
        change->given = 0;
        bool forgotten = node->world->variant == VARIANT_LIGHTLY && is_aside(change);
        change->released = change->released || forgotten;
        node->database.outbox_released += forgotten;
    }
    return true;
}

/* Other changes are held than before: what is under way comes to its end, and then all that is there is looked at anew. A log is read on. */
static bool take_holds(struct node *node)
{
    struct source_port *source = &node->source;
    if (holds_number(source) == source->holds_number)
        return true;
    if (source->unreleased > 0 && !node->database.wal)
        return false;
    if (!node->database.wal)
        source->given = source->window = source->released = 0;
    source->has_heartbeat = false;
    source->holds_number = holds_number(source);
    for (size_t i = 0; i < ENTITIES; i++)
        source->held[i] = source->port.holds != NULL && holds_entity(source->port.holds, layouts[i][0].entity);
    return true;
}

static bool is_held(const struct node *node, const struct outbox_change *change)
{
    return node->source.held[row_entity(change->row)];
}

/* Of a log: whether it is held, or others of its entity wait. */
static bool waits(const struct node *node, const struct outbox_change *change)
{
    const struct database *database = &node->database;
    bool any = is_held(node, change);
    for (size_t i = 0; i < database->outbox_count && !any; i++)
        any = is_aside(&database->outbox[i]) && row_entity(database->outbox[i].row) == row_entity(change->row);
    return database->wal && any;
}

/* Of a log: whether anything waits that nothing holds any more. It goes out before the log is read on. */
static bool flows(const struct node *node)
{
    const struct database *database = &node->database;
    for (size_t i = 0; i < database->outbox_count; i++)
        if (is_aside(&database->outbox[i]) && !is_held(node, &database->outbox[i]))
            return true;
    return false;
}

static bool is_wanted(const struct node *node, const struct outbox_change *change)
{
    return !change->released && (node->database.wal || !is_held(node, change));
}

static bool has_changes(const struct node *node)
{
    for (size_t i = node->source.given; i < node->database.outbox_count; i++)
        if (is_wanted(node, &node->database.outbox[i]))
            return true;
    return flows(node);
}

static bool has_anything(const struct node *node)
{
    return has_changes(node) || node->source.heartbeat_due;
}

static bool holds_back(const struct node *node)
{
    for (size_t i = 0; i < node->database.outbox_count; i++)
        if (is_aside(&node->database.outbox[i]) || (!node->database.outbox[i].released && is_held(node, &node->database.outbox[i])))
            return true;
    return false;
}

/* Looks at what is there, once everything that was seen before is given out. A heartbeat speaks of that moment. */
static void look(struct node *node)
{
    struct source_port *source = &node->source;
    if (source->given < source->window)
        return;
    source->window = node->database.outbox_count;
    source->has_heartbeat = false;
    if (source->heartbeat_due && holds_back(node) && node->world->variant != VARIANT_PROMISE)
        collection_say_again(node);
    else if (source->heartbeat_due)
        collection_say(node);
}

static void tell_confirmed(const struct database *database, struct heartbeat *heartbeat, struct arena *arena)
{
    struct confirmed *confirmed = arena_take_array(arena, database->confirmed_count, sizeof *confirmed);
    for (size_t i = 0; i < database->confirmed_count; i++)
        confirmed[i] = (struct confirmed){arena_copy(arena, text_from(database->confirmed[i].epoch)), database->confirmed[i].sequence};
    heartbeat->confirmed = confirmed;
    heartbeat->confirmed_count = database->confirmed_count;
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
    if (!heartbeat->again)
        tell_confirmed(&node->database, heartbeat, &batch->arena);
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
    wal_join(node, from, to, newest_us);
    while (!wal_only_reads(node, from, to, newest_us) && !apply_is_done(node) && !node->dead)
        if (!world_wait(node, LINK_SOURCE, 1000, apply_is_done, error))
            return false;
    if (!node->dead)
        wal_note(node, from, to, &newest_us);
    node->source.newest_us = newest_us;
    return world_call(node, LINK_SOURCE, CALL_NOTED, error) == FAILS_NOT;
}

/* Gives out [from, to) of the log: what is held is put aside when the rest is released. */
static void give(struct node *node, size_t from, size_t to, struct batch *batch)
{
    struct database *database = &node->database;
    batch->changes = arena_take_array(&batch->arena, to - from, sizeof *batch->changes);
    for (size_t i = from; i < to; i++) {
        struct outbox_change *change = &database->outbox[i];
        change->leaves = database->wal && !change->joined && waits(node, change);
        batch->captured_count += is_wanted(node, change) && !change->leaves;
        if (is_wanted(node, change) && !change->leaves && !change->joined)
            fill(node, change, batch, &batch->changes[batch->change_count++]);
    }
}

/* -> the end of what is given out. */
static size_t give_aside(struct node *node, size_t most, uint64_t ticket, struct batch *batch)
{
    struct database *database = &node->database;
    size_t end = 0;
    batch->changes = arena_take_array(&batch->arena, database->place, sizeof *batch->changes);
    for (size_t i = 0; i < database->place && most > 0; i++) {
        struct outbox_change *change = &database->outbox[i];
        if (change->aside && !change->released && change->given == 0 && !is_held(node, change)) {
            change->given = ticket;
            fill(node, change, batch, &batch->changes[batch->change_count++]);
            batch->captured_count++;
            end = i + 1;
        }
        most -= change->last && end > 0;
    }
    return end;
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
    *found = false;
    if (!take_holds(node))
        return true;
    size_t most = 1 + random_below(&node->world->random, node->world->schedule.batch_transactions);
    bool aside = flows(node);
    size_t from = aside ? 0 : node->source.given, to = from;
    if (aside) {
        to = give_aside(node, most, ++node->source.tickets, batch);
    } else {
        look(node);
        while (to < node->source.window && most > 0)
            most -= database->outbox[to++].last;
        if (!note(node, from, to, error))
            return false;
        give(node, from, to, batch);
        node->source.given = to;
        give_heartbeat(node, batch);
    }
    bool taken = batch->change_count > 0 || (database->wal && to > from);
    *found = taken || batch->heartbeat != NULL;
    node->source.unreleased += *found;
    if (!taken)
        return true;
    struct ticket *ticket = arena_take(&batch->arena, sizeof *ticket);
    *ticket = (struct ticket){node->source.generation, aside ? node->source.tickets : 0, from, to, node->source.newest_us};
    batch->ticket = ticket;
    world_trace(node->world, "%.*s captures changes %zu to %zu%s", TEXT_PRINTF(node->name), from, to - 1, aside ? " of those put aside" : "");
    return true;
}

/* As sql/queries/outbox_release.sql. */
static void note_confirmed(struct database *database, const struct receipt *receipt)
{
    struct confirmed_number *last = &database->confirmed[database->confirmed_count - 1];
    if (!text_equal(text_from(last->epoch), receipt->epoch)) {
        if (database->confirmed_count == LIMIT_INCARNATIONS)
            memmove(database->confirmed, database->confirmed + 1, --database->confirmed_count * sizeof *last);
        last = &database->confirmed[database->confirmed_count++];
        snprintf(last->epoch, sizeof last->epoch, "%.*s", TEXT_PRINTF(receipt->epoch));
    }
    last->sequence = receipt->sequence;
}

static bool source_release(struct source *port, const struct batch *batch, const struct receipt *receipt,
                           struct error *error)
{
    struct node *node = node_of(port);
    struct database *database = &node->database;
    const struct ticket *ticket = batch->ticket;
    size_t count = 0;
    enum failing failing = world_call(node, LINK_SOURCE, CALL_RELEASE, error);
    if (failing == FAILS_BEFORE)
        return false;
    node->source.unreleased--;
    if (ticket == NULL)
        return failing == FAILS_NOT || link_break(node, LINK_SOURCE, error);
    if (ticket->generation != node->source.generation || (ticket->aside == 0 && ticket->from < node->source.released))
        world_fail(node->world, "%.*s releases changes %zu to %zu out of order", TEXT_PRINTF(node->name), ticket->from,
                   ticket->to - 1);
    for (size_t i = ticket->from; i < ticket->to; i++) {
        struct outbox_change *change = &database->outbox[i];
        if (!is_wanted(node, change) || change->given != ticket->aside)
            continue;
        if (change->leaves) {
            change->leaves = change->raw = false;
            change->aside = true;
            continue;
        }
        if (!change->joined && change->version.us > node->source.confirmed_us[change->row])
            world_fail(node->world, "%.*s releases change %zu before it is confirmed", TEXT_PRINTF(node->name), i);
        change->released = true;
        count++;
    }
    if (receipt->captured != count)
        world_fail(node->world, "%.*s has a receipt of %llu changes, but %zu were captured", TEXT_PRINTF(node->name),
                   (unsigned long long)receipt->captured, count);
    bool known = text_equal(text_from(node->source.confirmed.epoch), receipt->epoch);
    if (receipt->sequence > (known ? node->source.confirmed.sequence : 0))
        world_fail(node->world, "%.*s says that number %lld is confirmed, and only %lld is", TEXT_PRINTF(node->name),
                   (long long)receipt->sequence, (long long)node->source.confirmed.sequence);
    if (receipt->sequence > 0)
        note_confirmed(database, receipt);
    database->outbox_released += count;
    world_trace(node->world, "%.*s releases changes %zu to %zu", TEXT_PRINTF(node->name), ticket->from, ticket->to - 1);
    if (ticket->aside == 0) {
        node->source.released = database->place = ticket->to;
        database->given_us = ticket->newest_us;
        database->released_lsn = database->outbox[ticket->to - 1].lsn;
    }
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
