#include "tests/sim/checker.h"

#include "tests/sim/explanation.h"

/* ---- rows ---- */

static void check_row(struct world *world, size_t row)
{
    int latest = latest_write(world, row);
    char name[32];
    row_name(row, name, sizeof name);
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        const struct row *here = &world->nodes[i].database.rows[row];
        const struct written *wanted = latest != NOBODY ? &world->history.writes[row][latest] : NULL;
        if (explanation_of(world, i, row) || (wanted != NULL && !wanted->content.present && here->forgotten))
            continue;
        if (wanted == NULL
                ? here->content.present || here->version.us != 0
                : !content_equal(&here->content, &wanted->content) || !stamp_equal(here->version, wanted->version))
            world_fail(world,
                       "%s ends as write %d on %.*s, but write %d is the latest: present=%d value=%d version=%lld/%.*s "
                       "against present=%d value=%d version=%lld/%.*s",
                       name, here->write, TEXT_PRINTF(world->nodes[i].name), latest, here->content.present,
                       here->content.value, (long long)here->version.us,
                       TEXT_PRINTF(here->version.us ? node_name(here->version.node) : TEXT_LITERAL("none")),
                       wanted ? wanted->content.present : 0, wanted ? wanted->content.value : 0,
                       (long long)(wanted ? wanted->version.us : 0),
                       TEXT_PRINTF(wanted ? node_name(wanted->version.node) : TEXT_LITERAL("none")));
    }
}

/* ---- conflicts ---- */

/* One side of a recorded conflict knew the write, and the other did not: it did not go in silence. */
static bool was_contested(const struct world *world, size_t row, int write)
{
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        const struct database *database = &world->nodes[i].database;
        for (size_t j = 0; j < database->conflict_count; j++) {
            const struct conflict *conflict = &database->conflicts[j];
            if (conflict->row == row && ((conflict->local_past ^ conflict->remote_past) & history_bit(write)) != 0)
                return true;
        }
    }
    return false;
}

static void check_nothing_is_lost(struct world *world, size_t row)
{
    int latest = latest_write(world, row);
    char name[32];
    for (size_t i = 0; latest != NOBODY && i < world->history.counts[row]; i++) {
        const struct written *written = &world->history.writes[row][i];
        bool known = (world->history.writes[row][latest].past & history_bit((int)i)) != 0;
        if (written->state == WRITTEN_COMMITTED && !known && !was_contested(world, row, (int)i))
            world_fail(world, "write %zu of %s is gone, and nobody was told", i, row_name(row, name, sizeof name));
    }
}

static size_t rank(const struct schedule *schedule, int node)
{
    size_t at = 0;
    while (at < schedule->priority_count && schedule->priority[at] != (size_t)node)
        at++;
    return at;
}

/* The write's own node has let another one stand: one that goes before it, or an equal and later one. From then on that
 * is the row there, and who knew that one has not to know this one. */
static bool was_given_up(const struct world *world, size_t row, int number)
{
    const struct database *database = &world->nodes[world->history.writes[row][number].version.node].database;
    for (size_t i = 0; i < database->conflict_count; i++) {
        const struct conflict *conflict = &database->conflicts[i];
        if (conflict->row == row && (conflict->same || conflict->ruling == RULING_REMOTE) &&
            (conflict->local_past & history_bit(number)) != 0)
            return true;
    }
    return false;
}

/* With node-priority nobody who goes first loses to one who did not know of him: his node says so once more. A write
 * that somebody knew when he wrote is not meant: that one stands for it. */
static void check_priority(struct world *world, size_t row)
{
    const struct schedule *schedule = &world->schedule;
    const struct written *writes = world->history.writes[row];
    int latest = latest_write(world, row);
    if (latest == NOBODY ||
        policy_number(schedule->policies[row_entity(row)]) != policy_find(TEXT_LITERAL("node-priority")))
        return;
    /* Who goes first has not heard of the other yet, or has heard by a letter. */
    for (size_t i = 0; i < schedule->node_count; i++)
        if (letter_of(world, i, row) != NULL)
            return;
    past known = 0;
    for (size_t i = 0; i < world->history.counts[row]; i++)
        if (writes[i].state == WRITTEN_COMMITTED)
            known |= writes[i].past & ~history_bit((int)i);
    for (size_t i = 0; i < world->history.counts[row]; i++) {
        char name[32];
        bool ends = !writes[i].content.present || !writes[latest].content.present;
        if (ends && is_referred_to(world, row))
            continue;
        if (writes[i].state == WRITTEN_COMMITTED && (int)i != latest && (known & history_bit((int)i)) == 0 &&
            !content_equal(&writes[i].content, &writes[latest].content) && !was_given_up(world, row, (int)i) &&
            rank(schedule, writes[i].version.node) < rank(schedule, writes[latest].version.node))
            world_fail(world, "write %zu of %s goes before write %d, and lost", i, row_name(row, name, sizeof name),
                       latest);
    }
}

/* The versions that met, and which of them stands. */
static int winner(const struct conflict *conflict)
{
    return conflict->ruling == RULING_LOCAL ? conflict->local : conflict->remote;
}

/* Of one that apply had to judge before it was noted the winner is what its node says afterwards. */
static bool was_raised(const struct world *world, const struct conflict *conflict)
{
    const struct written *writes = world->history.writes[conflict->row];
    return writes[conflict->local].raised || writes[conflict->remote].raised;
}

static void check_winners(struct world *world)
{
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        const struct database *here = &world->nodes[i].database;
        for (size_t j = 0; j < here->conflict_count; j++) {
            const struct conflict *one = &here->conflicts[j];
            for (size_t k = i + 1; k < world->schedule.node_count; k++) {
                const struct database *there = &world->nodes[k].database;
                for (size_t l = 0; l < there->conflict_count; l++) {
                    const struct conflict *other = &there->conflicts[l];
                    bool both = one->row == other->row && one->local == other->remote && one->remote == other->local;
                    if (both && !one->same && !other->same && !one->parent_kept && !other->parent_kept &&
                        one->ruling != RULING_OPEN && !was_raised(world, one) && winner(one) != winner(other))
                        world_fail(world, "of writes %d and %d of row %zu another one wins on %.*s than on %.*s",
                                   one->local, one->remote, one->row, TEXT_PRINTF(world->nodes[i].name),
                                   TEXT_PRINTF(world->nodes[k].name));
                }
            }
        }
    }
}

/* The conflict as the other node may have met it: each side may have been a write before or after the one that met here. */
static bool is_mirrored(const struct conflict *one, const struct conflict *other)
{
    past local = one->local_past & ~one->remote_past, remote = one->remote_past & ~one->local_past;
    return (other->remote_past & ~other->local_past & local) != 0 && (other->local_past & ~other->remote_past & remote) != 0;
}

/* As far as it has to be: equal content that both wrote joins what they know, and what is set aside, or waits, may give way to a later change
 * before it has met anything. */
static bool is_told(const struct conflict *one, const struct database *here, const struct database *there)
{
    if (one->same || one->parent_kept || one->of_letter || there->refused[one->row] || there->letters.buried[one->row] != 0)
        return true;
    /* Apply did not know of a deletion that was captured from the WAL later, and judged others' changes without it. */
    if (there->overtaken[one->row])
        return true;
    for (size_t i = 0; i < here->conflict_count; i++)
        if (here->conflicts[i].row == one->row && here->conflicts[i].same)
            return true;
    for (size_t i = 0; i < there->conflict_count; i++)
        if (there->conflicts[i].row == one->row && (there->conflicts[i].same || is_mirrored(one, &there->conflicts[i])))
            return true;
    return false;
}

/* Both sides are told of a conflict. Of two nodes: a third may settle it before one of them hears of it; as may a later write that
 * arrives first. */
static void check_both_are_told(struct world *world)
{
    if (world->schedule.node_count != 2 || world->schedule.shuffles || world->schedule.deliveries > 0)
        return;
    for (size_t i = 0; i < 2; i++) {
        const struct database *here = &world->nodes[i].database, *there = &world->nodes[1 - i].database;
        for (size_t j = 0; j < here->conflict_count; j++) {
            const struct conflict *one = &here->conflicts[j];
            if (!is_told(one, here, there))
                world_fail(world, "%.*s records a conflict of writes %d and %d of row %zu, and %.*s does not",
                           TEXT_PRINTF(world->nodes[i].name), one->local, one->remote, one->row,
                           TEXT_PRINTF(world->nodes[1 - i].name));
        }
    }
}

/* ---- counters, constraints, messages ---- */

static void check_node(struct world *world, struct node *node)
{
    struct database *database = &node->database;
    const struct tally *tally = &database->tally;
    struct text name = node->name;
    uint64_t conflicts = 0;
    if (!tally_conserves(tally))
        world_fail(world, "%.*s received %llu changes, and has another number of verdicts", TEXT_PRINTF(name),
                   (unsigned long long)tally->received);
    for (size_t i = 0; i < database->conflict_count; i++)
        conflicts += !database->conflicts[i].same && !database->conflicts[i].of_letter;
    if (tally->conflicts != conflicts)
        world_fail(world, "%.*s counts %llu conflicts, but records %llu", TEXT_PRINTF(name),
                   (unsigned long long)tally->conflicts, (unsigned long long)conflicts);
    if (database->gaps > 0 && !world->schedule.shuffles && world->schedule.duplicates == 0 &&
        world->schedule.replays == 0 && world->schedule.deliveries == 0)
        world_fail(world, "%.*s misses messages that were never lost", TEXT_PRINTF(name));
    database_check(database);
    for (int link = 0; link < LINKS; link++)
        if (node->links[link].open)
            world_fail(world, "%.*s has ended and left connection %d open", TEXT_PRINTF(name), link);
    world->statistics.conflicts += tally->conflicts;
}

/* Where nothing went wrong, every change travels once, and once only, to every peer. */
static void check_messages(struct world *world)
{
    uint64_t received = 0, published = 0, echoes = 0;
    bool undisturbed = world->schedule.faults == 0 && world->schedule.replays == 0 && world->schedule.holds == 0;
    for (size_t row = 0; row < ROWS_MAX; row++)
        for (size_t i = 0; i < world->history.counts[row]; i++)
            published += world->history.writes[row][i].state == WRITTEN_COMMITTED
                             ? world->history.writes[row][i].publications
                             : 0;
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        received += world->nodes[i].database.tally.received;
        echoes += world->nodes[i].database.tally.echo;
    }
    if (undisturbed && received - echoes != published * (world->schedule.node_count - 1))
        world_fail(world, "%llu changes were published, and the peers received %llu", (unsigned long long)published,
                   (unsigned long long)(received - echoes));
    if (undisturbed && echoes != (world->schedule.echoes ? published : 0))
        world_fail(world, "%llu changes came back", (unsigned long long)echoes);
}

void checker_check(struct world *world)
{
    for (size_t row = 0; row < ROWS_MAX; row++) {
        check_nothing_is_lost(world, row);
        check_priority(world, row);
        if (!is_manual(world, row) || !is_open(world, row))
            check_row(world, row);
    }
    check_winners(world);
    check_both_are_told(world);
    explanation_check(world);
    for (size_t i = 0; i < world->schedule.node_count; i++)
        check_node(world, &world->nodes[i]);
    check_messages(world);
}
