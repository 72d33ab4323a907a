/* One row applied: what the SQL of apply does, with the core's own judge and policies. Every verdict is held against
 * the history. */
#include "tests/sim/apply.h"

#include <stdlib.h>

#include "tests/sim/wal.h"

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

struct news news_read(struct node *node, const struct message *message, size_t row)
{
    struct world *world = node->world;
    bool child = text_equal(message->entity, TEXT_LITERAL("child"));
    struct news news = {.change = message_write(message, row), .op = message->op, .message = message, .number = row};
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

/* The deletion waits at the writer for what keeps the row there: he has it, and records the conflict. */
static bool is_held_by_writer(const struct node *node, const struct news *news, const struct row *here)
{
    const struct database *writers = &node->world->nodes[news->written->version.node].database;
    return (writers->letters.buried[news->row] & history_bit(here->write)) != 0;
}

/* Who has forgotten a deletion does not say that he knew of it while an older change of the row waits there: he would say that he knew
 * what waits. Of a row in dispute he need not have known all of it. */
static bool may_not_say(const struct node *node, const struct news *news, bool manual)
{
    const struct database *writers = &node->world->nodes[news->written->version.node].database;
    return writers->rows[news->row].ever_forgotten && (manual || writers->letters.buried[news->row] != 0);
}

bool news_is_outdone(const struct world *world, size_t row, int write)
{
    const struct written *writes = world->history.writes[row];
    for (size_t i = 0; i < world->history.counts[row]; i++)
        if (writes[i].raised && writes[i].version.node == writes[write].version.node &&
            stamp_compare(writes[i].version, writes[write].version) > 0)
            return true;
    return false;
}

/* A node that captures from the WAL has noted a deletion after others' changes had come, and put its own row back: what it says
 * of what it has seen may be too little. */
static bool says_too_little(const struct world *world, size_t row)
{
    for (size_t i = 0; i < world->schedule.node_count; i++)
        if (world->nodes[i].database.overtaken[row])
            return true;
    return false;
}

/* Some version of the row was raised after apply had judged by it. */
static bool is_raised(const struct world *world, size_t row)
{
    for (size_t i = 0; i < world->history.counts[row]; i++)
        if (world->history.writes[row][i].raised)
            return true;
    return false;
}

/* By anybody: whoever wrote the row since may have known of no more than he. */
static bool was_forgotten(const struct world *world, size_t row)
{
    for (size_t i = 0; i < world->schedule.node_count; i++)
        if (world->nodes[i].database.rows[row].ever_forgotten)
            return true;
    return false;
}

/* A conflict must be one: of two writes that did not know each other; and what is thrown away must be known. */
static void check_truth(struct node *node, const struct news *news, const struct row *here,
                        const struct settlement *settlement)
{
    struct world *world = node->world;
    past theirs = news->written->past, ours = here->past;
    bool known = (theirs & ~ours) == 0, knows = (ours & ~theirs) == 0;
    /* Of a row that is in dispute nobody needs to have seen the other side before it is forgotten. */
    const struct rules *rules = &node->database.rules[row_entity(news->row)];
    bool manual = rules->policy == policy_find(TEXT_LITERAL("manual")), disputed = manual && was_forgotten(world, news->row);
    const char *wrong = NULL;
    switch (settlement->verdict) {
    case VERDICT_ECHO:
        if (news->written->version.node != node->number)
            wrong = "another node's write";
        break;
    case VERDICT_DUPLICATE:
    case VERDICT_STALE:
        /* What waits here, and comes again, may be taken for one that is forgotten: it waits all the same. */
        if (!known && !news_is_outdone(world, news->row, news->write) && (theirs & ~(ours | here->open | (news->message != NULL ? node->database.letters.buried[news->row] : 0))) != 0)
            wrong = "not known here";
        break;
    case VERDICT_FRESH:
        if (here->version.us != 0 && stamp_compare(news->written->version, here->version) <= 0)
            wrong = "older than what is here";
        if (known && !is_raised(world, news->row))
            wrong = "known here";
        if (here->forgotten && !disputed && (theirs & history_bit(here->write)) == 0 && !is_held_by_writer(node, news, here))
            wrong = "of one who did not know of the deletion that is forgotten here";
        break;
    case VERDICT_SAME:
    case VERDICT_CONCURRENT:
        if (!says_too_little(world, news->row) && ((known && !disputed) || (knows && !may_not_say(node, news, manual))))
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
    return holder == NOBODY || error_set(error, FAULT_TRANSIENT, "23505", "code %d of parent %zu is held by parent %d",
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
    after.forgotten = false;
    if (stamp_equal(after.version, news->written->version))
        after.write = news->write;
    if (settlement->action == ACTION_WRITE)
        after.content = news->content;
    return after;
}

static void trace_verdict(const struct node *node, const struct news *news, const struct row *here,
                          const struct settlement *settlement)
{
    char name[32];
    bool concurrent = settlement->verdict == VERDICT_CONCURRENT;
    world_trace(node->world, "%.*s judges write %d of %s, having %d: %s%s%s", TEXT_PRINTF(node->name), news->write,
                row_name(news->row, name, sizeof name), here->write, verdict_name(settlement->verdict),
                concurrent ? ", ruling " : "", concurrent ? ruling_name(settlement->ruling) : "");
}

/* The end of a row that others refer to wins by its version alone: who goes first would assert it for ever against
 * those who keep it for its children's sake. */
static struct rules rules_of(const struct database *database, const struct news *news)
{
    struct rules rules = database->rules[row_entity(news->row)];
    const struct row *here = &database->rows[news->row];
    bool pending = here->entry.here && !here->entry.deleted;
    bool ends = news->op == CHANGE_DELETED || (!here->content.present && !pending);
    if (ends && is_referred_to(database->world, news->row) && rules.policy != policy_find(TEXT_LITERAL("manual")))
        rules.policy = policy_default();
    return rules;
}

static void note_done(struct node *node, const struct done *done)
{
    if (node->target.done_count == CHANGES_MAX)
        world_fail(node->world, "%.*s writes rows without end", TEXT_PRINTF(node->name));
    node->target.done[node->target.done_count++] = *done;
}

bool news_apply(struct node *node, const struct news *news, bool put_off, int64_t horizon_us, struct tally *tally,
                struct error *error)
{
    struct world *world = node->world;
    struct database *database = &node->database;
    struct transaction *transaction = &node->target.transaction;
    const struct row *here = &database->rows[news->row];
    database->locked[news->row] = true;
    struct write local = wal_local(database, here, &news->change, &world->scratch);
    bool equal = content_equal(&here->content, &news->content);
    struct rules rules = rules_of(database, news);
    struct settlement settlement = policy_settle(&rules, node->name, &news->change, &local, equal, &world->scratch);
    if (settlement.verdict == VERDICT_FRESH && !here->content.present &&
        judge_forgotten(&news->change, &local, horizon_us))
        settlement = (struct settlement){.verdict = VERDICT_STALE};
    trace_verdict(node, news, here, &settlement);
    check_truth(node, news, here, &settlement);
    if (settlement.action == ACTION_WRITE && !(put_off && here->content.present) && !code_is_free(node, news, error))
        return false;
    count_verdict(tally, &settlement);
    if (settlement.verdict == VERDICT_SAME || settlement.verdict == VERDICT_CONCURRENT) {
        int write = wal_write_of(here);
        struct conflict conflict = {.row = news->row,
                                    .local = write,
                                    .remote = news->write,
                                    .local_past = write == here->write ? here->past : world->history.writes[news->row][write].past,
                                    .remote_past = news->written->past,
                                    .same = settlement.verdict == VERDICT_SAME,
                                    .of_letter = news->message == NULL,
                                    .ruling = settlement.ruling};
        database_disagree(database, transaction, &conflict);
    }
    if (settlement.action == ACTION_NOTHING) {
        if (settlement.verdict == VERDICT_CONCURRENT) {
            struct row after = *here;
            after.open |= news->written->past;
            if (wal_is_own(here))
                wal_enter(database, transaction, here, &after, false);
            database_put(database, transaction, news->row, &after);
        }
        return true;
    }
    struct row after = settled(here, news, &settlement);
    if (put_off && settlement.action == ACTION_WRITE && here->content.present && after.content.present) {
        database->taken[news->row] = true;
        world->statistics.exchanges++;
    }
    wal_enter(database, transaction, here, &after, (settlement.action == ACTION_WRITE && !equal) || database->taken[news->row]);
    database_put(database, transaction, news->row, &after);
    if ((settlement.action == ACTION_WRITE && !equal) || database->taken[news->row])
        note_done(node, &(struct done){news->message, news->number, news->row});
    if (settlement.assertion)
        database_write(database, transaction, news->row, after.content.present ? CHANGE_UPDATED : CHANGE_DELETED,
                       &after.content, true);
    return true;
}

/* ---- what can only be checked at the end ---- */

/* What the row that was written breaks; false with the reason. */
static bool done_stands(struct node *node, const struct done *done, struct error *error)
{
    struct database *database = &node->database;
    const struct content *content = &database->rows[done->row].content;
    if (row_entity(done->row) == ENTITY_CHILD) {
        if (!content->present || content->parent == NOBODY)
            return true;
        /* Who looks for it keeps it until the commit. */
        database->locked[content->parent] = true;
        if (database->rows[content->parent].content.present)
            return true;
        return error_set(error, FAULT_TRANSIENT, "23503", "child %zu needs parent %d, which is not there",
                         done->row - KEYS_MAX, content->parent);
    }
    int child = content->present ? NOBODY : database_child_of(database, done->row);
    if (child == NOBODY)
        return true;
    return error_set(error, FAULT_TRANSIENT, "23503", "child %d still refers to parent %zu", child - KEYS_MAX,
                     done->row);
}

static void blame(struct node *node, const struct done *done, struct offences *offences)
{
    node->database.refused[done->row] = true;
    if (done->message != NULL && offences != NULL && offences->count < OFFENCES_MAX)
        offences->rows[offences->count++] = (struct offence){done->message, done->number};
}

/* Puts back what was taken out of the unique index, the newest first. */
static bool put_back(struct node *node, struct offences *offences, struct error *error)
{
    struct database *database = &node->database;
    struct target_port *target = &node->target;
    for (size_t i = target->done_count; i-- > 0;) {
        size_t row = target->done[i].row;
        if (!database->taken[row])
            continue;
        database->taken[row] = false;
        int holder = database_code_holder(database, &database->rows[row].content, row);
        if (holder == NOBODY)
            continue;
        blame(node, &target->done[i], offences);
        return error_set(error, FAULT_TRANSIENT, "23505", "parent %zu cannot be put back: its code is parent %d's", row,
                         holder);
    }
    return true;
}

bool news_check(struct node *node, struct offences *offences, struct error *error)
{
    struct target_port *target = &node->target;
    bool good = true;
    if (!node->world->schedule.constraints)
        return true;
    if (!put_back(node, offences, error))
        return false;
    const struct message *message = NULL;
    for (size_t i = target->done_count; i-- > 0;) {
        const struct done *done = &target->done[i];
        struct error another;
        if ((!good && done->message != message) || done_stands(node, done, good ? error : &another))
            continue;
        good = false;
        message = done->message;
        blame(node, done, offences);
    }
    return good;
}
