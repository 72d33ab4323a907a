/* The target port on the model database: transactions, and what is applied in them. */
#include "tests/sim/apply.h"
#include "tests/sim/collection.h"
#include "tests/sim/letters.h"

static struct target_port *port_of(struct target *port)
{
    return (struct target_port *)port;
}

/* How many of the parcel's rows were applied in the transaction at hand. */
static size_t applied_of(const struct target_port *target, const struct parcel *parcel)
{
    size_t count = 0;
    for (size_t i = 0; i < parcel->row_count; i++)
        count += (target->applied[parcel->rows[i].row] & history_bit(parcel->rows[i].write)) != 0;
    return count;
}

/* A transaction becomes visible at once: of a batch all parts or none. What was sent or delivered twice need not: its rows are known
 * already. */
static void check_batches_whole(struct node *node)
{
    const struct schedule *schedule = &node->world->schedule;
    const struct queue *queue = &node->world->broker.queues[node->number];
    if (schedule->faults > 0 || schedule->replays > 0 || schedule->pauses > 0 || schedule->holds > 0 || node->target.row_by_row)
        return;
    for (size_t i = queue->acked; i < queue->delivered; i++) {
        const struct parcel *parcel = queue->places[i].parcel;
        if (parcel->source == node->number || applied_of(&node->target, parcel) == 0)
            continue;
        const struct header *batch = envelope_header(&parcel->envelope, "x-batch");
        int64_t parts = 0;
        for (size_t j = queue->acked; j < queue->delivered; j++) {
            const struct parcel *other = queue->places[j].parcel;
            const struct header *its = envelope_header(&other->envelope, "x-batch");
            parts += its != NULL && text_equal(its->text, batch->text) && other->row_count > 0 &&
                     applied_of(&node->target, other) == other->row_count;
        }
        if (parts != envelope_header(&parcel->envelope, "x-parts")->number)
            world_fail(node->world, "%.*s applies %lld of the %lld parts of a batch in one transaction", TEXT_PRINTF(node->name),
                       (long long)parts, (long long)envelope_header(&parcel->envelope, "x-parts")->number);
    }
}

/* ---- the session ---- */

static void forget_transaction(struct node *node)
{
    struct target_port *target = &node->target;
    if (target->in_transaction)
        transaction_roll_back(&node->database, &target->transaction);
    target->in_transaction = target->broken = node->application_blocked = false;
    memset(node->database.locked, 0, sizeof node->database.locked);
    memset(node->database.taken, 0, sizeof node->database.taken);
}

void target_lose(struct node *node)
{
    forget_transaction(node);
}

/* Always false: nothing but rollback or close may follow. */
static bool target_broken(struct node *node)
{
    node->target.broken = node->target.in_transaction;
    return false;
}

static void check_usable(struct node *node)
{
    if (!node->dead && (!node->target.in_transaction || node->target.broken))
        world_fail(node->world, "%.*s uses a transaction that %s", TEXT_PRINTF(node->name),
                   node->target.broken ? "has failed" : "has not begun");
}

static bool target_open(struct target *port, struct error *error)
{
    struct node *node = port_of(port)->node;
    link_close(node, LINK_TARGET);
    if (world_call(node, LINK_TARGET, CALL_TARGET_OPEN, error) != FAILS_NOT)
        return false;
    node->links[LINK_TARGET] = (struct link){.open = true};
    node->target.horizon_us = collection_collect(node);
    return true;
}

void target_begin_in(struct node *node)
{
    if (node->target.in_transaction)
        world_fail(node->world, "%.*s begins a transaction within another", TEXT_PRINTF(node->name));
    transaction_begin(&node->target.transaction);
    node->target.done_count = 0;
    node->target.row_by_row = false;
    memset(node->target.applied, 0, sizeof node->target.applied);
    numbering_copy(&node->target.noted, &node->database.numbering);
    node->target.in_transaction = true;
}

static bool target_begin(struct target *port, enum standing standing, struct error *error)
{
    assert(standing == STANDS_ALONE);
    struct node *node = port_of(port)->node;
    if (world_call(node, LINK_TARGET, CALL_BEGIN, error) != FAILS_NOT)
        return false;
    target_begin_in(node);
    return true;
}

static bool target_apply(struct target *port, const struct message *message, size_t first, size_t count,
                         enum apply_mode mode, struct tally *tally, struct error *error)
{
    struct node *node = port_of(port)->node;
    /* A statement may last, and whoever waits for us is looked after. */
    if (random_chance(&node->world->random, 4))
        port->waiting(port->context);
    if (world_call(node, LINK_TARGET, CALL_APPLY, error) != FAILS_NOT)
        return target_broken(node);
    check_usable(node);
    if (count == 0 || first + count > message->row_count || (mode == APPLY_PUT_OFF && count != 1))
        world_fail(node->world, "%.*s applies rows %zu to %zu of %zu", TEXT_PRINTF(node->name), first, first + count,
                   message->row_count);
    struct tally applied = {0};
    struct savepoint before = transaction_point(&node->target.transaction);
    size_t done_count = node->target.done_count;
    bool met[ROWS_MAX] = {false};
    node->target.row_by_row |= mode != APPLY_TOGETHER;
    for (size_t row = first; row < first + count; row++) {
        struct news news = news_read(node, message, row);
        if (met[news.row])
            world_fail(node->world, "%.*s is asked to apply one row twice at once", TEXT_PRINTF(node->name));
        met[news.row] = true;
        node->target.applied[news.row] |= history_bit(news.write);
        if (news_apply(node, &news, mode == APPLY_PUT_OFF, node->target.horizon_us, &applied, error))
            continue;
        node->database.refused[news.row] = true;
        world_trace(node->world, "%.*s cannot apply it: %s", TEXT_PRINTF(node->name), error->text);
        if (mode == APPLY_TOGETHER)
            return target_broken(node);
        transaction_undo(&node->database, &node->target.transaction, before);
        node->target.done_count = done_count;
        return false;
    }
    tally_add(tally, &applied);
    return true;
}

static bool target_bury(struct target *port, const struct dead_letter *letter, struct error *error)
{
    struct node *node = port_of(port)->node;
    if (world_call(node, LINK_TARGET, CALL_BURY, error) != FAILS_NOT)
        return target_broken(node);
    check_usable(node);
    letters_bury(node, letter);
    return true;
}

void target_commit_in(struct node *node)
{
    database_check(&node->database);
    transaction_commit(&node->database, &node->target.transaction);
    numbering_copy(&node->database.numbering, &node->target.noted);
    forget_transaction(node);
}

static bool target_commit(struct target *port, const struct receipt *receipts, size_t receipt_count,
                          struct offences *offences, struct error *error)
{
    struct node *node = port_of(port)->node;
    struct database *database = &node->database;
    enum failing failing = world_call(node, LINK_TARGET, CALL_COMMIT, error);
    if (failing == FAILS_BEFORE)
        return target_broken(node);
    check_usable(node);
    if (!news_check(node, offences, error)) {
        if (failing == FAILS_AFTER)
            return link_break(node, LINK_TARGET, error);
        world_trace(node->world, "%.*s cannot commit: %s", TEXT_PRINTF(node->name), error->text);
        return target_broken(node);
    }
    for (size_t i = 0; i < receipt_count; i++) {
        if (!tally_conserves(&receipts[i].tally))
            world_fail(node->world, "%.*s received what has no verdict", TEXT_PRINTF(node->name));
        tally_add(&database->tally, &receipts[i].tally);
        database->gaps += receipts[i].gaps;
    }
    check_batches_whole(node);
    target_commit_in(node);
    world_trace(node->world, "%.*s commits%s", TEXT_PRINTF(node->name),
                failing == FAILS_AFTER ? ", and nobody hears of it" : "");
    return failing == FAILS_NOT || link_break(node, LINK_TARGET, error);
}

static bool target_rollback(struct target *port, struct error *error)
{
    struct node *node = port_of(port)->node;
    if (world_call(node, LINK_TARGET, CALL_ROLLBACK, error) != FAILS_NOT)
        return false;
    forget_transaction(node);
    world_trace(node->world, "%.*s rolls back", TEXT_PRINTF(node->name));
    return true;
}

static bool target_hear(struct target *port, const struct heartbeat *heartbeat, int64_t *offset_us, struct error *error)
{
    struct node *node = port_of(port)->node;
    if (world_call(node, LINK_TARGET, CALL_HEAR, error) != FAILS_NOT)
        return target_broken(node);
    check_usable(node);
    collection_hear(node, heartbeat);
    *offset_us = 0;
    return true;
}

static bool target_note(struct target *port, const struct sighting *sighting, uint64_t *missing, struct error *error)
{
    struct node *node = port_of(port)->node;
    if (world_call(node, LINK_TARGET, CALL_NOTE, error) != FAILS_NOT)
        return target_broken(node);
    check_usable(node);
    *missing = numbering_note(&node->target.noted, sighting);
    world_trace(node->world, "%.*s notes %lld to %lld of %.*s in %.8s, %llu missing", TEXT_PRINTF(node->name), (long long)sighting->first,
                (long long)sighting->last, TEXT_PRINTF(sighting->source), sighting->epoch.data, (unsigned long long)*missing);
    return true;
}

static bool target_note_confirmed(struct target *port, const struct heartbeat *heartbeat, uint64_t *missing, struct error *error)
{
    struct node *node = port_of(port)->node;
    if (world_call(node, LINK_TARGET, CALL_NOTE, error) != FAILS_NOT)
        return target_broken(node);
    check_usable(node);
    *missing = numbering_note_confirmed(&node->target.noted, heartbeat);
    if (*missing > 0)
        world_trace(node->world, "%.*s notes that %llu of earlier incarnations of %.*s are missing", TEXT_PRINTF(node->name),
                    (unsigned long long)*missing, TEXT_PRINTF(heartbeat->source));
    return true;
}

static bool target_retry(struct target *port, bool hurry, struct retried *left, struct error *error)
{
    return letters_retry(port_of(port)->node, hurry, left, error);
}

static bool target_report(struct target *port, const struct report *report, struct error *error)
{
    struct node *node = port_of(port)->node;
    (void)report;
    enum failing failing = world_call(node, LINK_TARGET, CALL_TARGET_REPORT, error);
    if (failing == FAILS_BEFORE)
        return false;
    if (node->target.in_transaction)
        world_fail(node->world, "%.*s reports within a transaction", TEXT_PRINTF(node->name));
    int64_t horizon_us = collection_collect(node);
    letters_let_go(node);
    if (failing == FAILS_AFTER)
        return link_break(node, LINK_TARGET, error);
    node->target.horizon_us = horizon_us;
    return true;
}

static void target_close(struct target *port)
{
    link_close(port_of(port)->node, LINK_TARGET);
}

/* Always the first, also when the connection that delivered it is lost. */
static struct suspect *suspect_of(struct node *node)
{
    struct database *database = &node->database;
    const struct parcel *parcel = node->world->broker.queues[node->number].dead[0].parcel;
    size_t i = 0;
    while (i < database->suspect_count && database->suspects[i].parcel != parcel)
        i++;
    if (i == SUSPECTS_MAX)
        world_fail(node->world, "%.*s suspects messages without end", TEXT_PRINTF(node->name));
    if (i == database->suspect_count)
        database->suspects[database->suspect_count++] = (struct suspect){parcel, node->process, 0};
    return &database->suspects[i];
}

static bool target_suspect(struct target *port, const struct envelope *envelope, int *deaths, struct error *error)
{
    struct node *node = port_of(port)->node;
    (void)envelope;
    enum failing failing = world_call(node, LINK_TARGET, CALL_SUSPECT, error);
    if (failing == FAILS_BEFORE)
        return false;
    if (node->world->broker.queues[node->number].dead_count == 0 || node->target.in_transaction)
        world_fail(node->world, "%.*s suspects what it does not have", TEXT_PRINTF(node->name));
    struct suspect *suspect = suspect_of(node);
    suspect->deaths += suspect->process != node->process;
    suspect->process = node->process;
    *deaths = suspect->deaths;
    return failing == FAILS_NOT || link_break(node, LINK_TARGET, error);
}

static bool target_acquit(struct target *port, const struct envelope *envelope, struct error *error)
{
    struct node *node = port_of(port)->node;
    (void)envelope;
    enum failing failing = world_call(node, LINK_TARGET, CALL_ACQUIT, error);
    if (failing == FAILS_BEFORE)
        return false;
    struct suspect *acquitted = suspect_of(node);
    *acquitted = node->database.suspects[--node->database.suspect_count];
    return failing == FAILS_NOT || link_break(node, LINK_TARGET, error);
}

static const struct target_ops ops = {target_open, target_begin, target_apply, target_hear, target_note, target_note_confirmed,
                                      target_bury, target_commit, target_rollback, target_retry, target_suspect, target_acquit,
                                      target_report, target_close};

void target_init(struct node *node)
{
    node->target.port.ops = &ops;
    node->target.node = node;
    node->target.in_transaction = node->target.broken = false;
}
