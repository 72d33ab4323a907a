/* links: postgres */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "adapters/postgres/wal_mapping.h"

/* Which entity the rows of a table in the log are of. */

static struct wal_entity entities[4];

static struct wal_entity *entity(size_t i, uint32_t number, const char *table, bool active)
{
    entities[i] = (struct wal_entity){.id = (int)i, .number = number, .schema = TEXT_LITERAL("public"), .table = text_from(table), .active = active};
    return &entities[i];
}

static const struct wal_entity *find(size_t count, uint32_t number, const char *table)
{
    const struct wal_mapping mapping = {.entities = entities, .entity_count = count};
    return wal_mapping_find(&mapping, number, TEXT_LITERAL("public"), text_from(table));
}

static void test_a_table_has_its_number_whatever_its_name_was(void **state)
{
    (void)state;
    const struct wal_entity *code = entity(0, 5, "coded", true);
    assert_ptr_equal(code, find(1, 5, "coded"));
    assert_ptr_equal(code, find(1, 5, "code"));
    assert_null(find(1, 6, "code"));
}

static void test_a_table_that_was_made_anew_has_its_name(void **state)
{
    (void)state;
    const struct wal_entity *code = entity(0, 5, "code", true);
    assert_ptr_equal(code, find(1, 4, "code"));
}

static void test_tables_that_have_exchanged_their_names(void **state)
{
    (void)state;
    const struct wal_entity *one = entity(0, 5, "one", true), *two = entity(1, 4, "two", true);
    assert_ptr_equal(one, find(2, 4, "one"));
    assert_ptr_equal(two, find(2, 5, "two"));
    assert_ptr_equal(one, find(2, 5, "one"));
}

static void test_who_was_taken_out_comes_last(void **state)
{
    (void)state;
    const struct wal_entity *now = entity(0, 5, "one", true), *before = entity(1, 5, "one", false);
    assert_ptr_equal(now, find(2, 5, "one"));
    assert_ptr_equal(now, find(2, 5, "former"));
    now = entity(0, 5, "renamed", true);
    before = entity(1, 4, "one", false);
    assert_ptr_equal(now, find(2, 5, "one"));
    assert_ptr_equal(before, find(2, 3, "one"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_table_has_its_number_whatever_its_name_was),
        cmocka_unit_test(test_a_table_that_was_made_anew_has_its_name),
        cmocka_unit_test(test_tables_that_have_exchanged_their_names),
        cmocka_unit_test(test_who_was_taken_out_comes_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
