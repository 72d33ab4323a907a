/* links: postgres */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/postgres/pgoutput.h"

enum { MESSAGES = 40, BYTES_MAX = 8000 };

static struct pgoutput decoder;
static struct {
    size_t length;
    char bytes[BYTES_MAX];
} recorded[MESSAGES];
static size_t recorded_count;

static int read_recording(void **state)
{
    (void)state;
    static char line[2 * BYTES_MAX + 2];
    FILE *file = fopen(TESTS_DIR "/unit/pgoutput.hex", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] == '#')
            continue;
        assert_true(recorded_count < MESSAGES);
        char *bytes = recorded[recorded_count].bytes;
        size_t length = strcspn(line, "\n") / 2;
        for (size_t i = 0; i < length; i++) {
            char digits[3] = {line[2 * i], line[2 * i + 1]};
            bytes[i] = (char)strtoul(digits, NULL, 16);
        }
        recorded[recorded_count++].length = length;
    }
    fclose(file);
    assert_int_equal(recorded_count, 36);
    return 0;
}

/* A copy of exactly its size, so that the sanitizer sees every byte that is read beyond it. */
static bool decode(const char *bytes, size_t length, struct pgoutput_message *message, struct error *error)
{
    static char *copy;
    free(copy);
    copy = malloc(length + (length == 0));
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    return pgoutput_decode(&decoder, (struct text){copy, length}, message, error);
}

static struct pgoutput_message message_at(size_t i)
{
    struct pgoutput_message message;
    struct error error;
    if (!decode(recorded[i].bytes, recorded[i].length, &message, &error))
        fail_msg("message %zu: %s", i, error.text);
    return message;
}

static void assert_text(struct text text, const char *wanted)
{
    assert_int_equal(text.length, strlen(wanted));
    assert_memory_equal(text.data, wanted, text.length);
}

static void assert_value(const struct pgoutput_tuple *tuple, size_t i, const char *wanted)
{
    assert_true(i < tuple->count);
    assert_int_equal(tuple->values[i].presence, wanted != NULL ? PGOUTPUT_TEXT : PGOUTPUT_NULL);
    if (wanted != NULL)
        assert_text(tuple->values[i].text, wanted);
}

static void test_the_order_is_the_recorded_one(void **state)
{
    (void)state;
    static const enum pgoutput_kind kinds[] = {
        PGOUTPUT_BEGIN, PGOUTPUT_TYPE, PGOUTPUT_RELATION, PGOUTPUT_INSERT, PGOUTPUT_INSERT, PGOUTPUT_MESSAGE, PGOUTPUT_COMMIT,
        PGOUTPUT_BEGIN, PGOUTPUT_UPDATE, PGOUTPUT_COMMIT, PGOUTPUT_BEGIN, PGOUTPUT_UPDATE, PGOUTPUT_COMMIT,
        PGOUTPUT_BEGIN, PGOUTPUT_DELETE, PGOUTPUT_COMMIT,
        PGOUTPUT_BEGIN, PGOUTPUT_RELATION, PGOUTPUT_INSERT, PGOUTPUT_COMMIT, PGOUTPUT_BEGIN, PGOUTPUT_UPDATE, PGOUTPUT_COMMIT,
        PGOUTPUT_BEGIN, PGOUTPUT_DELETE, PGOUTPUT_COMMIT, PGOUTPUT_BEGIN, PGOUTPUT_ORIGIN, PGOUTPUT_INSERT, PGOUTPUT_COMMIT,
        PGOUTPUT_BEGIN, PGOUTPUT_RELATION, PGOUTPUT_TYPE, PGOUTPUT_RELATION, PGOUTPUT_TRUNCATE, PGOUTPUT_COMMIT,
    };
    size_t at = 0;
    for (size_t i = 0; i < recorded_count && at < sizeof kinds / sizeof *kinds; i++, at++)
        assert_int_equal(message_at(i).kind, kinds[at]);
}

static void test_transactions_begin_and_commit(void **state)
{
    (void)state;
    struct pgoutput_message begin = message_at(0), commit = message_at(6);
    assert_int_equal(begin.committed_us, commit.committed_us);
    /* 2026-11-21, by the clock of the machine that recorded it. */
    assert_in_range(begin.committed_us, INT64_C(1795219200000000), INT64_C(1795305600000000));
    assert_true(commit.lsn > begin.lsn);
    assert_int_not_equal(begin.xid, 0);
}

static void test_relations_have_names_types_and_identity(void **state)
{
    (void)state;
    struct pgoutput_message relation = message_at(2);
    assert_text(relation.schema, "shop");
    assert_text(relation.name, "Customers");
    assert_int_equal(relation.identity, 'd');
    assert_int_equal(relation.column_count, 4);
    assert_text(relation.columns[0].name, "id");
    assert_true(relation.columns[0].identity);
    assert_int_equal(relation.columns[0].type, 23);
    assert_text(relation.columns[1].name, "name");
    assert_int_equal(relation.columns[1].modifier, 24);
    assert_false(relation.columns[1].identity);
    assert_int_equal(message_at(17).identity, 'f');
    assert_text(message_at(1).name, "mood");
}

static void test_rows_have_texts_nulls_and_the_empty_text(void **state)
{
    (void)state;
    struct pgoutput_message first = message_at(3);
    assert_int_equal(first.relation, message_at(2).relation);
    assert_int_equal(first.row.count, 4);
    assert_value(&first.row, 0, "1");
    assert_value(&first.row, 1, "Ann");
    assert_value(&first.row, 2, NULL);
    assert_value(&first.row, 3, "ok");
    assert_int_equal(first.old.count, 0);
    struct pgoutput_message second = message_at(4);
    assert_value(&second.row, 1, "");
    assert_int_equal(second.row.values[2].text.length, 3000);
}

static void test_a_value_left_alone_is_unchanged_and_not_null(void **state)
{
    (void)state;
    struct pgoutput_message update = message_at(8);
    assert_int_equal(update.old.count, 0);
    assert_value(&update.row, 1, "Bob");
    assert_int_equal(update.row.values[2].presence, PGOUTPUT_UNCHANGED);
    assert_true(text_is_null(update.row.values[2].text));
}

static void test_a_new_key_comes_with_the_old_one(void **state)
{
    (void)state;
    struct pgoutput_message update = message_at(11);
    assert_false(update.old_is_whole);
    assert_value(&update.old, 0, "1");
    assert_value(&update.old, 1, NULL);
    assert_value(&update.row, 0, "3");
    struct pgoutput_message deletion = message_at(14);
    assert_value(&deletion.old, 0, "3");
    assert_false(deletion.old_is_whole);
    assert_int_equal(deletion.row.count, 0);
}

static void test_full_identity_has_the_whole_old_row(void **state)
{
    (void)state;
    struct pgoutput_message update = message_at(21);
    assert_true(update.old_is_whole);
    assert_value(&update.old, 1, "x");
    assert_value(&update.row, 1, NULL);
    struct pgoutput_message deletion = message_at(24);
    assert_true(deletion.old_is_whole);
    assert_value(&deletion.old, 0, "1");
}

static void test_origin_message_and_truncate(void **state)
{
    (void)state;
    struct pgoutput_message said = message_at(5);
    assert_true(said.transactional);
    assert_text(said.name, "pgbridge.correlation");
    assert_text(said.content, "req-1");
    struct pgoutput_message origin = message_at(27);
    assert_text(origin.name, "pgbridge_operations");
    assert_int_equal(origin.lsn, 0x17);
    assert_int_equal(message_at(26).committed_us, INT64_C(1795176000000000)); /* as it was set: 2026-11-20 12:00 */
    uint32_t whole = message_at(17).relation, customers = message_at(2).relation;
    struct pgoutput_message truncate = message_at(34);
    assert_int_equal(truncate.truncated_count, 2);
    assert_int_equal(pgoutput_truncated(&truncate, 0), whole);
    assert_int_equal(pgoutput_truncated(&truncate, 1), customers);
}

static void test_what_is_cut_or_too_long_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < recorded_count; i++) {
        struct pgoutput_message message;
        struct error error;
        char longer[BYTES_MAX + 1];
        size_t length = recorded[i].length;
        for (size_t cut = 0; cut < length; cut++)
            assert_false(decode(recorded[i].bytes, cut, &message, &error));
        memcpy(longer, recorded[i].bytes, length);
        longer[length] = 0;
        assert_false(decode(longer, length + 1, &message, &error));
        assert_int_equal(error.fault, FAULT_BUG);
    }
}

static void test_numbers_beyond_their_bounds_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
    } bad[] = {
#define BYTES(literal) {literal, sizeof(literal) - 1}
        BYTES(""), BYTES("X"), BYTES("S\0\0\0\1"),
        BYTES("I\0\0\0\1N\xff\xff"),                             /* more columns than a table may have */
        BYTES("I\0\0\0\1N\0\1t\xff\xff\xff\xff"),                /* a value of 4 GiB */
        BYTES("I\0\0\0\1N\0\1b\0\0\0\1x"),                       /* binary: never asked for */
        BYTES("I\0\0\0\1O\0\0"), BYTES("D\0\0\0\1N\0\0"), BYTES("U\0\0\0\1K\0\0K\0\0"),
        BYTES("T\x80\0\0\0\0"), BYTES("R\0\0\0\1s\0t\0d\xff\xff"), BYTES("M\1\0\0\0\0\0\0\0\0prefix"),
        BYTES("B\0\0\0\0\0\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\1"), /* a time beyond time */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pgoutput_message message;
        struct error error;
        assert_false(decode(bad[i].bytes, bad[i].length, &message, &error));
        assert_int_equal(error.fault, FAULT_BUG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_order_is_the_recorded_one),
        cmocka_unit_test(test_transactions_begin_and_commit),
        cmocka_unit_test(test_relations_have_names_types_and_identity),
        cmocka_unit_test(test_rows_have_texts_nulls_and_the_empty_text),
        cmocka_unit_test(test_a_value_left_alone_is_unchanged_and_not_null),
        cmocka_unit_test(test_a_new_key_comes_with_the_old_one),
        cmocka_unit_test(test_full_identity_has_the_whole_old_row),
        cmocka_unit_test(test_origin_message_and_truncate),
        cmocka_unit_test(test_what_is_cut_or_too_long_is_refused),
        cmocka_unit_test(test_numbers_beyond_their_bounds_are_refused),
    };
    return cmocka_run_group_tests(tests, read_recording, NULL);
}
