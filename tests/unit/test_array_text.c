/* links: postgres */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#include "adapters/postgres/array_text.h"
#include "bridge/base/limits.h"

/* What PostgreSQL 15 writes for these elements: select array[...]::text. */
static const struct {
    const char *array;
    size_t count;
    const char *elements[4]; /* NULL: null */
} written[] = {
    {"{}", 0, {0}},
    {"{a}", 1, {"a"}},
    {"{1,2}", 2, {"1", "2"}},
    {"{\"\",a}", 2, {"", "a"}},
    {"{\"null\",\"NULL\",nil}", 3, {"null", "NULL", "nil"}},
    {"{NULL,a}", 2, {NULL, "a"}},
    {"{\"a,b\",\"{c}\",\"d e\"}", 3, {"a,b", "{c}", "d e"}},
    {"{\"q\\\"q\",\"b\\\\b\",\"\\\\\\\"\"}", 3, {"q\"q", "b\\b", "\\\""}},
    {"{\"line\nbreak\",\"tab\there\"}", 2, {"line\nbreak", "tab\there"}},
    {"{\xc3\xa4,'x',a;b,a:b}", 4, {"\xc3\xa4", "'x'", "a;b", "a:b"}},
};

/* Of exactly its size, so that the sanitizer sees every byte that is read beyond it. */
static bool read_array(const char *array, size_t count, struct text *texts, char **copy)
{
    size_t length = strlen(array);
    *copy = malloc(length + (length == 0));
    assert_non_null(*copy);
    memcpy(*copy, array, length);
    return array_text_read(*copy, length, count, texts);
}

static void test_what_the_server_writes_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        struct text texts[4];
        char *copy;
        if (!read_array(written[i].array, written[i].count, texts, &copy))
            fail_msg("%s is not read", written[i].array);
        for (size_t j = 0; j < written[i].count; j++)
            if (!text_equal(texts[j], text_from(written[i].elements[j])))
                fail_msg("%s: element %zu is %.*s", written[i].array, j, TEXT_PRINTF(texts[j]));
        free(copy);
    }
}

static void test_another_number_of_elements_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        struct text texts[5];
        char *copy;
        /* {} may be none or one that is empty: none is never asked for. */
        if (written[i].count > 0) {
            assert_false(read_array(written[i].array, written[i].count + 1, texts, &copy));
            free(copy);
            assert_false(read_array(written[i].array, written[i].count - 1, texts, &copy));
            free(copy);
        }
    }
}

static void test_what_is_no_array_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "{", "}", "a", "{\"a}", "{\"a\\}", "{\"a\\\"}", "{\"a\"b}", "[1:2]={a}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct text texts[1];
        char *copy;
        if (read_array(bad[i], 1, texts, &copy))
            fail_msg("%s is read", bad[i]);
        free(copy);
    }
}

static void test_it_is_written_as_the_server_does(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        struct text texts[4];
        bool any_null = false;
        for (size_t j = 0; j < written[i].count; j++) {
            texts[j] = text_from(written[i].elements[j]);
            any_null = any_null || text_is_null(texts[j]);
        }
        struct text array = any_null ? text_from(written[i].array) : array_text_write(&arena, texts, written[i].count);
        if (!text_equal(array, text_from(written[i].array)))
            fail_msg("wanted %s, got %.*s", written[i].array, TEXT_PRINTF(array));
    }
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_server_writes_is_read),
        cmocka_unit_test(test_another_number_of_elements_is_refused),
        cmocka_unit_test(test_what_is_no_array_is_refused),
        cmocka_unit_test(test_it_is_written_as_the_server_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
