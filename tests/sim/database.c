#include "tests/sim/database.h"

#include "tests/sim/wal.h"
#include "tests/sim/world.h"

void database_clear(struct database *database, struct world *world, int node)
{
    database->world = world;
    database->node = node;
    database->wal = world->schedule.wal[node];
    database->lsn = database->released_lsn = database->xids = database->commits = 0;
    database->given_us = 0;
    for (size_t i = 0; i < ROWS_MAX; i++)
        database->rows[i] = (struct row){.write = NOBODY};
    memset(database->locked, 0, sizeof database->locked);
    memset(database->taken, 0, sizeof database->taken);
    memset(database->overtaken, 0, sizeof database->overtaken);
    memset(database->refused, 0, sizeof database->refused);
    database->outbox_count = database->outbox_released = database->place = database->conflict_count = 0;
    database->tally = (struct tally){0};
    database->gaps = database->touches = database->transactions = 0;
    /* Everybody is bound to everybody from the beginning: what comes first has the number 1. */
    database->numbering.count = database->numbering.gap_count = 0;
    for (int i = 0; i < (int)world->schedule.node_count; i++)
        numbering_note(&database->numbering, &(struct sighting){node_name(i), TEXT_LITERAL(FIRST_EPOCH), 1, 1});
    database->confirmed_count = 1;
    database->confirmed[0] = (struct confirmed_number){FIRST_EPOCH, 1};
    database->letters.count = 0;
    memset(database->letters.buried, 0, sizeof database->letters.buried);
    memset(database->letters.ended, 0, sizeof database->letters.ended);
    memset(database->peers, 0, sizeof database->peers);
    database->collection = (struct collection){.checked_us = INT64_MIN};
    memset(database->pauses, 0, sizeof database->pauses);
    database->suspect_count = 0;
    static struct text priority[NODES_MAX];
    const struct schedule *schedule = &world->schedule;
    for (size_t i = 0; i < schedule->priority_count; i++)
        priority[i] = node_name((int)schedule->priority[i]);
    for (size_t i = 0; i < ENTITIES; i++)
        database->rules[i] = (struct rules){policy_number(schedule->policies[i]), schedule->priority_count, priority};
}

/* ---- transactions ---- */

struct savepoint transaction_begin(struct transaction *transaction)
{
    transaction->undo_count = transaction->change_count = transaction->conflict_count = 0;
    transaction->letters_changed = false;
    transaction->xid = 0;
    memset(transaction->heard, 0, sizeof transaction->heard);
    return transaction_point(transaction);
}

struct savepoint transaction_point(const struct transaction *transaction)
{
    return (struct savepoint){transaction->undo_count, transaction->change_count, transaction->conflict_count};
}

static struct written *written_by(const struct database *database, const struct outbox_change *change)
{
    return &database->world->history.writes[change->row][change->write];
}

void transaction_undo(struct database *database, struct transaction *transaction, struct savepoint to)
{
    while (transaction->undo_count > to.undo_count) {
        size_t i = --transaction->undo_count;
        database->rows[transaction->undo[i].row] = transaction->undo[i].before;
    }
    while (transaction->change_count > to.change_count)
        written_by(database, &transaction->changes[--transaction->change_count])->state = WRITTEN_FREE;
    transaction->conflict_count = to.conflict_count;
}

static void letters_copy(struct letters *to, const struct letters *from)
{
    to->count = from->count;
    memcpy(to->list, from->list, from->count * sizeof from->list[0]);
    memcpy(to->buried, from->buried, sizeof from->buried);
    memcpy(to->ended, from->ended, sizeof from->ended);
}

void transaction_roll_back(struct database *database, struct transaction *transaction)
{
    transaction_undo(database, transaction, (struct savepoint){0});
    if (transaction->letters_changed)
        letters_copy(&database->letters, &transaction->letters);
    transaction_begin(transaction);
}

void transaction_commit(struct database *database, struct transaction *transaction)
{
    struct world *world = database->world;
    if (database->outbox_count + transaction->change_count > CHANGES_MAX ||
        database->conflict_count + transaction->conflict_count > CONFLICTS_MAX)
        world_fail(world, "node %.*s writes without end", TEXT_PRINTF(node_name(database->node)));
    database->lsn++;
    for (size_t i = 0; i < transaction->change_count; i++) {
        struct outbox_change *change = &transaction->changes[i];
        change->lsn = database->lsn;
        change->last = i + 1 == transaction->change_count;
        written_by(database, change)->state = WRITTEN_COMMITTED;
        database->outbox[database->outbox_count++] = *change;
    }
    for (size_t i = 0; i < transaction->conflict_count; i++)
        database->conflicts[database->conflict_count++] = transaction->conflicts[i];
    for (size_t i = 0; i < NODES_MAX; i++)
        if (transaction->heard[i])
            database->peers[i] = transaction->peers[i];
    database->transactions += transaction->undo_count > 0;
    transaction_begin(transaction);
}

void database_put(struct database *database, struct transaction *transaction, size_t row, const struct row *after)
{
    if (transaction->undo_count == CHANGES_MAX)
        world_fail(database->world, "a transaction writes without end");
    transaction->undo[transaction->undo_count].row = row;
    transaction->undo[transaction->undo_count++].before = database->rows[row];
    database->rows[row] = *after;
    database->rows[row].touched = ++database->touches;
}

bool database_has_letter(const struct database *database, size_t row)
{
    for (size_t i = 0; i < database->letters.count; i++)
        if (database->letters.list[i].row == row)
            return true;
    return false;
}

struct letters *database_letters(struct database *database, struct transaction *transaction)
{
    if (!transaction->letters_changed)
        letters_copy(&transaction->letters, &database->letters);
    transaction->letters_changed = true;
    return &database->letters;
}

const struct row *database_committed(const struct database *database, const struct transaction *transaction, size_t row)
{
    for (size_t i = 0; i < transaction->undo_count; i++)
        if (transaction->undo[i].row == row)
            return &transaction->undo[i].before;
    return &database->rows[row];
}

void database_disagree(struct database *database, struct transaction *transaction, const struct conflict *conflict)
{
    if (transaction->conflict_count == CONFLICTS_MAX)
        world_fail(database->world, "a transaction meets conflicts without end");
    transaction->conflicts[transaction->conflict_count++] = *conflict;
}

/* ---- the capture trigger ---- */

void database_see(const struct database *database, size_t row, int64_t seen_us[NODES_MAX])
{
    int64_t horizon_us = database->world->variant == VARIANT_ANEW ? 0 : database->collection.horizon_us;
    for (int i = 0; i < NODES_MAX; i++)
        seen_us[i] = i != database->node && i < (int)database->world->schedule.node_count ? horizon_us : 0;
    for (size_t i = 0; i < database->letters.count; i++) {
        const struct letter *letter = &database->letters.list[i];
        int64_t *seen = &seen_us[letter->version.node];
        if (letter->row == row && letter->version.us > letter->horizon_us && letter->version.us <= *seen)
            *seen = letter->version.us - 1;
    }
}

/* What a node says of a row comes before what the log has yet to tell with a later version. */
static past past_of_word(const struct database *database, size_t at, const struct row *row)
{
    const struct history *history = &database->world->history;
    past known = row->past;
    for (size_t i = 0; i < history->counts[at]; i++) {
        const struct written *written = &history->writes[at][i];
        if (written->unnoted && written->version.node == database->node && stamp_compare(written->version, row->version) > 0)
            known &= ~history_bit((int)i);
    }
    return known;
}

void database_write(struct database *database, struct transaction *transaction, size_t at, enum change_op op,
                    const struct content *content, bool assertion)
{
    struct world *world = database->world;
    struct text name = node_name(database->node);
    if (database->wal && !assertion) {
        wal_write(database, transaction, at, op, content);
        return;
    }
    struct row after = database->rows[at];
    struct stamp before = after.version;
    int64_t now_us = node_clock_us(&world->nodes[database->node]) + (database->wal ? (int64_t)++database->commits : 0);
    bool bumps = world->variant != VARIANT_BUMP;
    after.content = *content;
    after.version = (struct stamp){bumps && now_us <= before.us ? before.us + 1 : now_us, database->node};
    struct write known = write_of(before, after.base, after.seen_us, &world->scratch), nothing = {0};
    seen_of(write_join(&known, &nothing, name, &world->scratch), after.seen_us);
    if (before.us == 0)
        database_see(database, at, after.seen_us);
    after.forgotten = false;
    after.base = before;
    after.write = history_add(&world->history, at, after.version, past_of_word(database, at, &after), content);
    if (after.write == NOBODY || transaction->change_count == CHANGES_MAX)
        world_fail(world, "a row is written without end");
    world->history.writes[at][after.write].assertion = assertion;
    after.past |= history_bit(after.write);
    transaction->changes[transaction->change_count++] = (struct outbox_change){
        .row = at, .op = op, .content = *content, .version = after.version, .base = after.base, .write = after.write};
    memcpy(transaction->changes[transaction->change_count - 1].seen_us, after.seen_us, sizeof after.seen_us);
    wal_enter(database, transaction, &database->rows[at], &after, false);
    database_put(database, transaction, at, &after);
    world->statistics.writes++;
    world->statistics.assertions += assertion;
    if (world->verbose) {
        char row[32];
        world_print(world, "%.*s %s %s %s value=%d code=%d parent=%d version=%lld%+d base=%lld/%.*s", TEXT_PRINTF(name),
                    assertion ? "asserts" : "writes", row_name(at, row, sizeof row), change_op_name(op), content->value,
                    content->code, content->parent, (long long)now_us, (int)(after.version.us - now_us),
                    (long long)before.us, TEXT_PRINTF(before.us ? node_name(before.node) : TEXT_LITERAL("none")));
    }
    /* A deletion that is forgotten: the row is as if it had never been. */
    if (world->variant == VARIANT_TOMBSTONE && !content->present)
        database->rows[at].version = (struct stamp){0};
}

/* ---- constraints ---- */

int database_code_holder(const struct database *database, const struct content *content, size_t except)
{
    if (!content->present || content->code == NOBODY)
        return NOBODY;
    for (size_t i = 0; i < KEYS_MAX; i++) {
        const struct content *other = &database->rows[i].content;
        if (i != except && !database->taken[i] && other->present && other->code == content->code)
            return (int)i;
    }
    return NOBODY;
}

int database_child_of(const struct database *database, size_t parent)
{
    for (size_t i = KEYS_MAX; i < ROWS_MAX; i++) {
        const struct content *content = &database->rows[i].content;
        if (content->present && content->parent == (int)parent)
            return (int)i;
    }
    return NOBODY;
}

void database_check(const struct database *database)
{
    struct world *world = database->world;
    struct text name = node_name(database->node);
    for (size_t row = 0; world->schedule.constraints && row < KEYS_MAX; row++) {
        const struct content *content = &database->rows[row].content;
        int holder = database_code_holder(database, content, row);
        int child = content->present ? NOBODY : database_child_of(database, row);
        if (holder != NOBODY)
            world_fail(world, "parents %zu and %d share a code on %.*s", row, holder, TEXT_PRINTF(name));
        if (child != NOBODY)
            world_fail(world, "child %d has no parent on %.*s", child - KEYS_MAX, TEXT_PRINTF(name));
    }
}

/* ---- between the model's numbers and the core's texts ---- */

struct version version_of(struct stamp stamp)
{
    return stamp.us == 0 ? (struct version){0} : (struct version){stamp.us, node_name(stamp.node)};
}

struct stamp stamp_of(struct version version)
{
    return version_is_none(version) ? (struct stamp){0}
                                    : (struct stamp){version.timestamp_us, node_number(version.node)};
}

struct write write_of(struct stamp version, struct stamp base, const int64_t seen_us[NODES_MAX], struct arena *arena)
{
    struct version *versions = NULL;
    size_t count = 0;
    for (int i = 0; i < NODES_MAX; i++) {
        if (seen_us[i] == 0)
            continue;
        if (versions == NULL)
            versions = arena_take_array(arena, NODES_MAX, sizeof *versions);
        versions[count++] = (struct version){seen_us[i], node_name(i)};
    }
    return (struct write){version_of(version), version_of(base), {count, versions}};
}

void seen_of(struct seen seen, int64_t seen_us[NODES_MAX])
{
    for (int i = 0; i < NODES_MAX; i++)
        seen_us[i] = 0;
    for (size_t i = 0; i < seen.count; i++)
        seen_us[node_number(seen.versions[i].node)] = seen.versions[i].timestamp_us;
}
