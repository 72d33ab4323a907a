#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/base/limits.h"
#include "bridge/flow/judge.h"
#include "bridge/message/merge.h"
#include "tests/unit/random.h"

/* ---- an entity, and rows of it --------------------------------------------------------------------------------- */

enum field { ID, EMAIL, STREET, CITY, STOCK, SOLD, FIELDS };

#define NAME(literal) {literal, sizeof(literal) - 1}

static const struct merge_field fields[FIELDS] = {
    {NAME("id"), {NULL, 0}, false},           {NAME("email"), NAME("email"), false},
    {NAME("street"), NAME("address"), false}, {NAME("city"), NAME("address"), false},
    {NAME("stock"), {NULL, 0}, true},         {NAME("sold"), {NULL, 0}, true},
};
static const char *const node_names[] = {"a", "b", "c", "d"};
enum { NODES_MAX = 4, WRITES_MAX = 48 };

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

struct row {
    struct write write;
    struct merge merge;
    int64_t values[FIELDS];
    uint64_t past; /* writes that it stands upon, itself included */
};

static bool rows_equal(const struct row *a, const struct row *b)
{
    return merge_equal(&a->merge, &b->merge) &&
           (!a->merge.present || memcmp(a->values, b->values, sizeof a->values) == 0);
}

static int64_t sum(const struct merge *merge, enum field field)
{
    struct merge_terms terms = merge_terms(merge, fields[field].name);
    int64_t total = 0;
    for (size_t i = 0; i < terms.count; i++)
        total += strtoll(arena_string(&arena, terms.totals[i].total), NULL, 10);
    return total;
}

/* State and content as apply writes them, without the row's version. */
static struct row join(const struct row *local, const struct row *remote, bool revive, bool *assertion)
{
    struct merge_result result;
    assert_true(merge_join(&local->merge, &remote->merge, revive, FIELDS, fields, &arena, &result));
    struct row joined = *local;
    joined.merge = result.merge;
    for (size_t i = 0; i < FIELDS && result.merge.present; i++) {
        if (result.fields[i] == FIELD_REMOTE)
            joined.values[i] = remote->values[i];
        else if (result.fields[i] == FIELD_SUM)
            joined.values[i] = sum(&result.merge, i);
    }
    assert_int_equal(result.state_differs, !merge_equal(&result.merge, &local->merge));
    if (!result.content_differs)
        assert_true(joined.merge.present == local->merge.present &&
                    memcmp(joined.values, local->values, sizeof joined.values) == 0);
    if (assertion != NULL)
        *assertion = result.assertion;
    return joined;
}

static struct row joined(const struct row *local, const struct row *remote)
{
    return join(local, remote, false, NULL);
}

/* ---- histories ------------------------------------------------------------------------------------------------- */

struct history {
    struct random *random;
    size_t node_count;
    bool revives;
    bool returns; /* rows come back after a deletion */
    bool was_here; /* the row was there before there were versions */
    struct row begin;
    struct row rows[NODES_MAX];
    int64_t clocks[NODES_MAX]; /* as wrong as clocks are */
    size_t count;
    struct row writes[WRITES_MAX + NODES_MAX * WRITES_MAX];
    size_t writers[WRITES_MAX + NODES_MAX * WRITES_MAX];
    /* Of each write: what it did. */
    enum merge_op ops[WRITES_MAX];
    bool changed[WRITES_MAX][FIELDS];
    int64_t added[WRITES_MAX][FIELDS];
    uint64_t counted[WRITES_MAX][FIELDS]; /* the writes that are in its writer's total */
    struct version born[WRITES_MAX]; /* the deletion after which the row that was written had been inserted */
    size_t user_writes;
};

static struct version stamp(struct history *history, size_t node, struct version before)
{
    history->clocks[node] += (int64_t)random_below(history->random, 4);
    int64_t now = history->clocks[node];
    return (struct version){now > before.timestamp_us ? now : before.timestamp_us + 1, text_from(node_names[node])};
}

/* As the capture trigger does it: a version later than what is replaced, and what was seen. */
static void publish(struct history *history, size_t node)
{
    struct row *row = &history->rows[node];
    struct version before = row->write.version, version = stamp(history, node, before);
    struct seen seen = write_join(&row->write, &(struct write){0}, version.node, &arena);
    row->write = (struct write){version, before, seen};
    history->writers[history->count] = node;
    history->writes[history->count++] = *row;
}

static struct merge_total own_total(const struct merge *merge, enum field field, struct text node)
{
    struct merge_terms terms = merge_terms(merge, fields[field].name);
    for (size_t i = 0; i < terms.count; i++)
        if (text_equal(terms.totals[i].version.node, node))
            return terms.totals[i];
    return (struct merge_total){.total = TEXT_LITERAL("0")};
}

/* The increments of which a node's total is made. */
static uint64_t counted_in(const struct history *history, const struct merge_total *total, enum field field)
{
    for (size_t i = 0; i < history->user_writes && total->version.timestamp_us > 0; i++)
        if (version_equal(history->writes[i].write.version, total->version))
            return history->counted[i][field];
    return 0;
}

static struct text decimal(int64_t number)
{
    return arena_printf(&arena, "%lld", (long long)number);
}

static void change_fields(struct history *history, struct row *row, struct merge_write *write, struct text *groups,
                          struct merge_count *counts, struct text node, size_t number)
{
    bool insert = write->op == MERGE_INSERT;
    for (enum field field = EMAIL; field < FIELDS; field++) {
        if (!insert && random_below(history->random, 2) == 0)
            continue;
        history->changed[number][field] = true;
        if (!fields[field].counter) {
            row->values[field] = (int64_t)random_below(history->random, 1000);
            if (write->group_count == 0 || !text_equal(groups[write->group_count - 1], fields[field].group))
                groups[write->group_count++] = fields[field].group;
            continue;
        }
        int64_t before = insert ? 0 : row->values[field], added = (int64_t)random_below(history->random, 20) - 8;
        struct merge_total own = own_total(&row->merge, field, node);
        int64_t total = strtoll(arena_string(&arena, own.total), NULL, 10) + added;
        counts[write->count_count++] = (struct merge_count){fields[field].name, decimal(before), decimal(total)};
        history->counted[number][field] = counted_in(history, &own, field) | UINT64_C(1) << number;
        row->values[field] = before + added;
        history->added[number][field] = added;
    }
    if (insert)
        write->group_count = 0;
}

static void write_locally(struct history *history, size_t node)
{
    struct row *row = &history->rows[node];
    struct text groups[FIELDS], name = text_from(node_names[node]);
    struct merge_count counts[FIELDS];
    struct merge_write write = {.groups = groups, .counts = counts};
    if (!row->merge.present && !history->returns && !version_is_none(row->merge.died))
        return;
    size_t dice = random_below(history->random, 10), number = history->count;
    write.op = !row->merge.present ? MERGE_INSERT : dice < 2 ? MERGE_DELETE : dice == 2 ? MERGE_ASSERT : MERGE_UPDATE;
    struct merge before = row->merge;
    if (write.op == MERGE_INSERT || write.op == MERGE_UPDATE)
        change_fields(history, row, &write, groups, counts, name, number);
    row->past |= UINT64_C(1) << number;
    history->user_writes = number + 1;
    publish(history, node);
    write.version = row->write.version;
    row->merge = merge_write(&before, &write, &arena);
    history->writes[number] = *row;
    history->ops[number] = write.op;
    history->born[number] = row->merge.died;
    /* A write only ever goes upwards, and what it leaves is what it says. */
    struct row earlier = *row;
    earlier.merge = before;
    struct row both = joined(&earlier, row);
    assert_true(merge_equal(&both.merge, &row->merge));
    for (size_t i = 0; i < FIELDS && row->merge.present; i++)
        if (fields[i].counter && merge_terms(&row->merge, fields[i].name).count > 0)
            assert_int_equal(sum(&row->merge, i), row->values[i]);
}

/* What apply does with a change. */
static void receive(struct history *history, size_t node, const struct row *change)
{
    struct row *row = &history->rows[node], before = *row;
    struct text here = text_from(node < history->node_count ? node_names[node] : "here");
    enum verdict verdict = judge_change(here, &change->write, &row->write, false);
    struct row plain = joined(row, change);
    if (verdict == VERDICT_ECHO || verdict == VERDICT_DUPLICATE || verdict == VERDICT_STALE) {
        /* Nothing would have come of it. */
        assert_true(rows_equal(&plain, row));
        return;
    }
    bool assertion = false;
    bool revive = history->revives &&
                  merge_revives(here, &row->merge, &change->merge, &change->write, &row->write);
    if (!revive && merge_replaces(&change->write, &row->write)) {
        /* The fast path: what has come is the join. */
        assert_true((row->past & ~change->past) == 0);
        assert_true(rows_equal(&plain, change));
        *row = *change;
    } else {
        *row = join(row, change, revive, &assertion);
    }
    bool later = version_compare(change->write.version, before.write.version) > 0;
    struct version stands = later ? change->write.version : before.write.version;
    row->write = (struct write){stands, before.write.version,
                                write_join(&change->write, &before.write, stands.node, &arena)};
    row->past = before.past | change->past;
    if (assertion) {
        assert_true(node < history->node_count);
        publish(history, node);
    }
}

static void begin(struct history *history, struct random *random)
{
    *history = (struct history){.random = random, .node_count = 2 + random_below(random, NODES_MAX - 1)};
    history->was_here = random_below(random, 2) == 0;
    if (history->was_here)
        history->begin = (struct row){.merge.present = true, .values = {0, 1, 2, 3, 100, -7}};
    for (size_t i = 0; i < history->node_count; i++) {
        history->rows[i] = history->begin;
        history->clocks[i] = 1 + (int64_t)random_below(random, 20);
    }
}

/* Any write may come at any time, any number of times: the writers see whatever has come so far. */
static void live(struct history *history, size_t write_count)
{
    for (size_t steps = 0; history->count < write_count && steps < 1000; steps++) {
        size_t node = random_below(history->random, history->node_count);
        if (history->count == 0 || random_below(history->random, 2) == 0)
            write_locally(history, node);
        else
            receive(history, node, &history->writes[random_below(history->random, history->count)]);
    }
    history->user_writes = history->count;
}

/* Everything to node, in any order, some of it twice, except what coalescing has left out. */
static void deliver_all(struct history *history, size_t node, const bool *dropped)
{
    size_t order[2 * (WRITES_MAX + NODES_MAX * WRITES_MAX)], count = 0;
    for (size_t i = 0; i < history->count; i++)
        for (size_t copies = dropped[i] ? 0 : 1 + random_below(history->random, 2); copies > 0; copies--)
            order[count++] = i;
    for (size_t i = count; i > 1; i--) {
        size_t other = random_below(history->random, i), kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
    for (size_t i = 0; i < count; i++)
        receive(history, node, &history->writes[order[i]]);
}

/* Of a writer's unbroken chain some batches hold the last alone, with the base of the first. */
static void coalesce(struct history *history, bool *dropped)
{
    for (size_t i = 0; i < history->count; i++) {
        size_t next = i + 1;
        while (next < history->count && history->writers[next] != history->writers[i])
            next++;
        if (next == history->count || random_below(history->random, 2) == 0 ||
            !version_equal(history->writes[next].write.base, history->writes[i].write.version))
            continue;
        history->writes[next].write.base = history->writes[i].write.base;
        dropped[i] = true;
    }
}

/* Until nobody has anything to say any more. */
static void settle(struct history *history, bool coalescing)
{
    bool dropped[WRITES_MAX + NODES_MAX * WRITES_MAX] = {false};
    if (coalescing)
        coalesce(history, dropped);
    size_t said;
    do {
        said = history->count;
        for (size_t i = 0; i < history->node_count; i++)
            deliver_all(history, i, dropped);
    } while (history->count > said);
}

static struct row fold(const struct history *history)
{
    struct row all = history->begin;
    for (size_t i = 0; i < history->count; i++)
        all = joined(&all, &history->writes[i]);
    return all;
}

static void assert_all_equal(struct history *history)
{
    struct row expected = fold(history);
    for (size_t i = 0; i < history->node_count; i++) {
        assert_true(rows_equal(&history->rows[i], &expected));
        assert_true(version_equal(history->rows[i].write.version, history->rows[0].write.version));
    }
    /* A node that wrote nothing. */
    bool dropped[WRITES_MAX + NODES_MAX * WRITES_MAX] = {false};
    struct history later = *history;
    later.node_count = 0;
    later.rows[0] = history->begin;
    deliver_all(&later, 0, dropped);
    assert_true(rows_equal(&later.rows[0], &expected));
}

/* The increments in the end, each at most once. */
static uint64_t counted_by_all(const struct history *history, enum field field)
{
    struct merge_terms terms = merge_terms(&history->rows[0].merge, fields[field].name);
    uint64_t all = 0;
    for (size_t i = 0; i < terms.count; i++) {
        uint64_t counted = counted_in(history, &terms.totals[i], field);
        assert_true((all & counted) == 0);
        all |= counted;
    }
    return all;
}

/* What a counter is: the sum of its increments. Without update_revives those are all of the incarnation that stands. */
static void assert_counted_once(const struct history *history)
{
    const struct row *end = &history->rows[0];
    for (enum field field = STOCK; field <= SOLD && end->merge.present; field++) {
        uint64_t counted = counted_by_all(history, field), born = 0;
        int64_t expected = 0;
        for (size_t i = 0; i < history->user_writes; i++) {
            if ((counted >> i & 1) != 0)
                expected += history->added[i][field];
            if (history->changed[i][field] && version_equal(history->born[i], end->merge.died))
                born |= UINT64_C(1) << i;
        }
        if (!history->revives)
            assert_true(counted == born);
        struct merge_terms terms = merge_terms(&end->merge, fields[field].name);
        if (terms.count == 0 || terms.totals[0].version.node.length == 0)
            expected += history->begin.values[field];
        assert_int_equal(end->values[field], expected);
    }
}

static struct version version_of(const struct merge *merge, struct text group)
{
    for (size_t i = 0; i < merge->group_count; i++)
        if (text_equal(merge->groups[i].name, group))
            return merge->groups[i].version;
    return merge->rest;
}

/* update_revives: what no deletion had seen is there, in the end, or something later is. */
static void assert_unseen_writes_survive(const struct history *history)
{
    uint64_t deleted = 0;
    for (size_t i = 0; i < history->user_writes; i++)
        if (history->ops[i] == MERGE_DELETE)
            deleted |= history->writes[i].past;
    const struct row *end = &history->rows[0];
    for (size_t i = 0; i < history->user_writes; i++) {
        if ((history->writes[i].past >> i & 1) == 0 || (deleted >> i & 1) != 0)
            continue;
        assert_true(end->merge.present);
        for (enum field field = EMAIL; field < FIELDS; field++) {
            if (!history->changed[i][field])
                continue;
            if (fields[field].counter)
                assert_true((counted_by_all(history, field) >> i & 1) != 0);
            else
                assert_true(version_compare(version_of(&end->merge, fields[field].group),
                                            history->writes[i].write.version) >= 0);
        }
    }
}

static void converge(const char *test, int rounds, bool revives, bool returns)
{
    struct random random = random_start(test);
    int present = 0, asserted = 0;
    for (int round = 0; round < rounds; round++) {
        arena_reset(&arena);
        static struct history history;
        begin(&history, &random);
        history.revives = revives;
        history.returns = returns;
        live(&history, 2 + random_below(&random, WRITES_MAX / 2 - 2));
        size_t before = history.count;
        settle(&history, random_below(&random, 2) == 0);
        assert_all_equal(&history);
        present += history.rows[0].merge.present;
        asserted += history.count > before;
        assert_counted_once(&history);
        if (revives && !returns)
            assert_unseen_writes_survive(&history);
    }
    printf("%s: %d of %d rows present, %d asserted\n", test, present, rounds, asserted);
    assert_true(present > rounds / 20 && present < rounds);
    assert_int_equal(asserted > 0, revives);
}

static void test_nodes_end_equal_and_count_every_increment_once(void **state)
{
    (void)state;
    converge("test_nodes_end_equal_and_count_every_increment_once", 10000, false, true);
}

static void test_nodes_end_equal_when_updates_revive(void **state)
{
    (void)state;
    converge("test_nodes_end_equal_when_updates_revive", 10000, true, true);
}

static void test_no_update_that_a_deletion_had_not_seen_is_lost_when_updates_revive(void **state)
{
    (void)state;
    converge("test_no_update_that_a_deletion_had_not_seen_is_lost_when_updates_revive", 10000, true, false);
}

/* ---- the join --------------------------------------------------------------------------------------------------- */

static void assert_rows_equal(struct row a, struct row b)
{
    assert_true(rows_equal(&a, &b));
}

static void test_join_is_commutative_associative_and_idempotent(void **state)
{
    (void)state;
    struct random random = random_start("test_join_is_commutative_associative_and_idempotent");
    static struct history history;
    int different = 0;
    for (int round = 0; round < 1000; round++) {
        arena_reset(&arena);
        begin(&history, &random);
        history.revives = random_below(&random, 2) == 0;
        history.returns = random_below(&random, 8) != 0;
        live(&history, 2 + random_below(&random, WRITES_MAX / 2 - 2));
        for (int triple = 0; triple < 40; triple++) {
            struct row of[3];
            for (size_t i = 0; i < 3; i++)
                of[i] = random_below(&random, 4) == 0 ? history.rows[random_below(&random, history.node_count)]
                                                      : history.writes[random_below(&random, history.count)];
            const struct row *a = &of[0], *b = &of[1], *c = &of[2];
            struct row ab = joined(a, b), ba = joined(b, a), bc = joined(b, c);
            assert_rows_equal(ab, ba);
            assert_rows_equal(joined(&ab, c), joined(a, &bc));
            assert_rows_equal(joined(a, a), *a);
            assert_rows_equal(joined(&ab, a), ab);
            assert_rows_equal(joined(&ab, b), ab);
            different += !rows_equal(a, b) && !rows_equal(&ab, a) && !rows_equal(&ab, b);
        }
    }
    printf("%d of 40000 pairs had something to merge\n", different);
    assert_true(different > 5000);
}

/* ---- one thing at a time ---------------------------------------------------------------------------------------- */

#define AT(timestamp, name) ((struct version){timestamp, {name, sizeof(name) - 1}})

static struct row inserted(struct version version, int64_t value)
{
    struct merge_count counts[] = {{fields[STOCK].name, TEXT_NULL, decimal(value)},
                                   {fields[SOLD].name, TEXT_NULL, decimal(0)}};
    struct merge_write write = {.op = MERGE_INSERT, .version = version, .count_count = 2, .counts = counts};
    return (struct row){.write.version = version,
                        .merge = merge_write(&(struct merge){0}, &write, &arena),
                        .values = {0, value, value, value, value, 0}};
}

static struct row updated(struct row row, struct version version, enum field field, int64_t value)
{
    struct merge_write write = {.op = MERGE_UPDATE, .version = version};
    struct merge_count count = {fields[field].name, decimal(row.values[field]), TEXT_NULL};
    if (fields[field].counter) {
        struct merge_total own = own_total(&row.merge, field, version.node);
        count.total = decimal(strtoll(arena_string(&arena, own.total), NULL, 10) + value - row.values[field]);
        write.counts = &count;
        write.count_count = 1;
    } else {
        write.groups = &fields[field].group;
        write.group_count = 1;
    }
    row.merge = merge_write(&row.merge, &write, &arena);
    row.values[field] = value;
    row.write = (struct write){.version = version, .base = row.write.version};
    return row;
}

static struct row deleted(struct row row, struct version version)
{
    row.merge = merge_write(&row.merge, &(struct merge_write){.op = MERGE_DELETE, .version = version}, &arena);
    row.write = (struct write){.version = version, .base = row.write.version};
    return row;
}

static struct row returned(struct row row, struct version version, int64_t value)
{
    struct row again = inserted(version, value);
    struct merge_count count = {fields[STOCK].name, TEXT_NULL, decimal(value)};
    again.merge = merge_write(
        &row.merge, &(struct merge_write){.op = MERGE_INSERT, .version = version, .counts = &count, .count_count = 1},
        &arena);
    return again;
}

static struct row was_here(void)
{
    return (struct row){.merge.present = true, .values = {0, 1, 1, 1, 10, 0}};
}

/* Both ways. */
static struct row merged(struct row a, struct row b)
{
    struct row ab = joined(&a, &b);
    assert_rows_equal(ab, joined(&b, &a));
    return ab;
}

static void test_updates_of_different_groups_both_survive(void **state)
{
    (void)state;
    struct row row = inserted(AT(1, "a"), 1);
    struct row end = merged(updated(row, AT(5, "a"), EMAIL, 7), updated(row, AT(3, "b"), CITY, 8));
    assert_int_equal(end.values[EMAIL], 7);
    assert_int_equal(end.values[CITY], 8);
    assert_int_equal(end.values[STREET], 1);
}

static void test_of_one_group_the_later_update_stands(void **state)
{
    (void)state;
    struct row row = inserted(AT(1, "a"), 1);
    assert_int_equal(merged(updated(row, AT(5, "a"), EMAIL, 7), updated(row, AT(3, "b"), EMAIL, 8)).values[EMAIL], 7);
    assert_int_equal(merged(updated(row, AT(5, "a"), EMAIL, 7), updated(row, AT(5, "b"), EMAIL, 8)).values[EMAIL], 8);
}

static void test_fields_of_one_group_stay_together(void **state)
{
    (void)state;
    struct row row = inserted(AT(1, "a"), 1);
    struct row end = merged(updated(row, AT(5, "a"), STREET, 7), updated(row, AT(6, "b"), CITY, 8));
    assert_int_equal(end.values[STREET], 1);
    assert_int_equal(end.values[CITY], 8);
}

static void test_row_from_before_gives_way_to_what_was_written_and_to_nothing_else(void **state)
{
    (void)state;
    struct row end = merged(updated(was_here(), AT(5, "a"), EMAIL, 7), updated(was_here(), AT(3, "b"), CITY, 8));
    assert_int_equal(end.values[EMAIL], 7);
    assert_int_equal(end.values[CITY], 8);
    assert_true(version_is_none(end.merge.rest));
    assert_rows_equal(merged(was_here(), was_here()), was_here());
}

static void test_deletion_wins_over_an_update_beside_it(void **state)
{
    (void)state;
    struct row row = inserted(AT(1, "a"), 1);
    struct row end = merged(updated(row, AT(9, "a"), EMAIL, 7), deleted(row, AT(3, "b")));
    assert_false(end.merge.present);
    assert_true(merge_equal(&end.merge, &(struct merge){.died = AT(3, "b")}));
}

static void test_row_that_came_back_stands_over_all_that_was_before(void **state)
{
    (void)state;
    struct row row = inserted(AT(1, "a"), 1), gone = deleted(row, AT(3, "b"));
    struct row again = returned(gone, AT(4, "b"), 5);
    assert_rows_equal(merged(again, gone), again);
    assert_rows_equal(merged(again, updated(row, AT(9, "a"), STOCK, 7)), again);
    /* Two that came back are one row, and a later deletion ends it. */
    struct row both = merged(again, returned(gone, AT(6, "c"), 8));
    assert_int_equal(both.values[EMAIL], 8);
    assert_int_equal(both.values[STOCK], 13);
    assert_false(merged(both, deleted(again, AT(7, "b"))).merge.present);
}

static void test_counters_add_up(void **state)
{
    (void)state;
    struct row row = was_here();
    struct row a = updated(row, AT(5, "a"), STOCK, 8), b = updated(row, AT(3, "b"), STOCK, 15);
    struct row end = merged(a, b);
    assert_int_equal(end.values[STOCK], 13);
    assert_int_equal(merge_terms(&end.merge, fields[STOCK].name).count, 3);
    assert_int_equal(merge_terms(&end.merge, fields[SOLD].name).count, 0);
    /* Nothing is added twice, and a node's later total takes the place of its earlier one. */
    assert_rows_equal(merged(end, a), end);
    assert_int_equal(merged(end, updated(a, AT(6, "a"), STOCK, 9)).values[STOCK], 14);
    struct row last = updated(end, AT(7, "b"), STOCK, 20);
    assert_int_equal(sum(&last.merge, STOCK), 20);
}

static enum merge_choice chosen(struct row local, struct row remote, enum field field)
{
    struct merge_result result;
    assert_true(merge_join(&local.merge, &remote.merge, false, FIELDS, fields, &arena, &result));
    return result.fields[field];
}

static void test_only_what_differs_is_to_be_written(void **state)
{
    (void)state;
    struct row row = inserted(AT(1, "a"), 1), more = updated(row, AT(5, "a"), STOCK, 8);
    struct row other = updated(row, AT(4, "b"), STOCK, 3);
    assert_int_equal(chosen(row, more, STOCK), FIELD_REMOTE);
    assert_int_equal(chosen(more, row, STOCK), FIELD_LOCAL);
    assert_int_equal(chosen(more, other, STOCK), FIELD_SUM);
    assert_int_equal(chosen(more, other, SOLD), FIELD_LOCAL);
    assert_int_equal(chosen(more, other, EMAIL), FIELD_LOCAL);
    assert_int_equal(chosen(more, other, ID), FIELD_LOCAL);
    assert_int_equal(chosen(row, updated(row, AT(4, "b"), CITY, 3), STREET), FIELD_REMOTE);
    struct merge_result result;
    assert_true(merge_join(&more.merge, &row.merge, false, FIELDS, fields, &arena, &result));
    assert_false(result.content_differs || result.state_differs || result.assertion);
    assert_true(merge_join(&row.merge, &more.merge, false, FIELDS, fields, &arena, &result));
    assert_true(result.content_differs && result.state_differs);
    /* The state alone: a deletion of what has already gone. */
    struct row gone = deleted(row, AT(6, "a")), later = deleted(row, AT(7, "b"));
    assert_true(merge_join(&gone.merge, &later.merge, false, FIELDS, fields, &arena, &result));
    assert_true(!result.content_differs && result.state_differs);
}

static void test_what_goes_without_saying_is_not_listed(void **state)
{
    (void)state;
    struct row row = updated(inserted(AT(1, "a"), 1), AT(3, "a"), EMAIL, 7);
    assert_int_equal(row.merge.group_count, 1);
    struct row end = merged(row, inserted(AT(5, "b"), 2));
    assert_int_equal(end.merge.group_count, 0);
    assert_int_equal(end.values[EMAIL], 2);
    /* An assertion stands for all groups. */
    struct merge_write write = {.op = MERGE_ASSERT, .version = AT(6, "a")};
    struct row asserted = row;
    asserted.merge = merge_write(&row.merge, &write, &arena);
    assert_int_equal(merged(asserted, end).values[EMAIL], 7);
    assert_int_equal(merged(asserted, end).values[STOCK], 3);
    struct row gone = deleted(row, AT(4, "a"));
    asserted.merge = merge_write(&gone.merge, &write, &arena);
    assert_false(merged(asserted, end).merge.present);
}

static void test_fresh_change_replaces_only_what_its_writer_had_seen(void **state)
{
    (void)state;
    const struct version known[] = {AT(4, "a")};
    struct write row = {.version = AT(5, "b"), .seen = {1, known}};
    struct write change = {.version = AT(9, "b"), .base = AT(5, "b")};
    assert_int_equal(judge_change(TEXT_LITERAL("a"), &change, &row, false), VERDICT_FRESH);
    assert_false(merge_replaces(&change, &row));
    change.seen = (struct seen){1, known};
    assert_true(merge_replaces(&change, &row));
    assert_true(merge_replaces(&change, &(struct write){0}));
}

/* Each of a and b has updated a group of its own, and knows of the other's; c has deleted the row. */
static void test_each_node_revives_what_the_deletion_had_not_seen(void **state)
{
    (void)state;
    struct row row = inserted(AT(1, "a"), 1), gone = deleted(row, AT(9, "c"));
    struct row a = updated(row, AT(5, "a"), EMAIL, 7), b = updated(row, AT(6, "b"), CITY, 8);
    assert_true(merge_revives(TEXT_LITERAL("a"), &a.merge, &gone.merge, &gone.write, &a.write));
    bool assertion;
    struct row alive = join(&a, &gone, true, &assertion);
    assert_true(assertion && alive.merge.present);
    assert_true(version_equal(alive.merge.survived, AT(9, "c")));
    assert_rows_equal(merged(alive, gone), alive);
    /* b hears of it before it hears of the deletion: its own is part of the row. */
    alive.write = (struct write){.version = AT(10, "a"), .base = AT(5, "a")};
    assert_true(merge_revives(TEXT_LITERAL("b"), &b.merge, &alive.merge, &alive.write, &b.write));
    struct row end = join(&b, &alive, true, &assertion);
    assert_true(assertion);
    assert_int_equal(end.values[EMAIL], 7);
    assert_int_equal(end.values[CITY], 8);
    assert_rows_equal(merged(end, alive), end);
    /* Whose row is b's by its version, and partly a's, is still a's to revive when the deletion knows b alone. */
    const struct version known[] = {AT(5, "a")};
    struct write both = {.version = AT(6, "b"), .seen = {1, known}};
    struct write knows_b = {.version = AT(9, "c"), .base = AT(6, "b")};
    struct row mine = merged(a, b);
    assert_true(merge_revives(TEXT_LITERAL("a"), &mine.merge, &gone.merge, &knows_b, &both));
    assert_false(merge_revives(TEXT_LITERAL("b"), &mine.merge, &gone.merge, &knows_b, &both));
}

static void test_nobody_revives_what_is_not_his_or_was_seen_or_came_back(void **state)
{
    (void)state;
    struct row row = inserted(AT(1, "a"), 1), a = updated(row, AT(5, "a"), EMAIL, 7);
    struct row gone = deleted(a, AT(9, "c"));
    assert_false(merge_revives(TEXT_LITERAL("a"), &a.merge, &gone.merge, &gone.write, &a.write));
    struct row blind = deleted(row, AT(9, "c"));
    assert_false(merge_revives(TEXT_LITERAL("d"), &a.merge, &blind.merge, &blind.write, &a.write));
    struct row before = was_here(), end = deleted(before, AT(9, "c"));
    assert_false(merge_revives(TEXT_LITERAL("a"), &before.merge, &end.merge, &end.write, &before.write));
    struct row again = returned(gone, AT(10, "a"), 3);
    assert_false(merge_revives(TEXT_LITERAL("a"), &again.merge, &blind.merge, &blind.write, &again.write));
    /* A row that came back stands over the old one, however alive. */
    struct row new = returned(blind, AT(10, "b"), 3);
    bool assertion;
    assert_rows_equal(join(&a, &new, true, &assertion), joined(&a, &new));
    assert_false(assertion);
}

static void test_more_nodes_than_the_limit_are_refused(void **state)
{
    (void)state;
    struct merge_total totals[2][MERGE_NODES_MAX];
    for (size_t i = 0; i < MERGE_NODES_MAX; i++) {
        totals[0][i] = (struct merge_total){fields[STOCK].name, {1, arena_printf(&arena, "n%03zu", i)}, decimal(1)};
        totals[1][i] = (struct merge_total){fields[STOCK].name, {1, arena_printf(&arena, "n%03zu", i + 1)}, decimal(1)};
    }
    struct merge a = {.present = true, .total_count = MERGE_NODES_MAX, .totals = totals[0]};
    struct merge b = {.present = true, .total_count = MERGE_NODES_MAX, .totals = totals[1]};
    struct merge_result result;
    assert_true(merge_join(&a, &a, false, FIELDS, fields, &arena, &result));
    assert_false(merge_join(&a, &b, false, FIELDS, fields, &arena, &result));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nodes_end_equal_and_count_every_increment_once),
        TEST(test_nodes_end_equal_when_updates_revive),
        TEST(test_no_update_that_a_deletion_had_not_seen_is_lost_when_updates_revive),
        TEST(test_join_is_commutative_associative_and_idempotent),
        TEST(test_updates_of_different_groups_both_survive),
        TEST(test_of_one_group_the_later_update_stands),
        TEST(test_fields_of_one_group_stay_together),
        TEST(test_row_from_before_gives_way_to_what_was_written_and_to_nothing_else),
        TEST(test_deletion_wins_over_an_update_beside_it),
        TEST(test_row_that_came_back_stands_over_all_that_was_before),
        TEST(test_counters_add_up),
        TEST(test_only_what_differs_is_to_be_written),
        TEST(test_what_goes_without_saying_is_not_listed),
        TEST(test_fresh_change_replaces_only_what_its_writer_had_seen),
        TEST(test_each_node_revives_what_the_deletion_had_not_seen),
        TEST(test_nobody_revives_what_is_not_his_or_was_seen_or_came_back),
        TEST(test_more_nodes_than_the_limit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
