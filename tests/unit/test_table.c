/* How tables for people are laid out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The program's own rooms are no library; this one file needs nothing else. */
#include "adapters/host/table.c"

static void expect_table(size_t columns, const struct table_column *titles, size_t rows, const char *const *cells,
                         const char *expected)
{
    char text[1024];
    FILE *out = fmemopen(text, sizeof text, "w");
    assert_non_null(out);
    table_print(out, columns, titles, rows, cells);
    fclose(out);
    assert_string_equal(text, expected);
}

static const struct table_column two[] = {{"NAME", false}, {"N", true}};

static void test_columns_are_as_wide_as_their_widest_cell(void **state)
{
    (void)state;
    const char *const cells[] = {"ann", "1", "robert", "1000"};
    expect_table(2, two, 2, cells,
                 "NAME       N\n"
                 "ann        1\n"
                 "robert  1000\n");
}

static void test_no_rows_leave_the_titles(void **state)
{
    (void)state;
    expect_table(2, two, 0, NULL, "NAME  N\n");
}

static void test_a_table_without_titles_has_none(void **state)
{
    (void)state;
    static const struct table_column columns[] = {{NULL, false}, {NULL, false}};
    const char *const cells[] = {"a", "b"};
    expect_table(2, columns, 1, cells, "a  b\n");
}

static void test_widths_are_counted_in_characters(void **state)
{
    (void)state;
    const char *const cells[] = {"größe", "1", "width", "2"};
    expect_table(2, two, 2, cells,
                 "NAME   N\n"
                 "größe  1\n"
                 "width  2\n");
}

static void test_a_further_line_stays_in_its_column(void **state)
{
    (void)state;
    static const struct table_column columns[] = {{"A", false}, {"B", false}, {"C", true}};
    const char *const cells[] = {"x", "one\nthree", "7", NULL, "", "8"};
    expect_table(3, columns, 2, cells,
                 "A  B      C\n"
                 "x  one    7\n"
                 "   three\n"
                 "          8\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(test_no_rows_leave_the_titles),
        cmocka_unit_test(test_a_table_without_titles_has_none),
        cmocka_unit_test(test_widths_are_counted_in_characters),
        cmocka_unit_test(test_a_further_line_stays_in_its_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
