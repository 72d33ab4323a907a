#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/message/heartbeat.h"

static struct arena arena;
static struct error error;

static struct envelope sealed(void)
{
    static const struct heard heard[] = {{{"operations", 10}, 5, 6}, {{"third", 5}, 7, 8}};
    static const struct confirmed confirmed[] = {{{"one", 3}, 41}, {{"two", 3}, 0}};
    struct heartbeat heartbeat = {.source = TEXT_LITERAL("commerce"), .time_us = 1763675000123456, .heard_count = 2, .heard = heard,
                                  .confirmed_count = 2, .confirmed = confirmed};
    struct envelope envelope;
    heartbeat_seal(&heartbeat, 1763675000200000, &arena, &envelope);
    return envelope;
}

static void test_heartbeat_reads_back_the_same(void **state)
{
    (void)state;
    struct envelope envelope = sealed();
    struct heartbeat out;
    assert_true(heartbeat_is(&envelope));
    assert_true(text_equal(envelope.routing_key, TEXT_LITERAL("commerce.control.heartbeat")));
    assert_true(text_equal(envelope.body, TEXT_LITERAL("{\"control\":\"heartbeat\",\"time\":1763675000123456,"
                                                       "\"heard\":[[\"operations\",5,6],[\"third\",7,8]],"
                                                       "\"confirmed\":[[\"one\",41],[\"two\",0]]}")));
    assert_true(heartbeat_unseal(&envelope, &arena, &out, &error));
    assert_true(text_equal(out.source, TEXT_LITERAL("commerce")));
    assert_int_equal(out.time_us, 1763675000123456);
    assert_int_equal(out.heard_count, 2);
    assert_true(text_equal(out.heard[1].node, TEXT_LITERAL("third")) && out.heard[1].sent_us == 7 && out.heard[1].received_us == 8);
    assert_int_equal(out.confirmed_count, 2);
    assert_true(text_equal(out.confirmed[0].epoch, TEXT_LITERAL("one")) && out.confirmed[0].sequence == 41);
    assert_true(text_equal(out.confirmed[1].epoch, TEXT_LITERAL("two")) && out.confirmed[1].sequence == 0);
}

static void refused(struct envelope envelope, const char *body)
{
    struct heartbeat out;
    if (body != NULL) {
        char hex[65];
        envelope.body = text_from(body);
        digest_bytes(envelope.body, hex);
        envelope.headers[1].text = arena_printf(&arena, "sha256:%s", hex);
    }
    assert_false(heartbeat_unseal(&envelope, &arena, &out, &error));
    assert_int_equal(error.fault, FAULT_POISON);
}

static void test_heartbeat_that_is_said_again_tells(void **state)
{
    (void)state;
    struct heartbeat heartbeat = {.source = TEXT_LITERAL("commerce"), .time_us = 7, .again = true}, out;
    struct envelope envelope;
    heartbeat_seal(&heartbeat, 1763675000200000, &arena, &envelope);
    assert_true(text_equal(envelope.body, TEXT_LITERAL("{\"control\":\"heartbeat\",\"time\":7,\"heard\":[],\"again\":true}")));
    assert_true(heartbeat_unseal(&envelope, &arena, &out, &error));
    assert_true(out.again && out.time_us == 7 && out.heard_count == 0 && out.confirmed_count == 0);
}

static void test_heartbeat_that_was_changed_is_refused(void **state)
{
    (void)state;
    struct envelope envelope = sealed();
    envelope.body = TEXT_LITERAL("{\"control\":\"heartbeat\",\"time\":9,\"heard\":[]}");
    refused(envelope, NULL);
    envelope = sealed();
    envelope.header_count = 0;
    refused(envelope, NULL);
}

static void test_heartbeat_of_another_shape_is_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "", "[]", "7", "{}", "{\"time\":1}", "{\"time\":0,\"heard\":[]}", "{\"time\":\"1\",\"heard\":[]}", "{\"time\":1,\"heard\":{}}",
        "{\"time\":1,\"heard\":[1]}", "{\"time\":1,\"heard\":[[\"a\",1]]}", "{\"time\":1,\"heard\":[[\"a\",1,null]]}",
        "{\"time\":1,\"heard\":[[\"\",1,1]]}", "{\"time\":1,\"heard\":[[[[[[]]]]]]}",
        "{\"time\":1,\"heard\":[],\"confirmed\":{}}", "{\"time\":1,\"heard\":[],\"confirmed\":[\"a\",1]}",
        "{\"time\":1,\"heard\":[],\"confirmed\":[[\"a\"]]}", "{\"time\":1,\"heard\":[],\"confirmed\":[[\"a\",-1]]}",
        "{\"time\":1,\"heard\":[],\"confirmed\":[[\"\",1]]}", "{\"time\":1,\"heard\":[],\"confirmed\":[[\"a\",\"1\"]]}",
        "{\"time\":1,\"heard\":[],\"confirmed\":[[\"a\",9007199254740993]]}",
        "{\"time\":1,\"heard\":[],\"confirmed\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        refused(sealed(), bodies[i]);
}

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_heartbeat_reads_back_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_heartbeat_that_is_said_again_tells, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_heartbeat_that_was_changed_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_heartbeat_of_another_shape_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
