#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bridge/control/mapping.h"
#include "bridge/control/name.h"

static void expect(const char *source, const char *field, const char *column)
{
    struct mapping mapping = {0};
    struct error error = {0};
    if (!mapping_parse(text_from(source), &mapping, &error))
        fail_msg("%s: %s", source, error.text);
    assert_string_equal(mapping.field, field);
    assert_string_equal(mapping.column, column);
    free(mapping.field);
    free(mapping.column);
}

static void refuse(const char *source, const char *text)
{
    struct mapping mapping = {0};
    struct error error = {0};
    assert_false(mapping_parse(text_from(source), &mapping, &error));
    assert_int_equal(error.fault, FAULT_OPERATOR);
    assert_string_equal(error.text, text);
    assert_null(mapping.field);
    assert_null(mapping.column);
}

static void expect_table(const char *source, const char *schema, const char *table)
{
    char *got_schema = NULL, *got_table = NULL;
    struct error error = {0};
    if (!mapping_parse_table(text_from(source), &got_schema, &got_table, &error))
        fail_msg("%s: %s", source, error.text);
    assert_true(text_equal(text_from(got_schema), text_from(schema)));
    assert_string_equal(got_table, table);
    free(got_schema);
    free(got_table);
}

static void refuse_table(const char *source, const char *text)
{
    char *schema = NULL, *table = NULL;
    struct error error = {0};
    assert_false(mapping_parse_table(text_from(source), &schema, &table, &error));
    assert_int_equal(error.fault, FAULT_OPERATOR);
    assert_string_equal(error.text, text);
    assert_null(schema);
    assert_null(table);
}

static void test_columns_fold_unless_quoted(void **state)
{
    (void)state;
    expect("email", "email", "email");
    expect("Email", "email", "email");
    expect("\"Email\"", "Email", "Email");
    expect("id = customer_id", "id", "customer_id");
    expect("id=Customer_ID", "id", "customer_id");
    expect(" id\t=\n customer_id ", "id", "customer_id");
    expect("balance = \"Saldo €\"", "balance", "Saldo €");
    expect("\"Saldo €\"", "Saldo €", "Saldo €");
    expect("quote = \"a\"\"b\"", "quote", "a\"b");
    expect("sum = \"a=b\"", "sum", "a=b");
    expect("user", "user", "user");
    expect("order = select", "order", "select");
    expect("_a1$ = Größe", "_a1$", "größe");
    /* As PostgreSQL in UTF-8: only a-z are folded. */
    expect("x = ÄB", "x", "Äb");
}

static void test_canonical_names_are_taken_as_written(void **state)
{
    (void)state;
    expect("Email = email", "Email", "email");
    expect("full name = full_name", "full name", "full_name");
    expect("\"full name\" = full_name", "full name", "full_name");
    expect("1st = first", "1st", "first");
}

static void test_malformed_mappings_are_refused(void **state)
{
    (void)state;
    refuse("", "a name is empty");
    refuse("  ", "a name is empty");
    refuse("id =", "a name is missing in 'id ='");
    refuse("= id", "the canonical name is missing in '= id'");
    refuse("=", "a name is missing in '='");
    refuse("full name", "'full name' is not the name of a column: unexpected 'name'\n"
                        "HINT: A name with blanks, signs or other special characters needs double quotes");
    refuse("a = b = c", "'a = b = c' is not the name of a column: unexpected '= c'\n"
                        "HINT: A name with blanks, signs or other special characters needs double quotes");
    refuse("\"a\" b", "'\"a\" b' is not the name of a column: unexpected 'b'\n"
                      "HINT: A name with blanks, signs or other special characters needs double quotes");
    refuse("customers.id", "'customers.id' is not the name of a column: unexpected '.id'\n"
                           "HINT: Columns are written without table; a name that contains a dot needs double quotes");
    refuse("id = 1st", "'1st' does not begin like an SQL name\nHINT: Put such a name in double quotes");
    refuse("id = \"a", "a double quote is not closed in 'id = \"a'\n"
                       "HINT: In a [list], a name with a comma, bracket or colon needs YAML's quotes around it too: "
                       "'total = \"a, b\"'");
    refuse("\"\"", "an empty pair of double quotes is not a name");
    refuse("a\"b = c", "a double quote stands within the canonical name in 'a\"b = c'");
    refuse("\"a=b\"", "a canonical name has a \"=\" in '\"a=b\"'\n"
                      "HINT: Give the column another canonical name: total = \"a=b\"");
    refuse("a\x01 = b", "a canonical name has a control character");
    refuse("a = \xff", "a name is not valid UTF-8");
}

static void test_names_have_at_most_63_bytes(void **state)
{
    (void)state;
    char name[65];
    memset(name, 'a', 64);
    name[63] = '\0';
    expect(name, name, name);
    memcpy(name + 63, "a", 2);
    refuse(name, "a name is longer than 63 bytes");
    char mapping[70];
    snprintf(mapping, sizeof mapping, "%s = b", name);
    refuse(mapping, "a name is longer than 63 bytes");
    /* 32 characters of two bytes each. */
    char umlauts[67] = "";
    for (size_t i = 0; i < 32; i++)
        memcpy(umlauts + 2 * i, "ä", 3);
    refuse(umlauts, "a name is longer than 63 bytes");
    refuse_table(name, "a name is longer than 63 bytes");
}

static void test_dots_separate_schema_and_table(void **state)
{
    (void)state;
    expect_table("customers", NULL, "customers");
    expect_table("Shop.Customers", "shop", "customers");
    expect_table("\"My Schema\".\"My Table\"", "My Schema", "My Table");
    expect_table("shop . \"a.b\"", "shop", "a.b");
    expect_table("order", NULL, "order");
    refuse_table("a.b.c", "'a.b.c' is not the name of a table: unexpected '.c'\n"
                          "HINT: Write schema.table, without database; a name that contains a dot needs double quotes");
    refuse_table("shop.", "a name is missing in 'shop.'");
    refuse_table(".customers", "'.customers' does not begin like an SQL name\nHINT: Put such a name in double quotes");
    refuse_table("my table", "'my table' is not the name of a table: unexpected 'table'\n"
                             "HINT: A name with blanks, signs or other special characters needs double quotes");
    refuse_table("shop.1", "'1' does not begin like an SQL name\nHINT: Put such a name in double quotes");
    refuse_table("", "a name is empty");
}

static void test_names_fit_into_routing_keys(void **state)
{
    (void)state;
    struct error error = {0};
    assert_true(name_check("node", TEXT_LITERAL("Commerce_1-b"), &error));
    static const char *const refused[] = {
        "",        "a.b", "a b",
        "*",       "#",   "ä",
        "control", "a\n", "0123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_false(name_check("entity", text_from(refused[i]), &error));
        assert_int_equal(error.fault, FAULT_OPERATOR);
    }
    assert_string_equal(error.text, "the name of the entity has 64 bytes, more than 63");
}

static void test_a_misspelt_word_finds_its_neighbour(void **state)
{
    (void)state;
    static const char *const words[] = {"name", "table", "key", "fields", "triggers", "truncate"};
    size_t count = sizeof words / sizeof *words;
    assert_string_equal(name_nearest("tabel", words, count), "table");
    assert_string_equal(name_nearest("field", words, count), "fields");
    assert_string_equal(name_nearest("Keys", words, count), "key");
    assert_string_equal(name_nearest("truncat", words, count), "truncate");
    assert_null(name_nearest("colour", words, count));
    assert_null(name_nearest("x", words, count));
    assert_null(name_nearest("", words, count));
    assert_null(name_nearest("a word that is far too long to be meant", words, count));
}

static void test_long_texts_are_shown_in_whole_characters(void **state)
{
    (void)state;
    char text[90];
    memset(text, 'a', sizeof text);
    assert_int_equal(name_shown((struct text){text, 80}), 80);
    assert_int_equal(name_shown((struct text){text, 90}), 80);
    memcpy(text + 79, "ä", 2);
    assert_int_equal(name_shown((struct text){text, 90}), 79);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_fold_unless_quoted),
        cmocka_unit_test(test_canonical_names_are_taken_as_written),
        cmocka_unit_test(test_malformed_mappings_are_refused),
        cmocka_unit_test(test_names_have_at_most_63_bytes),
        cmocka_unit_test(test_dots_separate_schema_and_table),
        cmocka_unit_test(test_names_fit_into_routing_keys),
        cmocka_unit_test(test_a_misspelt_word_finds_its_neighbour),
        cmocka_unit_test(test_long_texts_are_shown_in_whole_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
