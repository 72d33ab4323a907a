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
    return policy_default()->rule(local, remote);
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
        bool here = policy_default()->rule(one, other) == RULING_REMOTE; /* other wins */
        bool there = policy_default()->rule(other, one) == RULING_LOCAL; /* other wins */
        assert_int_equal(here, there);
    }
}

static void test_rulings_have_names(void **state)
{
    (void)state;
    assert_string_equal(ruling_name(RULING_LOCAL), "local");
    assert_string_equal(ruling_name(RULING_REMOTE), "remote");
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
        cmocka_unit_test(test_rulings_have_names),
        cmocka_unit_test(test_conflicts_have_the_names_of_postgresql),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
