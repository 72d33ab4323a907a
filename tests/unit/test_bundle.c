#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bridge/base/limits.h"
#include "bridge/flow/bundle.h"
#include "tests/unit/random.h"

enum { MESSAGES_MAX = 200 };

/* Messages as they came, and what became of them. */
struct bench {
    struct arena arena;
    size_t count;
    const struct message *messages[MESSAGES_MAX];
    int64_t version_us; /* of the latest row: each has its own */
    struct bundles bundles;
};

static struct bench *bench_new(void)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    arena_init(&bench->arena, SIZE_MAX / 2);
    return bench;
}

static void bench_free(struct bench *bench)
{
    arena_free(&bench->arena);
    free(bench);
}

static struct text fields[3];

static int name_fields(void **state)
{
    (void)state;
    fields[0] = TEXT_LITERAL("id");
    fields[1] = TEXT_LITERAL("part");
    fields[2] = TEXT_LITERAL("value");
    return 0;
}

/* Rows first to first + count; the key is of two fields, of which the second is always the same. */
static struct message *put(struct bench *bench, const char *source, const char *entity, enum change_op op, size_t first, size_t count)
{
    struct arena *arena = &bench->arena;
    struct message *message = arena_take(arena, sizeof *message);
    size_t columns = op == CHANGE_DELETED ? 2 : 3;
    struct text *values = arena_take_array(arena, count * columns, sizeof *values);
    int64_t *versions = arena_take_array(arena, count, sizeof *versions);
    for (size_t row = 0; row < count; row++) {
        versions[row] = ++bench->version_us;
        values[row * columns] = arena_printf(arena, "%zu", first + row);
        values[row * columns + 1] = TEXT_LITERAL("a");
        if (columns > 2)
            values[row * columns + 2] = arena_printf(arena, "written at %lld", (long long)versions[row]);
    }
    *message = (struct message){.source = text_from(source), .entity = text_from(entity), .op = op, .key_count = 2,
                                .column_count = columns, .columns = fields, .row_count = count, .values = values, .versions = versions};
    assert_true(bench->count < MESSAGES_MAX);
    bench->messages[bench->count++] = message;
    return message;
}

static void make(struct bench *bench)
{
    bench->bundles = bundles_make(bench->messages, bench->count, &bench->arena);
}

static void assert_bundle(const struct bench *bench, size_t number, size_t first, enum change_op op, size_t rows)
{
    assert_true(number < bench->bundles.count);
    const struct bundle *bundle = &bench->bundles.items[number];
    assert_int_equal(bundle->first, first);
    assert_int_equal(bundle->message->op, op);
    assert_int_equal(bundle->message->row_count, rows);
}

static void test_a_message_alone_is_given_as_it_is(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, "alpha", "customer", CHANGE_UPDATED, 1, 3);
    make(bench);
    assert_int_equal(bench->bundles.count, 1);
    assert_ptr_equal(bench->bundles.items[0].message, bench->messages[0]);
    bench_free(bench);
}

static void test_nothing_comes_of_nothing(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    make(bench);
    assert_int_equal(bench->bundles.count, 0);
    bench->messages[bench->count++] = NULL;
    make(bench);
    assert_int_equal(bench->bundles.count, 0);
    bench_free(bench);
}

static void test_a_backlog_of_transactions_over_several_entities_becomes_one_bundle_each(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    for (size_t i = 0; i < 50; i++) {
        put(bench, "alpha", "account", CHANGE_UPDATED, i, 1);
        put(bench, "alpha", "history", CHANGE_CREATED, i, 1);
    }
    make(bench);
    assert_int_equal(bench->bundles.count, 2);
    assert_bundle(bench, 0, 0, CHANGE_UPDATED, 50);
    assert_bundle(bench, 1, 1, CHANGE_CREATED, 50);
    bench_free(bench);
}

static void test_a_row_written_again_is_applied_again_and_later(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    for (size_t i = 0; i < 3; i++) {
        put(bench, "alpha", "branch", CHANGE_UPDATED, 1, 1);
        put(bench, "alpha", "account", CHANGE_UPDATED, i, 1);
    }
    make(bench);
    assert_int_equal(bench->bundles.count, 4);
    for (size_t i = 0; i < 3; i++)
        assert_bundle(bench, i, 2 * i, CHANGE_UPDATED, 1);
    assert_bundle(bench, 3, 1, CHANGE_UPDATED, 3);
    bench_free(bench);
}

static void test_what_frees_unique_values_goes_first(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, "alpha", "customer", CHANGE_CREATED, 1, 1);
    put(bench, "alpha", "customer", CHANGE_UPDATED, 2, 1);
    put(bench, "alpha", "customer", CHANGE_DELETED, 3, 1);
    put(bench, "alpha", "customer", CHANGE_CREATED, 4, 1);
    put(bench, "alpha", "customer", CHANGE_DELETED, 1, 1);
    put(bench, "alpha", "customer", CHANGE_CREATED, 5, 1);
    put(bench, "alpha", "customer", CHANGE_CREATED, 1, 1);
    make(bench);
    assert_int_equal(bench->bundles.count, 6);
    assert_bundle(bench, 0, 2, CHANGE_DELETED, 1);
    assert_bundle(bench, 1, 1, CHANGE_UPDATED, 1);
    assert_bundle(bench, 2, 0, CHANGE_CREATED, 2);
    assert_bundle(bench, 3, 4, CHANGE_DELETED, 1);
    /* It may take what row 1 had. */
    assert_bundle(bench, 4, 5, CHANGE_CREATED, 1);
    assert_bundle(bench, 5, 6, CHANGE_CREATED, 1);
    bench_free(bench);
}

static void test_large_values_are_not_joined(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    for (size_t i = 0; i < 4; i++) {
        struct message *message = put(bench, "alpha", "customer", CHANGE_UPDATED, i, 1);
        struct text *values = arena_take_array(&bench->arena, 3, sizeof *values);
        memcpy(values, message->values, 3 * sizeof *values);
        char *large = arena_take(&bench->arena, BUNDLE_BYTES_MAX);
        memset(large, 'x', BUNDLE_BYTES_MAX);
        if (i == 1)
            values[2] = (struct text){large, BUNDLE_BYTES_MAX};
        message->values = values;
    }
    make(bench);
    assert_int_equal(bench->bundles.count, 3);
    assert_ptr_equal(bench->bundles.items[1].message, bench->messages[1]);
    assert_bundle(bench, 2, 2, CHANGE_UPDATED, 2);
    bench_free(bench);
}

static void test_sources_columns_and_policies_are_kept_apart(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct text others[] = {TEXT_LITERAL("id"), TEXT_LITERAL("part"), TEXT_LITERAL("other")};
    put(bench, "alpha", "customer", CHANGE_UPDATED, 1, 1);
    put(bench, "beta", "customer", CHANGE_UPDATED, 2, 1);
    put(bench, "alpha", "customer", CHANGE_UPDATED, 3, 1)->columns = others;
    put(bench, "alpha", "customer", CHANGE_UPDATED, 4, 1)->policy = TEXT_LITERAL("node-priority");
    put(bench, "alpha", "customer", CHANGE_UPDATED, 5, 1)->policy = TEXT_LITERAL("");
    make(bench);
    assert_int_equal(bench->bundles.count, 5);
    bench_free(bench);
}

static void test_large_messages_stand_alone_and_nothing_passes_them(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, "alpha", "customer", CHANGE_UPDATED, 1, 1);
    put(bench, "alpha", "customer", CHANGE_UPDATED, 2, 1);
    put(bench, "alpha", "customer", CHANGE_UPDATED, 0, BUNDLE_ROWS_MAX + 1);
    put(bench, "alpha", "customer", CHANGE_DELETED, 1, 1);
    put(bench, "alpha", "customer", CHANGE_DELETED, 200, 1);
    make(bench);
    assert_int_equal(bench->bundles.count, 3);
    assert_bundle(bench, 0, 0, CHANGE_UPDATED, 2);
    assert_ptr_equal(bench->bundles.items[1].message, bench->messages[2]);
    assert_bundle(bench, 2, 3, CHANGE_DELETED, 2);
    bench_free(bench);
}

static void test_what_few_rows_have_stays_with_them(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct version base = {7, TEXT_LITERAL("beta")}, known = {5, TEXT_LITERAL("gamma")};
    struct seen seen = {1, &known};
    struct text correlation = TEXT_LITERAL("request 12");
    put(bench, "alpha", "customer", CHANGE_UPDATED, 1, 1);
    struct message *rich = put(bench, "alpha", "customer", CHANGE_UPDATED, 2, 1);
    rich->bases = &base;
    rich->seen = &seen;
    rich->correlations = &correlation;
    struct message *foreign = put(bench, "alpha", "customer", CHANGE_UPDATED, 3, 1);
    foreign->versions = NULL;
    foreign->timestamp_us = 99;
    make(bench);
    assert_int_equal(bench->bundles.count, 1);
    const struct message *joined = bench->bundles.items[0].message;
    assert_int_equal(joined->row_count, 3);
    assert_true(version_is_none(joined->bases[0]) && version_equal(joined->bases[1], base) && version_is_none(joined->bases[2]));
    assert_true(joined->seen[0].count == 0 && joined->seen[1].count == 1 && joined->seen[2].count == 0);
    assert_true(text_is_null(joined->correlations[0]) && text_equal(joined->correlations[1], correlation));
    assert_int_equal(message_version(joined, 0), 1);
    assert_int_equal(message_version(joined, 2), 99);
    bench_free(bench);
}

/* ---- whatever comes ---- */

/* The message and row of those given that this row of a bundle is, by its version; each is asked for once. */
static const struct message *origin_of(const struct bench *bench, int64_t version_us, size_t *row)
{
    for (size_t i = 0; i < bench->count; i++)
        for (*row = 0; bench->messages[i] != NULL && *row < bench->messages[i]->row_count; (*row)++)
            if (bench->messages[i]->versions[*row] == version_us)
                return bench->messages[i];
    return NULL;
}

struct known_row {
    struct text source, entity, key;
    int64_t version_us;
    size_t bundle;
};

static void test_every_row_is_applied_once_and_in_its_own_order(void **state)
{
    (void)state;
    struct random random = random_start(__func__);
    static const char *const sources[] = {"alpha", "beta"}, *const entities[] = {"customer", "order", "line"};
    for (size_t round = 0; round < 300; round++) {
        struct bench *bench = bench_new();
        size_t rows = 0, keys = 1 + random_below(&random, 200), found = 0;
        for (size_t left = random_below(&random, MESSAGES_MAX); left > 0; left--) {
            bool large = random_below(&random, 40) == 0;
            const struct message *message =
                put(bench, sources[random_below(&random, 8) == 0], entities[random_below(&random, 3)], (enum change_op)random_below(&random, 3),
                    random_below(&random, keys), large ? BUNDLE_ROWS_MAX + 1 : 1 + random_below(&random, 3));
            rows += message->row_count;
        }
        make(bench);
        struct known_row *known = calloc(rows + 1, sizeof *known);
        assert_non_null(known);
        for (size_t number = 0; number < bench->bundles.count; number++) {
            const struct message *message = bench->bundles.items[number].message;
            assert_true(message->row_count <= LIMIT_MESSAGE_ROWS);
            for (size_t row = 0; row < message->row_count; row++) {
                size_t given_row;
                const struct message *given = origin_of(bench, message->versions[row], &given_row);
                assert_non_null(given);
                assert_true(text_equal(given->source, message->source) && text_equal(given->entity, message->entity) && given->op == message->op);
                for (size_t column = 0; column < message->column_count; column++)
                    assert_true(text_equal(message_row(message, row)[column], message_row(given, given_row)[column]));
                struct known_row here = {message->source, message->entity, message_row(message, row)[0], message->versions[row], number};
                for (size_t i = 0; i < found; i++) {
                    assert_int_not_equal(known[i].version_us, here.version_us);
                    if (!text_equal(known[i].entity, here.entity) || !text_equal(known[i].key, here.key))
                        continue;
                    assert_int_not_equal(known[i].bundle, number);
                    assert_true(known[i].version_us < here.version_us);
                }
                known[found++] = here;
            }
        }
        assert_int_equal(found, rows);
        free(known);
        bench_free(bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_alone_is_given_as_it_is),
        cmocka_unit_test(test_nothing_comes_of_nothing),
        cmocka_unit_test(test_a_backlog_of_transactions_over_several_entities_becomes_one_bundle_each),
        cmocka_unit_test(test_a_row_written_again_is_applied_again_and_later),
        cmocka_unit_test(test_what_frees_unique_values_goes_first),
        cmocka_unit_test(test_large_values_are_not_joined),
        cmocka_unit_test(test_sources_columns_and_policies_are_kept_apart),
        cmocka_unit_test(test_large_messages_stand_alone_and_nothing_passes_them),
        cmocka_unit_test(test_what_few_rows_have_stays_with_them),
        cmocka_unit_test(test_every_row_is_applied_once_and_in_its_own_order),
    };
    return cmocka_run_group_tests(tests, name_fields, NULL);
}
