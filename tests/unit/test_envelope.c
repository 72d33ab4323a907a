#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "bridge/base/limits.h"
#include "bridge/message/codec.h"
#include "bridge/message/envelope.h"
#include "tests/unit/messages.h"

#define EPOCH "0d7c6c1e-7f3a-4a53-9c7a-0123456789ab"
#define BATCH "5b8f6e3c-1111-4222-8333-444455556666"
enum { NOW_S = 1763675000 };

static struct arena arena;
static struct envelope envelope;
static struct message message;
static struct error error;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    memset(&envelope, 0, sizeof envelope);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static struct message sent_message(void)
{
    static const struct text columns[] = {{"id", 2}, {"email", 5}};
    static const struct text values[] = {{"42", 2}, {"ann@example.com", 15}, {"43", 2}, {NULL, 0}};
    static const int64_t versions[] = {1763674999000001, 1763674999000002};
    return (struct message){.source = TEXT_LITERAL("commerce"),
                            .epoch = TEXT_LITERAL(EPOCH),
                            .sequence = 17,
                            .batch = TEXT_LITERAL(BATCH),
                            .part = 2,
                            .parts = 3,
                            .schema = TEXT_LITERAL("abcdef"),
                            .policy = TEXT_LITERAL("last-write-wins"),
                            .traceparent = TEXT_LITERAL("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                            .entity = TEXT_LITERAL("customer"),
                            .op = CHANGE_UPDATED,
                            .key_count = 1,
                            .column_count = 2,
                            .columns = columns,
                            .row_count = 2,
                            .values = values,
                            .versions = versions};
}

static void seal(void)
{
    struct message sent = sent_message();
    envelope_seal(&sent, (int64_t)NOW_S * 1000000 + 999999, &arena, &envelope);
}

static struct header *header(const char *name)
{
    for (size_t i = 0; i < envelope.header_count; i++)
        if (text_equal(envelope.headers[i].name, text_from(name)))
            return &envelope.headers[i];
    fail_msg("no header %s", name);
    return NULL;
}

static void remove_header(const char *name)
{
    struct header *removed = header(name);
    *removed = envelope.headers[--envelope.header_count];
}

static void add_header(struct header added)
{
    assert_true(envelope.header_count < ENVELOPE_HEADERS_MAX);
    envelope.headers[envelope.header_count++] = added;
}

static void assert_text(struct text text, const char *expected)
{
    if (!text_equal(text, text_from(expected)))
        fail_msg("\"%.*s\" is not \"%s\"", TEXT_PRINTF(text), expected != NULL ? expected : "(null)");
}

static void assert_unseals(void)
{
    error = (struct error){0};
    if (!envelope_unseal(&envelope, &arena, &message, &error))
        fail_msg("%s", error.text);
}

static void assert_poison(const char *words)
{
    error = (struct error){0};
    assert_false(envelope_unseal(&envelope, &arena, &message, &error));
    assert_int_equal(error.fault, FAULT_POISON);
    if (strstr(error.text, words) == NULL)
        fail_msg("refused for another reason: %s (expected: %s)", error.text, words);
}

/* ---- sealing -------------------------------------------------------------------------------------------------------
 */

static void test_an_envelope_carries_what_the_contract_says(void **state)
{
    (void)state;
    seal();
    assert_text(envelope.routing_key, "commerce.customer.updated");
    assert_text(envelope.type, "customer.updated");
    assert_text(envelope.content_type, "application/json");
    assert_text(envelope.app_id, "pgbridge/" PGBRIDGE_VERSION);
    assert_int_equal(envelope.message_id.length, 36);
    assert_true(text_is_null(envelope.correlation_id));
    assert_int_equal(envelope.timestamp_s, NOW_S);
    assert_int_equal(envelope.header_count, 11);
    assert_text(header("x-source")->text, "commerce");
    assert_text(header("x-content-hash")->text,
                "sha256:672b7ea9130a1f7ef337e546b3fc183a99daee5ceb4ab8785e8d7e2543549bfa");
    assert_text(header("x-epoch")->text, EPOCH);
    assert_text(header("x-batch")->text, BATCH);
    assert_text(header("x-schema")->text, "abcdef");
    assert_text(header("x-policy")->text, "last-write-wins");
    assert_int_equal(header("x-protocol")->number, 1);
    assert_int_equal(header("x-seq")->number, 17);
    assert_int_equal(header("x-part")->number, 2);
    assert_int_equal(header("x-parts")->number, 3);
    assert_true(header("x-parts")->is_number);
    assert_false(header("x-source")->is_number);
    assert_text(header("traceparent")->text, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_null(envelope_header(&envelope, "x-sourc"));
}

static void test_what_is_not_known_is_not_sent(void **state)
{
    (void)state;
    struct message sent = sent_message();
    sent.epoch = sent.batch = sent.schema = sent.policy = sent.traceparent = TEXT_NULL;
    sent.sequence = 0;
    envelope_seal(&sent, 1, &arena, &envelope);
    assert_int_equal(envelope.header_count, 3);
}

static void test_every_message_has_an_id_of_its_own(void **state)
{
    (void)state;
    seal();
    struct text first = envelope.message_id;
    seal();
    assert_false(text_equal(first, envelope.message_id));
}

static void test_the_correlation_is_a_property_when_there_is_exactly_one(void **state)
{
    (void)state;
    static char long_one[300];
    memset(long_one, 'x', sizeof long_one - 1);
    const struct {
        struct text rows[2];
        const char *expected;
    } cases[] = {{{TEXT_LITERAL("a"), TEXT_LITERAL("a")}, "a"},
                 {{TEXT_NULL, TEXT_LITERAL("a")}, "a"},
                 {{TEXT_LITERAL("a"), TEXT_NULL}, "a"},
                 {{TEXT_LITERAL("a"), TEXT_LITERAL("b")}, NULL},
                 {{TEXT_NULL, TEXT_NULL}, NULL},
                 {{text_from(long_one), TEXT_NULL}, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct message sent = sent_message();
        sent.correlations = cases[i].rows;
        envelope_seal(&sent, 1, &arena, &envelope);
        assert_text(envelope.correlation_id, cases[i].expected);
    }
}

/* ---- unsealing -----------------------------------------------------------------------------------------------------
 */

static void test_what_is_sealed_unseals_the_same(void **state)
{
    (void)state;
    seal();
    struct message sent = sent_message();
    assert_unseals();
    assert_true(bodies_equal(&sent, &message));
    assert_true(text_equal(sent.source, message.source));
    assert_true(text_equal(sent.epoch, message.epoch));
    assert_true(text_equal(sent.batch, message.batch));
    assert_true(text_equal(sent.schema, message.schema));
    assert_true(text_equal(sent.traceparent, message.traceparent));
    assert_int_equal(message.sequence, 17);
    assert_int_equal(message.part, 2);
    assert_int_equal(message.parts, 3);
    assert_true(message.timestamp_us == (int64_t)NOW_S * 1000000);
    assert_int_equal(message.unknown_members, 0);
}

static void test_random_messages_unseal_the_same(void **state)
{
    (void)state;
    struct random random = random_start("test_random_messages_unseal_the_same");
    for (int round = 0; round < 200; round++) {
        arena_reset(&arena);
        struct message sent = random_message(&random, &arena);
        sent.source = TEXT_LITERAL("commerce");
        envelope_seal(&sent, (int64_t)NOW_S * 1000000, &arena, &envelope);
        assert_unseals();
        assert_true(bodies_equal(&sent, &message));
    }
}

static void test_a_foreign_source_needs_name_hash_and_a_time(void **state)
{
    (void)state;
    seal();
    static const char *const missing[] = {"x-protocol", "x-epoch", "x-seq",    "x-batch",
                                          "x-part",     "x-parts", "x-schema", "x-policy",
                                          "traceparent"};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++)
        remove_header(missing[i]);
    envelope.content_type = envelope.message_id = envelope.type = envelope.app_id = envelope.routing_key = TEXT_NULL;
    assert_unseals();
    assert_true(text_is_null(message.epoch));
    assert_true(text_is_null(message.batch));
    assert_int_equal(message.sequence, 0);
    assert_int_equal(message.part, 1);
    assert_int_equal(message.parts, 1);

    struct message sent = sent_message();
    sent.versions = NULL;
    envelope_seal(&sent, (int64_t)NOW_S * 1000000, &arena, &envelope);
    assert_unseals();
    assert_true(message_version(&message, 1) == (int64_t)NOW_S * 1000000);
    envelope.timestamp_s = 0;
    assert_poison("neither versions nor a timestamp");
    envelope.timestamp_s = -5;
    assert_poison("timestamp");
    envelope.timestamp_s = INT64_MAX;
    assert_poison("timestamp");
}

static void test_the_correlation_property_alone_is_every_rows(void **state)
{
    (void)state;
    seal();
    envelope.correlation_id = TEXT_LITERAL("req-1");
    assert_unseals();
    assert_text(message.correlations[0], "req-1");
    assert_text(message.correlations[1], "req-1");

    const struct text own[] = {TEXT_NULL, TEXT_LITERAL("req-2")};
    struct message sent = sent_message();
    sent.correlations = own;
    envelope_seal(&sent, 1000000, &arena, &envelope);
    assert_text(envelope.correlation_id, "req-2");
    assert_unseals();
    assert_text(message.correlations[0], NULL);
    assert_text(message.correlations[1], "req-2");
}

static void test_the_source_must_be_a_nodes_name(void **state)
{
    (void)state;
    seal();
    remove_header("x-source");
    assert_poison("x-source is missing");
    add_header((struct header){.name = TEXT_LITERAL("x-source"), .is_number = true, .number = 1});
    assert_poison("x-source is not a text");
    static const struct text wrong[] = {{NULL, 0},
                                        {"", 0},
                                        {"a.b", 3},
                                        {"*", 1},
                                        {"a#", 2},
                                        {"a b", 3},
                                        {"a\nb", 3},
                                        {"a\0b", 3},
                                        {"\xC3", 1},
                                        {"a\"b", 3},
                                        {"0123456789012345678901234567890123456789012345678901234567890123", 64}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        header("x-source")->text = wrong[i];
        header("x-source")->is_number = false;
        assert_poison("x-source");
    }
    header("x-source")->text = TEXT_LITERAL("Büro_2-b");
    assert_unseals();
}

static void test_another_protocol_is_named_and_refused(void **state)
{
    (void)state;
    seal();
    header("x-protocol")->number = 2;
    /* Whatever else it may have changed. */
    header("x-seq")->is_number = false;
    assert_poison("x-protocol is 2");
    header("x-protocol")->is_number = false;
    assert_poison("x-protocol");
}

static void test_a_hash_that_does_not_fit_is_poison(void **state)
{
    (void)state;
    seal();
    char *hash = arena_string(&arena, header("x-content-hash")->text);
    header("x-content-hash")->text.data = hash;
    assert_unseals();
    hash[DIGEST_TEXT_BYTES - 1] = hash[DIGEST_TEXT_BYTES - 1] == '0' ? '1' : '0';
    assert_poison("x-content-hash is sha256:");
    header("x-content-hash")->text.length--;
    assert_poison("x-content-hash is sha256:");
    header("x-content-hash")->text = TEXT_LITERAL("");
    assert_poison("x-content-hash");
    remove_header("x-content-hash");
    assert_poison("x-content-hash is missing");

    /* One changed byte of a row. */
    seal();
    char *body = arena_string(&arena, envelope.body);
    *strstr(body, "ann@") = 'A';
    envelope.body.data = body;
    assert_poison("x-content-hash is");
}

static void test_the_hash_covers_all_columns_in_any_order(void **state)
{
    (void)state;
    seal();
    envelope.body =
        TEXT_LITERAL("{\"entity\":\"customer\",\"op\":\"updated\",\"key\":[\"id\"],\"columns\":[\"email\",\"id\"],"
                     "\"rows\":[[\"ann@example.com\",\"42\"],[null,\"43\"]]}");
    assert_unseals();
    envelope.body =
        TEXT_LITERAL("{\"entity\":\"customer\",\"op\":\"updated\",\"key\":[\"id\"],\"columns\":[\"email\",\"id\"],"
                     "\"rows\":[[null,\"43\"],[\"ann@example.com\",\"42\"]]}");
    assert_poison("x-content-hash is");
}

static void test_sequence_headers_of_another_shape_are_poison(void **state)
{
    (void)state;
    static const char *const numbers[] = {"x-seq", "x-part", "x-parts"};
    for (size_t i = 0; i < 3; i++) {
        seal();
        header(numbers[i])->number = 0;
        assert_poison(numbers[i]);
        header(numbers[i])->number = -1;
        assert_poison(numbers[i]);
        header(numbers[i])->is_number = false;
        header(numbers[i])->text = TEXT_LITERAL("1");
        assert_poison(numbers[i]);
    }
    seal();
    header("x-part")->number = 4;
    assert_poison("x-part is 4 of 3");
    seal();
    header("x-epoch")->text = TEXT_LITERAL("0d7c6c1e-7f3a-4a53-9c7a-0123456789a");
    assert_poison("x-epoch");
    header("x-epoch")->text = TEXT_LITERAL("0d7c6c1e-7f3a-4a53-9c7a-0123456789ag");
    assert_poison("x-epoch");
    header("x-epoch")->text = TEXT_LITERAL("0d7c6c1e07f3a-4a53-9c7a-0123456789ab");
    assert_poison("x-epoch");
}

static void test_a_header_given_twice_is_poison(void **state)
{
    (void)state;
    seal();
    add_header((struct header){.name = TEXT_LITERAL("x-source"), .text = TEXT_LITERAL("operations")});
    assert_poison("x-source is given twice");
}

static void test_unknown_headers_are_counted_and_the_brokers_are_not(void **state)
{
    (void)state;
    seal();
    add_header((struct header){.name = TEXT_LITERAL("x-death")});
    add_header((struct header){.name = TEXT_LITERAL("x-first-death-queue"), .text = TEXT_LITERAL("q")});
    add_header((struct header){.name = TEXT_LITERAL("x-delivery-count"), .is_number = true, .number = 2});
    add_header((struct header){.name = TEXT_LITERAL("x-future"), .is_number = true, .number = 2});
    add_header((struct header){.name = TEXT_LITERAL("tracestate"), .text = TEXT_LITERAL("a=b")});
    add_header((struct header){.name = TEXT_LITERAL("x-future-too"), .text = TEXT_NULL});
    assert_unseals();
    assert_int_equal(message.unknown_members, 2);
}

static void test_a_traceparent_without_sense_is_left_out(void **state)
{
    (void)state;
    seal();
    static const struct text wrong[] = {{"", 0}, {NULL, 0}, {"a\nb", 3}, {"\xC3", 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        header("traceparent")->text = wrong[i];
        assert_unseals();
        assert_true(text_is_null(message.traceparent));
    }
}

static void test_a_body_thrown_away_for_its_size_is_poison(void **state)
{
    (void)state;
    seal();
    envelope.body = TEXT_NULL;
    envelope.oversize_bytes = 99999999;
    assert_poison("99999999 bytes");
}

static void test_a_body_that_is_not_json_is_poison(void **state)
{
    (void)state;
    seal();
    envelope.body = TEXT_LITERAL("hello");
    assert_poison("not a JSON object");
    envelope.body = TEXT_NULL;
    assert_poison("empty");
}

static void test_blanks_after_the_body_are_allowed(void **state)
{
    (void)state;
    seal();
    envelope.body = arena_printf(&arena, "%.*s \n", TEXT_PRINTF(envelope.body));
    assert_unseals();
}

/* In the library's place: as it answers when an allocation fails, that many times. */
static int parses_short_of_memory;

struct json_object *json_tokener_parse_ex(struct json_tokener *tokener, const char *text, int length)
{
    union {
        void *symbol;
        struct json_object *(*call)(struct json_tokener *, const char *, int);
    } library = {.symbol = dlsym(RTLD_NEXT, "json_tokener_parse_ex")};
    if (parses_short_of_memory > 0) {
        parses_short_of_memory--;
        return library.call(tokener, "{}", 2);
    }
    return library.call(tokener, text, length);
}

static void test_a_healthy_message_is_no_poison_when_memory_is_short(void **state)
{
    (void)state;
    seal();
    pid_t child = fork();
    if (child == 0) {
        fclose(stderr);
        parses_short_of_memory = 1;
        _exit(envelope_unseal(&envelope, &arena, &message, &error) ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EX_TEMPFAIL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_envelope_carries_what_the_contract_says),
        TEST(test_what_is_not_known_is_not_sent),
        TEST(test_every_message_has_an_id_of_its_own),
        TEST(test_the_correlation_is_a_property_when_there_is_exactly_one),
        TEST(test_what_is_sealed_unseals_the_same),
        TEST(test_random_messages_unseal_the_same),
        TEST(test_a_foreign_source_needs_name_hash_and_a_time),
        TEST(test_the_correlation_property_alone_is_every_rows),
        TEST(test_the_source_must_be_a_nodes_name),
        TEST(test_another_protocol_is_named_and_refused),
        TEST(test_a_hash_that_does_not_fit_is_poison),
        TEST(test_the_hash_covers_all_columns_in_any_order),
        TEST(test_sequence_headers_of_another_shape_are_poison),
        TEST(test_a_header_given_twice_is_poison),
        TEST(test_unknown_headers_are_counted_and_the_brokers_are_not),
        TEST(test_a_traceparent_without_sense_is_left_out),
        TEST(test_a_body_thrown_away_for_its_size_is_poison),
        TEST(test_a_body_that_is_not_json_is_poison),
        TEST(test_blanks_after_the_body_are_allowed),
        TEST(test_a_healthy_message_is_no_poison_when_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
