/* links: rabbitmq */
/* The inlet against a broker that sends what a real one sends rarely: crumbs, monsters, and things out of turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adapters/rabbitmq/inlet.h"
#include "bridge/base/limits.h"
#include "tests/unit/fake_broker.h"

struct scene {
    struct broker *broker;
    struct mq_inlet inlet;
    struct error error;
};

static void open_inlet(struct scene *scene, void (*script)(struct broker *))
{
    scene->broker = broker_start(script);
    mq_inlet_init(&scene->inlet, &scene->broker->config);
    bool open = scene->inlet.port.ops->open(&scene->inlet.port, &scene->error);
    if (!open)
        print_error("%s\n", scene->error.text);
    assert_true(open);
}

static void close_inlet(struct scene *scene)
{
    mq_inlet_free(&scene->inlet);
    broker_end(scene->broker);
}

static struct delivery *receive(struct scene *scene, int wait_ms)
{
    struct delivery *delivery = NULL;
    bool fine = scene->inlet.port.ops->receive(&scene->inlet.port, wait_ms, &delivery, &scene->error);
    if (!fine)
        print_error("%s\n", scene->error.text);
    assert_true(fine);
    return delivery;
}

static void expect_failure(struct scene *scene, enum fault fault)
{
    struct delivery *delivery;
    assert_false(scene->inlet.port.ops->receive(&scene->inlet.port, 10000, &delivery, &scene->error));
    assert_string_equal(fault_name(scene->error.fault), fault_name(fault));
    struct error error;
    assert_false(scene->inlet.port.ops->receive(&scene->inlet.port, 0, &delivery, &error));
    assert_int_equal(error.fault, FAULT_CONNECTION);
    assert_false(scene->inlet.port.ops->settle(&scene->inlet.port, 1, &error));
    assert_int_equal(error.fault, FAULT_CONNECTION);
}

static const struct header *find(const struct delivery *delivery, const char *name)
{
    for (size_t i = 0; i < delivery->envelope.header_count; i++) {
        if (text_equal(delivery->envelope.headers[i].name, text_from(name)))
            return &delivery->envelope.headers[i];
    }
    return NULL;
}

/* ---- arrival ------------------------------------------------------------------------------------------------------
 */

static void sends_crumbs(struct broker *b)
{
    broker_consume(b);
    send_deliver(b, 1);
    broker_wait(b);
    send_plain_header(b, 6);
    send_body(b, "ab");
    broker_wait(b);
    send_body(b, "cdef");
    send_deliver(b, 2);
    send_plain_header(b, 0);
    broker_until_close(b);
}

static void test_receive_waits_for_no_rest_of_a_message(void **state)
{
    (void)state;
    struct scene scene;
    open_inlet(&scene, sends_crumbs);
    assert_null(receive(&scene, 100));
    assert_null(receive(&scene, 0));
    test_go(scene.broker);
    assert_null(receive(&scene, 100));
    test_go(scene.broker);
    struct delivery *delivery = receive(&scene, 10000);
    assert_non_null(delivery);
    assert_int_equal(delivery->tag, 1);
    assert_true(text_equal(delivery->envelope.body, TEXT_LITERAL("abcdef")));
    assert_true(text_equal(delivery->envelope.routing_key, TEXT_LITERAL("beta.customer.updated")));
    assert_true(text_is_null(delivery->envelope.message_id));
    delivery_free(delivery);
    delivery = receive(&scene, 10000);
    assert_non_null(delivery);
    assert_true(text_equal(delivery->envelope.body, TEXT_LITERAL("")));
    delivery_free(delivery);
    close_inlet(&scene);
}

static void sends_half(struct broker *b)
{
    broker_consume(b);
    send_deliver(b, 1);
    send_plain_header(b, 6);
    send_body(b, "ab");
    broker_until_close(b);
}

static void test_half_a_message_is_forgotten_on_close(void **state)
{
    (void)state;
    struct scene scene;
    open_inlet(&scene, sends_half);
    assert_null(receive(&scene, 100));
    close_inlet(&scene);
}

/* ---- headers ------------------------------------------------------------------------------------------------------
 */

static void put_nested_tables(struct broker *b, size_t depth)
{
    /* Each level: a table with one entry named "t" of kind table; 7 bytes a level. */
    for (size_t i = 0; i < depth; i++) {
        put(b, (depth - i - 1) * 7, 4);
        if (i + 1 < depth) {
            put_short_text(b, "t");
            put(b, 'F', 1);
        }
    }
}

static void put_many_headers(struct broker *b)
{
    for (int i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "h%d", i);
        put_short_text(b, name);
        put(b, 'I', 1);
        put(b, (uint64_t)i, 4);
    }
}

static void put_odd_headers(struct broker *b)
{
    put_short_text(b, "table");
    put(b, 'F', 1);
    put_nested_tables(b, 500);
    put_short_text(b, "array");
    put(b, 'A', 1);
    put(b, 4, 4);
    put_bytes(b, "t\1t\0", 4);
    put_short_text(b, "float");
    put(b, 'd', 1);
    put(b, 0, 8);
    put_short_text(b, "decimal");
    put(b, 'D', 1);
    put(b, 0, 5);
    put_short_text(b, "nothing");
    put(b, 'V', 1);
}

static void put_contract_headers(struct broker *b)
{
    put_short_text(b, "x-source");
    put(b, 'S', 1);
    put_long_text(b, "beta");
    put_short_text(b, "x-seq");
    put(b, 'l', 1);
    put(b, UINT64_MAX, 8);
    put_short_text(b, "x-part");
    put(b, 'b', 1);
    put(b, 0xfe, 1);
    put_short_text(b, "x-parts");
    put(b, 'u', 1);
    put(b, 65535, 2);
    put_short_text(b, "x-protocol");
    put(b, 'i', 1);
    put(b, 4294967295u, 4);
    put_short_text(b, "x-batch");
    put(b, 't', 1);
    put(b, 1, 1);
    put_short_text(b, "x-epoch");
    put(b, 'T', 1);
    put(b, UINT64_MAX, 8);
    put_short_text(b, "x-schema");
    put(b, 'x', 1);
    put_long_text(b, "bytes");
}

static void sends_a_zoo(struct broker *b)
{
    broker_consume(b);
    send_deliver(b, 1);
    b->out.length = 0;
    put(b, 60, 2);
    put(b, 0, 2);
    put(b, 2, 8);
    put(b, 1 << 13, 2); /* headers, nothing else */
    size_t length_at = b->out.length;
    put(b, 0, 4);
    put_odd_headers(b);
    put_many_headers(b);
    put_contract_headers(b);
    size_t end = b->out.length;
    b->out.length = length_at;
    put(b, end - length_at - 4, 4);
    b->out.length = end;
    send_frame(b, HEADER, 1);
    send_body(b, "{}");
    broker_until_close(b);
}

static void test_headers_of_the_contract_are_found_among_all_others(void **state)
{
    (void)state;
    struct scene scene;
    open_inlet(&scene, sends_a_zoo);
    struct delivery *delivery = receive(&scene, 10000);
    assert_non_null(delivery);
    assert_int_equal(delivery->envelope.header_count, ENVELOPE_HEADERS_MAX);
    assert_true(text_equal(find(delivery, "x-source")->text, TEXT_LITERAL("beta")));
    assert_false(find(delivery, "x-source")->is_number);
    assert_int_equal(find(delivery, "x-seq")->number, -1);
    assert_int_equal(find(delivery, "x-part")->number, -2);
    assert_int_equal(find(delivery, "x-parts")->number, 65535);
    assert_int_equal(find(delivery, "x-protocol")->number, 4294967295);
    assert_int_equal(find(delivery, "x-batch")->number, 1);
    assert_true(find(delivery, "x-epoch")->number == INT64_MAX);
    assert_true(text_equal(find(delivery, "x-schema")->text, TEXT_LITERAL("bytes")));
    assert_int_equal(find(delivery, "h7")->number, 7);
    assert_null(find(delivery, "table"));
    assert_null(find(delivery, "array"));
    assert_null(find(delivery, "float"));
    delivery_free(delivery);
    close_inlet(&scene);
}

/* A text or, where there is none, a number. */
static void put_death_entry(struct broker *b, const char *key, const char *text, uint64_t number)
{
    put_short_text(b, key);
    put(b, text != NULL ? 'S' : 'l', 1);
    if (text != NULL)
        put_long_text(b, text);
    else
        put(b, number, 8);
}

static void put_death(struct broker *b, const char *queue, const char *reason, uint64_t count)
{
    put(b, 'F', 1);
    size_t length_at = b->out.length;
    put(b, 0, 4);
    put_death_entry(b, "count", NULL, count);
    put_death_entry(b, "exchange", "bridge.sync", 0);
    put_death_entry(b, "queue", queue, 0);
    if (reason != NULL)
        put_death_entry(b, "reason", reason, 0);
    size_t end = b->out.length;
    b->out.length = length_at;
    put(b, end - length_at - 4, 4);
    b->out.length = end;
}

static void sends_the_dead(struct broker *b)
{
    broker_consume(b);
    send_deliver(b, 1);
    b->out.length = 0;
    put(b, 60, 2);
    put(b, 0, 2);
    put(b, 2, 8);
    put(b, 1 << 13, 2); /* headers, nothing else */
    size_t table_at = b->out.length;
    put(b, 0, 4);
    put_short_text(b, "x-death");
    put(b, 'A', 1);
    size_t array_at = b->out.length;
    put(b, 0, 4);
    put_death(b, "bridge.sync.alpha", "delivery_limit", 1);
    put(b, 't', 1); /* no table: left out */
    put(b, 1, 1);
    put_death(b, "bridge.dead.alpha", "expired", UINT64_C(1) << 40);
    put_death(b, "elsewhere", NULL, 3);
    put_death(b, "never shown", "rejected", 1);
    size_t end = b->out.length;
    b->out.length = array_at;
    put(b, end - array_at - 4, 4);
    b->out.length = table_at;
    put(b, end - table_at - 4, 4);
    b->out.length = end;
    send_frame(b, HEADER, 1);
    send_body(b, "{}");
    broker_until_close(b);
}

static void test_history_of_a_dead_message_is_one_line(void **state)
{
    (void)state;
    struct scene scene;
    open_inlet(&scene, sends_the_dead);
    struct delivery *delivery = receive(&scene, 10000);
    assert_non_null(delivery);
    assert_true(text_equal(find(delivery, "x-death")->text,
                           TEXT_LITERAL("1 x delivery_limit in queue bridge.sync.alpha (exchange bridge.sync); "
                                        "1099511627776 x expired in queue bridge.dead.alpha (exchange bridge.sync); "
                                        "3 x ? in queue elsewhere (exchange bridge.sync)")));
    delivery_free(delivery);
    close_inlet(&scene);
}

/* ---- size ---------------------------------------------------------------------------------------------------------
 */

static void sends_a_monster(struct broker *b)
{
    broker_consume(b);
    uint64_t bytes = (uint64_t)LIMIT_RECEIVED_BYTES + 1;
    send_deliver(b, 1);
    send_plain_header(b, bytes);
    for (uint64_t sent = 0; sent < bytes;) {
        uint64_t part = bytes - sent < 100000 ? bytes - sent : 100000;
        b->out.length = (size_t)part;
        memset(b->out.bytes, 'x', b->out.length);
        send_frame(b, BODY, 1);
        sent += part;
    }
    send_deliver(b, 2);
    send_plain_header(b, 2);
    send_body(b, "{}");
    broker_until_close(b);
}

static void test_an_oversize_body_is_thrown_away_as_it_arrives(void **state)
{
    (void)state;
    struct scene scene;
    open_inlet(&scene, sends_a_monster);
    struct delivery *delivery = receive(&scene, 30000);
    assert_non_null(delivery);
    assert_int_equal(delivery->envelope.oversize_bytes, (uint64_t)LIMIT_RECEIVED_BYTES + 1);
    assert_int_equal(delivery->envelope.body.length, 0);
    assert_in_range(delivery->arena.used_bytes, 0, 1000);
    delivery_free(delivery);
    delivery = receive(&scene, 10000);
    assert_non_null(delivery);
    assert_true(text_equal(delivery->envelope.body, TEXT_LITERAL("{}")));
    assert_int_equal(delivery->envelope.oversize_bytes, 0);
    delivery_free(delivery);
    close_inlet(&scene);
}

/* ---- acknowledgement ----------------------------------------------------------------------------------------------
 */

static void takes_one_ack(struct broker *b)
{
    broker_consume(b);
    for (uint64_t tag = 1; tag <= 3; tag++) {
        send_deliver(b, tag);
        send_plain_header(b, 0);
    }
    expect_method(b, BASIC_ACK);
    broker_need(number_at(b, 4, 8) == 2 && number_at(b, 12, 1) == 1, "not all up to 2");
    expect_method(b, CONNECTION_CLOSE);
    send_empty_method(b, CONNECTION_CLOSE_OK, 0);
}

static void test_settling_again_says_nothing_and_settling_the_future_is_a_bug(void **state)
{
    (void)state;
    struct scene scene;
    open_inlet(&scene, takes_one_ack);
    for (uint64_t tag = 1; tag <= 2; tag++) {
        struct delivery *delivery = receive(&scene, 10000);
        assert_non_null(delivery);
        assert_int_equal(delivery->tag, tag);
        delivery_free(delivery);
    }
    const struct inlet_ops *ops = scene.inlet.port.ops;
    assert_true(ops->settle(&scene.inlet.port, 2, &scene.error));
    assert_true(ops->settle(&scene.inlet.port, 2, &scene.error));
    assert_true(ops->settle(&scene.inlet.port, 1, &scene.error));
    assert_false(ops->settle(&scene.inlet.port, 3, &scene.error));
    assert_int_equal(scene.error.fault, FAULT_BUG);
    close_inlet(&scene);
}

/* ---- things out of turn -------------------------------------------------------------------------------------------
 */

static void cancels(struct broker *b)
{
    broker_consume(b);
    begin_method(b, BASIC_CANCEL);
    put_short_text(b, "tag");
    put(b, 1, 1);
    send_frame(b, METHOD, 1);
    broker_until_close(b);
}

static void test_a_deleted_queue_is_a_connection_fault_with_a_hint(void **state)
{
    (void)state;
    struct scene scene;
    open_inlet(&scene, cancels);
    expect_failure(&scene, FAULT_CONNECTION);
    assert_non_null(strstr(scene.error.text, "pgbridge install"));
    close_inlet(&scene);
}

static void sends_too_much_body(struct broker *b)
{
    broker_consume(b);
    send_deliver(b, 1);
    send_plain_header(b, 3);
    send_body(b, "abcd");
    broker_until_close(b);
}

static void sends_a_header_out_of_nowhere(struct broker *b)
{
    broker_consume(b);
    send_plain_header(b, 3);
    broker_until_close(b);
}

static void sends_two_deliveries_at_once(struct broker *b)
{
    broker_consume(b);
    send_deliver(b, 1);
    send_deliver(b, 2);
    broker_until_close(b);
}

static void sends_noise(struct broker *b)
{
    broker_consume(b);
    broker_send_bytes(b, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    broker_until_close(b);
}

static void test_a_stream_out_of_step_is_a_connection_fault(void **state)
{
    (void)state;
    void (*const scripts[])(struct broker *) = {sends_too_much_body, sends_a_header_out_of_nowhere,
                                                sends_two_deliveries_at_once, sends_noise};
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct scene scene;
        open_inlet(&scene, scripts[i]);
        expect_failure(&scene, FAULT_CONNECTION);
        close_inlet(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receive_waits_for_no_rest_of_a_message),
        cmocka_unit_test(test_half_a_message_is_forgotten_on_close),
        cmocka_unit_test(test_headers_of_the_contract_are_found_among_all_others),
        cmocka_unit_test(test_history_of_a_dead_message_is_one_line),
        cmocka_unit_test(test_an_oversize_body_is_thrown_away_as_it_arrives),
        cmocka_unit_test(test_settling_again_says_nothing_and_settling_the_future_is_a_bug),
        cmocka_unit_test(test_a_deleted_queue_is_a_connection_fault_with_a_hint),
        cmocka_unit_test(test_a_stream_out_of_step_is_a_connection_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
