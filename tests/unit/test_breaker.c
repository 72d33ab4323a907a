#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/control/breaker.h"
#include "tests/unit/random.h"

enum { BASE_MS = 200, CAP_MS = 5000 };

static void test_a_closed_circuit_lets_everybody_through(void **state)
{
    (void)state;
    struct breaker breaker;
    breaker_init(&breaker, BASE_MS, CAP_MS, 1);
    for (int i = 0; i < 100; i++)
        assert_int_equal(breaker_wait_ms(&breaker, i), 0);
    assert_int_equal(breaker.state, CIRCUIT_CLOSED);
}

static void test_an_open_circuit_lets_nobody_through_before_its_time(void **state)
{
    (void)state;
    struct breaker breaker;
    breaker_init(&breaker, BASE_MS, CAP_MS, 1);
    breaker_fail(&breaker, 1000000);
    int wait = breaker_wait_ms(&breaker, 1000000);
    assert_in_range(wait, BASE_MS / 2, BASE_MS);
    for (int passed = 0; passed < wait; passed++) {
        assert_int_equal(breaker_wait_ms(&breaker, 1000000 + passed), wait - passed);
        assert_int_equal(breaker.state, CIRCUIT_OPEN);
    }
    assert_int_equal(breaker_wait_ms(&breaker, 1000000 + wait), 0);
    assert_int_equal(breaker.state, CIRCUIT_HALF_OPEN);
}

static void test_a_trial_that_works_closes(void **state)
{
    (void)state;
    struct breaker breaker;
    breaker_init(&breaker, BASE_MS, CAP_MS, 1);
    breaker_fail(&breaker, 0);
    assert_int_equal(breaker_wait_ms(&breaker, CAP_MS), 0);
    assert_int_equal(breaker.state, CIRCUIT_HALF_OPEN);
    breaker_succeed(&breaker, CAP_MS);
    assert_int_equal(breaker.state, CIRCUIT_CLOSED);
    assert_int_equal(breaker_wait_ms(&breaker, CAP_MS), 0);
}

static void test_trials_that_fail_wait_longer_up_to_the_cap(void **state)
{
    (void)state;
    struct random random = random_start("test_trials_that_fail_wait_longer_up_to_the_cap");
    for (int round = 0; round < 200; round++) {
        struct breaker breaker;
        breaker_init(&breaker, BASE_MS, CAP_MS, random_next(&random));
        int64_t now = (int64_t)random_below(&random, 1000000000);
        int64_t full = BASE_MS, opened = now;
        for (int i = 0; i < 30; i++) {
            breaker_fail(&breaker, now);
            int wait = breaker_wait_ms(&breaker, now);
            assert_in_range(wait, full / 2, full);
            full = 2 * full < CAP_MS ? 2 * full : CAP_MS;
            /* The trial itself takes a while: that is no time of health. */
            now += wait;
            assert_int_equal(breaker_wait_ms(&breaker, now), 0);
            now += (int64_t)random_below(&random, CAP_MS);
        }
        assert_int_equal(breaker.trials, 29);
        assert_int_equal(breaker.opened_ms, opened);
    }
}

static void test_what_works_and_fails_at_once_is_tried_ever_more_seldom(void **state)
{
    (void)state;
    struct breaker breaker;
    breaker_init(&breaker, BASE_MS, CAP_MS, 1);
    int64_t now = 0;
    for (int i = 0; i < 20; i++) {
        breaker_fail(&breaker, now);
        now += breaker_wait_ms(&breaker, now);
        breaker_wait_ms(&breaker, now);
        breaker_succeed(&breaker, now);
        now += 999;
    }
    breaker_fail(&breaker, now);
    assert_in_range(breaker_wait_ms(&breaker, now), CAP_MS / 2, CAP_MS);
}

static void test_a_failure_after_a_time_of_health_begins_at_the_base(void **state)
{
    (void)state;
    struct breaker breaker;
    breaker_init(&breaker, BASE_MS, CAP_MS, 1);
    int64_t now = 0;
    for (int i = 0; i < 20; i++) {
        breaker_fail(&breaker, now);
        now += breaker_wait_ms(&breaker, now);
        breaker_wait_ms(&breaker, now);
    }
    breaker_succeed(&breaker, now);
    now += 500;
    breaker_succeed(&breaker, now);
    now += 500;
    breaker_fail(&breaker, now);
    assert_in_range(breaker_wait_ms(&breaker, now), BASE_MS / 2, BASE_MS);
    assert_int_equal(breaker.trials, 0);
    assert_int_equal(breaker.opened_ms, now);
}

static void test_states_have_the_words_of_the_status_view(void **state)
{
    (void)state;
    assert_string_equal(circuit_name(CIRCUIT_CLOSED), "closed");
    assert_string_equal(circuit_name(CIRCUIT_OPEN), "open");
    assert_string_equal(circuit_name(CIRCUIT_HALF_OPEN), "half-open");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_closed_circuit_lets_everybody_through),
        cmocka_unit_test(test_an_open_circuit_lets_nobody_through_before_its_time),
        cmocka_unit_test(test_a_trial_that_works_closes),
        cmocka_unit_test(test_trials_that_fail_wait_longer_up_to_the_cap),
        cmocka_unit_test(test_what_works_and_fails_at_once_is_tried_ever_more_seldom),
        cmocka_unit_test(test_a_failure_after_a_time_of_health_begins_at_the_base),
        cmocka_unit_test(test_states_have_the_words_of_the_status_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
