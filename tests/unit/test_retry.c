#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/control/retry.h"
#include "tests/unit/random.h"

static void test_each_failure_doubles_the_wait_up_to_the_cap(void **state)
{
    (void)state;
    struct random random = random_start("test_each_failure_doubles_the_wait_up_to_the_cap");
    for (int round = 0; round < 1000; round++) {
        int base = 1 + (int)random_below(&random, 1000), cap = base * (1 + (int)random_below(&random, 100));
        struct retry retry;
        retry_init(&retry, base, cap, random_next(&random));
        int64_t full = base;
        for (int i = 0; i < 50; i++) {
            int wait = retry_wait_ms(&retry);
            assert_in_range(wait, full / 2, full);
            full = 2 * full < cap ? 2 * full : cap;
        }
    }
}

static void test_thousands_of_failures_stay_at_the_cap(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, 200, 5000, 1);
    for (int i = 0; i < 100000; i++) {
        int wait = retry_wait_ms(&retry);
        assert_in_range(wait, i < 5 ? 100 : 2500, 5000);
    }
}

static void test_largest_cap_does_not_overflow(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, INT_MAX / 3, INT_MAX, 1);
    for (int i = 0; i < 1000; i++)
        assert_true(retry_wait_ms(&retry) >= INT_MAX / 6);
}

static void test_reset_begins_at_the_base_again(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, 200, 5000, 1);
    for (int i = 0; i < 10; i++)
        retry_wait_ms(&retry);
    retry_reset(&retry);
    assert_in_range(retry_wait_ms(&retry), 100, 200);
}

static void test_two_that_fail_together_do_not_come_back_together(void **state)
{
    (void)state;
    struct retry one, other;
    retry_init(&one, 1000, 60000, 1);
    retry_init(&other, 1000, 60000, 3);
    int equal = 0;
    for (int i = 0; i < 100; i++)
        equal += retry_wait_ms(&one) == retry_wait_ms(&other);
    assert_true(equal < 5);
}

static void test_any_seed_gives_jitter(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {0, 1, 2, UINT64_MAX, 1763675000000000};
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        struct retry retry;
        retry_init(&retry, 5000, 5000, seeds[i]);
        int first = retry_wait_ms(&retry), different = 0;
        for (int j = 0; j < 100; j++)
            different += retry_wait_ms(&retry) != first;
        assert_true(different > 90);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_failure_doubles_the_wait_up_to_the_cap),
        cmocka_unit_test(test_thousands_of_failures_stay_at_the_cap),
        cmocka_unit_test(test_largest_cap_does_not_overflow),
        cmocka_unit_test(test_reset_begins_at_the_base_again),
        cmocka_unit_test(test_two_that_fail_together_do_not_come_back_together),
        cmocka_unit_test(test_any_seed_gives_jitter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
