#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bridge/flow/storm.h"
#include "tests/unit/random.h"

#define CUSTOMER TEXT_LITERAL("customer")
#define ORDER TEXT_LITERAL("order")

/* ---- holds ---- */

static void test_holds_change_their_number_only_when_they_differ(void **state)
{
    (void)state;
    struct holds *holds = calloc(1, sizeof *holds), *next = calloc(1, sizeof *next);
    assert_false(holds_take(holds, next));
    holds_add(next, CUSTOMER);
    holds_add(next, ORDER);
    holds_add(next, CUSTOMER);
    assert_int_equal(next->count, 2);
    assert_true(holds_take(holds, next));
    assert_int_equal(holds->number, 1);
    assert_true(holds_entity(holds, ORDER));
    assert_false(holds_entity(holds, TEXT_LITERAL("orders")));
    /* Another order, another portion: the same holds. */
    next->count = 0;
    holds_add(next, ORDER);
    holds_add(next, CUSTOMER);
    next->changes_max = 7;
    assert_false(holds_take(holds, next));
    assert_int_equal(holds->changes_max, 7);
    assert_int_equal(holds->number, 1);
    next->all = true;
    assert_true(holds_take(holds, next));
    next->all = false;
    next->count = 1;
    assert_true(holds_take(holds, next));
    assert_int_equal(holds->number, 3);
    assert_false(holds->all);
    assert_false(holds_entity(holds, CUSTOMER));
    free(holds);
    free(next);
}

static void test_what_does_not_fit_holds_everything(void **state)
{
    (void)state;
    struct holds *holds = calloc(1, sizeof *holds);
    char name[24];
    for (int i = 0; i < LIMIT_ENTITIES; i++) {
        snprintf(name, sizeof name, "entity%d", i);
        holds_add(holds, text_from(name));
    }
    assert_false(holds->all);
    holds_add(holds, TEXT_LITERAL("entity7"));
    assert_false(holds->all);
    holds_add(holds, CUSTOMER);
    assert_true(holds->all);
    free(holds);
}

/* ---- budgets ---- */

/* Whatever is asked for at whatever times: never more than a second's worth, one portion and what time has brought. */
static void test_a_budget_is_kept_on_average(void **state)
{
    (void)state;
    struct random random = random_start("test_a_budget_is_kept_on_average");
    for (int round = 0; round < 500; round++) {
        double per_second = 1 + (double)random_below(&random, 5000);
        struct budget budget;
        int64_t now = (int64_t)random_below(&random, 1000000), start = now;
        uint64_t sent = 0, largest = 0;
        budget_init(&budget, CUSTOMER, per_second, now);
        for (int i = 0; i < 300; i++) {
            now += (int64_t)random_below(&random, 200);
            if (budget_spent(&budget, now))
                continue;
            uint64_t count = 1 + random_below(&random, budget_portion(&budget));
            budget.captured = count;
            budget_spend(&budget, count, now);
            sent += count;
            largest = count > largest ? count : largest;
        }
        assert_true((double)sent <= per_second * (1 + (double)(now - start) / 1000) + (double)largest + 1);
    }
}

/* What waits is sent as fast as the budget allows, not slower. */
static void test_a_budget_is_used_up(void **state)
{
    (void)state;
    struct random random = random_start("test_a_budget_is_used_up");
    for (int round = 0; round < 200; round++) {
        double per_second = 1 + (double)random_below(&random, 1000);
        struct budget budget;
        uint64_t sent = 0;
        budget_init(&budget, CUSTOMER, per_second, 0);
        for (int64_t now = 0; now <= 20000; now += 1 + (int64_t)random_below(&random, 20)) {
            if (budget_spent(&budget, now))
                continue;
            budget.captured = budget_portion(&budget);
            sent += budget.captured;
            budget_spend(&budget, budget.captured, now);
        }
        assert_true((double)sent >= per_second * 19);
    }
}

static void test_many_captured_changes_of_few_rows_come_in_large_portions(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, CUSTOMER, 100, 0);
    assert_int_equal(budget_portion(&budget), 100);
    budget.captured = 100;
    budget_spend(&budget, 10, 0);
    assert_int_equal(budget_portion(&budget), 900);
    budget.captured = 900;
    budget_spend(&budget, 10, 0);
    assert_int_equal(budget_portion(&budget), LIMIT_BATCH_ROWS);
    assert_false(budget_spent(&budget, 0));
    budget.captured = 79;
    budget_spend(&budget, 79, 0);
    assert_false(budget_spent(&budget, 0));
    budget.captured = 1;
    budget_spend(&budget, 1, 0);
    assert_true(budget_spent(&budget, 0));
    /* Half a second later, not at once. */
    assert_true(budget_spent(&budget, 490));
    assert_false(budget_spent(&budget, 510));
    /* There is more: some seconds' worth ahead. */
    assert_int_equal(budget_portion(&budget), 551);
    /* And calm for long, portions are small again. */
    budget.captured = 5000;
    budget_spend(&budget, 10, 510);
    assert_int_equal(budget_portion(&budget), LIMIT_BATCH_ROWS);
    assert_false(budget_spent(&budget, 5000));
    assert_int_equal(budget_portion(&budget), 100);
}

/* Rows that are written in turns, of which there are some times as many as may be sent in a second: their changes join before all of them are sent. */
static void test_rows_of_some_seconds_join(void **state)
{
    (void)state;
    struct random random = random_start("test_rows_of_some_seconds_join");
    for (int round = 0; round < 200; round++) {
        uint64_t per_second = 10 + random_below(&random, 200), rows = 1 + random_below(&random, 4 * per_second), backlog = 500 * per_second;
        struct budget budget;
        int64_t now = 0;
        budget_init(&budget, CUSTOMER, (double)per_second, now);
        for (; backlog > 0; now += 10) {
            if (budget_spent(&budget, now))
                continue;
            budget.captured = budget_portion(&budget) < backlog ? budget_portion(&budget) : backlog;
            budget_spend(&budget, budget.captured < rows ? budget.captured : rows, now);
            backlog -= budget.captured;
        }
        assert_true(now < 250000);
    }
}

/* Whoever has a small budget bounds the batches in which the others travel. */
static void test_portions_are_not_tiny(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, CUSTOMER, 1, 0);
    assert_int_equal(budget_portion(&budget), 100);
    budget.captured = 100;
    budget_spend(&budget, 100, 0);
    assert_true(budget_spent(&budget, 99000));
    assert_false(budget_spent(&budget, 100000));
    assert_int_equal(budget_portion(&budget), 6); /* it is behind */
    assert_false(budget_spent(&budget, 101100));
    assert_int_equal(budget_portion(&budget), 100); /* and calm */
}

static void test_a_transaction_larger_than_the_budget_is_paid_for_afterwards(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, CUSTOMER, 100, 0);
    budget.captured = 1100;
    budget_spend(&budget, 1100, 0);
    assert_true(budget_spent(&budget, 10000));
    assert_false(budget_spent(&budget, 10500));
}

/* ---- rallies ---- */

static const struct rally_rule rule = {.times = 4, .within_ms = 1000, .cool_down_ms = 5000};

static int64_t written_us; /* the version of the latest write */

static int64_t note_content(struct rallies *rallies, const char *key, const char *what, const char *when, const char *replaced,
                            int64_t now_ms, bool *begins)
{
    written_us++;
    struct text values[] = {text_from(key), text_from(what), text_from(when)};
    struct version base = {replaced != NULL ? written_us : 0, text_from(replaced)};
    struct message message = {.source = TEXT_LITERAL("operations"), .entity = CUSTOMER, .op = CHANGE_UPDATED, .key_count = 1,
                              .column_count = 3, .row_count = 1, .values = values, .bases = &base,
                              .timestamp_us = written_us};
    return rallies_note(rallies, &message, 0, now_ms, begins);
}

static int64_t note(struct rallies *rallies, const char *key, const char *replaced, int64_t now_ms, bool *begins)
{
    return note_content(rallies, key, "the same", NULL, replaced, now_ms, begins);
}

static void test_a_row_rewritten_in_turns_is_held_and_cools_down(void **state)
{
    (void)state;
    struct rallies *rallies = rallies_new(&rule, TEXT_LITERAL("commerce"));
    bool begins;
    /* The first time it is news. Then each time it replaces a write of ours: two changes of sides. */
    assert_int_equal(note(rallies, "1", "commerce", 50, &begins), 0);
    assert_int_equal(note(rallies, "1", "commerce", 100, &begins), 0);
    assert_int_equal(note(rallies, "1", "commerce", 200, &begins), 0);
    assert_false(begins);
    assert_int_equal(note(rallies, "1", "commerce", 300, &begins), 5300);
    assert_true(begins);
    /* Then everything of this row, and nothing of others. */
    assert_int_equal(note(rallies, "1", "operations", 5000, &begins), 5300);
    assert_false(begins);
    assert_int_equal(note(rallies, "2", "commerce", 5000, &begins), 0);
    /* If it goes on after that, at once again; a write of the same side alone is none. */
    assert_int_equal(note(rallies, "1", "operations", 5400, &begins), 0);
    assert_int_equal(note(rallies, "1", "commerce", 5500, &begins), 10500);
    assert_true(begins);
    /* Calm for long enough, it begins anew. */
    assert_int_equal(note(rallies, "1", "commerce", 11500, &begins), 0);
    assert_int_equal(note(rallies, "1", "commerce", 11600, &begins), 0);
    assert_int_equal(note(rallies, "1", "commerce", 11700, &begins), 16700);
    rallies_free(rallies);
}

static void test_a_message_that_comes_again_is_no_turn(void **state)
{
    (void)state;
    struct rallies *rallies = rallies_new(&rule, TEXT_LITERAL("commerce"));
    bool begins;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(note(rallies, "1", "commerce", i, &begins), 0);
        written_us--;
    }
    assert_int_equal(note(rallies, "1", "commerce", 101, &begins), 0);
    assert_int_equal(note(rallies, "1", "commerce", 102, &begins), 0);
    assert_int_equal(note(rallies, "1", "commerce", 103, &begins), 0);
    assert_int_equal(note(rallies, "1", "commerce", 104, &begins), 5104);
    rallies_free(rallies);
}

/* Who captures from the log tells no bases, but what he has seen. */
static int64_t note_seen(struct rallies *rallies, const char *what, int64_t seen_us, int64_t now_ms)
{
    struct text values[] = {TEXT_LITERAL("1"), text_from(what)};
    struct version version = {seen_us, TEXT_LITERAL("commerce")};
    struct seen seen = {.count = 1, .versions = &version};
    struct message message = {.source = TEXT_LITERAL("operations"), .entity = CUSTOMER, .op = CHANGE_UPDATED, .key_count = 1,
                              .column_count = 2, .row_count = 1, .values = values, .seen = &seen, .timestamp_us = ++written_us};
    bool begins;
    return rallies_note(rallies, &message, 0, now_ms, &begins);
}

static void test_what_a_writer_has_seen_tells_whose_turn_it_was(void **state)
{
    (void)state;
    struct rallies *rallies = rallies_new(&rule, TEXT_LITERAL("commerce"));
    /* A node's own writes in a row are none, however often it writes the same. */
    for (int64_t i = 0; i < 100; i++)
        assert_int_equal(note_seen(rallies, "the same", 10, i), 0);
    assert_int_equal(note_seen(rallies, "the same", 20, 101), 0);
    assert_int_equal(note_seen(rallies, "the same", 20, 102), 0);
    assert_int_equal(note_seen(rallies, "the same", 30, 103), 0);
    assert_int_equal(note_seen(rallies, "the same", 40, 104), 5104);
    rallies_free(rallies);
}

static void test_slow_turns_and_writes_of_one_side_are_no_storm(void **state)
{
    (void)state;
    struct rallies *rallies = rallies_new(&rule, TEXT_LITERAL("commerce"));
    bool begins;
    for (int64_t i = 0; i < 1000; i++) {
        assert_int_equal(note(rallies, "slow", "commerce", i * 501, &begins), 0);
        assert_int_equal(note(rallies, "own", "operations", i, &begins), 0);
        assert_int_equal(note(rallies, "new", NULL, i, &begins), 0);
    }
    rallies_free(rallies);
}

static void test_the_rule_is_exact_for_random_times(void **state)
{
    (void)state;
    struct random random = random_start("test_the_rule_is_exact_for_random_times");
    for (int round = 0; round < 2000; round++) {
        struct rally_rule drawn = {.times = 2 + random_below(&random, 20), .within_ms = 100 + (int64_t)random_below(&random, 1000),
                                   .cool_down_ms = 1000};
        struct rallies *rallies = rallies_new(&drawn, TEXT_LITERAL("commerce"));
        int64_t times[400], now = 10000;
        size_t count = 0;
        for (int i = 0; i < 200; i++) {
            bool begins;
            now += (int64_t)random_below(&random, 120);
            /* A third node's write, once; ours, twice. */
            bool ours = random_below(&random, 2) == 0;
            if (i == 0)
                note(rallies, "1", "commerce", now, &begins);
            int64_t until = note(rallies, "1", ours ? "commerce" : "third", now, &begins);
            times[count++] = now;
            if (ours)
                times[count++] = now;
            bool expected = count > drawn.times && times[count - 1 - drawn.times] > now - drawn.within_ms;
            assert_int_equal(until, expected ? now + drawn.cool_down_ms : 0);
            if (expected)
                break;
        }
        rallies_free(rallies);
    }
}

static void test_a_held_row_is_not_forgotten_for_others(void **state)
{
    (void)state;
    struct rallies *rallies = rallies_new(&rule, TEXT_LITERAL("commerce"));
    bool begins;
    for (int i = 0; i < 4; i++)
        note(rallies, "held", "commerce", 100, &begins);
    char key[16];
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "%d", i);
        note(rallies, key, "commerce", 200, &begins);
    }
    assert_int_equal(note(rallies, "held", "operations", 300, &begins), 5100);
    rallies_free(rallies);
}

static void test_what_is_new_each_time_is_work(void **state)
{
    (void)state;
    struct rallies *rallies = rallies_new(&rule, TEXT_LITERAL("commerce"));
    bool begins;
    char number[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(number, sizeof number, "%d", i);
        assert_int_equal(note_content(rallies, "1", number, "2025-11-21 06:12:42.15+00", "commerce", 100, &begins), 0);
    }
    rallies_free(rallies);
}

static void test_a_time_alone_is_nothing_new(void **state)
{
    (void)state;
    struct rallies *rallies = rallies_new(&rule, TEXT_LITERAL("commerce"));
    bool begins;
    char when[40];
    int64_t until = 0;
    for (int i = 0; i < 4; i++) {
        snprintf(when, sizeof when, "2025-11-21 06:12:4%d.15+00", i);
        until = note_content(rallies, "1", i % 2 ? "one" : "two", when, "commerce", 100, &begins);
    }
    assert_int_equal(until, 0);
    assert_int_equal(note_content(rallies, "1", "one", "2025-11-22", "commerce", 100, &begins), 5100);
    rallies_free(rallies);
}

static void test_no_rule_holds_nothing(void **state)
{
    (void)state;
    struct rallies *rallies = rallies_new(&(struct rally_rule){0}, TEXT_LITERAL("commerce"));
    bool begins;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(note(rallies, "1", "commerce", 1, &begins), 0);
    rallies_free(rallies);
}

/* ---- mass deletions ---- */

static void test_deletions_count_for_a_time(void **state)
{
    (void)state;
    struct deletions *deletions = deletions_new(&(struct deletion_rule){.rows = 100, .within_ms = 10000});
    struct text source = TEXT_LITERAL("operations");
    assert_int_equal(deletions_note(deletions, CUSTOMER, source, 10, 5000000), 10);
    assert_int_equal(deletions_note(deletions, CUSTOMER, source, 20, 5004000), 30);
    assert_int_equal(deletions_note(deletions, ORDER, source, 5, 5004000), 5);
    assert_int_equal(deletions_note(deletions, CUSTOMER, TEXT_LITERAL("third"), 7, 5004000), 7);
    assert_int_equal(deletions_note(deletions, CUSTOMER, source, 1, 5010500), 21);
    assert_int_equal(deletions_note(deletions, CUSTOMER, source, 1, 9000000), 1);
    deletions_forget(deletions, CUSTOMER, source);
    assert_int_equal(deletions_note(deletions, CUSTOMER, source, 1, 9000001), 1);
    deletions_free(deletions);
}

static void test_a_mass_of_deletions_breaks_the_rule(void **state)
{
    (void)state;
    struct deletion_rule rows = {.rows = 100, .within_ms = 1000}, percent = {.percent = 50, .within_ms = 1000}, off = {.rows = 1};
    assert_false(deletions_break(&rows, 100, 0));
    assert_true(deletions_break(&rows, 101, 1000000));
    assert_false(deletions_break(&percent, 100, 200));
    assert_true(deletions_break(&percent, 101, 200));
    assert_false(deletions_break(&percent, 1000000, 0)); /* of how many is not known */
    assert_false(deletions_break(&percent, DELETIONS_PERCENT_FROM - 1, 10));
    assert_false(deletions_break(&off, 1000, 1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holds_change_their_number_only_when_they_differ),
        cmocka_unit_test(test_what_does_not_fit_holds_everything),
        cmocka_unit_test(test_a_budget_is_kept_on_average),
        cmocka_unit_test(test_a_budget_is_used_up),
        cmocka_unit_test(test_many_captured_changes_of_few_rows_come_in_large_portions),
        cmocka_unit_test(test_rows_of_some_seconds_join),
        cmocka_unit_test(test_portions_are_not_tiny),
        cmocka_unit_test(test_a_transaction_larger_than_the_budget_is_paid_for_afterwards),
        cmocka_unit_test(test_a_row_rewritten_in_turns_is_held_and_cools_down),
        cmocka_unit_test(test_a_message_that_comes_again_is_no_turn),
        cmocka_unit_test(test_what_a_writer_has_seen_tells_whose_turn_it_was),
        cmocka_unit_test(test_slow_turns_and_writes_of_one_side_are_no_storm),
        cmocka_unit_test(test_the_rule_is_exact_for_random_times),
        cmocka_unit_test(test_a_held_row_is_not_forgotten_for_others),
        cmocka_unit_test(test_what_is_new_each_time_is_work),
        cmocka_unit_test(test_a_time_alone_is_nothing_new),
        cmocka_unit_test(test_no_rule_holds_nothing),
        cmocka_unit_test(test_deletions_count_for_a_time),
        cmocka_unit_test(test_a_mass_of_deletions_breaks_the_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
