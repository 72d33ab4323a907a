/* links: postgres */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include "adapters/postgres/wal_join.h"
#include "bridge/base/limits.h"

static const struct text fields[] = {{"id", 2}, {"n", 1}};
static const struct layout counter = {.entity = {"counter", 7}, .key_count = 1, .field_count = 2, .fields = fields, .coalesce = true};
static const struct layout partial = {.entity = {"counter", 7}, .key_count = 1, .field_count = 1, .fields = fields, .coalesce = true};
static const struct layout event = {.entity = {"event", 5}, .key_count = 1, .field_count = 2, .fields = fields, .coalesce = false};
static const struct wal_entity mapped = {.id = 1, .layout = &counter};

static struct wal_chunk chunk;
static struct arena scratch;
static struct change changes[16];
static struct wal_row rows[16];
static const char *written; /* key of the row that others have written, at these places */
static uint64_t places[4];

static int set_up(void **state)
{
    (void)state;
    chunk = (struct wal_chunk){.changes = changes, .rows = rows};
    arena_init(&scratch, LIMIT_ARENA_BYTES);
    written = NULL;
    memset(places, 0, sizeof places);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&scratch);
    return 0;
}

/* A change of the log; n tells them apart. */
static struct wal_row *add(const struct layout *layout, enum change_op op, const char *key, const char *n)
{
    struct text *values = arena_take_array(&scratch, 2, sizeof *values);
    values[0] = text_from(key);
    values[1] = text_from(n);
    changes[chunk.count] = (struct change){.layout = layout, .op = op, .values = values, .version = {(int64_t)chunk.count + 1, TEXT_LITERAL("one")}};
    rows[chunk.count] = (struct wal_row){.entity = &mapped, .commit_us = (int64_t)chunk.count + 1, .commit_lsn = 10 * (chunk.count + 1)};
    return &rows[chunk.count++];
}

/* What is left, "key=n" each; of a deletion "-key". */
static void assert_left(const char *wanted)
{
    char left[256] = "";
    struct wal_runs runs = wal_runs_find(&chunk, &scratch);
    for (size_t i = 0; i < runs.count; i++)
        if (text_equal(chunk.changes[runs.items[i].first].values[0], text_from(written)))
            for (size_t j = 0; j < sizeof places / sizeof *places && places[j] > 0; j++)
                wal_runs_cut(&runs, &chunk, i, places[j]);
    wal_runs_join(&runs, &chunk);
    for (size_t i = 0; i < chunk.count; i++) {
        const struct change *change = &chunk.changes[i];
        size_t at = strlen(left);
        if (change->op == CHANGE_DELETED)
            snprintf(left + at, sizeof left - at, "%s-%s", i ? " " : "", change->values[0].data);
        else
            snprintf(left + at, sizeof left - at, "%s%s=%s", i ? " " : "", change->values[0].data, change->values[1].data);
        /* Each with its own row. */
        assert_int_equal(chunk.rows[i].commit_us, change->version.timestamp_us);
    }
    assert_string_equal(left, wanted);
}

static void test_of_updates_of_a_row_the_last_is_left(void **state)
{
    (void)state;
    add(&counter, CHANGE_UPDATED, "a", "1");
    add(&counter, CHANGE_UPDATED, "b", "1");
    add(&counter, CHANGE_UPDATED, "a", "2");
    add(&counter, CHANGE_UPDATED, "a", "3");
    add(&counter, CHANGE_UPDATED, "c", "1");
    assert_left("b=1 a=3 c=1");
}

static void test_creations_and_deletions_stay(void **state)
{
    (void)state;
    add(&counter, CHANGE_CREATED, "a", "1");
    add(&counter, CHANGE_UPDATED, "a", "2");
    add(&counter, CHANGE_UPDATED, "a", "3");
    add(&counter, CHANGE_DELETED, "a", "");
    add(&counter, CHANGE_CREATED, "a", "4");
    add(&counter, CHANGE_UPDATED, "a", "5");
    assert_left("a=1 a=3 -a a=4 a=5");
}

/* Five updates of a at 10, 30, 40, 60 and 70, and of b between them. */
static void assert_left_of_five(const char *wanted)
{
    written = "a";
    add(&counter, CHANGE_UPDATED, "a", "1");
    add(&counter, CHANGE_UPDATED, "b", "1");
    add(&counter, CHANGE_UPDATED, "a", "2");
    add(&counter, CHANGE_UPDATED, "a", "3");
    add(&counter, CHANGE_UPDATED, "b", "2");
    add(&counter, CHANGE_UPDATED, "a", "4");
    add(&counter, CHANGE_UPDATED, "a", "5");
    assert_left(wanted);
}

static void test_what_others_have_written_in_between_keeps_apart(void **state)
{
    (void)state;
    places[0] = 35;
    assert_left_of_five("a=2 b=2 a=5");
}

static void test_what_others_have_written_several_times_keeps_apart(void **state)
{
    (void)state;
    memcpy(places, (uint64_t[]){15, 16, 50, 65}, sizeof places);
    assert_left_of_five("a=1 a=3 b=2 a=4 a=5");
}

static void test_what_others_have_written_before_or_after_keeps_nothing_apart(void **state)
{
    (void)state;
    memcpy(places, (uint64_t[]){5, 75}, 2 * sizeof *places);
    assert_left_of_five("b=2 a=5");
}

static void test_what_is_to_be_noted_stays(void **state)
{
    (void)state;
    add(&counter, CHANGE_UPDATED, "a", "1");
    struct wal_row *late = add(&counter, CHANGE_UPDATED, "a", "2");
    add(&counter, CHANGE_UPDATED, "a", "3");
    add(&counter, CHANGE_UPDATED, "a", "4");
    late->commit_us = 1; /* and it was given 2 */
    struct wal_runs runs = wal_runs_find(&chunk, &scratch);
    wal_runs_join(&runs, &chunk);
    assert_int_equal(chunk.count, 2);
    assert_string_equal(chunk.changes[0].values[1].data, "2");
    assert_int_equal(chunk.rows[0].commit_us, 1);
    assert_string_equal(chunk.changes[1].values[1].data, "4");
}

static void test_what_does_not_travel_as_it_is_stays(void **state)
{
    (void)state;
    add(&counter, CHANGE_UPDATED, "a", "1")->bytes = 1;
    add(&counter, CHANGE_UPDATED, "a", "2");
    add(&partial, CHANGE_UPDATED, "a", "")->lacks = true;
    add(&partial, CHANGE_UPDATED, "a", "")->lacks = true;
    add(&counter, CHANGE_UPDATED, "a", "3");
    add(&counter, CHANGE_UPDATED, "a", "4")->entity = NULL; /* from the outbox */
    add(&counter, CHANGE_UPDATED, "a", "5");
    add(&event, CHANGE_UPDATED, "a", "1");
    add(&event, CHANGE_UPDATED, "a", "2");
    assert_int_equal(wal_runs_find(&chunk, &scratch).count, 0);
}

static void test_what_is_joined_takes_no_room(void **state)
{
    (void)state;
    const struct wal_chunk next = {.count = 1, .bytes = LIMIT_BATCH_BYTES - 6 - 2 * sizeof(struct text), .whole = true};
    add(&counter, CHANGE_UPDATED, "a", "1");
    add(&counter, CHANGE_UPDATED, "a", "12345");
    chunk.whole = true;
    assert_false(wal_chunks_fit(&chunk, &next));
    assert_left("a=12345");
    assert_true(wal_chunks_fit(&chunk, &next));
}

static void test_what_is_left_of_a_chunk_goes_in_front_of_the_next(void **state)
{
    (void)state;
    struct change next_changes[2];
    struct wal_row next_rows[2] = {{.entity = &mapped, .commit_us = 7}, {.entity = &mapped, .commit_us = 8}};
    struct text next_values[2][2] = {{TEXT_LITERAL("c"), TEXT_LITERAL("1")}, {TEXT_LITERAL("a"), TEXT_LITERAL("2")}};
    struct wal_chunk next = {.changes = next_changes, .rows = next_rows, .count = 2, .capacity = 2, .captured = 3, .bytes = 10, .whole = true,
                             .place = {.lsn = 90}, .heartbeat = TEXT_LITERAL("alive")};
    struct version seen[] = {{5, {"two", 3}}};
    char key[] = "b", label[] = "request", node[] = "three";
    for (size_t i = 0; i < 2; i++)
        next_changes[i] = (struct change){.layout = &counter, .op = CHANGE_UPDATED, .values = next_values[i], .version = {7 + (int64_t)i, TEXT_LITERAL("one")}};
    add(&counter, CHANGE_UPDATED, "a", "1");
    add(&counter, CHANGE_CREATED, key, "1")->entity = NULL; /* from the outbox */
    chunk.changes[1].correlation = (struct text){label, strlen(label)};
    chunk.changes[1].version.node = (struct text){node, strlen(node)};
    chunk.changes[1].seen = (struct seen){.versions = seen, .count = 1};
    chunk.captured = 40;
    chunk.whole = true;
    assert_true(wal_chunks_fit(&chunk, &next));
    arena_init(&next.arena, LIMIT_ARENA_BYTES);
    wal_chunk_prepend(&next, &chunk);
    /* What the one before had may go. */
    memset(key, 'x', strlen(key));
    memset(label, 'x', strlen(label));
    memset(node, 'x', strlen(node));
    seen[0] = (struct version){0};
    memset(changes, 0, sizeof changes);
    memset(rows, 0, sizeof rows);
    assert_int_equal(next.count, 4);
    assert_int_equal(next.captured, 43);
    assert_int_equal(next.bytes, 10 + 4 + 4 * sizeof(struct text));
    assert_int_equal(next.place.lsn, 90);
    assert_true(text_equal(next.heartbeat, TEXT_LITERAL("alive")));
    const struct change *said = &next.changes[1];
    assert_true(text_equal(next.changes[0].values[0], TEXT_LITERAL("a")));
    assert_ptr_equal(next.rows[0].entity, &mapped);
    assert_int_equal(said->op, CHANGE_CREATED);
    assert_null(next.rows[1].entity);
    assert_true(text_equal(said->values[0], TEXT_LITERAL("b")));
    assert_true(text_equal(said->correlation, TEXT_LITERAL("request")));
    assert_true(text_equal(said->version.node, TEXT_LITERAL("three")));
    assert_int_equal(said->seen.count, 1);
    assert_int_equal(said->seen.versions[0].timestamp_us, 5);
    assert_true(text_equal(said->seen.versions[0].node, TEXT_LITERAL("two")));
    assert_int_equal(next.rows[2].commit_us, 7);
    assert_true(text_equal(next.changes[3].values[1], TEXT_LITERAL("2")));
    arena_free(&next.arena);
}

static void test_chunks_that_make_no_batch_stay_apart(void **state)
{
    (void)state;
    add(&counter, CHANGE_UPDATED, "a", "1");
    chunk.whole = true;
    const struct wal_chunk whole = chunk;
    struct wal_chunk part = whole, last = whole, many = whole, large = whole;
    part.whole = false;
    last.ends = true;
    many.count = LIMIT_BATCH_ROWS;
    large.bytes = LIMIT_BATCH_BYTES;
    assert_true(wal_chunks_fit(&whole, &whole));
    assert_true(wal_chunks_fit(&whole, &last));
    assert_false(wal_chunks_fit(&last, &whole));
    assert_false(wal_chunks_fit(&part, &whole));
    assert_false(wal_chunks_fit(&whole, &part));
    assert_false(wal_chunks_fit(&whole, &many));
    assert_false(wal_chunks_fit(&whole, &large));
}

static void test_nothing_is_left_of_nothing(void **state)
{
    (void)state;
    assert_left("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_of_updates_of_a_row_the_last_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_creations_and_deletions_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_others_have_written_in_between_keeps_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_others_have_written_several_times_keeps_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_others_have_written_before_or_after_keeps_nothing_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_to_be_noted_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_does_not_travel_as_it_is_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_joined_takes_no_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_left_of_a_chunk_goes_in_front_of_the_next, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_chunks_that_make_no_batch_stay_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_is_left_of_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
