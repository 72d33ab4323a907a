#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/base/limits.h"
#include "bridge/message/codec.h"
#include "tests/unit/random.h"

static struct arena arena;
static struct merge merge;
static struct error error;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static bool decode(struct text json)
{
    /* A copy of exactly its length, so that the sanitizer sees every byte read beyond it. */
    char *copy = malloc(json.length > 0 ? json.length : 1);
    assert_non_null(copy);
    memcpy(copy, json.data, json.length);
    error = (struct error){0};
    bool decoded = codec_decode_merge((struct text){copy, json.length}, &arena, &merge, &error);
    free(copy);
    return decoded;
}

static void assert_refused(const char *json, const char *words)
{
    if (decode(text_from(json)))
        fail_msg("accepted: %s", json);
    assert_int_equal(error.fault, FAULT_POISON);
    if (strstr(error.text, words) == NULL)
        fail_msg("%s: refused for another reason: %s (expected: %s)", json, error.text, words);
}

static void assert_same(const char *json)
{
    if (!decode(text_from(json)))
        fail_msg("%s: %s", json, error.text);
    struct text again = codec_encode_merge(&merge, &arena);
    if (!text_equal(again, text_from(json)))
        fail_msg("%.*s is not %s", TEXT_PRINTF(again), json);
}

static void test_state_is_written_as_the_contract_says(void **state)
{
    (void)state;
    assert_same("{\"d\":[7,\"operations\"],\"s\":[8,\"commerce\"],\"v\":[9,\"commerce\"],"
                "\"g\":{\"address\":[10,\"operations\"],\"email\":[1763675000123456,\"commerce\"]},"
                "\"c\":{\"sold\":{\"commerce\":[9,\"-1\"]},\"stock\":{\"\":[0,\"100\"],\"commerce\":[9,\"12.50\"]}}}");
    assert_same("{\"d\":[7,\"a\"]}");
    assert_same("{\"s\":[7,\"a\"]}");
    assert_same("{\"g\":{\"x\":[7,\"a\"]}}");
    assert_same("{\"c\":{\"x\":{\"a\":[9223372036854775806,\"NaN\"],\"b\":[1,\"-Infinity\"]}}}");
}

static void test_no_state_is_null(void **state)
{
    (void)state;
    assert_true(codec_decode_merge(TEXT_NULL, &arena, &merge, &error));
    assert_true(merge_equal(&merge, &(struct merge){0}));
    assert_true(decode(TEXT_LITERAL("{}")));
    assert_true(text_is_null(codec_encode_merge(&merge, &arena)));
}

static void test_equal_states_have_equal_json(void **state)
{
    (void)state;
    /* In whatever order, and with what goes without saying: jsonb has an order of its own. */
    assert_true(decode(TEXT_LITERAL("{\"g\": {\"b\": [2, \"x\"], \"aa\": [3, \"x\"], \"r\": [1, \"x\"]}, \"v\": [1, \"x\"]}")));
    struct text json = codec_encode_merge(&merge, &arena);
    assert_true(text_equal(json, TEXT_LITERAL("{\"v\":[1,\"x\"],\"g\":{\"aa\":[3,\"x\"],\"b\":[2,\"x\"]}}")));
}

static void test_what_is_no_state_is_refused(void **state)
{
    (void)state;
    assert_refused("[]", "not an object");
    assert_refused("{", "ends");
    assert_refused("{\"d\":[1,\"a\"],\"d\":[2,\"a\"]}", "same name");
    assert_refused("{\"x\":1}", "not known");
    assert_refused("{\"d\":null}", "not a version");
    assert_refused("{\"d\":[0,\"a\"]}", "not a version");
    assert_refused("{\"d\":[-1,\"a\"]}", "not a version");
    assert_refused("{\"d\":[1.5,\"a\"]}", "not a version");
    assert_refused("{\"d\":[9223372036854775807,\"a\"]}", "not a version");
    assert_refused("{\"d\":[99999999999999999999,\"a\"]}", "not a version");
    assert_refused("{\"d\":[1,\"\"]}", "not a version");
    assert_refused("{\"d\":[1,2]}", "not a version");
    assert_refused("{\"d\":[1]}", "not a version");
    assert_refused("{\"d\":[1,\"a\",2]}", "not a version");
    assert_refused("{\"d\":[2,\"a\"],\"s\":[2,\"a\"]}", "not later");
    assert_refused("{\"g\":[]}", "not an object");
    assert_refused("{\"g\":{\"\":[1,\"a\"]}}", "group");
    assert_refused("{\"g\":{\"x\":1}}", "group");
    assert_refused("{\"c\":[]}", "not an object");
    assert_refused("{\"c\":{\"x\":{}}}", "counter");
    assert_refused("{\"c\":{\"x\":[]}}", "counter");
    assert_refused("{\"c\":{\"\":{\"a\":[1,\"1\"]}}}", "counter");
    assert_refused("{\"c\":{\"x\":{\"a\":[0,\"1\"]}}}", "decimal");
    assert_refused("{\"c\":{\"x\":{\"\":[1,\"1\"]}}}", "decimal");
    assert_refused("{\"c\":{\"x\":{\"a\":[1,1]}}}", "decimal");
    assert_refused("{\"c\":{\"x\":{\"a\":[1,null]}}}", "decimal");
    assert_refused("{\"c\":{\"x\":{\"a\":[[[[1]]],\"1\"]}}}", "deeper");
    const char *const numbers[] = {"", "-", "+", ".", "1.", ".5", "1e5", "1.2.3", " 1", "1 ", "0x1", "nan", "+Infinity", "--1", "1-"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_refused(arena_printf(&arena, "{\"c\":{\"x\":{\"a\":[1,\"%s\"]}}}", numbers[i]).data, "decimal");
    assert_same("{\"c\":{\"x\":{\"a\":[1,\"+0.5\"]}}}");
    char name[65] = {0};
    memset(name, 'n', 64);
    assert_refused(arena_printf(&arena, "{\"d\":[1,\"%s\"]}", name).data, "not a version");
    assert_refused(arena_printf(&arena, "{\"g\":{\"%s\":[1,\"a\"]}}", name).data, "group");
    assert_same(arena_printf(&arena, "{\"g\":{\"%s\":[1,\"%s\"]}}", name + 1, name + 1).data);
    char digits[1002] = {0};
    memset(digits, '9', 1001);
    assert_refused(arena_printf(&arena, "{\"c\":{\"x\":{\"a\":[1,\"%s\"]}}}", digits).data, "decimal");
    assert_same(arena_printf(&arena, "{\"c\":{\"x\":{\"a\":[1,\"%s\"]}}}", digits + 1).data);
}

static struct text list(const char *format, int count)
{
    struct text items = TEXT_LITERAL("");
    for (int i = 0; i < count; i++) {
        char item[64];
        snprintf(item, sizeof item, "\"n%d\":%s", i, format);
        items = arena_printf(&arena, "%.*s%s%s", TEXT_PRINTF(items), i > 0 ? "," : "", item);
    }
    return items;
}

static void test_lists_are_bounded(void **state)
{
    (void)state;
    assert_true(decode(arena_printf(&arena, "{\"g\":{%s}}", list("[1,\"a\"]", LIMIT_FIELDS).data)));
    assert_refused(arena_printf(&arena, "{\"g\":{%s}}", list("[1,\"a\"]", LIMIT_FIELDS + 1).data).data, "more than");
    assert_true(decode(arena_printf(&arena, "{\"c\":{\"x\":{%s}}}", list("[1,\"1\"]", MERGE_NODES_MAX).data)));
    assert_refused(arena_printf(&arena, "{\"c\":{\"x\":{%s}}}", list("[1,\"1\"]", MERGE_NODES_MAX + 1).data).data,
                   "totals");
}

static struct version random_version(struct random *random)
{
    static const char *const nodes[] = {"a", "b", "node \"c\"", "é"};
    return (struct version){1 + (int64_t)(random_next(random) >> 2), text_from(nodes[random_below(random, 4)])};
}

static struct merge random_merge(struct random *random)
{
    static const char *const names[] = {"address", "e-mail", "ort \\ é", "z"};
    static const char *const totals[] = {"0", "-12.50", "NaN", "Infinity", "123456789012345678901234567890"};
    struct merge_group *groups = arena_take_array(&arena, 4, sizeof *groups);
    struct merge_total *shares = arena_take_array(&arena, 8, sizeof *shares);
    struct merge made = {.groups = groups, .totals = shares};
    if (random_below(random, 2) == 0)
        made.died = random_version(random);
    if (random_below(random, 4) == 0)
        made.survived = (struct version){INT64_MAX - 1, TEXT_LITERAL("z")};
    if (random_below(random, 2) == 0)
        made.rest = random_version(random);
    for (size_t i = 0; i < 4; i++) {
        if (random_below(random, 2) == 0)
            groups[made.group_count++] = (struct merge_group){text_from(names[i]), random_version(random)};
        if (random_below(random, 2) == 0)
            continue;
        struct text name = text_from(names[i]), total = text_from(totals[random_below(random, 5)]);
        if (random_below(random, 2) == 0)
            shares[made.total_count++] = (struct merge_total){name, {0, TEXT_LITERAL("")}, total};
        shares[made.total_count++] = (struct merge_total){name, random_version(random), total};
    }
    return made;
}

static void test_random_states_read_back_the_same(void **state)
{
    (void)state;
    struct random random = random_start("test_random_states_read_back_the_same");
    for (int i = 0; i < 20000; i++) {
        arena_reset(&arena);
        struct merge made = random_merge(&random);
        struct text json = codec_encode_merge(&made, &arena);
        if (!text_is_null(json) && !decode(json))
            fail_msg("%.*s: %s", TEXT_PRINTF(json), error.text);
        if (text_is_null(json))
            merge = (struct merge){0};
        assert_true(merge_equal(&made, &merge));
    }
}

static void test_damaged_state_never_harms(void **state)
{
    (void)state;
    struct random random = random_start("test_damaged_state_never_harms");
    for (int i = 0; i < 20000; i++) {
        arena_reset(&arena);
        struct merge made = random_merge(&random);
        struct text json = codec_encode_merge(&made, &arena);
        if (text_is_null(json))
            continue;
        char *bytes = arena_string(&arena, json);
        for (size_t damage = random_below(&random, 3); damage > 0; damage--)
            bytes[random_below(&random, json.length)] = "\"[]{}:,0a\\\xff"[random_below(&random, 11)];
        decode((struct text){bytes, random_below(&random, json.length + 1)});
    }
}

/* ---- in a message ---- */

#define HEAD "{\"entity\":\"customer\",\"op\":\"%s\",\"key\":[\"id\"],\"columns\":[\"id\"],\"rows\":[[\"1\"],[\"2\"]]"

static bool decode_message(const char *op, const char *rest, struct message *message)
{
    error = (struct error){0};
    return codec_decode(arena_printf(&arena, HEAD ",\"merge\":%s}", op, rest), &arena, message, &error);
}

static void test_message_carries_a_state_for_each_row(void **state)
{
    (void)state;
    struct message message = {0}, again = {0};
    assert_true(decode_message("updated", "[{\"d\":[7,\"a\"],\"c\":{\"x\":{\"a\":[1,\"1\"]}}},null]", &message));
    assert_int_equal(message.unknown_members, 0);
    assert_true(message.merges[0].present && message.merges[1].present);
    assert_int_equal(message.merges[0].total_count, 1);
    assert_true(version_is_none(message.merges[1].died));
    struct text body = codec_encode(&message, &arena);
    assert_true(codec_decode(body, &arena, &again, &error));
    assert_true(merge_equal(&message.merges[0], &again.merges[0]) && merge_equal(&message.merges[1], &again.merges[1]));
    assert_true(text_equal(body, codec_encode(&again, &arena)));
    assert_true(decode_message("deleted", "[{\"d\":[7,\"a\"]},{\"d\":[7,\"a\"]}]", &message));
    assert_false(message.merges[0].present);
    assert_false(decode_message("updated", "{}", &message));
    assert_false(decode_message("updated", "[{}]", &message));
    assert_false(decode_message("updated", "[{},1]", &message));
    assert_false(decode_message("updated", "[{},{\"d\":1}]", &message));
    assert_non_null(strstr(error.text, "row 2"));
}

static void test_decoding_states_needs_no_more_room_than_it_says(void **state)
{
    (void)state;
    static const char *const states[] = {"{}", "null", "{\"g\":{\"\":0}}", "{\"g\":{\"a\":[1,\"b\"]}}",
                                         "{\"c\":{\"a\":{\"\":[0,\"1\"]}}}", "{\"g\":{\"a\":[1,\"b\"],\"c\":[1,\"b\"]}}"};
    for (size_t kind = 0; kind < sizeof states / sizeof states[0]; kind++) {
        struct text rows = TEXT_LITERAL("[\"\"]"), merges = text_from(states[kind]);
        for (int i = 0; i < 300; i++) {
            rows = arena_printf(&arena, "%s,[\"\"]", rows.data);
            merges = arena_printf(&arena, "%s,%s", merges.data, states[kind]);
        }
        struct text body = arena_printf(&arena, "{\"entity\":\"e\",\"op\":\"updated\",\"key\":[\"i\"],\"columns\":[\"i\"],"
                                                "\"seen\":{},\"rows\":[%s],\"merge\":[%s]}", rows.data, merges.data);
        struct arena tight;
        struct message message = {0};
        arena_init(&tight, 20 * body.length + 1024);
        assert_int_equal(codec_decode(body, &tight, &message, &error), kind != 2);
        arena_free(&tight);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_state_is_written_as_the_contract_says),
        TEST(test_no_state_is_null),
        TEST(test_equal_states_have_equal_json),
        TEST(test_what_is_no_state_is_refused),
        TEST(test_lists_are_bounded),
        TEST(test_random_states_read_back_the_same),
        TEST(test_damaged_state_never_harms),
        TEST(test_message_carries_a_state_for_each_row),
        TEST(test_decoding_states_needs_no_more_room_than_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
