#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>

#include <cmocka.h>

#include "bridge/message/digest.h"
#include "tests/unit/messages.h"

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 256 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static void assert_digest(size_t columns, const struct text *names, size_t rows, const struct text *values,
                          const char *canonical)
{
    struct digest digest;
    char expected[65];
    digest_rows(columns, names, rows, values, &arena, &digest);
    digest_bytes(text_from(canonical), expected);
    assert_memory_equal(digest.text, "sha256:", 7);
    assert_string_equal(digest.text + 7, expected);
}

static void test_sha256_is_the_published_one(void **state)
{
    (void)state;
    char hash[65];
    digest_bytes(TEXT_LITERAL("abc"), hash);
    assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_bytes(TEXT_NULL, hash);
    assert_string_equal(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void test_canonical_content_is_what_the_contract_says(void **state)
{
    (void)state;
    const struct text names[] = {TEXT_LITERAL("id"), TEXT_LITERAL("email"), TEXT_LITERAL("näme")};
    const struct text row[] = {TEXT_LITERAL("42"), TEXT_LITERAL("ann@example.com"), TEXT_NULL};
    assert_digest(3, names, 1, row, "5:email=15:ann@example.com;2:id=2:42;5:näme=~;\n");
    const struct text rows[] = {TEXT_LITERAL("1"), TEXT_LITERAL(""), TEXT_LITERAL("x"),
                                TEXT_LITERAL("2"), TEXT_NULL,        TEXT_LITERAL("~;\n")};
    assert_digest(3, names, 2, rows, "5:email=0:;2:id=1:1;5:näme=1:x;\n5:email=~;2:id=1:2;5:näme=3:~;\n;\n");
}

static void test_the_order_of_columns_does_not_matter(void **state)
{
    (void)state;
    const struct text names[] = {TEXT_LITERAL("a"), TEXT_LITERAL("b")};
    const struct text values[] = {TEXT_LITERAL("1"), TEXT_LITERAL("2"), TEXT_LITERAL("3"), TEXT_LITERAL("4")};
    const struct text names_turned[] = {TEXT_LITERAL("b"), TEXT_LITERAL("a")};
    const struct text values_turned[] = {TEXT_LITERAL("2"), TEXT_LITERAL("1"), TEXT_LITERAL("4"), TEXT_LITERAL("3")};
    struct digest one, other;
    digest_rows(2, names, 2, values, &arena, &one);
    digest_rows(2, names_turned, 2, values_turned, &arena, &other);
    assert_string_equal(one.text, other.text);
}

static void test_the_order_of_rows_and_every_bit_of_them_matters(void **state)
{
    (void)state;
    const struct text names[] = {TEXT_LITERAL("a")};
    const struct text base[] = {TEXT_LITERAL("1"), TEXT_LITERAL("2")};
    const struct text others[][2] = {{TEXT_LITERAL("2"), TEXT_LITERAL("1")},
                                     {TEXT_LITERAL("1"), TEXT_NULL},
                                     {TEXT_LITERAL("1"), TEXT_LITERAL("")},
                                     {TEXT_LITERAL("12"), TEXT_LITERAL("")}};
    struct digest one, other;
    digest_rows(1, names, 2, base, &arena, &one);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        digest_rows(1, names, 2, others[i], &arena, &other);
        assert_string_not_equal(one.text, other.text);
    }
    digest_rows(1, names, 1, base, &arena, &other);
    assert_string_not_equal(one.text, other.text);
}

/* The content as the contract describes it, put together naively. */
static const char *naive_content(const struct message *message)
{
    struct text content = TEXT_LITERAL("");
    for (size_t row = 0; row < message->row_count; row++) {
        struct text last = TEXT_NULL;
        for (size_t field = 0; field < message->column_count; field++) {
            size_t next = SIZE_MAX;
            for (size_t i = 0; i < message->column_count; i++)
                if (text_compare(message->columns[i], last) > 0 &&
                    (next == SIZE_MAX || text_compare(message->columns[i], message->columns[next]) < 0))
                    next = i;
            last = message->columns[next];
            struct text value = message_row(message, row)[next];
            content = text_is_null(value)
                          ? arena_printf(&arena, "%s%zu:%.*s=~;", content.data, last.length, TEXT_PRINTF(last))
                          : arena_printf(&arena, "%s%zu:%.*s=%zu:%.*s;", content.data, last.length, TEXT_PRINTF(last),
                                         value.length, TEXT_PRINTF(value));
        }
        content = arena_printf(&arena, "%s\n", content.data);
    }
    return content.data;
}

static void test_random_rows_hash_like_the_naive_content(void **state)
{
    (void)state;
    struct random random = random_start("test_random_rows_hash_like_the_naive_content");
    for (int round = 0; round < 200; round++) {
        arena_reset(&arena);
        struct message message = random_message(&random, &arena);
        assert_digest(message.column_count, message.columns, message.row_count, message.values,
                      naive_content(&message));
    }
}

static void test_values_of_any_length_hash_alike(void **state)
{
    (void)state;
    /* Around the size of the gathering buffer. */
    char *big = arena_take(&arena, 40001);
    memset(big, 'x', 40000);
    const struct text names[] = {TEXT_LITERAL("a"), TEXT_LITERAL("b")};
    for (size_t length = 8150; length < 8220; length++) {
        const struct text values[] = {{big, length}, {big, 40000 - length}};
        struct text content = arena_printf(&arena, "1:a=%zu:%.*s;1:b=%zu:%.*s;\n", values[0].length,
                                           TEXT_PRINTF(values[0]), values[1].length, TEXT_PRINTF(values[1]));
        assert_digest(2, names, 1, values, content.data);
    }
}

static void test_a_uuid_is_random_of_version_4(void **state)
{
    (void)state;
    char before[37] = "";
    for (int round = 0; round < 100; round++) {
        char uuid[37];
        digest_uuid(uuid);
        assert_int_equal(strlen(uuid), 36);
        for (size_t i = 0; i < 36; i++)
            assert_non_null(strchr(i == 8 || i == 13 || i == 18 || i == 23 ? "-" : "0123456789abcdef", uuid[i]));
        assert_int_equal(uuid[14], '4');
        assert_non_null(strchr("89ab", uuid[19]));
        assert_string_not_equal(uuid, before);
        memcpy(before, uuid, sizeof before);
    }
}

static void *hash_many(void *wrong)
{
    for (int i = 0; i < 2000; i++) {
        char hash[65];
        digest_bytes(TEXT_LITERAL("abc"), hash);
        if (strcmp(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") != 0)
            *(bool *)wrong = true;
    }
    return NULL;
}

static void test_threads_hash_at_the_same_time(void **state)
{
    (void)state;
    pthread_t threads[4];
    bool wrong[4] = {false};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hash_many, &wrong[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_false(wrong[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sha256_is_the_published_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_canonical_content_is_what_the_contract_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_order_of_columns_does_not_matter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_order_of_rows_and_every_bit_of_them_matters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_rows_hash_like_the_naive_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_values_of_any_length_hash_alike, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_uuid_is_random_of_version_4, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads_hash_at_the_same_time, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
