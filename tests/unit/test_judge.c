#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/flow/judge.h"
#include "bridge/flow/policy.h"
#include "tests/unit/random.h"

#define HERE TEXT_LITERAL("here")

static struct version at(int64_t timestamp_us, const char *node)
{
    return (struct version){timestamp_us, text_from(node)};
}

static const struct version none = {0};

/* ---- the table of the design --------------------------------------------------------------------------------------
 */

static void expect(enum verdict verdict, struct version change, struct version base, struct version row, bool equal)
{
    assert_string_equal(verdict_name(judge_change(HERE, &(struct write){change, base, {0}}, &(struct write){row, none, {0}}, equal)),
                        verdict_name(verdict));
}

static void test_every_verdict_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(verdict_name(VERDICT_ECHO), "echo");
    assert_string_equal(verdict_name(VERDICT_DUPLICATE), "duplicate");
    assert_string_equal(verdict_name(VERDICT_STALE), "stale");
    assert_string_equal(verdict_name(VERDICT_FRESH), "fresh");
    assert_string_equal(verdict_name(VERDICT_SAME), "same");
    assert_string_equal(verdict_name(VERDICT_CONCURRENT), "concurrent");
}

static void test_own_echo_is_dropped_whatever_the_row_is(void **state)
{
    (void)state;
    expect(VERDICT_ECHO, at(9, "here"), none, none, false);
    expect(VERDICT_ECHO, at(9, "here"), none, at(9, "here"), true);
    expect(VERDICT_ECHO, at(9, "here"), at(5, "a"), at(5, "a"), false);
    expect(VERDICT_ECHO, at(9, "here"), none, at(7, "a"), true);
}

static void test_row_without_version_is_older_than_any_change(void **state)
{
    (void)state;
    expect(VERDICT_FRESH, at(1, "a"), none, none, false);
    expect(VERDICT_FRESH, at(1, "a"), none, none, true);
    expect(VERDICT_FRESH, at(1, "a"), at(100, "b"), none, false);
}

static void test_equal_version_is_a_duplicate_whatever_the_content(void **state)
{
    (void)state;
    expect(VERDICT_DUPLICATE, at(5, "a"), none, at(5, "a"), true);
    expect(VERDICT_DUPLICATE, at(5, "a"), none, at(5, "a"), false);
    expect(VERDICT_DUPLICATE, at(5, "a"), at(5, "a"), at(5, "a"), false);
}

static void test_older_change_of_the_same_node_is_stale(void **state)
{
    (void)state;
    expect(VERDICT_STALE, at(4, "a"), none, at(5, "a"), false);
    expect(VERDICT_STALE, at(4, "a"), none, at(5, "a"), true);
}

static void test_newer_change_of_the_same_node_is_fresh_without_a_base(void **state)
{
    (void)state;
    expect(VERDICT_FRESH, at(6, "a"), none, at(5, "a"), false);
    expect(VERDICT_FRESH, at(6, "a"), at(2, "b"), at(5, "a"), true);
}

static void test_change_whose_writer_saw_the_row_is_fresh(void **state)
{
    (void)state;
    expect(VERDICT_FRESH, at(6, "a"), at(5, "here"), at(5, "here"), false);
    expect(VERDICT_FRESH, at(6, "a"), at(5, "b"), at(5, "b"), true);
}

static void test_base_of_another_node_at_the_same_time_is_not_what_the_writer_saw(void **state)
{
    (void)state;
    expect(VERDICT_CONCURRENT, at(6, "a"), at(5, "b"), at(5, "c"), false);
    expect(VERDICT_CONCURRENT, at(6, "a"), at(4, "b"), at(5, "b"), false);
}

static void test_later_write_of_its_own_that_a_writer_claims_to_have_seen_is_still_news(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 16);
    struct version own = at(7, "a");
    struct write row = {at(4, "here"), none, {0}};
    struct write claims[] = {{at(2, "a"), own, {0}}, {at(2, "a"), none, {1, &own}}};
    for (size_t i = 0; i < 2; i++) {
        /* The row's version is the later one and stands; it knows now of (2, a), and of nothing newer. */
        row.seen = write_join(&claims[i], &row, row.version.node, &arena);
        assert_int_equal(row.seen.count, 1);
        assert_true(version_equal(row.seen.versions[0], at(2, "a")));
        assert_int_equal(judge_change(HERE, &(struct write){at(5, "a"), none, {0}}, &row, false), VERDICT_CONCURRENT);
        row.seen = (struct seen){0};
    }
    arena_free(&arena);
}

static void test_base_without_time_covers_nothing(void **state)
{
    (void)state;
    expect(VERDICT_CONCURRENT, at(6, "a"), (struct version){0, TEXT_LITERAL("here")}, at(5, "here"), false);
}

static void test_equal_times_of_two_nodes_are_concurrent(void **state)
{
    (void)state;
    expect(VERDICT_CONCURRENT, at(5, "a"), none, at(5, "b"), false);
    expect(VERDICT_SAME, at(5, "a"), none, at(5, "b"), true);
}

static void test_concurrent_change_is_the_same_only_with_equal_content(void **state)
{
    (void)state;
    expect(VERDICT_CONCURRENT, at(9, "a"), none, at(5, "here"), false);
    expect(VERDICT_CONCURRENT, at(2, "a"), none, at(5, "here"), false);
    expect(VERDICT_SAME, at(9, "a"), none, at(5, "here"), true);
    expect(VERDICT_SAME, at(2, "a"), none, at(5, "here"), true);
}

/* ---- properties
 * ------------------------------------------------------------------------------------------------------ */

static const char *const node_names[] = {"a", "b", "c", "d"};
enum { NODES_MAX = 4 };

static struct version random_version(struct random *random)
{
    return at((int64_t)random_below(random, 6), node_names[random_below(random, NODES_MAX)]);
}

static void test_verdicts_follow_from_versions_alone(void **state)
{
    (void)state;
    struct random random = random_start("test_verdicts_follow_from_versions_alone");
    for (int i = 0; i < 200000; i++) {
        struct version change = random_version(&random), base = random_version(&random), row = random_version(&random);
        change.timestamp_us++;
        struct text here = text_from(node_names[random_below(&random, NODES_MAX)]);
        bool equal = random_below(&random, 2) == 0;
        struct write write = {change, base, {0}}, present = {row, none, {0}};
        enum verdict verdict = judge_change(here, &write, &present, equal);
        bool own = text_equal(change.node, here), same_node = text_equal(change.node, row.node);
        bool versioned = row.timestamp_us != 0;
        assert_int_equal(verdict == VERDICT_ECHO, own);
        assert_int_equal(verdict == VERDICT_DUPLICATE, !own && versioned && version_equal(change, row));
        assert_int_equal(verdict == VERDICT_STALE,
                         !own && versioned && same_node && change.timestamp_us < row.timestamp_us);
        if (verdict == VERDICT_SAME || verdict == VERDICT_CONCURRENT) {
            assert_true(versioned && !same_node && !write_covers(&write, row));
            assert_int_equal(verdict == VERDICT_SAME, equal);
        }
        /* What has been applied once is a duplicate from then on. */
        if (!own)
            assert_int_equal(judge_change(here, &write, &write, equal), VERDICT_DUPLICATE);
    }
}

static void test_two_changes_that_did_not_see_each_other_are_never_both_fresh(void **state)
{
    (void)state;
    struct random random = random_start("test_two_changes_that_did_not_see_each_other_are_never_both_fresh");
    for (int i = 0; i < 100000; i++) {
        struct version one = random_version(&random), other = random_version(&random);
        one.timestamp_us++;
        other.timestamp_us++;
        struct write first = {one, none, {0}}, second = {other, none, {0}};
        enum verdict there = judge_change(HERE, &first, &second, false);
        enum verdict here = judge_change(HERE, &second, &first, false);
        assert_false(there == VERDICT_FRESH && here == VERDICT_FRESH);
        assert_int_equal(there == VERDICT_DUPLICATE, here == VERDICT_DUPLICATE);
        assert_int_equal(there == VERDICT_CONCURRENT, here == VERDICT_CONCURRENT);
        if (there == VERDICT_CONCURRENT)
            assert_int_not_equal(policy_default()->rule(NULL, other, one), policy_default()->rule(NULL, one, other));
    }
}

/* ---- convergence: the model of a row on several nodes
 * ----------------------------------------------------------------- */

/* Which of the history's writes a write stands upon, itself included. */
typedef uint64_t past;

struct state {
    struct write write;
    past past;
    int content; /* 0: deleted */
};

/* What apply does with a change. A conflict must be one: of two writes that did not know each other. */
static void receive(struct text here, struct state *row, const struct state *change, struct arena *arena)
{
    static const struct rules rules = {0};
    struct rules latest = rules;
    latest.policy = policy_default();
    struct settlement settlement =
        policy_settle(&latest, here, &change->write, &row->write, row->content == change->content, arena);
    bool later = version_compare(change->write.version, row->write.version) > 0;
    bool versioned = !version_is_none(row->write.version);
    switch (settlement.verdict) {
    case VERDICT_ECHO:
        return;
    case VERDICT_DUPLICATE:
    case VERDICT_STALE:
        assert_true((change->past & ~row->past) == 0);
        return;
    case VERDICT_FRESH:
        /* Nothing that is applied ever goes back in time. */
        assert_true(later);
        break;
    case VERDICT_SAME:
    case VERDICT_CONCURRENT:
        assert_true(versioned && (change->past & ~row->past) != 0 && (row->past & ~change->past) != 0);
        if (settlement.verdict == VERDICT_CONCURRENT)
            assert_int_equal(settlement.ruling, later ? RULING_REMOTE : RULING_LOCAL);
        break;
    }
    if (settlement.action == ACTION_WRITE)
        row->content = change->content;
    row->write = settlement.write;
    row->past |= change->past;
}

enum { WRITES_MAX = 40 };

struct history {
    struct random *random;
    struct arena arena;
    size_t node_count;
    struct state rows[NODES_MAX];
    int64_t clocks[NODES_MAX]; /* as wrong as clocks are */
    size_t count;
    struct state writes[WRITES_MAX];
    size_t writers[WRITES_MAX];
};

/* As the capture trigger stamps: later than what it replaces, whatever the clock says. */
static void write_locally(struct history *history, size_t node)
{
    struct state *row = &history->rows[node];
    struct write *before = &row->write;
    history->clocks[node] += (int64_t)random_below(history->random, 4);
    int64_t now = history->clocks[node];
    struct text name = text_from(node_names[node]);
    struct write write = {
        .version = {now > before->version.timestamp_us ? now : before->version.timestamp_us + 1, name},
        .base = before->version,
        .seen = write_join(before, &(struct write){.base = none}, name, &history->arena),
    };
    *row = (struct state){write, row->past | UINT64_C(1) << history->count, (int)random_below(history->random, 4)};
    history->writers[history->count] = node;
    history->writes[history->count++] = *row;
}

/* Any write may come at any time, any number of times: the writers see whatever has come so far. */
static void live(struct history *history, size_t write_count)
{
    while (history->count < write_count) {
        size_t node = random_below(history->random, history->node_count);
        if (history->count == 0 || random_below(history->random, 2) == 0)
            write_locally(history, node);
        else
            receive(text_from(node_names[node]), &history->rows[node],
                    &history->writes[random_below(history->random, history->count)], &history->arena);
    }
}

/* A batch holds the last of a writer's unbroken chain, with the base of the first. */
static void coalesce(struct history *history)
{
    size_t kept = 0;
    for (size_t i = 0; i < history->count; i++) {
        struct state write = history->writes[i];
        size_t next = i + 1;
        while (next < history->count && history->writers[next] != history->writers[i])
            next++;
        bool unbroken = next < history->count && version_equal(history->writes[next].write.base, write.write.version);
        if (unbroken && random_below(history->random, 2) == 0) {
            history->writes[next].write.base = write.write.base;
            continue;
        }
        history->writers[kept] = history->writers[i];
        history->writes[kept++] = write;
    }
    history->count = kept;
}

static void deliver_all(struct history *history, struct text here, struct state *row)
{
    size_t order[WRITES_MAX * 2];
    size_t count = 0;
    for (size_t i = 0; i < history->count; i++)
        for (size_t copies = 1 + random_below(history->random, 2); copies > 0; copies--)
            order[count++] = i;
    for (size_t i = count; i > 1; i--) {
        size_t other = random_below(history->random, i), kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
    for (size_t i = 0; i < count; i++)
        receive(here, row, &history->writes[order[i]], &history->arena);
}

static struct state latest(const struct history *history)
{
    struct state latest = {0};
    for (size_t i = 0; i < history->count; i++)
        if (version_compare(history->writes[i].write.version, latest.write.version) > 0)
            latest = history->writes[i];
    return latest;
}

static void assert_same_state(struct state a, struct state b)
{
    assert_true(version_equal(a.write.version, b.write.version));
    assert_int_equal(a.content, b.content);
}

static void converge(const char *test, bool coalescing)
{
    struct random random = random_start(test);
    struct arena arena;
    arena_init(&arena, 16 << 20);
    for (int round = 0; round < 20000; round++) {
        arena_reset(&arena);
        struct history history = {.random = &random, .arena = arena, .node_count = 2 + random_below(&random, NODES_MAX - 1)};
        for (size_t i = 0; i < history.node_count; i++)
            history.clocks[i] = 1 + (int64_t)random_below(&random, 20);
        live(&history, 2 + random_below(&random, WRITES_MAX - 2));
        if (coalescing)
            coalesce(&history);
        struct state winner = latest(&history);
        for (size_t i = 0; i < history.node_count; i++) {
            deliver_all(&history, text_from(node_names[i]), &history.rows[i]);
            assert_same_state(history.rows[i], winner);
        }
        /* A node that wrote nothing, and one that had the row before there were versions. */
        for (int i = 0; i < 4; i++) {
            struct state row = {.content = i % 2};
            deliver_all(&history, HERE, &row);
            assert_same_state(row, winner);
        }
        arena = history.arena;
    }
    arena_free(&arena);
}

static void test_all_nodes_end_with_the_latest_version_in_any_order(void **state)
{
    (void)state;
    converge("test_all_nodes_end_with_the_latest_version_in_any_order", false);
}

static void test_coalesced_changes_end_with_the_same_version(void **state)
{
    (void)state;
    converge("test_coalesced_changes_end_with_the_same_version", true);
}

/* ---- tallies
 * ------------------------------------------------------------------------------------------------------------ */

static void test_tally_conserves_when_every_change_has_one_verdict(void **state)
{
    (void)state;
    struct tally tally = {
        .received = 28, .applied = 1, .same = 2, .duplicate = 3, .stale = 4, .echo = 5, .kept = 6, .dead_letters = 7};
    assert_true(tally_conserves(&tally));
    tally.conflicts = 100;
    tally.unchanged = 100;
    assert_true(tally_conserves(&tally));
    tally.kept++;
    assert_false(tally_conserves(&tally));
}

static void test_tallies_add_up(void **state)
{
    (void)state;
    struct tally one = {10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12}, sum = {0};
    tally_add(&sum, &one);
    tally_add(&sum, &one);
    assert_memory_equal(&sum, (&(struct tally){20, 2, 4, 6, 8, 10, 12, 14, 16, 18, 22, 24}), sizeof sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_verdict_has_its_name),
        cmocka_unit_test(test_own_echo_is_dropped_whatever_the_row_is),
        cmocka_unit_test(test_row_without_version_is_older_than_any_change),
        cmocka_unit_test(test_equal_version_is_a_duplicate_whatever_the_content),
        cmocka_unit_test(test_older_change_of_the_same_node_is_stale),
        cmocka_unit_test(test_newer_change_of_the_same_node_is_fresh_without_a_base),
        cmocka_unit_test(test_change_whose_writer_saw_the_row_is_fresh),
        cmocka_unit_test(test_base_of_another_node_at_the_same_time_is_not_what_the_writer_saw),
        cmocka_unit_test(test_later_write_of_its_own_that_a_writer_claims_to_have_seen_is_still_news),
        cmocka_unit_test(test_base_without_time_covers_nothing),
        cmocka_unit_test(test_equal_times_of_two_nodes_are_concurrent),
        cmocka_unit_test(test_concurrent_change_is_the_same_only_with_equal_content),
        cmocka_unit_test(test_verdicts_follow_from_versions_alone),
        cmocka_unit_test(test_two_changes_that_did_not_see_each_other_are_never_both_fresh),
        cmocka_unit_test(test_all_nodes_end_with_the_latest_version_in_any_order),
        cmocka_unit_test(test_coalesced_changes_end_with_the_same_version),
        cmocka_unit_test(test_tally_conserves_when_every_change_has_one_verdict),
        cmocka_unit_test(test_tallies_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
