#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/base/limits.h"
#include "bridge/message/batch.h"
#include "tests/unit/random.h"

static const struct text fields[] = {{"id", 2}, {"a", 1}, {"b", 1}};
static const struct text fields_less[] = {{"id", 2}, {"a", 1}};
static const struct text fields_other_key[] = {{"a", 1}, {"id", 2}};

static const struct layout full = {.entity = {"customer", 8},
                                   .key_count = 1,
                                   .field_count = 3,
                                   .fields = fields,
                                   .schema = {"s1", 2},
                                   .coalesce = true};
static const struct layout less = {.entity = {"customer", 8},
                                   .key_count = 1,
                                   .field_count = 2,
                                   .fields = fields_less,
                                   .schema = {"s1", 2},
                                   .coalesce = true};
static const struct layout orders = {
    .entity = {"order", 5}, .key_count = 2, .field_count = 3, .fields = fields, .schema = {"s2", 2}, .coalesce = true};
static const struct layout events = {
    .entity = {"event", 5}, .key_count = 1, .field_count = 3, .fields = fields, .schema = {"s3", 2}, .coalesce = false};
static const struct layout remapped = {.entity = {"customer", 8},
                                       .key_count = 1,
                                       .field_count = 2,
                                       .fields = fields_other_key,
                                       .schema = {"s4", 2},
                                       .coalesce = true};

#define NODE TEXT_LITERAL("commerce")

static struct batch batch;
static struct sender sender;
static struct envelope *envelopes;
static size_t envelope_count;
static struct message *messages; /* the envelopes, unsealed */

static int set_up(void **state)
{
    (void)state;
    batch = (struct batch){0};
    arena_init(&batch.arena, LIMIT_ARENA_BYTES);
    batch.changes = arena_take_array(&batch.arena, 20000, sizeof *batch.changes);
    sender = (struct sender){NODE, "0d7c6c1e-7f3a-4a53-9c7a-0123456789ab", 100};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&batch.arena);
    return 0;
}

/* Version 0 as base: none. */
static struct change *add(const struct layout *layout, enum change_op op, const char *key, const char *value,
                          int64_t base, int64_t version)
{
    struct change *change = &batch.changes[batch.change_count++];
    struct text *values = arena_take_array(&batch.arena, layout->field_count, sizeof *values);
    for (size_t i = 0; i < layout->field_count; i++)
        values[i] = text_from(i < layout->key_count ? key : value);
    *change = (struct change){.layout = layout, .op = op, .values = values, .version = {version, NODE}};
    if (base > 0)
        change->base = (struct version){base, NODE};
    return change;
}

static void seal_with(size_t message_bytes)
{
    batch_seal(&batch, &sender, 1763675000000000, message_bytes, &envelopes, &envelope_count);
    messages = arena_take_array(&batch.arena, envelope_count, sizeof *messages);
    for (size_t i = 0; i < envelope_count; i++) {
        struct error error;
        if (!envelope_unseal(&envelopes[i], &batch.arena, &messages[i], &error))
            fail_msg("message %zu: %s", i, error.text);
    }
}

static void seal(void)
{
    seal_with(LIMIT_MESSAGE_BYTES);
}

/* ---- coalescing ----------------------------------------------------------------------------------------------------
 */

static void assert_change(size_t at, enum change_op op, int64_t base, int64_t version)
{
    assert_true(at < batch.change_count);
    assert_int_equal(batch.changes[at].op, op);
    assert_int_equal(batch.changes[at].base.timestamp_us, base);
    assert_int_equal(batch.changes[at].version.timestamp_us, version);
}

static void test_changes_of_one_key_become_its_last_state(void **state)
{
    (void)state;
    add(&full, CHANGE_UPDATED, "1", "x", 5, 10);
    add(&full, CHANGE_UPDATED, "2", "y", 6, 11);
    add(&full, CHANGE_UPDATED, "1", "z", 10, 12);
    batch_coalesce(&batch);
    assert_int_equal(batch.change_count, 2);
    assert_int_equal(batch.captured_count, 3);
    assert_change(0, CHANGE_UPDATED, 6, 11);
    assert_change(1, CHANGE_UPDATED, 5, 12);
    assert_true(text_equal(batch.changes[1].values[1], TEXT_LITERAL("z")));
}

static void test_what_stands_before_a_peers_write_travels_too(void **state)
{
    (void)state;
    add(&full, CHANGE_UPDATED, "1", "w", 5, 9);
    add(&full, CHANGE_UPDATED, "1", "x", 9, 10);
    add(&full, CHANGE_UPDATED, "1", "y", 11, 12); /* a peer's 11 stands between */
    add(&full, CHANGE_UPDATED, "1", "z", 12, 13);
    batch_coalesce(&batch);
    assert_int_equal(batch.change_count, 2);
    assert_change(0, CHANGE_UPDATED, 5, 10);
    assert_change(1, CHANGE_UPDATED, 11, 13);

    /* The same time by another node is another version. */
    batch.change_count = 0;
    add(&full, CHANGE_UPDATED, "1", "x", 5, 10);
    add(&full, CHANGE_UPDATED, "1", "y", 10, 12)->base.node = TEXT_LITERAL("operations");
    batch_coalesce(&batch);
    assert_int_equal(batch.change_count, 2);

    /* A peer's write that was seen and left aside: this node says its own once more. */
    static const struct version aside = {11, {"operations", 10}};
    batch.change_count = 0;
    add(&full, CHANGE_UPDATED, "1", "x", 5, 10);
    add(&full, CHANGE_UPDATED, "1", "x", 10, 12)->seen = (struct seen){1, &aside};
    add(&full, CHANGE_UPDATED, "1", "y", 12, 13)->seen = (struct seen){1, &aside};
    batch_coalesce(&batch);
    assert_int_equal(batch.change_count, 2);
    assert_change(0, CHANGE_UPDATED, 5, 10);
    assert_change(1, CHANGE_UPDATED, 10, 13);
}

static void test_a_source_without_bases_coalesces_by_what_was_seen(void **state)
{
    (void)state;
    static const struct version news = {11, {"operations", 10}};
    add(&full, CHANGE_CREATED, "1", "x", 0, 10);
    add(&full, CHANGE_UPDATED, "1", "y", 0, 12);
    add(&full, CHANGE_UPDATED, "1", "z", 0, 13)->seen = (struct seen){1, &news};
    batch_coalesce(&batch);
    assert_int_equal(batch.change_count, 2);
    assert_change(0, CHANGE_CREATED, 0, 12);
    assert_change(1, CHANGE_UPDATED, 0, 13);

    /* It may say an earlier write once more: that does not take the place of a later one. */
    batch.change_count = 0;
    add(&full, CHANGE_DELETED, "1", NULL, 0, 12);
    add(&full, CHANGE_UPDATED, "1", "y", 0, 10);
    batch_coalesce(&batch);
    assert_int_equal(batch.change_count, 2);
}

static void test_the_operation_says_what_became_of_the_key(void **state)
{
    (void)state;
    static const struct {
        enum change_op ops[3];
        enum change_op result;
    } cases[] = {
        {{CHANGE_CREATED, CHANGE_UPDATED, CHANGE_UPDATED}, CHANGE_CREATED},
        {{CHANGE_CREATED, CHANGE_UPDATED, CHANGE_DELETED}, CHANGE_DELETED},
        {{CHANGE_CREATED, CHANGE_DELETED, CHANGE_CREATED}, CHANGE_CREATED},
        {{CHANGE_UPDATED, CHANGE_DELETED, CHANGE_CREATED}, CHANGE_UPDATED},
        {{CHANGE_DELETED, CHANGE_CREATED, CHANGE_UPDATED}, CHANGE_UPDATED},
        {{CHANGE_UPDATED, CHANGE_UPDATED, CHANGE_DELETED}, CHANGE_DELETED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        batch.change_count = 0;
        for (int64_t step = 0; step < 3; step++)
            add(&full, cases[i].ops[step], "1", "x", 9 + step, 10 + step);
        batch_coalesce(&batch);
        assert_int_equal(batch.change_count, 1);
        assert_change(0, cases[i].result, 9, 12);
    }
}

static void test_keys_are_compared_whole(void **state)
{
    (void)state;
    /* Two key fields: ("ab","c") is not ("a","bc"), and the empty text is a key like any other. */
    static const char *const keys[][2] = {{"ab", "c"}, {"a", "bc"}, {"", "abc"}, {"abc", ""}};
    for (size_t i = 0; i < 4; i++) {
        struct change *change = add(&orders, CHANGE_UPDATED, "", "v", 1, 10 + (int64_t)i);
        struct text *values = arena_take_array(&batch.arena, 3, sizeof *values);
        values[0] = text_from(keys[i][0]);
        values[1] = text_from(keys[i][1]);
        values[2] = TEXT_LITERAL("v");
        change->values = values;
    }
    add(&full, CHANGE_UPDATED, "abc", "v", 1, 20);
    add(&events, CHANGE_UPDATED, "abc", "v", 1, 21);
    batch_coalesce(&batch);
    assert_int_equal(batch.change_count, 6);
}

static void test_a_layout_that_keeps_every_change_is_left_alone(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 5; i++)
        add(&events, CHANGE_UPDATED, "1", "x", 9 + i, 10 + i);
    batch_coalesce(&batch);
    assert_int_equal(batch.change_count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_change(i, CHANGE_UPDATED, 9 + (int64_t)i, 10 + (int64_t)i);
}

static void test_layouts_of_one_entity_never_coalesce_across_each_other(void **state)
{
    (void)state;
    add(&full, CHANGE_CREATED, "1", "x", 0, 10);
    add(&less, CHANGE_UPDATED, "1", "y", 10, 11);
    add(&less, CHANGE_UPDATED, "1", "z", 11, 12);
    add(&full, CHANGE_DELETED, "1", "z", 12, 13);
    batch_coalesce(&batch);
    assert_int_equal(batch.change_count, 3);
    assert_change(0, CHANGE_CREATED, 0, 10);
    assert_change(1, CHANGE_UPDATED, 10, 12);
    assert_change(2, CHANGE_DELETED, 12, 13);
}

static bool same_key(const struct change *a, const struct change *b)
{
    if (!text_equal(a->layout->entity, b->layout->entity) || a->layout->key_count != b->layout->key_count)
        return false;
    for (size_t i = 0; i < a->layout->key_count; i++)
        if (!text_equal(a->values[i], b->values[i]))
            return false;
    return true;
}

/* The rule, without any cleverness: whether change i gives way to the next of its key. */
static bool gives_way(const struct change *changes, size_t count, size_t i)
{
    for (size_t next = i + 1; next < count; next++)
        if (same_key(&changes[i], &changes[next]))
            return changes[next].layout == changes[i].layout && changes[i].layout->coalesce &&
                   (changes[next].base.timestamp_us == 0 || version_equal(changes[next].base, changes[i].version)) &&
                   changes[next].seen.count == changes[i].seen.count;
    return false;
}

static struct change naive_last_state(const struct change *changes, size_t count, size_t last)
{
    struct change result = changes[last];
    bool created = result.op == CHANGE_CREATED;
    size_t at = last;
    for (size_t i = last; i-- > 0;) {
        if (!same_key(&changes[i], &changes[at]))
            continue;
        if (!gives_way(changes, count, i))
            break;
        result.base = changes[i].base;
        created = changes[i].op == CHANGE_CREATED;
        at = i;
    }
    if (result.op != CHANGE_DELETED && at != last)
        result.op = created ? CHANGE_CREATED : CHANGE_UPDATED;
    return result;
}

static void add_random_changes(struct random *random, size_t count, size_t keys, bool with_remapped)
{
    static const struct layout *const layouts[] = {&full, &less, &orders, &events, &remapped};
    static const char *const nodes[] = {"commerce", "commerce", "commerce", "commerce", "operations"};
    static const struct version news = {11, {"operations", 10}};
    bool forwards = random_below(random, 3) == 0;
    for (size_t i = 0; i < count; i++) {
        const struct layout *layout = layouts[random_below(random, with_remapped ? 5 : 4)];
        struct text key = arena_printf(&batch.arena, "%zu", random_below(random, keys));
        struct text value = random_text(random, 12, &batch.arena);
        struct change *change =
            add(layout, (enum change_op)random_below(random, 3), key.data, "", 0, 1000 + (int64_t)i);
        struct text *values = arena_take_array(&batch.arena, layout->field_count, sizeof *values);
        for (size_t field = 0; field < layout->field_count; field++)
            values[field] = field < layout->key_count ? key : random_below(random, 4) == 0 ? TEXT_NULL : value;
        change->values = values;
        if (forwards)
            change->version.node = text_from(nodes[random_below(random, 5)]);
        for (size_t before = batch.change_count - 1; before-- > 0;) {
            if (!same_key(&batch.changes[before], change))
                continue;
            change->base = batch.changes[before].version;
            break;
        }
        if (random_below(random, 4) == 0)
            change->base = (struct version){1 + (int64_t)random_below(random, 900), TEXT_LITERAL("elsewhere")};
        if (random_below(random, 8) == 0)
            change->base = (struct version){0};
        if (random_below(random, 4) == 0)
            change->seen = (struct seen){1, &news};
        if (random_below(random, 3) == 0)
            change->correlation = random_below(random, 2) ? TEXT_LITERAL("req-1") : TEXT_LITERAL("req-2");
        if (random_below(random, 3) == 0)
            change->traceparent = random_below(random, 9) ? TEXT_LITERAL("00-aa") : TEXT_LITERAL("00-bb");
    }
}

static void test_random_changes_coalesce_like_the_naive_rule(void **state)
{
    (void)state;
    struct random random = random_start("test_random_changes_coalesce_like_the_naive_rule");
    for (int round = 0; round < 400; round++) {
        tear_down(NULL);
        set_up(NULL);
        add_random_changes(&random, random_below(&random, 120), 1 + random_below(&random, 30), true);
        size_t count = batch.change_count;
        struct change *captured = arena_take_array(&batch.arena, count, sizeof *captured);
        memcpy(captured, batch.changes, count * sizeof *captured);
        batch_coalesce(&batch);
        assert_int_equal(batch.captured_count, count);
        size_t kept = 0;
        for (size_t i = 0; i < count; i++) {
            if (gives_way(captured, count, i))
                continue;
            struct change expected = naive_last_state(captured, count, i);
            const struct change *change = &batch.changes[kept++];
            assert_true(change->layout == expected.layout);
            assert_int_equal(change->op, expected.op);
            assert_ptr_equal(change->values, expected.values);
            assert_true(version_equal(change->version, expected.version));
            assert_true(version_equal(change->base, expected.base));
            assert_true(text_equal(change->correlation, expected.correlation));
        }
        assert_int_equal(batch.change_count, kept);
    }
}

/* ---- sealing -------------------------------------------------------------------------------------------------------
 */

static void test_an_empty_batch_has_no_messages(void **state)
{
    (void)state;
    batch_coalesce(&batch);
    seal();
    assert_int_equal(envelope_count, 0);
    assert_int_equal(sender.sequence, 100);
}

static void assert_message(size_t at, const char *entity, enum change_op op, size_t rows)
{
    assert_true(at < envelope_count);
    assert_true(text_equal(messages[at].entity, text_from(entity)));
    assert_int_equal(messages[at].op, op);
    assert_int_equal(messages[at].row_count, rows);
}

static void test_deletions_go_before_updates_before_creations(void **state)
{
    (void)state;
    add(&full, CHANGE_CREATED, "1", "x", 0, 10);
    add(&orders, CHANGE_UPDATED, "1", "x", 1, 11);
    add(&full, CHANGE_UPDATED, "2", "x", 1, 12);
    add(&full, CHANGE_DELETED, "3", "x", 1, 13);
    add(&full, CHANGE_CREATED, "4", "x", 0, 14);
    add(&orders, CHANGE_DELETED, "5", "x", 1, 15);
    seal();
    assert_int_equal(envelope_count, 5);
    assert_message(0, "customer", CHANGE_DELETED, 1);
    assert_message(1, "order", CHANGE_DELETED, 1);
    assert_message(2, "order", CHANGE_UPDATED, 1);
    assert_message(3, "customer", CHANGE_UPDATED, 1);
    assert_message(4, "customer", CHANGE_CREATED, 2);
    /* A deletion is its key. */
    assert_int_equal(messages[0].column_count, 1);
    assert_int_equal(messages[1].column_count, 2);
    assert_int_equal(messages[4].column_count, 3);
}

static void test_messages_are_numbered_within_batch_and_epoch(void **state)
{
    (void)state;
    add(&full, CHANGE_CREATED, "1", "x", 0, 10);
    add(&full, CHANGE_DELETED, "2", "x", 1, 11);
    seal();
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(messages[i].part, i + 1);
        assert_int_equal(messages[i].parts, 2);
        assert_int_equal(messages[i].sequence, 101 + i);
        assert_true(text_equal(messages[i].epoch, text_from(sender.epoch)));
        assert_true(text_equal(messages[i].source, NODE));
        assert_true(text_equal(messages[i].schema, full.schema));
        assert_true(text_equal(messages[i].batch, messages[0].batch));
    }
    assert_int_equal(sender.sequence, 102);
    struct text first = messages[0].batch;
    seal();
    assert_false(text_equal(first, messages[0].batch));
    assert_int_equal(messages[0].sequence, 103);
}

static void test_bases_and_correlations_are_left_out_when_no_row_has_one(void **state)
{
    (void)state;
    add(&full, CHANGE_CREATED, "1", "x", 0, 10);
    add(&full, CHANGE_CREATED, "2", "x", 0, 11);
    seal();
    assert_null(messages[0].bases);
    assert_null(messages[0].correlations);
    add(&full, CHANGE_CREATED, "3", "x", 5, 12)->correlation = TEXT_LITERAL("req");
    seal();
    assert_int_equal(messages[0].bases[0].timestamp_us, 0);
    assert_int_equal(messages[0].bases[2].timestamp_us, 5);
    assert_true(text_is_null(messages[0].correlations[0]));
    assert_true(text_equal(messages[0].correlations[2], TEXT_LITERAL("req")));
    assert_true(text_equal(envelopes[0].correlation_id, TEXT_LITERAL("req")));
}

static void test_a_traceparent_travels_when_the_rows_have_one(void **state)
{
    (void)state;
    add(&full, CHANGE_CREATED, "1", "x", 0, 10);
    add(&full, CHANGE_CREATED, "2", "x", 0, 11)->traceparent = TEXT_LITERAL("00-aa");
    seal();
    assert_true(text_equal(messages[0].traceparent, TEXT_LITERAL("00-aa")));
    add(&full, CHANGE_CREATED, "3", "x", 0, 12)->traceparent = TEXT_LITERAL("00-bb");
    add(&full, CHANGE_CREATED, "4", "x", 0, 13)->traceparent = TEXT_LITERAL("00-bb");
    seal();
    assert_true(text_is_null(messages[0].traceparent));
}

static void test_versions_of_another_node_have_messages_of_their_own(void **state)
{
    (void)state;
    add(&full, CHANGE_UPDATED, "1", "x", 1, 10);
    add(&full, CHANGE_UPDATED, "2", "x", 1, 11)->version.node = TEXT_LITERAL("operations");
    add(&full, CHANGE_UPDATED, "3", "x", 1, 12)->version.node = TEXT_NULL;
    seal();
    assert_int_equal(envelope_count, 2);
    assert_int_equal(messages[0].row_count, 2);
    assert_true(text_equal(messages[0].source, NODE));
    assert_true(text_equal(messages[1].source, TEXT_LITERAL("operations")));
    assert_true(text_equal(envelopes[1].routing_key, TEXT_LITERAL("operations.customer.updated")));
}

static void test_messages_are_cut_at_their_bounds(void **state)
{
    (void)state;
    for (size_t i = 0; i < LIMIT_MESSAGE_ROWS + 1; i++)
        add(&full, CHANGE_UPDATED, arena_printf(&batch.arena, "%zu", i).data, "x", 1763675000000000,
            1763675000000001 + (int64_t)i);
    seal_with(SIZE_MAX);
    assert_int_equal(envelope_count, 2);
    assert_int_equal(messages[0].row_count, LIMIT_MESSAGE_ROWS);
    assert_int_equal(messages[1].row_count, 1);
    seal_with(10000);
    size_t rows = 0;
    for (size_t i = 0; i < envelope_count; i++) {
        assert_true(envelopes[i].body.length <= 10000);
        assert_true(i == envelope_count - 1 || envelopes[i].body.length > 8500);
        rows += messages[i].row_count;
    }
    assert_int_equal(rows, LIMIT_MESSAGE_ROWS + 1);
}

static void test_one_row_may_exceed_the_bound(void **state)
{
    (void)state;
    char *big = arena_take(&batch.arena, 5001);
    memset(big, 'x', 5000);
    add(&full, CHANGE_UPDATED, "1", "x", 1, 10);
    add(&full, CHANGE_UPDATED, "2", big, 1, 11);
    add(&full, CHANGE_UPDATED, "3", "x", 1, 12);
    seal_with(1000);
    assert_int_equal(envelope_count, 3);
    seal_with(0);
    assert_int_equal(envelope_count, 3);
}

static void test_a_key_in_two_layouts_keeps_its_order(void **state)
{
    (void)state;
    add(&full, CHANGE_CREATED, "1", "x", 0, 10);
    add(&full, CHANGE_CREATED, "2", "x", 0, 11);
    add(&less, CHANGE_UPDATED, "1", "y", 10, 12);
    add(&less, CHANGE_DELETED, "3", "y", 1, 13);
    batch_coalesce(&batch);
    seal();
    assert_int_equal(envelope_count, 3);
    assert_message(0, "customer", CHANGE_CREATED, 2);
    assert_message(1, "customer", CHANGE_DELETED, 1);
    assert_message(2, "customer", CHANGE_UPDATED, 1);
}

static void test_a_new_mapping_puts_everything_in_order(void **state)
{
    (void)state;
    add(&full, CHANGE_CREATED, "1", "x", 0, 10);
    add(&orders, CHANGE_UPDATED, "1", "x", 1, 11);
    add(&remapped, CHANGE_UPDATED, "x", "1", 10, 12);
    add(&remapped, CHANGE_DELETED, "y", "1", 1, 13);
    seal();
    assert_int_equal(envelope_count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(messages[i].versions[0], 10 + i);
}

static void test_kept_changes_travel_in_the_order_of_commit(void **state)
{
    (void)state;
    add(&events, CHANGE_CREATED, "1", "x", 0, 10);
    add(&events, CHANGE_CREATED, "2", "x", 0, 11);
    add(&full, CHANGE_CREATED, "1", "x", 0, 12);
    add(&events, CHANGE_UPDATED, "1", "y", 10, 13);
    add(&events, CHANGE_UPDATED, "1", "z", 13, 14);
    add(&events, CHANGE_UPDATED, "2", "z", 11, 15);
    add(&events, CHANGE_DELETED, "2", "z", 15, 16);
    batch_coalesce(&batch);
    seal();
    assert_int_equal(envelope_count, 5);
    assert_message(0, "customer", CHANGE_CREATED, 1);
    assert_message(1, "event", CHANGE_CREATED, 2);
    assert_message(2, "event", CHANGE_UPDATED, 1);
    assert_message(3, "event", CHANGE_UPDATED, 2);
    assert_message(4, "event", CHANGE_DELETED, 1);
}

/* Row of the batch with this version: versions are unique in random batches. */
static size_t position_of(int64_t version)
{
    for (size_t i = 0; i < batch.change_count; i++)
        if (batch.changes[i].version.timestamp_us == version)
            return i;
    fail_msg("version %lld is not in the batch", (long long)version);
    return 0;
}

static void assert_row_is_change(const struct message *sent, size_t row, const struct change *change)
{
    assert_true(text_equal(sent->entity, change->layout->entity));
    assert_int_equal(sent->op, change->op);
    assert_int_equal(sent->column_count, change_value_count(change));
    for (size_t i = 0; i < sent->column_count; i++) {
        assert_true(text_equal(sent->columns[i], change->layout->fields[i]));
        assert_true(text_equal(message_row(sent, row)[i], change->values[i]));
    }
    assert_true(text_equal(sent->source, change->version.node));
    struct version base = sent->bases != NULL ? sent->bases[row] : (struct version){0};
    assert_true(version_equal(base, change->base));
    assert_true(text_equal(sent->correlations != NULL ? sent->correlations[row] : TEXT_NULL, change->correlation));
}

static bool keys_equal(const struct message *sent, size_t a, size_t b)
{
    for (size_t i = 0; i < sent->key_count; i++)
        if (!text_equal(message_row(sent, a)[i], message_row(sent, b)[i]))
            return false;
    return true;
}

static void test_random_batches_arrive_whole_and_in_order(void **state)
{
    (void)state;
    struct random random = random_start("test_random_batches_arrive_whole_and_in_order");
    for (int round = 0; round < 150; round++) {
        tear_down(NULL);
        set_up(NULL);
        add_random_changes(&random, 1 + random_below(&random, 100), 1 + random_below(&random, 30), round % 4 == 0);
        bool coalesced = random_below(&random, 2) == 0;
        if (coalesced)
            batch_coalesce(&batch);
        seal_with(random_below(&random, 2) ? LIMIT_MESSAGE_BYTES : 600);
        size_t *arrival = arena_take_array(&batch.arena, batch.change_count, sizeof *arrival);
        size_t arrived = 0;
        for (size_t m = 0; m < envelope_count; m++) {
            size_t before = 0;
            for (size_t row = 0; row < messages[m].row_count; row++) {
                size_t at = position_of(messages[m].versions[row]);
                assert_row_is_change(&messages[m], row, &batch.changes[at]);
                assert_int_equal(arrival[at], 0);
                arrival[at] = ++arrived;
                assert_true(row == 0 || at > before);
                before = at;
                /* Nobody may find two changes of one key in one message. */
                for (size_t other = 0; other < row; other++)
                    assert_false(keys_equal(&messages[m], row, other));
            }
        }
        assert_int_equal(arrived, batch.change_count);
        for (size_t i = 0; i < batch.change_count; i++)
            for (size_t j = i + 1; j < batch.change_count; j++)
                if (same_key(&batch.changes[i], &batch.changes[j]) ||
                    (!batch.changes[i].layout->coalesce && !batch.changes[j].layout->coalesce))
                    assert_true(arrival[i] < arrival[j]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_changes_of_one_key_become_its_last_state),
        TEST(test_what_stands_before_a_peers_write_travels_too),
        TEST(test_a_source_without_bases_coalesces_by_what_was_seen),
        TEST(test_the_operation_says_what_became_of_the_key),
        TEST(test_keys_are_compared_whole),
        TEST(test_a_layout_that_keeps_every_change_is_left_alone),
        TEST(test_layouts_of_one_entity_never_coalesce_across_each_other),
        TEST(test_random_changes_coalesce_like_the_naive_rule),
        TEST(test_an_empty_batch_has_no_messages),
        TEST(test_deletions_go_before_updates_before_creations),
        TEST(test_messages_are_numbered_within_batch_and_epoch),
        TEST(test_bases_and_correlations_are_left_out_when_no_row_has_one),
        TEST(test_a_traceparent_travels_when_the_rows_have_one),
        TEST(test_versions_of_another_node_have_messages_of_their_own),
        TEST(test_messages_are_cut_at_their_bounds),
        TEST(test_one_row_may_exceed_the_bound),
        TEST(test_a_key_in_two_layouts_keeps_its_order),
        TEST(test_a_new_mapping_puts_everything_in_order),
        TEST(test_kept_changes_travel_in_the_order_of_commit),
        TEST(test_random_batches_arrive_whole_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
