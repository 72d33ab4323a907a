#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/base/text.h"
#include "tests/unit/random.h"

static struct text bytes(const char *data, size_t length)
{
    return (struct text){data, length};
}

static void test_null_is_not_the_empty_text(void **state)
{
    (void)state;
    assert_false(text_equal(TEXT_NULL, TEXT_LITERAL("")));
    assert_true(text_equal(TEXT_NULL, TEXT_NULL));
    assert_true(text_equal(TEXT_LITERAL(""), bytes("x", 0)));
    assert_true(text_is_null(text_from(NULL)));
    assert_false(text_is_null(text_from("")));
}

static void test_a_text_ends_at_its_length(void **state)
{
    (void)state;
    assert_true(text_equal(bytes("abc", 2), TEXT_LITERAL("ab")));
    assert_false(text_equal(bytes("ab\0c", 4), TEXT_LITERAL("ab")));
    assert_int_equal(TEXT_LITERAL("a\0b").length, 3);
}

static void test_order_is_by_bytes_with_null_and_prefixes_first(void **state)
{
    (void)state;
    const struct text sorted[] = {TEXT_NULL,          TEXT_LITERAL(""),  TEXT_LITERAL("A"), TEXT_LITERAL("a"),
                                  TEXT_LITERAL("ab"), TEXT_LITERAL("b"), TEXT_LITERAL("é")};
    size_t count = sizeof sorted / sizeof sorted[0];
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            int order = text_compare(sorted[i], sorted[j]);
            assert_true(i < j ? order < 0 : i > j ? order > 0 : order == 0);
        }
}

static void test_utf8_is_accepted_up_to_the_last_code_point(void **state)
{
    (void)state;
    assert_true(text_is_utf8(TEXT_NULL));
    assert_true(text_is_utf8(TEXT_LITERAL("")));
    assert_true(text_is_utf8(TEXT_LITERAL("plain \x01\x7f")));
    assert_true(text_is_utf8(TEXT_LITERAL("\xC2\x80\u07FF\u0800\uD7FF\uE000\uFFFF\U00010000\U0010FFFF")));
}

static void test_malformed_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",             /* continuation alone */
        "\xC3",             /* cut off */
        "\xE2\x82",         /* cut off */
        "\xF0\x9F\x98",     /* cut off */
        "\xC3(",            /* wrong continuation */
        "\xC0\xAF",         /* overlong '/' */
        "\xC1\xBF",         /* overlong */
        "\xE0\x9F\xBF",     /* overlong */
        "\xF0\x8F\xBF\xBF", /* overlong */
        "\xED\xA0\x80",     /* surrogate */
        "\xED\xBF\xBF",     /* surrogate */
        "\xF4\x90\x80\x80", /* beyond U+10FFFF */
        "\xF5\x80\x80\x80",
        "\xFF",
        "\xFE",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char around[16];
        assert_false(text_is_utf8(text_from(bad[i])));
        snprintf(around, sizeof around, "abcdefg%s", bad[i]);
        assert_false(text_is_utf8(text_from(around)));
    }
    assert_false(text_is_utf8(bytes("a\0b", 3)));
}

static void test_random_texts_are_utf8_until_they_are_cut(void **state)
{
    (void)state;
    struct random random = random_start("test_random_texts_are_utf8_until_they_are_cut");
    struct arena arena;
    arena_init(&arena, 64 << 20);
    for (size_t i = 0; i < 2000; i++) {
        struct text text = random_text(&random, 40, &arena);
        assert_true(text_is_utf8(text));
        /* A text cut anywhere is valid exactly when what follows the cut is not a continuation byte. */
        for (size_t cut = 0; cut < text.length; cut++)
            assert_int_equal(text_is_utf8(bytes(text.data, cut)), ((unsigned char)text.data[cut] & 0xC0) != 0x80);
    }
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_is_not_the_empty_text),
        cmocka_unit_test(test_a_text_ends_at_its_length),
        cmocka_unit_test(test_order_is_by_bytes_with_null_and_prefixes_first),
        cmocka_unit_test(test_utf8_is_accepted_up_to_the_last_code_point),
        cmocka_unit_test(test_malformed_utf8_is_refused),
        cmocka_unit_test(test_random_texts_are_utf8_until_they_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
