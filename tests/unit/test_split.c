#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/flow/split.h"
#include "tests/unit/messages.h"

static struct arena arena;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, SIZE_MAX / 2);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

/* Rows of the key a, b, one after another; turned: the sender names b first. */
static struct message *put(const char *entity, bool turned, size_t count, const int keys[][2])
{
    struct message *message = arena_take(&arena, sizeof *message);
    struct text *values = arena_take_array(&arena, count * 3, sizeof *values), *columns = arena_take_array(&arena, 3, sizeof *columns);
    struct version *bases = arena_take_array(&arena, count, sizeof *bases);
    columns[0] = turned ? TEXT_LITERAL("b") : TEXT_LITERAL("a");
    columns[1] = turned ? TEXT_LITERAL("a") : TEXT_LITERAL("b");
    columns[2] = TEXT_LITERAL("what");
    for (size_t i = 0; i < count; i++) {
        values[3 * i + turned] = arena_printf(&arena, "%d", keys[i][0]);
        values[3 * i + !turned] = arena_printf(&arena, "%d", keys[i][1]);
        values[3 * i + 2] = arena_printf(&arena, "row %zu", i);
        bases[i] = (struct version){(int64_t)i + 1, TEXT_LITERAL("there")};
    }
    *message = (struct message){.source = TEXT_LITERAL("there"), .entity = text_from(entity), .op = CHANGE_UPDATED, .key_count = 2,
                                .column_count = 3, .columns = columns, .row_count = count, .values = values, .bases = bases,
                                .timestamp_us = 77};
    return message;
}

static void assert_rows(const struct message *part, size_t count, const char *const *whats)
{
    assert_non_null(part);
    assert_int_equal(part->row_count, count);
    for (size_t i = 0; i < count; i++)
        assert_true(text_equal(message_row(part, i)[2], text_from(whats[i])));
}

static void test_rows_of_both_are_apart(void **state)
{
    (void)state;
    const struct message *others[] = {put("stock", false, 2, (const int[][2]){{1, 1}, {2, 2}}), NULL};
    const struct message *messages[] = {NULL, put("stock", false, 4, (const int[][2]){{2, 2}, {1, 2}, {1, 1}, {3, 3}})};
    struct split split = split_make(others, 2, messages, 2, &arena);
    assert_null(split.free[0]);
    assert_null(split.shared[0]);
    assert_rows(split.free[1], 2, (const char *const[]){"row 1", "row 3"});
    assert_rows(split.shared[1], 2, (const char *const[]){"row 0", "row 2"});
    assert_int_equal(split.free_rows, 2);
    assert_int_equal(split.shared_rows, 2);
    assert_int_equal(split.shared[1]->bases[1].timestamp_us, 3);
    assert_int_equal(message_version(split.shared[1], 1), 77);
    assert_true(split.free[1]->merges == NULL && split.free[1]->correlations == NULL && split.free[1]->seen == NULL);
}

static void test_a_message_is_left_as_it_is(void **state)
{
    (void)state;
    const struct message *others[] = {put("stock", false, 1, (const int[][2]){{1, 1}})};
    const struct message *messages[] = {put("stock", false, 1, (const int[][2]){{1, 1}}), put("stock", false, 1, (const int[][2]){{1, 3}}),
                                        put("parcel", false, 1, (const int[][2]){{1, 1}})};
    struct split split = split_make(others, 1, messages, 3, &arena);
    assert_true(split.shared[0] == messages[0] && split.free[0] == NULL);
    assert_true(split.free[1] == messages[1] && split.shared[1] == NULL);
    assert_true(split.free[2] == messages[2] && split.shared[2] == NULL);
}

static void test_senders_may_order_their_keys(void **state)
{
    (void)state;
    const struct message *others[] = {put("stock", true, 1, (const int[][2]){{1, 2}})};
    const struct message *messages[] = {put("stock", false, 2, (const int[][2]){{1, 2}, {2, 1}})};
    struct split split = split_make(others, 1, messages, 1, &arena);
    assert_rows(split.shared[0], 1, (const char *const[]){"row 0"});
    assert_rows(split.free[0], 1, (const char *const[]){"row 1"});
}

static bool same_row(const struct message *part, size_t at, const struct message *message, size_t row)
{
    return part != NULL && at < part->row_count && texts_equal(message->column_count, message_row(part, at), message_row(message, row)) &&
           message_version(part, at) == message_version(message, row) && !part->bases == !message->bases && !part->seen == !message->seen &&
           !part->correlations == !message->correlations &&
           (message->bases == NULL || version_equal(part->bases[at], message->bases[row])) &&
           (message->seen == NULL || part->seen[at].versions == message->seen[row].versions) &&
           (message->correlations == NULL || texts_equal(1, &part->correlations[at], &message->correlations[row]));
}

/* Every row is in one of the parts with all that belongs to it, in its order. */
static void test_nothing_gets_lost(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct random random = {seed};
        struct message message = random_message(&random, &arena), other = message;
        other.row_count = random_below(&random, message.row_count + 1);
        const struct message *others[] = {&other}, *messages[] = {&message};
        struct split split = split_make(others, 1, messages, 1, &arena);
        size_t free_row = 0, shared_row = 0;
        for (size_t row = 0; row < message.row_count; row++) {
            bool shared = shared_row < split.shared_rows &&
                          texts_equal(message.key_count, message_row(split.shared[0], shared_row), message_row(&message, row));
            const struct message *part = shared ? split.shared[0] : split.free[0];
            size_t at = shared ? shared_row++ : free_row++;
            if (!same_row(part, at, &message, row))
                fail_msg("seed %llu: row %zu", (unsigned long long)seed, row);
        }
        assert_int_equal(free_row, split.free_rows);
        assert_int_equal(shared_row, split.shared_rows);
        assert_true(split.shared_rows >= other.row_count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_of_both_are_apart, begin, end),
        cmocka_unit_test_setup_teardown(test_a_message_is_left_as_it_is, begin, end),
        cmocka_unit_test_setup_teardown(test_senders_may_order_their_keys, begin, end),
        cmocka_unit_test_setup_teardown(test_nothing_gets_lost, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
