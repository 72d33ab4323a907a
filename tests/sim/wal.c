#include "tests/sim/wal.h"

#include "tests/sim/world.h"

static bool same_node(const struct database *database, struct stamp version)
{
    return version.us != 0 && version.node == database->node;
}

/* The version of a write that commits at us over a version that was written here at at_us: where that is ahead of the clock,
 * versions go half as fast as the clock until it has caught up, each later than the one before. */
static struct stamp later_than(struct stamp version, int64_t at_us, int64_t us, int node)
{
    int64_t later_us = us / 2 - at_us / 2;
    int64_t ahead_us = version.us + (later_us > 1 ? later_us : 1);
    return (struct stamp){version.us != 0 && ahead_us > us ? ahead_us : us, node};
}

static int64_t clock_us(struct database *database)
{
    return node_clock_us(&database->world->nodes[database->node]) + (int64_t)++database->commits;
}

/* What this node has seen when it writes a row of which it knew that version. */
static void see(const struct database *database, struct stamp version, const int64_t known_us[NODES_MAX],
                int64_t seen_us[NODES_MAX])
{
    memcpy(seen_us, known_us, NODES_MAX * sizeof *seen_us);
    if (version.us > seen_us[version.node])
        seen_us[version.node] = version.us;
    seen_us[database->node] = 0;
}

/* ---- rows, as apply sees them ---- */

/* Of a row that is not known; also what waited still at lsn was not seen. */
static void see_forgotten(const struct database *database, size_t at, uint64_t lsn, int64_t seen_us[NODES_MAX])
{
    database_see(database, at, seen_us);
    if (database->letters.ended[at] > lsn)
        memset(seen_us, 0, NODES_MAX * sizeof seen_us[0]);
}

bool wal_is_own(const struct row *row)
{
    return row->content.present && !(row->entry.here && row->entry.xid == row->xid) && row->commit_us != 0;
}

void wal_view(const struct database *database, size_t at, struct row *row)
{
    const struct entry *entry = &row->entry;
    row->version = entry->here ? entry->version : (struct stamp){0};
    row->base = entry->here ? entry->base : (struct stamp){0};
    memset(row->seen_us, 0, sizeof row->seen_us);
    if (entry->here)
        memcpy(row->seen_us, entry->seen_us, sizeof row->seen_us);
    if (!wal_is_own(row) || (entry->here && database->world->variant == VARIANT_UNDATED))
        return;
    row->base = row->version;
    if (entry->here)
        see(database, entry->version, entry->seen_us, row->seen_us);
    else
        see_forgotten(database, at, UINT64_MAX, row->seen_us);
    row->version = later_than(row->base, entry->at_us, row->commit_us, database->node);
}

struct write wal_local(const struct database *database, const struct row *row, const struct write *change, struct arena *arena)
{
    struct row here = *row;
    int64_t seen_us[NODES_MAX];
    seen_of(change->seen, seen_us);
    struct stamp base = stamp_of(change->base);
    int64_t told_us = seen_us[database->node];
    if (same_node(database, base) && base.us > told_us)
        told_us = base.us;
    if (database->wal && wal_is_own(row) && told_us > here.version.us && database->world->variant != VARIANT_BACKWARD)
        here.version.us = told_us + 1;
    return write_of(here.version, here.base, here.seen_us, arena);
}

int wal_write_of(const struct row *row)
{
    return !row->content.present && row->entry.here ? row->entry.write : row->write;
}

/* ---- entries ---- */

static void forget_released(struct database *database, struct entry *entry)
{
    size_t kept = 0;
    for (size_t i = 0; i < entry->former_count; i++)
        if (entry->formers[i].replaced_at > database->released_lsn)
            entry->formers[kept++] = entry->formers[i];
    entry->former_count = kept;
}

static void remember(struct database *database, struct entry *entry, const struct former *former)
{
    forget_released(database, entry);
    size_t kept = entry->former_count;
    if (kept == FORMERS_MAX)
        world_fail(database->world, "row_version remembers without end");
    while (kept > 0 && entry->formers[kept - 1].replaced_at > former->replaced_at) {
        entry->formers[kept] = entry->formers[kept - 1];
        kept--;
    }
    entry->formers[kept] = *former;
    entry->former_count++;
}

static void remember_entry(struct database *database, struct entry *entry, uint64_t replaced_at)
{
    struct former former = {replaced_at, entry->lsn, entry->xid, entry->over, entry->judged_us, false, entry->version, entry->base, entry->at_us, {0}};
    memcpy(former.seen_us, entry->seen_us, sizeof former.seen_us);
    if (entry->here && database->world->variant != VARIANT_FORMER)
        remember(database, entry, &former);
}

static void take_over(struct entry *entry, const struct row *row, uint64_t xid, uint64_t lsn, int64_t at_us)
{
    entry->here = true;
    entry->deleted = !row->content.present;
    entry->write = row->write;
    entry->version = row->version;
    entry->base = row->base;
    memcpy(entry->seen_us, row->seen_us, sizeof entry->seen_us);
    entry->xid = xid;
    entry->lsn = lsn;
    entry->at_us = at_us;
    entry->over = 0;
}

/* Whether the entry is about the same version as what replaces it, so that the first of them is enough: sql/queries/stamp.sql. */
static bool is_repeated(const struct row *before, const struct row *after)
{
    const struct entry *entry = &before->entry;
    if (!entry->here || !stamp_equal(entry->version, after->version) || entry->former_count == 0 ||
        !stamp_equal(entry->formers[entry->former_count - 1].version, entry->version))
        return false;
    return before->content.present == after->content.present && (!after->content.present || entry->xid == after->xid);
}

void wal_enter(struct database *database, struct transaction *transaction, const struct row *before, struct row *after, bool data)
{
    if (!database->wal)
        return;
    if (transaction->xid == 0)
        transaction->xid = ++database->xids;
    database->lsn++;
    after->entry = before->entry;
    /* What applications may have written upon it, and is not published yet, must find it. */
    bool repeated = !data && !wal_is_own(before) && is_repeated(before, after);
    if (repeated)
        forget_released(database, &after->entry);
    else if (wal_is_own(before) || !before->content.present ||
        ((same_node(database, before->entry.version) || before->entry.over != 0) && before->entry.lsn > database->released_lsn))
        remember_entry(database, &after->entry, database->lsn);
    if (data) {
        after->xid = transaction->xid;
        after->commit_us = 0;
    }
    bool stays = !data && !wal_is_own(before) && before->entry.here && stamp_equal(before->entry.version, after->version);
    take_over(&after->entry, after, after->xid, database->lsn, stays ? before->entry.at_us : clock_us(database));
    if (stamp_equal(after->version, before->version)) {
        after->entry.write = wal_write_of(before);
        after->entry.deleted = !after->content.present && before->entry.deleted;
    }
    after->entry.over = wal_is_own(before) ? before->xid : 0;
    after->entry.judged_us = before->version.us;
}

/* ---- applications ---- */

static struct outbox_change *change_of(struct transaction *transaction, size_t row)
{
    for (size_t i = 0; i < transaction->change_count; i++)
        if (transaction->changes[i].row == row && transaction->changes[i].raw)
            return &transaction->changes[i];
    return NULL;
}

void wal_write(struct database *database, struct transaction *transaction, size_t at, enum change_op op,
               const struct content *content)
{
    struct world *world = database->world;
    struct row after = database->rows[at];
    if (transaction->xid == 0) {
        transaction->xid = ++database->xids;
        transaction->commit_us = clock_us(database);
    }
    after.content = *content;
    after.xid = transaction->xid;
    after.commit_us = transaction->commit_us;
    after.forgotten = false;
    wal_view(database, at, &after);
    struct outbox_change *change = change_of(transaction, at);
    if (change == NULL) {
        /* Of a deletion nothing is left to look at. */
        struct stamp version = {after.commit_us, database->node};
        after.write = history_add(&world->history, at, after.content.present ? after.version : version, after.past, content);
        if (after.write == NOBODY || transaction->change_count == CHANGES_MAX)
            world_fail(world, "a row is written without end");
        world->history.writes[at][after.write].unnoted = true;
        after.past |= history_bit(after.write);
        change = &transaction->changes[transaction->change_count++];
        *change = (struct outbox_change){.row = at, .op = op, .write = after.write, .raw = true,
                                         .xid = after.xid, .commit_us = after.commit_us};
    } else {
        /* What a transaction makes of a row at last is one change. */
        world->history.writes[at][change->write].content = *content;
        change->op = op == CHANGE_DELETED || change->op == CHANGE_CREATED ? (op == CHANGE_DELETED ? op : change->op) : CHANGE_UPDATED;
    }
    change->content = *content;
    database_put(database, transaction, at, &after);
    world->statistics.writes++;
    if (world->verbose) {
        char row[32];
        world_print(world, "%.*s writes %s %s value=%d code=%d parent=%d at %lld", TEXT_PRINTF(node_name(database->node)),
                    row_name(at, row, sizeof row), change_op_name(op), content->value, content->code, content->parent,
                    (long long)after.commit_us);
    }
}

/* ---- capture ---- */

/* What the writer of a change knew of the row. */
struct known {
    bool own;       /* it is the change itself that is known, from before */
    bool here;
    bool said;      /* apply reads the same version from the commit */
    bool overtaken; /* apply has written since */
    size_t former;  /* which it is; former_count: the entry */
    struct stamp version, base;
    int64_t at_us;
    int64_t seen_us[NODES_MAX];
};

static void know(struct known *known, struct stamp version, struct stamp base, int64_t at_us, const int64_t seen_us[NODES_MAX])
{
    known->at_us = at_us;
    known->here = true;
    known->version = version;
    known->base = base;
    memcpy(known->seen_us, seen_us, sizeof known->seen_us);
}

static struct known find_known(const struct entry *entry, const struct outbox_change *change)
{
    struct known known = {0};
    size_t i = 0;
    while (i < entry->former_count && entry->formers[i].replaced_at <= change->lsn)
        i++;
    known.former = i;
    if (i < entry->former_count) {
        const struct former *former = &entry->formers[i];
        known.overtaken = true;
        known.own = former->xid == change->xid && former->lsn <= change->lsn;
        /* What it was written upon may be forgotten: then at least what was known before had been seen. */
        if (!known.own && former->lsn >= change->lsn && i > 0)
            former--;
        if (known.own || former->lsn < change->lsn)
            know(&known, former->version, former->base, former->at_us, former->seen_us);
    } else if (entry->here) {
        known.overtaken = entry->lsn > change->lsn;
        known.own = entry->xid == change->xid && entry->lsn <= change->lsn;
        const struct former *last = i > 0 ? &entry->formers[i - 1] : NULL;
        if (known.own || entry->lsn < change->lsn)
            know(&known, entry->version, entry->base, entry->at_us, entry->seen_us);
        else if (last != NULL)
            know(&known, last->version, last->base, last->at_us, last->seen_us);
    }
    return known;
}

/* It comes after what this node wrote of the row before, whatever was brought in between. */
static void outdo_last_own(const struct database *database, const struct entry *entry, struct outbox_change *change)
{
    for (size_t i = 0; i < entry->former_count; i++)
        if (same_node(database, entry->formers[i].version) && entry->formers[i].lsn < change->lsn && entry->formers[i].version.us >= change->version.us)
            change->version.us = entry->formers[i].version.us + 1;
}

/* The change as it is to be published; given_us: at least. What it replaced is part of what was seen, and its base is not told: between
 * two writes of this node nothing need be known of the first. */
static struct known publish(const struct database *database, const struct entry *entry, struct outbox_change *change, int64_t given_us)
{
    struct known known = find_known(entry, change);
    if (known.own) {
        change->version = known.version;
        memcpy(change->seen_us, known.seen_us, sizeof change->seen_us);
        return known;
    }
    if (known.here)
        see(database, known.version, known.seen_us, change->seen_us);
    else
        see_forgotten(database, change->row, change->lsn, change->seen_us);
    change->version = later_than(known.version, known.at_us, change->commit_us, database->node);
    if (change->version.us < given_us)
        change->version.us = given_us;
    outdo_last_own(database, entry, change);
    /* As its commit says it. Any other version is noted, so that what is written next comes after it. */
    known.said = change->op != CHANGE_DELETED && change->version.us == change->commit_us;
    return known;
}

/* The version by which apply has judged this very change, if it has; 0: none. */
static int64_t judged_by(const struct entry *entry, const struct outbox_change *change)
{
    size_t i = 0;
    while (i < entry->former_count && (entry->formers[i].late || entry->formers[i].lsn <= change->lsn))
        i++;
    if (i < entry->former_count)
        return entry->formers[i].over == change->xid ? entry->formers[i].judged_us : 0;
    return entry->lsn > change->lsn && entry->over == change->xid ? entry->judged_us : 0;
}

static bool is_between(struct stamp version, struct stamp low, struct stamp high)
{
    return stamp_compare(low, version) < 0 && stamp_compare(version, high) < 0;
}

/* What would have lost to the change's version has won. */
static bool was_misjudged(const struct database *database, const struct entry *entry, const struct outbox_change *change, int64_t judged_us)
{
    struct stamp judged = {judged_us, database->node};
    bool found = entry->lsn > change->lsn && !same_node(database, entry->version) && is_between(entry->version, judged, change->version);
    for (size_t i = 0; i < entry->former_count && !found; i++)
        found = !entry->formers[i].late && entry->formers[i].lsn > change->lsn && !same_node(database, entry->formers[i].version) &&
                is_between(entry->formers[i].version, judged, change->version);
    return found;
}

/* Wherever it stands by the version by which apply has judged it. */
static void give_its_version(const struct database *database, struct entry *entry, const struct outbox_change *change, int64_t judged_us)
{
    struct stamp judged = {judged_us, database->node};
    for (size_t i = 0; i < entry->former_count; i++)
        if (!entry->formers[i].late && entry->formers[i].lsn > change->lsn && stamp_equal(entry->formers[i].version, judged))
            entry->formers[i].version = change->version;
    if (entry->lsn > change->lsn && stamp_equal(entry->version, judged))
        entry->version = change->version;
}

/* After anything that this node has said of the row. */
static void outdo(const struct database *database, const struct entry *entry, struct outbox_change *change)
{
    for (size_t i = 0; i < entry->former_count; i++)
        if (same_node(database, entry->formers[i].version) && entry->formers[i].version.us >= change->version.us)
            change->version.us = entry->formers[i].version.us + 1;
    if (entry->here && same_node(database, entry->version) && entry->version.us >= change->version.us)
        change->version.us = entry->version.us + 1;
}

/* This node has given its word about the row since, on account of an earlier change, and by the version that this one gets; it is not the one
 * by which apply has judged a later change. */
static bool is_asserted(const struct database *database, const struct entry *entry, const struct outbox_change *change)
{
    struct stamp version = {change->version.us, database->node};
    bool judged = entry->lsn > change->lsn && entry->over != 0 && entry->judged_us == version.us;
    bool found = entry->lsn > change->lsn && entry->over == 0 && stamp_equal(entry->version, version);
    for (size_t i = 0; i < entry->former_count; i++) {
        const struct former *former = &entry->formers[i];
        bool later = !former->late && former->lsn > change->lsn;
        judged = judged || (later && former->over != 0 && former->judged_us == version.us);
        found = found || (later && former->over == 0 && stamp_equal(former->version, version));
    }
    return found && !judged;
}

/* What is given to a transaction, and to none before it. */
struct giving {
    uint64_t xid;
    int64_t us, newest_us;
};

/* One that commits at a time which is not later than what was given before gets a later one. */
static int64_t given_to(const struct outbox_change *change, struct giving *giving, const struct world *world)
{
    if (change->xid != giving->xid) {
        bool back = change->commit_us <= giving->newest_us && world->variant != VARIANT_BACKWARD;
        giving->us = back ? giving->newest_us + 1 : change->commit_us;
        giving->xid = change->xid;
    }
    if (giving->us > giving->newest_us)
        giving->newest_us = giving->us;
    return giving->us;
}

/* As apply has committed it. */
static const struct row *row_here(const struct node *node, size_t row)
{
    const struct database *database = &node->database;
    return node->target.in_transaction ? database_committed(database, &node->target.transaction, row) : &database->rows[row];
}

static bool is_written_between(const struct entry *entry, uint64_t first, uint64_t last)
{
    bool written = entry->here && entry->lsn > first && entry->lsn < last;
    for (size_t i = 0; i < entry->former_count && !written; i++)
        written = entry->formers[i].lsn > first && entry->formers[i].lsn < last;
    return written;
}

void wal_join(struct node *node, size_t from, size_t to, int64_t newest_us)
{
    struct world *world = node->world;
    struct giving giving = {.newest_us = newest_us};
    struct outbox_change *joinable[ROWS_MAX] = {NULL};
    for (size_t i = from; i < to; i++) {
        struct outbox_change *change = &node->database.outbox[i], *before = joinable[change->row];
        change->joined = false;
        int64_t given_us = change->raw ? given_to(change, &giving, world) : 0;
        bool plain = change->raw && change->op == CHANGE_UPDATED && world->schedule.coalesce[row_entity(change->row)];
        if (plain && before != NULL)
            before->joined = !is_written_between(&row_here(node, change->row)->entry, before->lsn, change->lsn) || world->variant == VARIANT_JOINED;
        joinable[change->row] = plain && given_us == change->commit_us ? change : NULL;
    }
}

bool wal_only_reads(struct node *node, size_t from, size_t to, int64_t newest_us)
{
    struct database *database = &node->database;
    struct giving giving = {.newest_us = newest_us};
    for (size_t i = from; i < to; i++) {
        struct outbox_change change = database->outbox[i];
        if (!change.raw)
            continue;
        int64_t given_us = given_to(&change, &giving, node->world);
        if (change.joined)
            continue;
        struct known known = publish(database, &row_here(node, change.row)->entry, &change, given_us);
        if (!known.own && !known.said)
            return false;
    }
    return true;
}

/* This node's own word about the row as it is, after everything that is known of it. */
static void insist(struct database *database, struct transaction *transaction, size_t at, struct stamp version)
{
    struct row after = database->rows[at];
    struct stamp before = after.version;
    see(database, before, after.entry.seen_us, after.seen_us);
    after.version = (struct stamp){before.us > version.us ? before.us : version.us, database->node};
    wal_enter(database, transaction, &database->rows[at], &after, false);
    database_put(database, transaction, at, &after);
    database_write(database, transaction, at, after.content.present ? CHANGE_UPDATED : CHANGE_DELETED, &after.content, true);
}

static void disagree(struct database *database, struct transaction *transaction, const struct outbox_change *change,
                     const struct settlement *settlement)
{
    const struct row *here = &database->rows[change->row];
    const struct written *writes = database->world->history.writes[change->row];
    struct conflict conflict = {.row = change->row,
                                .local = change->write,
                                .remote = here->write,
                                .local_past = writes[change->write].past,
                                .remote_past = writes[here->write].past,
                                .same = settlement->verdict == VERDICT_SAME,
                                .of_letter = true,
                                .ruling = settlement->ruling};
    database_disagree(database, transaction, &conflict);
}

/* What the row's past was before somebody else's write was brought. */
static past own_past(const struct world *world, size_t at, const struct row *row, int node)
{
    past known = 0;
    for (size_t i = 0; i < world->history.counts[at]; i++)
        if ((row->past & history_bit((int)i)) != 0 && world->history.writes[at][i].version.node == node)
            known |= world->history.writes[at][i].past;
    return known;
}

/* Apply has judged by what this node wrote after the change. */
static bool is_written_again(const struct entry *entry, const struct outbox_change *change)
{
    bool found = entry->lsn > change->lsn && entry->over != 0;
    for (size_t i = 0; i < entry->former_count && !found; i++)
        found = !entry->formers[i].late && entry->formers[i].lsn > change->lsn && entry->formers[i].over != 0;
    return found;
}

/* A deletion that meets a row, or another's deletion, which apply has brought meanwhile without knowing of it: as if that came now. */
static void settle_deletion(struct node *node, struct transaction *transaction, const struct outbox_change *change)
{
    struct world *world = node->world;
    struct database *database = &node->database;
    const struct row *here = &database->rows[change->row];
    if (wal_is_own(here) || !here->entry.here || is_written_again(&here->entry, change))
        return; /* a later write of this node is on its way */
    struct write theirs = write_of(here->version, here->base, here->seen_us, &world->scratch);
    struct write ours = write_of(change->version, change->base, change->seen_us, &world->scratch);
    struct rules rules = database->rules[row_entity(change->row)];
    if (is_referred_to(world, change->row) && rules.policy != policy_find(TEXT_LITERAL("manual")))
        rules.policy = policy_default();
    bool both_deleted = !here->content.present;
    struct settlement settlement = policy_settle(&rules, node->name, &theirs, &ours, both_deleted, &world->scratch);
    struct row after = *here;
    int child = row_entity(change->row) == ENTITY_PARENT && !both_deleted ? database_child_of(database, change->row) : NOBODY;
    world_trace(world, "%.*s judges its deletion %d, having %d: %s", TEXT_PRINTF(node->name), change->write, here->write,
                verdict_name(settlement.verdict));
    if (settlement.verdict == VERDICT_FRESH || (settlement.verdict == VERDICT_ECHO && here->version.us >= change->version.us))
        return; /* whoever wrote it knew of the deletion */
    /* What it replaced, or an earlier one of this node's: another change has lost to that. */
    if (settlement.verdict == VERDICT_ECHO || settlement.verdict == VERDICT_STALE || settlement.verdict == VERDICT_DUPLICATE)
        settlement = (struct settlement){.verdict = settlement.verdict, .action = ACTION_STAMP,
                                         .write = {ours.version, theirs.version, write_join(&ours, &theirs, node->name, &world->scratch)}};
    if (settlement.verdict == VERDICT_CONCURRENT || settlement.verdict == VERDICT_SAME)
        disagree(database, transaction, change, &settlement);
    bool goes = !both_deleted && settlement.action != ACTION_WRITE;
    bool stays = goes && world->schedule.constraints && child != NOBODY;
    if (settlement.action == ACTION_NOTHING)
        settlement.write = ours;
    if (stays) {
        bool later = version_compare(theirs.version, ours.version) > 0;
        settlement.write.version = later ? theirs.version : ours.version;
        settlement.write.seen = write_join(&ours, &theirs, settlement.write.version.node, &world->scratch);
    }
    after.version = stamp_of(settlement.write.version);
    after.base = stamp_of(settlement.write.base);
    seen_of(settlement.write.seen, after.seen_us);
    if (stamp_equal(after.version, change->version))
        after.write = change->write;
    if (settlement.action == ACTION_NOTHING && !stays) {
        after.past = own_past(world, change->row, here, node->number);
        after.open |= here->past & ~after.past;
    }
    after.past |= world->history.writes[change->row][change->write].past;
    if (goes && !stays)
        after.content = (struct content){false, NOBODY, NOBODY, NOBODY};
    wal_enter(database, transaction, here, &after, goes && !stays);
    database_put(database, transaction, change->row, &after);
    if (goes && !stays && settlement.assertion)
        database_write(database, transaction, change->row, CHANGE_DELETED, &after.content, true);
    /* A child refers to it by now: it stays, and everybody is told. */
    if (stays) {
        if (settlement.verdict == VERDICT_CONCURRENT)
            transaction->conflicts[transaction->conflict_count - 1].parent_kept = true;
        insist(database, transaction, change->row, after.version);
    }
}

static void note_change(struct node *node, struct transaction *transaction, struct outbox_change *change, int64_t given_us)
{
    struct world *world = node->world;
    struct database *database = &node->database;
    struct row after = database->rows[change->row];
    struct entry *entry = &after.entry;
    struct known known = publish(database, entry, change, given_us);
    if (known.own || known.said)
        return;
    if (change->op == CHANGE_DELETED && world->variant == VARIANT_UNNOTED)
        return;
    int64_t judged_us = change->op == CHANGE_DELETED ? 0 : judged_by(entry, change);
    if (judged_us > change->version.us)
        change->version.us = judged_us;
    bool misjudged = (judged_us != 0 && was_misjudged(database, entry, change, judged_us)) ||
                     (judged_us != change->version.us && is_asserted(database, entry, change));
    if (misjudged)
        outdo(database, entry, change);
    if (judged_us != 0)
        give_its_version(database, entry, change, judged_us);
    if (!known.overtaken) {
        struct row written = after;
        written.content.present = change->op != CHANGE_DELETED;
        written.write = change->write;
        written.version = change->version;
        written.base = change->base;
        memcpy(written.seen_us, change->seen_us, sizeof written.seen_us);
        remember_entry(database, entry, change->lsn);
        take_over(entry, &written, change->xid, change->lsn, change->commit_us);
        wal_view(database, change->row, &after);
        database_put(database, transaction, change->row, &after);
        return;
    }
    struct former own = {entry->lsn, change->lsn, change->xid, 0, 0, true, change->version, change->base, change->commit_us, {0}};
    memcpy(own.seen_us, change->seen_us, sizeof own.seen_us);
    if (known.former < entry->former_count) {
        struct former *former = &entry->formers[known.former];
        own.replaced_at = known.here ? former->replaced_at : former->lsn;
        if (known.here)
            former->replaced_at = change->lsn;
    }
    remember(database, entry, &own);
    wal_view(database, change->row, &after);
    database_put(database, transaction, change->row, &after);
    if (change->op == CHANGE_DELETED)
        database->overtaken[change->row] = true;
    if (change->op == CHANGE_DELETED && !misjudged) {
        settle_deletion(node, transaction, change);
        return;
    }
    /* Apply has judged by another version than everybody else will: what came of it is this node's word. */
    world->history.writes[change->row][change->write].raised = judged_us != 0 && change->version.us != judged_us;
    if (!misjudged)
        return;
    if (!wal_is_own(&after) && (after.content.present || entry->deleted)) {
        insist(database, transaction, change->row, change->version);
    } else if (entry->version.us < change->version.us) {
        /* What an application has written since, and is still to be captured, stands upon it. */
        int64_t seen_us[NODES_MAX];
        see(database, entry->version, entry->seen_us, seen_us);
        remember_entry(database, entry, entry->lsn);
        memcpy(entry->seen_us, seen_us, sizeof entry->seen_us);
        entry->version = (struct stamp){change->version.us, database->node};
        wal_view(database, change->row, &after);
        database_put(database, transaction, change->row, &after);
    }
}

/* What the node has said of the row, while the change was unread, with a version before the one that it gets. */
static past words_before(const struct world *world, const struct outbox_change *change)
{
    past words = 0;
    for (size_t i = 0; i < world->history.counts[change->row]; i++) {
        const struct written *word = &world->history.writes[change->row][i];
        if (word->assertion && word->version.node == change->version.node && word->version.us < change->version.us)
            words |= history_bit((int)i);
    }
    return words;
}

void wal_note(struct node *node, size_t from, size_t to, int64_t *newest_us)
{
    static struct transaction transaction;
    struct world *world = node->world;
    struct database *database = &node->database;
    struct giving giving = {.newest_us = *newest_us};
    transaction_begin(&transaction);
    for (size_t i = from; i < to; i++) {
        struct outbox_change *change = &database->outbox[i];
        struct written *written = &world->history.writes[change->row][change->write];
        char name[32];
        if (!change->raw)
            continue;
        int64_t given_us = given_to(change, &giving, world);
        if (change->joined)
            continue;
        note_change(node, &transaction, change, given_us);
        if (!written->unnoted && !stamp_equal(written->version, change->version) && !database->rows[change->row].ever_forgotten)
            world_fail(world, "%.*s gives write %d of %s another version than before: %lld, and not %lld", TEXT_PRINTF(node->name),
                       change->write, row_name(change->row, name, sizeof name), (long long)change->version.us,
                       (long long)written->version.us);
        if (!written->unnoted)
            continue;
        written->unnoted = false;
        written->version = change->version;
        written->past |= words_before(world, change);
    }
    transaction_commit(database, &transaction);
    *newest_us = giving.newest_us;
}
