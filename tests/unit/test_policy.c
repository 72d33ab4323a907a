#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/flow/policy.h"
#include "tests/unit/random.h"

static enum ruling rule(int64_t local_us, const char *local_node, int64_t remote_us, const char *remote_node)
{
    struct version local = {local_us, text_from(local_node)}, remote = {remote_us, text_from(remote_node)};
    return policy_default()->rule(NULL, local, remote);
}

static void test_last_write_wins_is_the_default_and_says_what_it_does(void **state)
{
    (void)state;
    assert_string_equal(policy_default()->name, "last-write-wins");
    size_t length = strlen(policy_default()->sentence);
    assert_true(length > 20 && policy_default()->sentence[length - 1] == '.');
}

static void test_later_version_wins_on_either_side(void **state)
{
    (void)state;
    assert_int_equal(rule(5, "a", 6, "b"), RULING_REMOTE);
    assert_int_equal(rule(6, "a", 5, "b"), RULING_LOCAL);
    assert_int_equal(rule(6, "b", 5, "a"), RULING_LOCAL);
    assert_int_equal(rule(5, "b", 6, "a"), RULING_REMOTE);
}

static void test_at_one_microsecond_the_name_that_sorts_last_wins(void **state)
{
    (void)state;
    assert_int_equal(rule(5, "a", 5, "b"), RULING_REMOTE);
    assert_int_equal(rule(5, "b", 5, "a"), RULING_LOCAL);
    assert_int_equal(rule(5, "node", 5, "node2"), RULING_REMOTE);
    assert_int_equal(rule(5, "Z", 5, "a"), RULING_REMOTE);
    assert_int_equal(rule(5, "a", 5, "\xC3\xA4"), RULING_REMOTE);
}

static void test_change_does_not_win_against_itself(void **state)
{
    (void)state;
    assert_int_equal(rule(5, "a", 5, "a"), RULING_LOCAL);
}

static void test_both_sides_choose_the_same_winner(void **state)
{
    (void)state;
    struct random random = random_start("test_both_sides_choose_the_same_winner");
    static const char *const names[] = {"a", "b", "ab", "B"};
    for (int i = 0; i < 100000; i++) {
        struct version one = {1 + (int64_t)random_below(&random, 4), text_from(names[random_below(&random, 4)])};
        struct version other = {1 + (int64_t)random_below(&random, 4), text_from(names[random_below(&random, 4)])};
        if (version_equal(one, other))
            continue;
        bool here = policy_default()->rule(NULL, one, other) == RULING_REMOTE; /* other wins */
        bool there = policy_default()->rule(NULL, other, one) == RULING_LOCAL; /* other wins */
        assert_int_equal(here, there);
    }
}

/* ---- node-priority ------------------------------------------------------------------------------------------------ */

static const struct text order[] = {{"first", 5}, {"second", 6}};

static struct rules rules_of(const char *policy)
{
    return (struct rules){.policy = policy_find(text_from(policy)), .priority_count = 2, .priority = order};
}

static struct settlement settle(const char *policy, const char *here, struct version change, struct version row, bool equal,
                                struct arena *arena)
{
    struct rules rules = rules_of(policy);
    struct write remote = {.version = change}, local = {.version = row};
    return policy_settle(&rules, text_from(here), &remote, &local, equal, arena);
}

#define AT(timestamp, name) ((struct version){timestamp, {name, sizeof(name) - 1}})

static void test_node_named_first_wins_whatever_the_clocks_say(void **state)
{
    (void)state;
    struct rules rules = rules_of("node-priority");
    assert_int_equal(rules.policy->rule(&rules, AT(9, "second"), AT(1, "first")), RULING_REMOTE);
    assert_int_equal(rules.policy->rule(&rules, AT(1, "first"), AT(9, "second")), RULING_LOCAL);
    assert_int_equal(rules.policy->rule(&rules, AT(9, "other"), AT(1, "second")), RULING_REMOTE);
    assert_int_equal(rules.policy->rule(&rules, AT(1, "other"), AT(2, "another")), RULING_REMOTE);
}

static void test_node_that_should_win_asserts_its_row_when_it_is_the_earlier_one(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct settlement here = settle("node-priority", "first", AT(9, "second"), AT(1, "first"), false, &arena);
    assert_int_equal(here.ruling, RULING_LOCAL);
    assert_int_equal(here.action, ACTION_STAMP);
    assert_true(here.assertion);
    /* The other side waits for that, and a third one too. */
    struct settlement there = settle("node-priority", "second", AT(1, "first"), AT(9, "second"), false, &arena);
    assert_int_equal(there.ruling, RULING_REMOTE);
    assert_int_equal(there.action, ACTION_STAMP);
    assert_true(!there.assertion && version_equal(there.write.version, AT(9, "second")));
    struct settlement third = settle("node-priority", "third", AT(9, "second"), AT(1, "first"), false, &arena);
    assert_int_equal(third.action, ACTION_WRITE);
    assert_false(third.assertion);
    /* When it is the later one anyway, nobody has to say anything. */
    here = settle("node-priority", "first", AT(1, "second"), AT(9, "first"), false, &arena);
    assert_true(here.action == ACTION_STAMP && !here.assertion);
    arena_free(&arena);
}

static void test_manual_conflict_stays_open_and_changes_nothing(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct settlement open = settle("manual", "first", AT(9, "second"), AT(1, "first"), false, &arena);
    assert_int_equal(open.verdict, VERDICT_CONCURRENT);
    assert_int_equal(open.ruling, RULING_OPEN);
    assert_int_equal(open.action, ACTION_NOTHING);
    struct settlement same = settle("manual", "first", AT(9, "second"), AT(1, "first"), true, &arena);
    assert_int_equal(same.action, ACTION_STAMP);
    assert_true(version_equal(same.write.version, AT(9, "second")));
    arena_free(&arena);
}

static void test_who_loses_is_seen_from_then_on(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct settlement kept = settle("last-write-wins", "a", AT(5, "b"), AT(7, "a"), false, &arena);
    assert_int_equal(kept.action, ACTION_STAMP);
    struct write change = {.version = AT(5, "b")};
    assert_int_equal(judge_change(TEXT_LITERAL("a"), &change, &kept.write, false), VERDICT_STALE);
    struct settlement lost = settle("last-write-wins", "a", AT(9, "b"), AT(7, "a"), false, &arena);
    assert_int_equal(lost.action, ACTION_WRITE);
    assert_int_equal(lost.write.seen.count, 1);
    assert_true(write_covers(&lost.write, AT(7, "a")));
    arena_free(&arena);
}

static void test_policies_are_found_by_name_and_say_what_they_do(void **state)
{
    (void)state;
    size_t count = 0;
    for (; policy_number(count) != NULL; count++) {
        const struct policy *policy = policy_number(count);
        assert_ptr_equal(policy_find(text_from(policy->name)), policy);
        size_t length = strlen(policy->sentence);
        assert_true(length > 20 && policy->sentence[length - 1] == '.');
    }
    assert_int_equal(count, 4);
    assert_null(policy_find(TEXT_LITERAL("first-write-wins")));
}

static void test_rulings_have_names(void **state)
{
    (void)state;
    assert_string_equal(ruling_name(RULING_LOCAL), "local");
    assert_string_equal(ruling_name(RULING_REMOTE), "remote");
    assert_string_equal(ruling_name(RULING_OPEN), "open");
}

static void test_conflicts_have_the_names_of_postgresql(void **state)
{
    (void)state;
    assert_string_equal(conflict_kind(CHANGE_CREATED, true, false), "insert_exists");
    assert_string_equal(conflict_kind(CHANGE_UPDATED, true, false), "update_origin_differs");
    assert_string_equal(conflict_kind(CHANGE_UPDATED, false, false), "update_missing");
    assert_string_equal(conflict_kind(CHANGE_UPDATED, false, true), "update_deleted");
    assert_string_equal(conflict_kind(CHANGE_CREATED, false, true), "update_deleted");
    assert_string_equal(conflict_kind(CHANGE_DELETED, true, false), "delete_origin_differs");
    assert_string_equal(conflict_kind(CHANGE_DELETED, false, true), "delete_missing");
    assert_string_equal(conflict_kind(CHANGE_DELETED, false, false), "delete_missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_write_wins_is_the_default_and_says_what_it_does),
        cmocka_unit_test(test_later_version_wins_on_either_side),
        cmocka_unit_test(test_at_one_microsecond_the_name_that_sorts_last_wins),
        cmocka_unit_test(test_change_does_not_win_against_itself),
        cmocka_unit_test(test_both_sides_choose_the_same_winner),
        cmocka_unit_test(test_node_named_first_wins_whatever_the_clocks_say),
        cmocka_unit_test(test_node_that_should_win_asserts_its_row_when_it_is_the_earlier_one),
        cmocka_unit_test(test_manual_conflict_stays_open_and_changes_nothing),
        cmocka_unit_test(test_who_loses_is_seen_from_then_on),
        cmocka_unit_test(test_policies_are_found_by_name_and_say_what_they_do),
        cmocka_unit_test(test_rulings_have_names),
        cmocka_unit_test(test_conflicts_have_the_names_of_postgresql),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
