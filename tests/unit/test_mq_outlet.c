/* links: rabbitmq */
/* The outlet against a broker that says what a real one says rarely: confirmations out of order, alarms, half a frame.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adapters/rabbitmq/outlet.h"
#include "tests/unit/fake_broker.h"

struct scene {
    struct broker *broker;
    struct mq_outlet outlet;
    struct envelope message;
    struct error error;
};

static struct envelope small_message(void)
{
    return (struct envelope){
        .routing_key = TEXT_LITERAL("alpha.customer.updated"),
        .body = TEXT_LITERAL("{}"),
        .message_id = TEXT_LITERAL("3e1c7f7e-4a4e-4d5c-9a33-000000000001"),
        .header_count = 1,
        .headers = {{.name = TEXT_LITERAL("x-source"), .text = TEXT_LITERAL("alpha")}},
    };
}

static void open_outlet(struct scene *scene, void (*script)(struct broker *))
{
    scene->message = small_message();
    scene->broker = broker_start(script);
    mq_outlet_init(&scene->outlet, &scene->broker->config);
    bool open = scene->outlet.port.ops->open(&scene->outlet.port, &scene->error);
    if (!open)
        print_error("%s\n", scene->error.text);
    assert_true(open);
}

static void close_outlet(struct scene *scene)
{
    mq_outlet_free(&scene->outlet);
    broker_end(scene->broker);
}

static void publish(struct scene *scene, int count)
{
    for (int i = 0; i < count; i++)
        assert_true(scene->outlet.port.ops->publish(&scene->outlet.port, &scene->message, &scene->error));
}

static uint64_t confirm(struct scene *scene, int wait_ms)
{
    uint64_t confirmed = 0;
    bool fine = scene->outlet.port.ops->confirm(&scene->outlet.port, wait_ms, &confirmed, &scene->error);
    if (!fine)
        print_error("%s\n", scene->error.text);
    assert_true(fine);
    return confirmed;
}

static void expect_failure(struct scene *scene, enum fault fault, const char *code)
{
    uint64_t confirmed = 77;
    bool fine = true;
    for (int i = 0; fine && i < 3000; i++)
        fine = scene->outlet.port.ops->confirm(&scene->outlet.port, 100, &confirmed, &scene->error);
    assert_false(fine);
    assert_string_equal(fault_name(scene->error.fault), fault_name(fault));
    assert_string_equal(scene->error.code, code);
    /* And the outlet is closed. */
    assert_false(scene->outlet.port.ops->publish(&scene->outlet.port, &scene->message, &scene->error));
    assert_int_equal(scene->error.fault, FAULT_CONNECTION);
    assert_false(scene->outlet.port.ops->confirm(&scene->outlet.port, 0, &confirmed, &scene->error));
    assert_int_equal(scene->error.fault, FAULT_CONNECTION);
}

/* ---- confirmations ------------------------------------------------------------------------------------------------
 */

static void confirms_out_of_order(struct broker *b)
{
    broker_confirm_select(b);
    for (int i = 0; i < 8; i++)
        expect_publish(b);
    send_ack(b, BASIC_ACK, 3, false);
    send_ack(b, BASIC_ACK, 1, false);
    broker_wait(b);
    send_ack(b, BASIC_ACK, 2, false);
    broker_wait(b);
    send_ack(b, BASIC_ACK, 7, false);
    send_ack(b, BASIC_ACK, 5, true);
    broker_wait(b);
    send_ack(b, BASIC_ACK, 2, true); /* news of yesterday */
    send_ack(b, BASIC_ACK, 0, true); /* all there are */
    broker_until_close(b);
}

static uint64_t confirm_until(struct scene *scene, uint64_t number)
{
    uint64_t confirmed = 0;
    for (int i = 0; confirmed < number && i < 3000; i++)
        confirmed = confirm(scene, 100);
    return confirmed;
}

static void test_only_the_gapless_beginning_counts_as_confirmed(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, confirms_out_of_order);
    publish(&scene, 8);
    assert_int_equal(confirm_until(&scene, 1), 1);
    assert_int_equal(confirm(&scene, 50), 1);
    test_go(scene.broker);
    assert_int_equal(confirm_until(&scene, 2), 3);
    test_go(scene.broker);
    assert_int_equal(confirm_until(&scene, 4), 5);
    test_go(scene.broker);
    assert_int_equal(confirm_until(&scene, 8), 8);
    close_outlet(&scene);
}

static void confirms_many(struct broker *b)
{
    broker_confirm_select(b);
    for (uint64_t i = 1; i <= 70000; i++) {
        expect_publish(b);
        if (i % 1000 == 0)
            send_ack(b, BASIC_ACK, i, true);
    }
    broker_until_close(b);
}

static void test_numbers_run_on_past_the_window(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, confirms_many);
    for (uint64_t i = 1; i <= 70; i++) {
        publish(&scene, 1000);
        assert_int_equal(confirm_until(&scene, i * 1000), i * 1000);
    }
    close_outlet(&scene);
}

static void confirms_what_was_not_sent(struct broker *b)
{
    broker_confirm_select(b);
    expect_publish(b);
    send_ack(b, BASIC_ACK, 2, false);
    broker_until_close(b);
}

static void test_a_confirmation_of_nothing_is_a_connection_fault(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, confirms_what_was_not_sent);
    publish(&scene, 1);
    expect_failure(&scene, FAULT_CONNECTION, "");
    close_outlet(&scene);
}

static void refuses(struct broker *b)
{
    broker_confirm_select(b);
    expect_publish(b);
    expect_publish(b);
    send_ack(b, BASIC_ACK, 1, false);
    send_ack(b, BASIC_NACK, 2, false);
    broker_until_close(b);
}

static void test_a_refused_message_is_a_transient_fault(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, refuses);
    publish(&scene, 2);
    expect_failure(&scene, FAULT_TRANSIENT, "nack");
    close_outlet(&scene);
}

static void returns(struct broker *b)
{
    broker_confirm_select(b);
    expect_publish(b);
    begin_method(b, BASIC_RETURN);
    put(b, 312, 2);
    put_short_text(b, "NO_ROUTE");
    put_short_text(b, "bridge.sync");
    put_short_text(b, "alpha.customer.updated");
    send_frame(b, METHOD, 1);
    send_plain_header(b, 2);
    send_body(b, "{}");
    send_ack(b, BASIC_ACK, 1, false);
    broker_until_close(b);
}

static void test_a_returned_message_is_not_confirmed_although_the_broker_says_so(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, returns);
    publish(&scene, 1);
    expect_failure(&scene, FAULT_OPERATOR, "312");
    close_outlet(&scene);
}

/* ---- alarms -------------------------------------------------------------------------------------------------------
 */

static void raises_an_alarm(struct broker *b)
{
    broker_confirm_select(b);
    begin_method(b, CONNECTION_BLOCKED);
    put_short_text(b, "low on disk");
    send_frame(b, METHOD, 0);
    broker_wait(b);
    broker_need(is_silent(b, 100), "published in spite of the alarm");
    send_empty_method(b, CONNECTION_UNBLOCKED, 0);
    for (int i = 0; i < 3; i++)
        broker_need(expect_publish(b) == 2, "other bodies");
    send_ack(b, BASIC_ACK, 3, true);
    broker_until_close(b);
}

static void test_messages_wait_in_order_while_the_broker_has_an_alarm(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, raises_an_alarm);
    for (int i = 0; mq_outlet_blocked(&scene.outlet) == NULL && i < 300000; i++) {
        assert_int_equal(confirm(&scene, 0), 0);
        usleep(1000);
    }
    assert_string_equal(mq_outlet_blocked(&scene.outlet), "low on disk");
    publish(&scene, 3);
    assert_int_equal(confirm(&scene, 10), 0);
    test_go(scene.broker);
    assert_int_equal(confirm_until(&scene, 3), 3);
    assert_null(mq_outlet_blocked(&scene.outlet));
    close_outlet(&scene);
}

static void stops_reading(struct broker *b)
{
    broker_confirm_select(b);
    broker_wait(b);
    for (int i = 0; i < 400; i++)
        broker_need(expect_publish(b) == 100000, "other bodies");
    send_ack(b, BASIC_ACK, 400, true);
    broker_until_close(b);
}

static void test_publish_does_not_wait_for_a_broker_that_reads_slowly(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, stops_reading);
    struct envelope large = small_message();
    char *body = calloc(100000, 1);
    assert_non_null(body);
    large.body = (struct text){body, 100000};
    for (int i = 0; i < 400; i++) /* 40 MB: more than sockets hold */
        assert_true(scene.outlet.port.ops->publish(&scene.outlet.port, &large, &scene.error));
    free(body); /* the outlet has its own copies */
    assert_int_equal(confirm(&scene, 10), 0);
    assert_true(scene.outlet.sent < 400);
    test_go(scene.broker);
    assert_int_equal(confirm_until(&scene, 400), 400);
    close_outlet(&scene);
}

static void raises_an_alarm_for_good(struct broker *b)
{
    broker_confirm_select(b);
    begin_method(b, CONNECTION_BLOCKED);
    put_short_text(b, "low on memory");
    send_frame(b, METHOD, 0);
    broker_until_close(b);
}

static void test_what_was_put_by_is_forgotten_on_close(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, raises_an_alarm_for_good);
    for (int i = 0; mq_outlet_blocked(&scene.outlet) == NULL && i < 300000; i++) {
        assert_int_equal(confirm(&scene, 0), 0);
        usleep(1000);
    }
    publish(&scene, 100);
    scene.outlet.port.ops->close(&scene.outlet.port);
    assert_null(mq_outlet_blocked(&scene.outlet));
    close_outlet(&scene);
}

/* ---- ends ---------------------------------------------------------------------------------------------------------
 */

static void shuts_down(struct broker *b)
{
    broker_confirm_select(b);
    expect_publish(b);
    send_connection_close(b, 320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'");
    expect_method(b, CONNECTION_CLOSE_OK);
}

static void test_a_broker_that_shuts_down_is_a_connection_fault(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, shuts_down);
    publish(&scene, 1);
    expect_failure(&scene, FAULT_CONNECTION, "320");
    close_outlet(&scene);
}

static void dies_in_mid_frame(struct broker *b)
{
    broker_confirm_select(b);
    expect_publish(b);
    broker_send_bytes(b, "\1\0\1\0\0\0\15\0\74\0", 10);
}

static void test_half_a_frame_is_a_connection_fault(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, dies_in_mid_frame);
    publish(&scene, 1);
    expect_failure(&scene, FAULT_CONNECTION, "");
    close_outlet(&scene);
}

static void says_nothing(struct broker *b)
{
    b->heartbeat_s = 1;
    broker_confirm_select(b);
    broker_until_close(b);
}

static void test_a_silent_broker_is_noticed_after_two_heartbeats(void **state)
{
    (void)state;
    struct scene scene;
    int64_t begun_ms = mq_now_ms(); /* before the last that is heard of it */
    open_outlet(&scene, says_nothing);
    publish(&scene, 1);
    expect_failure(&scene, FAULT_CONNECTION, "");
    /* sooner than after one heartbeat of those 30 s that the config asks for */
    assert_in_range(mq_now_ms() - begun_ms, 1000, 29000);
    close_outlet(&scene);
}

static void says_nothing_for_long(struct broker *b)
{
    broker_confirm_select(b);
    broker_until_close(b);
}

static void *abort_soon(void *argument)
{
    usleep(50000);
    mq_outlet_abort(argument);
    return NULL;
}

static void test_another_thread_can_end_a_wait(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, says_nothing_for_long);
    publish(&scene, 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, abort_soon, &scene.outlet), 0);
    uint64_t confirmed;
    int64_t begun_ms = mq_now_ms();
    assert_false(scene.outlet.port.ops->confirm(&scene.outlet.port, 20000, &confirmed, &scene.error));
    assert_int_equal(scene.error.fault, FAULT_CONNECTION);
    assert_non_null(strstr(scene.error.text, "cut on purpose"));
    assert_in_range(mq_now_ms() - begun_ms, 0, 19000); /* before the wait is over */
    pthread_join(thread, NULL);
    mq_outlet_abort(&scene.outlet); /* closed: nothing happens */
    close_outlet(&scene);
}

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

static void measures_bodies(struct broker *b)
{
    broker_confirm_select(b);
    broker_need(expect_publish(b) == 1, "an empty body is one space");
    broker_need(expect_publish(b) == FRAME_MAX - 8 + 1, "one full frame and a space");
    broker_need(expect_publish(b) == 2 * (FRAME_MAX - 8) + 1, "two full frames and a space");
    broker_need(expect_publish(b) == FRAME_MAX - 8 - 1, "as it was");
    send_ack(b, BASIC_ACK, 4, true);
    broker_until_close(b);
}

static void test_a_body_never_ends_with_its_frame(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, FRAME_MAX - 8, 2 * (FRAME_MAX - 8), FRAME_MAX - 8 - 1};
    struct scene scene;
    open_outlet(&scene, measures_bodies);
    char *body = calloc(2 * FRAME_MAX, 1);
    assert_non_null(body);
    struct envelope envelopes[4];
    for (size_t i = 0; i < 4; i++) {
        envelopes[i] = small_message();
        envelopes[i].body = (struct text){body, sizes[i]};
        assert_true(scene.outlet.port.ops->publish(&scene.outlet.port, &envelopes[i], &scene.error));
    }
    assert_int_equal(confirm_until(&scene, 4), 4);
    close_outlet(&scene);
    free(body);
}

static void test_a_property_that_amqp_cannot_hold_is_refused(void **state)
{
    (void)state;
    struct scene scene;
    open_outlet(&scene, says_nothing_for_long);
    char text[256];
    memset(text, 'x', sizeof text);
    struct envelope envelope = small_message();
    envelope.correlation_id = (struct text){text, sizeof text};
    assert_false(scene.outlet.port.ops->publish(&scene.outlet.port, &envelope, &scene.error));
    assert_int_equal(scene.error.fault, FAULT_BUG);
    close_outlet(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_the_gapless_beginning_counts_as_confirmed),
        cmocka_unit_test(test_numbers_run_on_past_the_window),
        cmocka_unit_test(test_a_confirmation_of_nothing_is_a_connection_fault),
        cmocka_unit_test(test_a_refused_message_is_a_transient_fault),
        cmocka_unit_test(test_a_returned_message_is_not_confirmed_although_the_broker_says_so),
        cmocka_unit_test(test_messages_wait_in_order_while_the_broker_has_an_alarm),
        cmocka_unit_test(test_what_was_put_by_is_forgotten_on_close),
        cmocka_unit_test(test_publish_does_not_wait_for_a_broker_that_reads_slowly),
        cmocka_unit_test(test_a_broker_that_shuts_down_is_a_connection_fault),
        cmocka_unit_test(test_half_a_frame_is_a_connection_fault),
        cmocka_unit_test(test_a_silent_broker_is_noticed_after_two_heartbeats),
        cmocka_unit_test(test_another_thread_can_end_a_wait),
        cmocka_unit_test(test_a_body_never_ends_with_its_frame),
        cmocka_unit_test(test_a_property_that_amqp_cannot_hold_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
