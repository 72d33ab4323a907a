/* The target port on the model database: what the SQL of apply does, row by row, with the core's own judge and
 * policies. Every verdict is held against the history. */
#include "tests/sim/world.h"

#include <stdlib.h>

static struct target_port *port_of(struct target *port)
{
    return (struct target_port *)port;
}

/* ---- one row ---- */

static int number_of(struct text text)
{
    return text_is_null(text) ? NOBODY : (int)strtol(text.data, NULL, 10);
}

static struct text column(const struct message *message, size_t row, const char *name)
{
    for (size_t i = 0; i < message->column_count; i++)
        if (text_equal(message->columns[i], text_from(name)))
            return message_row(message, row)[i];
    return TEXT_NULL;
}

/* What a message says of a row, and which write that is. */
struct news {
    size_t row;
    int write;
    struct write change;
    const struct written *written;
    struct content content;
};

static struct news read_news(struct node *node, const struct message *message, size_t row)
{
    struct world *world = node->world;
    bool child = text_equal(message->entity, TEXT_LITERAL("child"));
    struct news news = {.change = message_write(message, row)};
    news.row = (size_t)number_of(column(message, row, "id")) + (child ? KEYS_MAX : 0);
    news.content = (struct content){message->op != CHANGE_DELETED, number_of(column(message, row, "value")),
                                    number_of(column(message, row, "code")), number_of(column(message, row, "parent"))};
    news.write = history_find(&world->history, news.row, stamp_of(news.change.version));
    if (news.write == NOBODY)
        world_fail(world, "%.*s is asked to apply a version that nobody wrote", TEXT_PRINTF(node->name));
    news.written = &world->history.writes[news.row][news.write];
    if (news.written->state != WRITTEN_COMMITTED || !content_equal(&news.written->content, &news.content))
        world_fail(world, "%.*s is asked to apply another content than was written", TEXT_PRINTF(node->name));
    return news;
}

/* A conflict must be one: of two writes that did not know each other; and what is thrown away must be known. */
static void check_truth(struct node *node, const struct news *news, const struct row *here,
                        const struct settlement *settlement)
{
    struct world *world = node->world;
    past theirs = news->written->past, ours = here->past;
    bool known = (theirs & ~ours) == 0, knows = (ours & ~theirs) == 0;
    const char *wrong = NULL;
    switch (settlement->verdict) {
    case VERDICT_ECHO:
        if (news->written->version.node != node->number)
            wrong = "another node's write";
        break;
    case VERDICT_DUPLICATE:
    case VERDICT_STALE:
        if (!known && (theirs & ~(ours | here->open)) != 0)
            wrong = "not known here";
        break;
    case VERDICT_FRESH:
        if (here->version.us != 0 && stamp_compare(news->written->version, here->version) <= 0)
            wrong = "older than what is here";
        break;
    case VERDICT_SAME:
    case VERDICT_CONCURRENT:
        if (known || knows)
            wrong = known ? "known here" : "of one who knew what is here";
        break;
    }
    char name[32];
    if (wrong != NULL)
        world_fail(world, "%.*s calls write %d of %s %s, but it is %s (known here: %llx, to its writer: %llx)",
                   TEXT_PRINTF(node->name), news->write, row_name(news->row, name, sizeof name),
                   verdict_name(settlement->verdict), wrong, (unsigned long long)ours, (unsigned long long)theirs);
}

static void count_verdict(struct tally *tally, const struct settlement *settlement)
{
    tally->received++;
    switch (settlement->verdict) {
    case VERDICT_ECHO:
        tally->echo++;
        return;
    case VERDICT_DUPLICATE:
        tally->duplicate++;
        return;
    case VERDICT_STALE:
        tally->stale++;
        return;
    case VERDICT_FRESH:
        tally->applied++;
        return;
    case VERDICT_SAME:
        tally->same++;
        return;
    case VERDICT_CONCURRENT:
        tally->conflicts++;
        if (settlement->ruling == RULING_REMOTE)
            tally->applied++;
        else
            tally->kept++;
        return;
    }
}

static bool code_is_free(struct node *node, const struct news *news, struct error *error)
{
    int holder =
        node->world->schedule.constraints ? database_code_holder(&node->database, &news->content, news->row) : NOBODY;
    return holder == NOBODY || error_set(error, FAULT_PERMANENT, "23505", "code %d of parent %zu is held by parent %d",
                                         news->content.code, news->row, holder);
}

/* What the settlement makes of the row that is here. */
static struct row settled(const struct row *here, const struct news *news, const struct settlement *settlement)
{
    struct row after = *here;
    after.version = stamp_of(settlement->write.version);
    after.base = stamp_of(settlement->write.base);
    seen_of(settlement->write.seen, after.seen_us);
    after.past |= news->written->past;
    if (stamp_equal(after.version, news->written->version))
        after.write = news->write;
    if (settlement->action == ACTION_WRITE)
        after.content = news->content;
    return after;
}

static bool apply_row(struct node *node, const struct message *message, size_t number, bool put_off,
                      struct tally *tally, struct error *error)
{
    struct world *world = node->world;
    struct database *database = &node->database;
    struct transaction *transaction = &node->target.transaction;
    struct news news = read_news(node, message, number);
    struct row *here = &database->rows[news.row];
    database->locked[news.row] = true;
    struct write local = write_of(here->version, here->base, here->seen_us, &world->scratch);
    bool equal = content_equal(&here->content, &news.content);
    struct settlement settlement =
        policy_settle(&database->rules[row_entity(news.row)], node->name, &news.change, &local, equal, &world->scratch);
    if (world->verbose) {
        char name[32];
        world_print(world, "%.*s judges write %d of %s, having %d: %s%s%s", TEXT_PRINTF(node->name), news.write,
                    row_name(news.row, name, sizeof name), here->write, verdict_name(settlement.verdict),
                    settlement.verdict == VERDICT_CONCURRENT ? ", ruling " : "",
                    settlement.verdict == VERDICT_CONCURRENT ? ruling_name(settlement.ruling) : "");
    }
    check_truth(node, &news, here, &settlement);
    if (settlement.action == ACTION_WRITE && !(put_off && here->content.present) && !code_is_free(node, &news, error))
        return false;
    count_verdict(tally, &settlement);
    if (settlement.verdict == VERDICT_SAME || settlement.verdict == VERDICT_CONCURRENT) {
        struct conflict conflict = {news.row,         here->write,        news.write,
                                    here->past,       news.written->past, settlement.verdict == VERDICT_SAME,
                                    settlement.ruling};
        database_disagree(database, transaction, &conflict);
    }
    if (settlement.action == ACTION_NOTHING) {
        if (settlement.verdict == VERDICT_CONCURRENT) {
            struct row after = *here;
            after.open |= news.written->past;
            database_put(database, transaction, news.row, &after);
        }
        return true;
    }
    struct row after = settled(here, &news, &settlement);
    if (put_off && settlement.action == ACTION_WRITE && here->content.present && after.content.present) {
        database->taken[news.row] = true;
        world->statistics.exchanges++;
    }
    database_put(database, transaction, news.row, &after);
    if (settlement.action == ACTION_WRITE && node->target.done_count < CHANGES_MAX) {
        node->target.done[node->target.done_count].message = message;
        node->target.done[node->target.done_count].number = number;
        node->target.done[node->target.done_count++].row = news.row;
    }
    if (settlement.assertion)
        database_write(database, transaction, news.row, after.content.present ? CHANGE_UPDATED : CHANGE_DELETED,
                       &after.content, true);
    return true;
}

/* Notes which part of which batch is applied, once for its first row. */
static void note_part(struct target_port *target, const struct message *message, size_t first)
{
    size_t i = 0;
    while (i < target->batch_count && !text_equal(target->batches[i].batch, message->batch))
        i++;
    if (first > 0 || i == CHANGES_MAX)
        return;
    if (i == target->batch_count) {
        target->batches[target->batch_count].batch = message->batch;
        target->batches[target->batch_count].parts = message->parts;
        target->batches[target->batch_count++].applied = 0;
    }
    target->batches[i].applied++;
}

/* A transaction becomes visible at once. What was sent or delivered twice need not: its rows are known already. */
static void check_batches_whole(struct node *node)
{
    const struct schedule *schedule = &node->world->schedule;
    for (size_t i = 0; i < node->target.batch_count && schedule->faults == 0; i++)
        if (node->target.batches[i].applied != node->target.batches[i].parts)
            world_fail(node->world, "%.*s applies %lld of the %lld parts of a batch in one transaction",
                       TEXT_PRINTF(node->name), (long long)node->target.batches[i].applied,
                       (long long)node->target.batches[i].parts);
}

/* ---- the session ---- */

static void forget_transaction(struct node *node)
{
    struct target_port *target = &node->target;
    if (target->in_transaction)
        transaction_undo(&node->database, &target->transaction, (struct savepoint){0});
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
    return true;
}

static bool target_begin(struct target *port, struct error *error)
{
    struct node *node = port_of(port)->node;
    if (world_call(node, LINK_TARGET, CALL_BEGIN, error) != FAILS_NOT)
        return false;
    if (node->target.in_transaction)
        world_fail(node->world, "%.*s begins a transaction within another", TEXT_PRINTF(node->name));
    transaction_begin(&node->target.transaction);
    node->target.done_count = node->target.batch_count = 0;
    node->target.in_transaction = true;
    return true;
}

static bool target_apply(struct target *port, const struct message *message, size_t first, size_t count,
                         enum apply_mode mode, struct tally *tally, struct error *error)
{
    struct node *node = port_of(port)->node;
    if (world_call(node, LINK_TARGET, CALL_APPLY, error) != FAILS_NOT)
        return target_broken(node);
    check_usable(node);
    if (count == 0 || first + count > message->row_count || (mode == APPLY_PUT_OFF && count != 1))
        world_fail(node->world, "%.*s applies rows %zu to %zu of %zu", TEXT_PRINTF(node->name), first, first + count,
                   message->row_count);
    struct tally applied = {0};
    struct savepoint before = transaction_point(&node->target.transaction);
    size_t done_count = node->target.done_count;
    for (size_t row = first; row < first + count; row++) {
        if (apply_row(node, message, row, mode == APPLY_PUT_OFF, &applied, error))
            continue;
        world_trace(node->world, "%.*s cannot apply it: %s", TEXT_PRINTF(node->name), error->text);
        if (mode == APPLY_TOGETHER)
            return target_broken(node);
        transaction_undo(&node->database, &node->target.transaction, before);
        node->target.done_count = done_count;
        return false;
    }
    if (mode == APPLY_TOGETHER)
        note_part(&node->target, message, first);
    else
        node->target.batch_count = 0; /* row by row: not counted */
    tally_add(tally, &applied);
    return true;
}

/* A dead letter. What a flapping link has torn apart may come to this today, and is to come once more, whole: the
 * checker wants every letter to be known in the end. When changes are held and tried again, that is to be modelled
 * here. */
static bool target_bury(struct target *port, const struct dead_letter *letter, struct error *error)
{
    struct node *node = port_of(port)->node;
    if (world_call(node, LINK_TARGET, CALL_BURY, error) != FAILS_NOT)
        return target_broken(node);
    check_usable(node);
    if (letter->message == NULL || !node->world->schedule.constraints)
        world_fail(node->world, "%.*s buries a change: %s", TEXT_PRINTF(node->name), letter->error->text);
    struct news news = read_news(node, letter->message, letter->row);
    struct row after = node->database.rows[news.row];
    after.letters |= history_bit(news.write);
    database_put(&node->database, &node->target.transaction, news.row, &after);
    node->world->statistics.letters++;
    world_trace(node->world, "%.*s buries a change: %s", TEXT_PRINTF(node->name), letter->error->text);
    return true;
}

/* The last of the messages' rows that wrote this row is to blame: without it another one may stand. */
static void blame(const struct node *node, size_t row, struct offences *offences)
{
    const struct target_port *target = &node->target;
    size_t i = target->done_count;
    while (i > 0 && target->done[i - 1].row != row)
        i--;
    if (i > 0 && offences != NULL && offences->count < OFFENCES_MAX)
        offences->rows[offences->count++] = (struct offence){target->done[i - 1].message, target->done[i - 1].number};
}

static bool check_constraints(struct node *node, struct offences *offences, struct error *error)
{
    struct database *database = &node->database;
    for (size_t i = 0; i < KEYS_MAX; i++) {
        bool taken = database->taken[i];
        database->taken[i] = false;
        int holder = taken ? database_code_holder(database, &database->rows[i].content, i) : NOBODY;
        if (holder == NOBODY)
            continue;
        blame(node, i, offences);
        return error_set(error, FAULT_PERMANENT, "23505", "parent %zu cannot be put back: its code is parent %d's", i,
                         holder);
    }
    size_t child;
    if (database_parents_present(database, &child))
        return true;
    blame(node, child, offences);
    return error_set(error, FAULT_TRANSIENT, "23503", "child %zu has no parent", child - KEYS_MAX);
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
    if (node->world->schedule.constraints && !check_constraints(node, offences, error)) {
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
    transaction_commit(database, &node->target.transaction);
    forget_transaction(node);
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

/* The sources of this world send no heartbeats. */
static bool target_hear(struct target *port, const struct heartbeat *heartbeat, int64_t *offset_us, struct error *error)
{
    (void)heartbeat, (void)error;
    world_fail(port_of(port)->node->world, "a heartbeat that nobody sent");
    *offset_us = 0;
    return true;
}

/* Letters are not tried again yet: see changes_are_held in schedule.c. */
static bool target_retry(struct target *port, bool hurry, int *next_ms, struct error *error)
{
    (void)port, (void)hurry, (void)error;
    *next_ms = -1;
    return true;
}

static bool target_report(struct target *port, const struct report *report, struct error *error)
{
    struct node *node = port_of(port)->node;
    (void)report;
    if (world_call(node, LINK_TARGET, CALL_TARGET_REPORT, error) != FAILS_NOT)
        return false;
    if (node->target.in_transaction)
        world_fail(node->world, "%.*s reports within a transaction", TEXT_PRINTF(node->name));
    return true;
}

static void target_close(struct target *port)
{
    link_close(port_of(port)->node, LINK_TARGET);
}

static const struct target_ops ops = {target_open,     target_begin, target_apply,  target_hear, target_bury, target_commit,
                                      target_rollback, target_retry, target_report, target_close};

void target_init(struct node *node)
{
    node->target.port.ops = &ops;
    node->target.node = node;
    node->target.in_transaction = node->target.broken = false;
}
