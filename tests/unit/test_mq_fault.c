/* links: rabbitmq */
/* The table of AMQP failures: what the broker and the library say, and what pgbridge makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "adapters/rabbitmq/compat.h"
#include "adapters/rabbitmq/fault.h"

static void expect_fault(int code, const char *said, enum fault fault)
{
    struct error error;
    assert_false(mq_fault_set(&error, "cannot test", code, said));
    assert_string_equal(fault_name(error.fault), fault_name(fault));
}

static void test_a_broker_that_is_away_is_a_connection_fault(void **state)
{
    (void)state;
    expect_fault(AMQP_CONNECTION_FORCED, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
                 FAULT_CONNECTION);
    expect_fault(AMQP_STATUS_SOCKET_ERROR, NULL, FAULT_CONNECTION);
    expect_fault(AMQP_STATUS_CONNECTION_CLOSED, NULL, FAULT_CONNECTION);
    expect_fault(AMQP_STATUS_HEARTBEAT_TIMEOUT, NULL, FAULT_CONNECTION);
    expect_fault(AMQP_STATUS_TIMEOUT, NULL, FAULT_CONNECTION);
    expect_fault(AMQP_STATUS_HOSTNAME_RESOLUTION_FAILED, NULL, FAULT_CONNECTION);
    expect_fault(AMQP_INTERNAL_ERROR, "INTERNAL_ERROR - access to vhost 'bridge' refused: vhost 'bridge' is down",
                 FAULT_CONNECTION);
}

static void test_what_a_person_must_repair_is_an_operator_fault(void **state)
{
    (void)state;
    expect_fault(AMQP_ACCESS_REFUSED,
                 "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker "
                 "logfile.",
                 FAULT_OPERATOR);
    expect_fault(AMQP_ACCESS_REFUSED, "ACCESS_REFUSED - write access to exchange 'bridge.sync' refused for user 'u'",
                 FAULT_OPERATOR);
    expect_fault(AMQP_NOT_ALLOWED, "NOT_ALLOWED - vhost nowhere not found", FAULT_OPERATOR);
    expect_fault(AMQP_NOT_ALLOWED, "NOT_ALLOWED - access to vhost 'bridge' refused for user 'u'", FAULT_OPERATOR);
    expect_fault(AMQP_NO_ROUTE, "NO_ROUTE", FAULT_OPERATOR);
    expect_fault(AMQP_STATUS_SSL_PEER_VERIFY_FAILED, NULL, FAULT_OPERATOR);
    expect_fault(AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED, NULL, FAULT_OPERATOR);
}

static void test_the_brokers_words_tell_apart_what_shares_a_code(void **state)
{
    (void)state;
    expect_fault(AMQP_NOT_FOUND, "NOT_FOUND - no queue 'bridge.sync.alpha' in vhost 'bridge'", FAULT_OPERATOR);
    expect_fault(
        AMQP_NOT_FOUND,
        "NOT_FOUND - failed to perform operation on queue 'bridge.sync.alpha' in vhost 'bridge' due to timeout",
        FAULT_CONNECTION);
    expect_fault(AMQP_NOT_FOUND,
                 "NOT_FOUND - home node 'rabbit@one' of durable queue 'q' in vhost '/' is down or inaccessible",
                 FAULT_CONNECTION);
    expect_fault(AMQP_PRECONDITION_FAILED,
                 "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received the value "
                 "'quorum' of type 'longstr' but current is none",
                 FAULT_OPERATOR);
    expect_fault(
        AMQP_PRECONDITION_FAILED,
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1800000 ms",
        FAULT_CONNECTION);
    expect_fault(AMQP_PRECONDITION_FAILED, "PRECONDITION_FAILED - unknown delivery tag 7", FAULT_BUG);
    expect_fault(AMQP_PRECONDITION_FAILED,
                 "PRECONDITION_FAILED - message size 134217729 is larger than configured max size 134217728",
                 FAULT_PERMANENT);
    expect_fault(AMQP_NOT_ALLOWED,
                 "NOT_ALLOWED - access to vhost '/' refused for user 'u': connection limit (1) is reached",
                 FAULT_CONNECTION);
    expect_fault(AMQP_STATUS_SSL_ERROR, NULL, FAULT_CONNECTION);
    expect_fault(AMQP_STATUS_SSL_ERROR, "tlsv13 alert certificate required", FAULT_OPERATOR);
}

static void test_an_unknown_code_is_a_connection_fault_that_shows_it(void **state)
{
    (void)state;
    struct error error;
    mq_fault_set(&error, "cannot test", -0x7777, NULL);
    assert_int_equal(error.fault, FAULT_CONNECTION);
    assert_non_null(strstr(error.text, "DETAIL: code -30583"));
    mq_fault_set(&error, "cannot test", 999, "SURPRISE");
    assert_string_equal(error.code, "999");
    assert_non_null(strstr(error.text, "DETAIL: SURPRISE"));
}

static void test_the_text_has_place_sentence_detail_and_hint(void **state)
{
    (void)state;
    struct error error;
    mq_fault_set(&error, "cannot consume queue \"q\"", AMQP_NOT_FOUND, "NOT_FOUND - no queue 'q'\r\nin vhost '/'");
    assert_string_equal(error.code, "404");
    assert_string_equal(error.text, "cannot consume queue \"q\": the queue is missing\n"
                                    "DETAIL: NOT_FOUND - no queue 'q'  in vhost '/'\n"
                                    "HINT: Run \"pgbridge install\" on this node: it declares and binds it. If somebody has deleted it, "
                                    "bridge.gaps then tells what was lost with it.");
}

/* Each with a sentence of its own, and what to do. */
static void test_each_loss_in_the_broker_is_told_apart(void **state)
{
    (void)state;
    static const struct {
        int code;
        const char *said, *shown, *sentence;
        enum fault fault;
    } losses[] = {
        {AMQP_NOT_FOUND, "NOT_FOUND - no queue 'q' in vhost '/'", "404", "the queue is missing", FAULT_OPERATOR},
        {AMQP_NOT_FOUND, "NOT_FOUND - no exchange 'x' in vhost '/'", "404", "the exchange is missing", FAULT_OPERATOR},
        {AMQP_NO_ROUTE, "NO_ROUTE", "312", "no queue takes the message", FAULT_OPERATOR},
        {AMQP_ACCESS_REFUSED, "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused for user 'u'", "403", "lacks a permission",
         FAULT_OPERATOR},
        {MQ_NACKED, NULL, "nack", "the broker refused a message", FAULT_TRANSIENT},
        {MQ_CANCELLED, NULL, "cancel", "the broker cancelled the consumer", FAULT_CONNECTION},
    };
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        struct error error;
        mq_fault_set(&error, "here", losses[i].code, losses[i].said);
        assert_int_equal(error.fault, losses[i].fault);
        assert_string_equal(error.code, losses[i].shown);
        assert_non_null(strstr(error.text, losses[i].sentence));
        assert_non_null(strstr(error.text, "\nHINT: "));
    }
}

static void test_a_row_with_words_stands_before_the_plain_one_of_its_code(void **state)
{
    (void)state;
    size_t count;
    const struct mq_fault *rows = mq_fault_table(&count);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(rows[i].sentence);
        assert_int_not_equal(rows[i].fault, FAULT_NONE);
        for (size_t j = 0; rows[i].words == NULL && j < count; j++)
            assert_true(i == j || rows[j].code != rows[i].code || (rows[j].words != NULL && j < i));
    }
}

static void test_every_status_of_the_library_has_a_row(void **state)
{
    (void)state;
    for (int status = AMQP_STATUS_NO_MEMORY; status > _AMQP_STATUS_NEXT_VALUE; status--)
        assert_int_equal(mq_fault_find(status, NULL)->code, status);
    for (int status = AMQP_STATUS_TCP_ERROR; status > _AMQP_STATUS_TCP_NEXT_VALUE; status--)
        assert_int_equal(mq_fault_find(status, NULL)->code, status);
    for (int status = AMQP_STATUS_SSL_ERROR; status > AMQP_STATUS_SSL_SET_ENGINE_FAILED - 1; status--)
        assert_int_equal(mq_fault_find(status, NULL)->code, status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_broker_that_is_away_is_a_connection_fault),
        cmocka_unit_test(test_what_a_person_must_repair_is_an_operator_fault),
        cmocka_unit_test(test_the_brokers_words_tell_apart_what_shares_a_code),
        cmocka_unit_test(test_an_unknown_code_is_a_connection_fault_that_shows_it),
        cmocka_unit_test(test_the_text_has_place_sentence_detail_and_hint),
        cmocka_unit_test(test_each_loss_in_the_broker_is_told_apart),
        cmocka_unit_test(test_a_row_with_words_stands_before_the_plain_one_of_its_code),
        cmocka_unit_test(test_every_status_of_the_library_has_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
