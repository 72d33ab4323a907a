#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/base/limits.h"
#include "bridge/message/codec.h"
#include "tests/unit/messages.h"

static struct arena arena;
static struct message message;
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

static bool decode(struct text body)
{
    /* A copy of exactly its length, so that the sanitizer sees every byte read beyond it. */
    char *copy = malloc(body.length > 0 ? body.length : 1);
    assert_non_null(copy);
    if (body.length > 0)
        memcpy(copy, body.data, body.length);
    memset(&message, 0, sizeof message);
    error = (struct error){0};
    bool decoded = codec_decode((struct text){copy, body.length}, &arena, &message, &error);
    free(copy);
    return decoded;
}

static void assert_decodes(const char *body)
{
    if (!decode(text_from(body)))
        fail_msg("%s: %s", body, error.text);
}

/* words: what the reason must name. */
static void assert_refused_text(struct text body, const char *words)
{
    if (decode(body)) {
        if (body.length > 300)
            body.length = 300;
        fail_msg("accepted: %.*s", TEXT_PRINTF(body));
    }
    assert_int_equal(error.fault, FAULT_POISON);
    if (strstr(error.text, words) == NULL)
        fail_msg("refused for another reason: %s (expected: %s)", error.text, words);
}

static void assert_refused(const char *body, const char *words)
{
    assert_refused_text(text_from(body), words);
}

static void assert_text(struct text text, const char *expected)
{
    if (!text_equal(text, text_from(expected)))
        fail_msg("\"%.*s\" is not \"%s\"", TEXT_PRINTF(text), expected != NULL ? expected : "(null)");
}

#define HEAD "{\"entity\":\"customer\",\"op\":\"updated\",\"key\":[\"id\"],\"columns\":[\"id\",\"email\"],"
#define ONE HEAD "\"rows\":[[\"42\",\"a@b\"]]"

/* ---- what is written -----------------------------------------------------------------------------------------------
 */

static struct message small_message(void)
{
    static const struct text columns[] = {{"id", 2}, {"email", 5}, {"name", 4}};
    static const struct text values[] = {{"42", 2}, {"ann@example.com", 15}, {NULL, 0}, {"43", 2},
                                         {"", 0},   {"a/b\"\\\n\x01é", 9}};
    static const int64_t versions[] = {1763675000123456, INT64_MAX - 1};
    static const struct version bases[] = {{1763674999000000, {"operations", 10}}, {0, {NULL, 0}}};
    static const struct text correlations[] = {{NULL, 0}, {"req-7f3a", 8}};
    return (struct message){.entity = TEXT_LITERAL("customer"),
                            .op = CHANGE_UPDATED,
                            .key_count = 1,
                            .column_count = 3,
                            .columns = columns,
                            .row_count = 2,
                            .values = values,
                            .versions = versions,
                            .bases = bases,
                            .correlations = correlations};
}

static void test_a_body_is_what_the_contract_says(void **state)
{
    (void)state;
    struct message sent = small_message();
    assert_text(
        codec_encode(&sent, &arena),
        "{\"entity\":\"customer\",\"op\":\"updated\",\"key\":[\"id\"],\"columns\":[\"id\",\"email\",\"name\"],"
        "\"rows\":[[\"42\",\"ann@example.com\",null],[\"43\",\"\",\"a/b\\\"\\\\\\n\\u0001é\"]],"
        "\"versions\":[1763675000123456,9223372036854775806],\"bases\":[[1763674999000000,\"operations\"],null],"
        "\"correlations\":[null,\"req-7f3a\"]}");
}

static void test_what_a_message_has_not_is_left_out(void **state)
{
    (void)state;
    struct message sent = small_message();
    static const struct text none[2];
    sent.versions = NULL;
    sent.bases = NULL;
    sent.correlations = none;
    sent.row_count = 1;
    sent.op = CHANGE_DELETED;
    sent.column_count = 1;
    assert_text(
        codec_encode(&sent, &arena),
        "{\"entity\":\"customer\",\"op\":\"deleted\",\"key\":[\"id\"],\"columns\":[\"id\"],\"rows\":[[\"42\"]]}");
}

static void test_what_is_written_reads_back_the_same(void **state)
{
    (void)state;
    struct message sent = small_message();
    assert_true(decode(codec_encode(&sent, &arena)));
    assert_true(bodies_equal(&sent, &message));
    assert_int_equal(message.unknown_members, 0);
}

static void test_random_messages_read_back_the_same(void **state)
{
    (void)state;
    struct random random = random_start("test_random_messages_read_back_the_same");
    for (int round = 0; round < 500; round++) {
        arena_reset(&arena);
        struct message sent = random_message(&random, &arena);
        struct text body = codec_encode(&sent, &arena);
        assert_true(text_is_utf8(body));
        if (!decode(body))
            fail_msg("%s in %.*s", error.text, TEXT_PRINTF(body));
        assert_true(bodies_equal(&sent, &message));
    }
}

static void test_a_cut_or_damaged_body_never_harms(void **state)
{
    (void)state;
    struct random random = random_start("test_a_cut_or_damaged_body_never_harms");
    for (int round = 0; round < 200; round++) {
        arena_reset(&arena);
        struct message sent = random_message(&random, &arena);
        struct text body = codec_encode(&sent, &arena);
        char *damaged = arena_string(&arena, body);
        assert_false(decode((struct text){damaged, random_below(&random, body.length)}));
        for (int hit = 0; hit < 20; hit++) {
            static const char bytes[] = "\"\\[]{},:0n\x00\x80\xC3\x27-";
            damaged[random_below(&random, body.length)] = bytes[random_below(&random, sizeof bytes)];
            if (!decode((struct text){damaged, body.length}))
                assert_int_equal(error.fault, FAULT_POISON);
        }
    }
}

static void test_a_large_message_survives(void **state)
{
    (void)state;
    enum { COLUMNS = 3 };
    static const struct text columns[COLUMNS] = {{"id", 2}, {"a", 1}, {"b", 1}};
    struct text *values = arena_take_array(&arena, (size_t)LIMIT_MESSAGE_ROWS * COLUMNS, sizeof *values);
    int64_t *versions = arena_take_array(&arena, LIMIT_MESSAGE_ROWS, sizeof *versions);
    struct version *bases = arena_take_array(&arena, LIMIT_MESSAGE_ROWS, sizeof *bases);
    struct text *correlations = arena_take_array(&arena, LIMIT_MESSAGE_ROWS, sizeof *correlations);
    for (size_t i = 0; i < LIMIT_MESSAGE_ROWS; i++) {
        values[i * COLUMNS] = arena_printf(&arena, "%zu", i);
        values[i * COLUMNS + 1] = i % 3 ? TEXT_LITERAL("some value") : TEXT_NULL;
        values[i * COLUMNS + 2] = TEXT_LITERAL("");
        versions[i] = (int64_t)i + 1;
        bases[i] = (struct version){(int64_t)i + 1, i % 2 ? TEXT_LITERAL("odd") : TEXT_LITERAL("even")};
        correlations[i] = TEXT_LITERAL("c");
    }
    struct message sent = small_message();
    sent.columns = columns;
    sent.row_count = LIMIT_MESSAGE_ROWS;
    sent.values = values;
    sent.versions = versions;
    sent.bases = bases;
    sent.correlations = correlations;
    assert_true(decode(codec_encode(&sent, &arena)));
    assert_true(bodies_equal(&sent, &message));

    /* One value of a megabyte. */
    char *big = arena_take(&arena, 1 << 20);
    memset(big, '"', 1 << 20);
    values[1] = (struct text){big, 1 << 20};
    sent.row_count = 1;
    assert_true(decode(codec_encode(&sent, &arena)));
    assert_true(bodies_equal(&sent, &message));
}

/* ---- what is read --------------------------------------------------------------------------------------------------
 */

static void test_a_minimal_body_of_a_foreign_source_is_enough(void **state)
{
    (void)state;
    assert_decodes(" \n" ONE "}\n \t ");
    assert_text(message.entity, "customer");
    assert_int_equal(message.op, CHANGE_UPDATED);
    assert_int_equal(message.row_count, 1);
    assert_text(message_row(&message, 0)[0], "42");
    assert_text(message_row(&message, 0)[1], "a@b");
    assert_null(message.versions);
    assert_null(message.bases);
    assert_null(message.correlations);
    assert_int_equal(message.unknown_members, 0);
}

static void test_the_key_comes_first_in_its_own_order(void **state)
{
    (void)state;
    assert_decodes(
        "{\"entity\":\"e\",\"op\":\"created\",\"columns\":[\"x\",\"k1\",\"y\",\"k2\"],\"key\":[\"k2\",\"k1\"],"
        "\"rows\":[[\"X\",\"K1\",null,\"K2\"],[null,\"L1\",\"Y\",\"L2\"]]}");
    static const char *const columns[] = {"k2", "k1", "x", "y"};
    static const char *const rows[] = {"K2", "K1", "X", NULL, "L2", "L1", NULL, "Y"};
    assert_int_equal(message.key_count, 2);
    for (size_t i = 0; i < 4; i++)
        assert_text(message.columns[i], columns[i]);
    for (size_t i = 0; i < 8; i++)
        assert_text(message.values[i], rows[i]);
}

static void test_a_deletion_may_bring_more_than_its_key(void **state)
{
    (void)state;
    assert_decodes("{\"entity\":\"e\",\"op\":\"deleted\",\"key\":[\"id\"],\"columns\":[\"id\"],\"rows\":[[\"1\"]]}");
    assert_int_equal(message.column_count, 1);
    assert_decodes("{\"entity\":\"e\",\"op\":\"deleted\",\"key\":[\"id\"],\"columns\":[\"id\",\"b\"],"
                   "\"rows\":[[\"1\",null]]}");
    assert_int_equal(message.column_count, 2);
}

static void test_unknown_members_are_ignored_and_counted(void **state)
{
    (void)state;
    assert_decodes(ONE
                   ",\"seen\":{\"operations\":1763674999000000},\"changed\":[[\"email\"]],\"new\":{\"a\":[1.5,true]},"
                   "\"newer\":null}");
    assert_int_equal(message.unknown_members, 2);
}

static void test_escapes_and_unicode_are_decoded(void **state)
{
    (void)state;
    assert_decodes(HEAD "\"rows\":[[\"\\u00e9\\ud83d\\ude00\\/\",\"é\\\\u0000\"]]}");
    assert_text(message.values[0], "é\U0001F600/");
    assert_text(message.values[1], "é\\u0000");
}

static void test_correlations_that_are_all_null_are_none(void **state)
{
    (void)state;
    assert_decodes(ONE ",\"correlations\":[null]}");
    assert_null(message.correlations);
    assert_decodes(ONE ",\"correlations\":[\"\"]}");
    assert_text(message.correlations[0], "");
}

/* ---- what is refused -----------------------------------------------------------------------------------------------
 */

static void test_what_is_not_a_whole_object_is_refused(void **state)
{
    (void)state;
    assert_refused_text(TEXT_NULL, "empty");
    assert_refused("", "empty");
    assert_refused("  ", "not a JSON object");
    assert_refused("null", "not a JSON object");
    assert_refused("[]", "not a JSON object");
    assert_refused("\"x\"", "not a JSON object");
    assert_refused("{", "ends too early");
    assert_refused(ONE, "ends too early");
    assert_refused(ONE "}}", "not open");
    assert_refused(ONE "} {}", "not JSON");
    assert_refused(ONE "},", "not JSON");
    assert_refused(ONE "}x", "not JSON");
    assert_refused(ONE ",}", "not JSON");
    assert_refused(ONE "]", "not JSON");
    assert_refused("{\"entity", "ends within a string");
    assert_refused("\xEF\xBB\xBF" ONE "}", "not a JSON object");
    /* Every proper beginning of a body is refused. */
    struct text whole = TEXT_LITERAL(ONE "}");
    for (size_t length = 1; length < whole.length; length++)
        assert_refused_text((struct text){whole.data, length}, "");
}

static void test_what_json_c_would_let_pass_is_refused(void **state)
{
    (void)state;
    assert_refused(ONE ",\"new\":NaN}", "0x4e");
    assert_refused(ONE ",\"new\":Infinity}", "0x49");
    assert_refused(ONE ",\"new\":-Infinity}", "0x49");
    assert_refused(ONE ",'new':1}", "0x27");
    assert_refused(ONE ",\"new\":True}", "0x54");
    assert_refused(ONE ",/* x */\"new\":1}", "0x2f");
    assert_refused(HEAD "\"rows\":[['42',\"a\"]]}", "0x27");
    assert_refused(HEAD "\"rows\":[[\"4\n2\",\"a\"]]}", "control character");
    assert_refused(ONE ",\"new\":nan}", "not JSON");
}

static void test_nul_in_any_form_is_refused(void **state)
{
    (void)state;
    assert_refused(HEAD "\"rows\":[[\"42\",\"a\\u0000b\"]]}", "\\u0000");
    assert_refused(ONE ",\"new\\u0000\":1}", "\\u0000");
    assert_refused_text(TEXT_LITERAL(HEAD "\"rows\":[[\"42\",\"a\0b\"]]}"), "control character");
    assert_refused_text(TEXT_LITERAL(ONE "}\0"), "0x00");
    assert_refused_text(TEXT_LITERAL(ONE "\0}"), "0x00");
}

static void test_broken_text_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"\xC3",     "\xE2\x82",     "\xF0\x9F\x98",    "\x80",
                                      "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_refused(arena_printf(&arena, HEAD "\"rows\":[[\"42\",\"%s\"]]}", bad[i]).data, "UTF-8");
        assert_refused(arena_printf(&arena, ONE ",\"%s\":1}", bad[i]).data, "UTF-8");
    }
    assert_refused(ONE ",\xC3\xA9}", "0xc3");
    static const char *const escapes[] = {"\\ud83d",    "\\ude00", "\\ud83d\\u0041", "\\ud83dx",
                                          "\\ud83d\\n", "\\u12",   "\\u12g4",        "\\u"};
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++)
        assert_refused(arena_printf(&arena, HEAD "\"rows\":[[\"42\",\"%s\"]]}", escapes[i]).data, "escape");
    assert_refused(HEAD "\"rows\":[[\"42\",\"\\x\"]]}", "not JSON");
}

static void test_members_given_twice_are_refused(void **state)
{
    (void)state;
    assert_refused(ONE ",\"rows\":[[\"43\",\"x\"]]}", "same name");
    assert_refused(ONE ",\"r\\u006fws\":[[\"43\",\"x\"]]}", "same name");
    assert_refused(ONE ",\"new\":1,\"new\":1}", "same name");
    assert_refused(ONE ",\"\":1,\"\":1}", "same name");
}

static void test_members_that_are_missing_or_of_another_type_are_refused(void **state)
{
    (void)state;
    static const char *const members[] = {"\"entity\":\"e\"", "\"op\":\"created\"", "\"key\":[\"id\"]",
                                          "\"columns\":[\"id\"]", "\"rows\":[[\"1\"]]"};
    static const char *const names[] = {"entity", "op", "key", "columns", "rows"};
    for (size_t left_out = 0; left_out < 5; left_out++) {
        static const char *const wrong[] = {NULL, "1", "null", "{}", "true", "1.5"};
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            struct text body = TEXT_LITERAL("{\"x\":1");
            for (size_t member = 0; member < 5; member++)
                if (member != left_out)
                    body = arena_printf(&arena, "%s,%s", body.data, members[member]);
                else if (wrong[i] != NULL)
                    body = arena_printf(&arena, "%s,\"%s\":%s", body.data, names[member], wrong[i]);
            assert_refused(arena_printf(&arena, "%s}", body.data).data,
                           arena_printf(&arena, "\"%s\" is", names[left_out]).data);
        }
    }
    assert_refused("{\"entity\":\"e\",\"op\":\"upserted\",\"key\":[\"id\"],\"columns\":[\"id\"],\"rows\":[[\"1\"]]}",
                   "\"op\"");
}

static void assert_names_refused(const char *key, const char *columns, const char *words)
{
    assert_refused(arena_printf(&arena, "{\"entity\":\"e\",\"op\":\"created\",\"key\":%s,\"columns\":%s,\"rows\":[[]]}",
                                key, columns)
                       .data,
                   words);
}

static void test_names_that_cannot_be_are_refused(void **state)
{
    (void)state;
    char name[LIMIT_NAME_BYTES + 2];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_refused(
        arena_printf(&arena,
                     "{\"entity\":\"%s\",\"op\":\"created\",\"key\":[\"a\"],\"columns\":[\"a\"],\"rows\":[[\"1\"]]}",
                     name)
            .data,
        "\"entity\"");
    assert_refused("{\"entity\":\"\",\"op\":\"created\",\"key\":[\"a\"],\"columns\":[\"a\"],\"rows\":[[\"1\"]]}",
                   "\"entity\"");
    assert_names_refused("[]", "[\"a\"]", "\"key\" has 0");
    assert_names_refused("[\"a\"]", "[]", "\"columns\" has 0");
    assert_names_refused("[\"a\"]", "[\"a\",\"\"]", "not a name");
    assert_names_refused("[\"a\"]", "[\"a\",null]", "not a name");
    assert_names_refused("[\"a\"]", "[\"a\",1]", "not a name");
    assert_names_refused("[\"a\"]", arena_printf(&arena, "[\"a\",\"%s\"]", name).data, "not a name");
    assert_names_refused("[\"a\"]", "[\"a\",\"b\",\"a\"]", "names a twice");
    assert_names_refused("[\"b\"]", "[\"a\"]", "not among");
    assert_names_refused("[\"a\",\"a\"]", "[\"a\",\"b\"]", "named twice");
    assert_names_refused("[\"a\",\"b\"]", "[\"a\"]", "2 names for 1");
    assert_names_refused("[null]", "[\"a\"]", "not a name");
    struct text many = TEXT_LITERAL("\"c\"");
    for (size_t i = 0; i < LIMIT_FIELDS; i++)
        many = arena_printf(&arena, "%s,\"c%zu\"", i % 100 == 0 ? many.data : many.data, i);
    assert_names_refused("[\"c\"]", arena_printf(&arena, "[%s]", many.data).data, "1601 names");
}

static void test_rows_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    assert_refused(HEAD "\"rows\":[]}", "0 rows");
    assert_refused(HEAD "\"rows\":[[\"1\"]]}", "row 1 has 1 values for 2");
    assert_refused(HEAD "\"rows\":[[\"1\",\"2\"],[\"1\",\"2\",\"3\"]]}", "row 2 has 3 values for 2");
    assert_refused(HEAD "\"rows\":[[]]}", "row 1 has 0 values");
    assert_refused(HEAD "\"rows\":[null]}", "row 1 is not an array");
    assert_refused(HEAD "\"rows\":[{\"id\":\"1\"}]}", "row 1 is not an array");
    assert_refused(HEAD "\"rows\":[[\"1\",2]]}", "email that is neither");
    assert_refused(HEAD "\"rows\":[[\"1\",true]]}", "email that is neither");
    assert_refused(HEAD "\"rows\":[[\"1\",[\"2\"]]]}", "email that is neither");
    assert_refused(HEAD "\"rows\":[[1,\"2\"]]}", "id that is neither");
    assert_refused(HEAD "\"rows\":[[null,\"2\"]]}", "null in the key column id");
}

static void test_versions_that_no_clock_shows_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"0",
                                        "-1",
                                        "9223372036854775807",
                                        "9223372036854775808",
                                        "18446744073709551616",
                                        "-9223372036854775809",
                                        "99999999999999999999999999999999999999",
                                        "1.5",
                                        "1e3",
                                        "1E400",
                                        "\"1763675000123456\"",
                                        "null",
                                        "true",
                                        "[1]"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_refused(arena_printf(&arena, ONE ",\"versions\":[%s]}", wrong[i]).data, "version 1");
        assert_refused(arena_printf(&arena, ONE ",\"bases\":[[%s,\"n\"]]}", wrong[i]).data, "base 1");
    }
    assert_decodes(ONE ",\"versions\":[9223372036854775806]}");
    assert_true(message.versions[0] == INT64_MAX - 1);
}

static void test_one_seen_may_stand_for_all_rows(void **state)
{
    (void)state;
    struct text body = TEXT_LITERAL("{\"entity\":\"e\",\"op\":\"updated\",\"key\":[\"k\"],\"columns\":[\"k\"],"
                                    "\"rows\":[[\"1\"],[\"2\"]],\"seen\":{\"b\":7,\"a\":9}}");
    assert_true(decode(body));
    for (size_t row = 0; row < 2; row++) {
        assert_int_equal(message.seen[row].count, 2);
        assert_true(version_equal(message.seen[row].versions[0], (struct version){9, TEXT_LITERAL("a")}));
        assert_true(version_equal(message.seen[row].versions[1], (struct version){7, TEXT_LITERAL("b")}));
    }
    assert_int_equal(message.unknown_members, 0);
}

static void test_seen_reads_back_from_the_database(void **state)
{
    (void)state;
    struct version versions[] = {{9, TEXT_LITERAL("a")}, {7, TEXT_LITERAL("b")}};
    struct seen seen;
    struct text json = codec_encode_seen((struct seen){2, versions}, &arena);
    assert_true(text_equal(json, TEXT_LITERAL("{\"a\":9,\"b\":7}")));
    assert_true(codec_decode_seen(json, &arena, &seen, &error));
    assert_true(seen.count == 2 && version_equal(seen.versions[0], versions[0]) && version_equal(seen.versions[1], versions[1]));
    assert_true(text_is_null(codec_encode_seen((struct seen){0}, &arena)));
    assert_true(codec_decode_seen(TEXT_NULL, &arena, &seen, &error) && seen.count == 0);
    assert_false(codec_decode_seen(TEXT_LITERAL("[1]"), &arena, &seen, &error));
}

static void test_seen_of_another_shape_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"1",       "[]",           "[1]",         "[{\"a\":null}]", "[{\"a\":\"1\"}]",
                                        "{\"a\":0}", "{\"a\":[1]}", "[null,null]", "[[\"a\",1]]",   "{\"\":1}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_refused(arena_printf(&arena, ONE ",\"seen\":%s}", wrong[i]).data, "seen");
}

static void test_bases_and_correlations_of_another_shape_are_refused(void **state)
{
    (void)state;
    static const char *const bases[] = {"1",     "\"n\"",     "[]",       "[1]",      "[1,\"n\",2]",
                                        "[1,2]", "[\"n\",1]", "[1,\"\"]", "[1,null]", "{}"};
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++)
        assert_refused(arena_printf(&arena, ONE ",\"bases\":[%s]}", bases[i]).data, "base 1");
    assert_refused(ONE ",\"correlations\":[1]}", "correlation 1");
    assert_refused(ONE ",\"correlations\":[[\"a\"]]}", "correlation 1");
}

static void test_arrays_with_another_number_of_rows_are_refused(void **state)
{
    (void)state;
    static const char *const members[] = {"versions", "bases", "correlations"};
    for (size_t i = 0; i < 3; i++) {
        const char *words = arena_printf(&arena, "\"%s\"", members[i]).data;
        assert_refused(arena_printf(&arena, ONE ",\"%s\":[]}", members[i]).data, words);
        assert_refused(arena_printf(&arena, ONE ",\"%s\":[null,null]}", members[i]).data, words);
        assert_refused(arena_printf(&arena, ONE ",\"%s\":{}}", members[i]).data, words);
        assert_refused(arena_printf(&arena, ONE ",\"%s\":1}", members[i]).data, words);
    }
}

/* ---- bombs ---------------------------------------------------------------------------------------------------------
 */

static char *repeated(const char *head, const char *part, size_t times, const char *tail, size_t *length)
{
    size_t part_length = strlen(part);
    *length = strlen(head) + times * part_length + strlen(tail);
    char *body = malloc(*length + 1);
    assert_non_null(body);
    char *p = body + snprintf(body, *length + 1, "%s", head);
    for (size_t i = 0; i < times; i++, p += part_length)
        memcpy(p, part, part_length);
    snprintf(p, strlen(tail) + 1, "%s", tail);
    return body;
}

static void assert_bomb_refused(const char *head, const char *part, size_t times, const char *tail, const char *words)
{
    size_t length;
    char *body = repeated(head, part, times, tail, &length);
    assert_refused_text((struct text){body, length}, words);
    free(body);
}

static void test_bombs_are_refused_before_they_are_parsed(void **state)
{
    (void)state;
    assert_bomb_refused(ONE ",\"new\":[{}", ",{}", 5000000, "]}", "brackets");
    assert_bomb_refused(ONE ",\"new\":[[]", ",[]", 5000000, "]}", "brackets");
    assert_bomb_refused(ONE ",\"new\":[1", ",1", 7000000, "]}", "values");
    assert_bomb_refused(ONE, ",\"a\":1", 2000000, "}", "members");
    assert_bomb_refused(ONE ",\"new\":{\"a\":1", ",\"a\":1", LIMIT_FIELDS, "}}", "members");
    assert_bomb_refused(ONE ",\"new\":", "[", 7, "}", "nested");
    assert_bomb_refused(ONE ",\"new\":", "[", 16000000, "", "nested");
    assert_bomb_refused(ONE ",\"new\":", "{\"a\":", 3000000, "", "nested");
    assert_bomb_refused(ONE, " ", LIMIT_RECEIVED_BYTES, "}", "bytes, more than");
    assert_bomb_refused(HEAD "\"rows\":[[\"1\",\"2\"]", ",[\"1\",\"2\"]", LIMIT_MESSAGE_ROWS, "]}", "5001 rows");
    /* Within the brackets and values that are allowed, but not as a message. */
    assert_bomb_refused(ONE ",\"versions\":[1", ",1", 1000000, "]}", "\"versions\" has");
    assert_bomb_refused(HEAD "\"rows\":[[\"1\"", ",\"\"", 1000000, "]]}", "row 1 has");
    assert_bomb_refused("{\"entity\":\"e\",\"op\":\"created\",\"key\":[\"a\"],\"columns\":[\"a\"", ",\"a\"", 1000000,
                        "]}", "\"columns\" has");
    assert_bomb_refused(ONE ",\"new\":", "9", 16000000, "", "");
}

static void test_the_deepest_allowed_nesting_is_read(void **state)
{
    (void)state;
    assert_decodes(ONE ",\"new\":[[[[[]]]]]}");
    assert_decodes(ONE ",\"seen\":[{\"a\":1}]}");
}

static void test_decoding_needs_no_more_room_than_it_says(void **state)
{
    (void)state;
    /* The worst cases per byte: names, short values, bases with different nodes. */
    struct text rows = TEXT_LITERAL("[\"\",\"\"]"), bases = TEXT_LITERAL("[1,\"a\"]");
    for (int i = 0; i < 300; i++) {
        rows = arena_printf(&arena, "%s,[\"\",null]", rows.data);
        bases = arena_printf(&arena, "%s,[1,\"%c\"]", bases.data, 'a' + i % 2);
    }
    struct text body = arena_printf(&arena, HEAD "\"rows\":[%s],\"bases\":[%s]}", rows.data, bases.data);
    struct arena tight;
    arena_init(&tight, 20 * body.length + 1024);
    assert_true(codec_decode(body, &tight, &message, &error));
    assert_false(codec_decode(body, &tight, &message, &error));
    assert_int_equal(error.fault, FAULT_TRANSIENT);
    arena_free(&tight);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_body_is_what_the_contract_says),
        TEST(test_what_a_message_has_not_is_left_out),
        TEST(test_what_is_written_reads_back_the_same),
        TEST(test_random_messages_read_back_the_same),
        TEST(test_a_cut_or_damaged_body_never_harms),
        TEST(test_a_large_message_survives),
        TEST(test_a_minimal_body_of_a_foreign_source_is_enough),
        TEST(test_the_key_comes_first_in_its_own_order),
        TEST(test_a_deletion_may_bring_more_than_its_key),
        TEST(test_unknown_members_are_ignored_and_counted),
        TEST(test_escapes_and_unicode_are_decoded),
        TEST(test_correlations_that_are_all_null_are_none),
        TEST(test_what_is_not_a_whole_object_is_refused),
        TEST(test_what_json_c_would_let_pass_is_refused),
        TEST(test_nul_in_any_form_is_refused),
        TEST(test_broken_text_is_refused),
        TEST(test_members_given_twice_are_refused),
        TEST(test_members_that_are_missing_or_of_another_type_are_refused),
        TEST(test_names_that_cannot_be_are_refused),
        TEST(test_rows_that_do_not_fit_are_refused),
        TEST(test_versions_that_no_clock_shows_are_refused),
        TEST(test_one_seen_may_stand_for_all_rows),
        TEST(test_seen_reads_back_from_the_database),
        TEST(test_seen_of_another_shape_is_refused),
        TEST(test_bases_and_correlations_of_another_shape_are_refused),
        TEST(test_arrays_with_another_number_of_rows_are_refused),
        TEST(test_bombs_are_refused_before_they_are_parsed),
        TEST(test_the_deepest_allowed_nesting_is_read),
        TEST(test_decoding_needs_no_more_room_than_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
