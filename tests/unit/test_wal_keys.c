/* links: postgres */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "adapters/postgres/wal_keys.h"

static uint64_t hash(uint64_t i)
{
    return (i * UINT64_C(0x9E3779B97F4A7C15)) | 1;
}

static void test_what_was_added_is_there_and_nothing_else(void **state)
{
    (void)state;
    struct wal_keys keys = {0};
    assert_false(wal_keys_have(&keys, 1));
    for (uint64_t i = 1; i <= 200000; i++)
        wal_keys_add(&keys, hash(2 * i));
    for (uint64_t i = 1; i <= 200000; i++)
        assert_true(wal_keys_have(&keys, hash(2 * i)));
    size_t wrong = 0;
    for (uint64_t i = 1; i <= 200000; i++)
        wrong += wal_keys_have(&keys, hash(2 * i + 1));
    assert_int_equal(wrong, 0);
    wal_keys_clear(&keys);
    assert_false(wal_keys_have(&keys, hash(2)));
}

static void test_the_same_key_is_there_once(void **state)
{
    (void)state;
    struct wal_keys keys = {0};
    for (size_t i = 0; i < 1000; i++)
        wal_keys_add(&keys, hash(7));
    assert_int_equal(keys.count, 1);
    wal_keys_clear(&keys);
}

static void test_of_too_many_any_may_be_there_and_memory_ends(void **state)
{
    (void)state;
    struct wal_keys keys = {0};
    for (uint64_t i = 1; i <= 2000000; i++)
        wal_keys_add(&keys, hash(i));
    assert_true(keys.count <= 1 << 20);
    assert_true(keys.mask < 1 << 22);
    assert_true(wal_keys_have(&keys, hash(3000000)));
    wal_keys_clear(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_added_is_there_and_nothing_else),
        cmocka_unit_test(test_the_same_key_is_there_once),
        cmocka_unit_test(test_of_too_many_any_may_be_there_and_memory_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
