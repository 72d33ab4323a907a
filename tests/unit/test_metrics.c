/* What /healthz, /readyz and /metrics say. The server around it is tested with the whole program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* The program's own rooms are no library; this one file needs the core only. */
#include "adapters/host/metrics.c"

static int64_t now_ms;

static int64_t test_monotonic_ms(struct clock *clock)
{
    (void)clock;
    return now_ms;
}

static const struct clock_ops test_clock_ops = {.monotonic_ms = test_monotonic_ms};
static struct clock test_clock = {&test_clock_ops};
static struct counters counters;
static const struct http_facts facts = {.node = "commerce", .counters = &counters, .clock = &test_clock};

static char page_text[32 << 10];

static int start_both(void **state)
{
    (void)state;
    memset(&counters, 0, sizeof counters);
    now_ms = 1000000;
    atomic_store(&counters.out_state, WORKER_RUNNING);
    atomic_store(&counters.in_state, WORKER_RUNNING);
    atomic_store(&counters.out_alive_ms, now_ms);
    atomic_store(&counters.in_alive_ms, now_ms);
    return 0;
}

static void expect_page(bool (*write)(const struct http_facts *facts, FILE *out), bool good, const char *text)
{
    FILE *out = fmemopen(page_text, sizeof page_text, "w");
    assert_non_null(out);
    assert_int_equal(write(&facts, out), good);
    fclose(out);
    assert_string_equal(page_text, text);
}

static void test_both_workers_running_is_ready_and_healthy(void **state)
{
    (void)state;
    expect_page(metrics_write_health, true, "ok\n");
    expect_page(metrics_write_readiness, true, "ready\n");
}

static void test_readiness_names_each_thing_that_is_missing(void **state)
{
    (void)state;
    atomic_store(&counters.out_state, WORKER_DATABASE_AWAY);
    atomic_store(&counters.in_state, WORKER_BROKER_AWAY);
    expect_page(metrics_write_readiness, false, "outbound: database away\ninbound: broker away\n");
    atomic_store(&counters.in_state, WORKER_RUNNING);
    expect_page(metrics_write_readiness, false, "outbound: database away\n");
    atomic_store(&counters.out_state, WORKER_STANDBY);
    expect_page(metrics_write_readiness, false, "outbound: standby, another adapter of this node leads\n");
    atomic_store(&counters.out_state, WORKER_BROKER_BLOCKED);
    atomic_store(&counters.blocked, "low on memory");
    expect_page(metrics_write_readiness, false, "outbound: broker blocked: low on memory\n");
}

static void test_what_is_away_does_not_make_the_process_unhealthy(void **state)
{
    (void)state;
    atomic_store(&counters.out_state, WORKER_DATABASE_AWAY);
    atomic_store(&counters.in_state, WORKER_BROKER_AWAY);
    expect_page(metrics_write_health, true, "ok\n");
}

static void test_a_worker_silent_for_more_than_a_minute_is_named(void **state)
{
    (void)state;
    now_ms += METRICS_SILENCE_MS_MAX;
    expect_page(metrics_write_health, true, "ok\n");
    now_ms++;
    atomic_store(&counters.out_alive_ms, now_ms);
    expect_page(metrics_write_health, false, "inbound: no sign of life for 60 s, running\n");
}

static void test_a_worker_that_has_not_begun_is_not_silent(void **state)
{
    (void)state;
    memset(&counters, 0, sizeof counters);
    expect_page(metrics_write_health, true, "ok\n");
    expect_page(metrics_write_readiness, false, "outbound: starting\ninbound: starting\n");
}

static void expect_metric(const char *line)
{
    const char *found = strstr(page_text, line);
    if (found == NULL || (found != page_text && found[-1] != '\n'))
        fail_msg("no line %s in %s", line, page_text);
}

static void test_metrics_show_every_counter(void **state)
{
    (void)state;
    atomic_store(&counters.captured, 1);
    atomic_store(&counters.applied, 2);
    atomic_store(&counters.dead_letters, 3);
    atomic_store(&counters.queue_depth, 4);
    atomic_store(&counters.in_flight, 5);
    atomic_store(&counters.messages_in, 6);
    atomic_store(&counters.broker_failures, UINT64_MAX);
    atomic_store(&counters.confirm_us_sum, 1500000);
    atomic_store(&counters.newest_us, INT64_C(1763675000123456));
    atomic_store(&counters.in_state, WORKER_STANDBY);
    atomic_store(&counters.in_circuits[BACKEND_BROKER], CIRCUIT_OPEN);
    atomic_store(&counters.in_openings[BACKEND_BROKER], 7);
    atomic_store(&counters.blocked, "low on disk");
    now_ms += 1250;
    FILE *out = fmemopen(page_text, sizeof page_text, "w");
    assert_non_null(out);
    metrics_write(&facts, out);
    fclose(out);
    expect_metric("pgbridge_build_info{node=\"commerce\",version=\"" PGBRIDGE_VERSION "\"} 1\n");
    expect_metric("pgbridge_up{node=\"commerce\",direction=\"out\"} 1\n");
    expect_metric("pgbridge_up{node=\"commerce\",direction=\"in\"} 0\n");
    expect_metric("pgbridge_worker_state{node=\"commerce\",direction=\"in\",state=\"standby\"} 1\n");
    expect_metric("pgbridge_worker_state{node=\"commerce\",direction=\"in\",state=\"running\"} 0\n");
    expect_metric("pgbridge_worker_silence_seconds{node=\"commerce\",direction=\"out\"} 1.250\n");
    expect_metric("pgbridge_circuit_state{node=\"commerce\",direction=\"in\",side=\"broker\",state=\"open\"} 1\n");
    expect_metric("pgbridge_circuit_state{node=\"commerce\",direction=\"in\",side=\"broker\",state=\"closed\"} 0\n");
    expect_metric("pgbridge_circuit_state{node=\"commerce\",direction=\"in\",side=\"database\",state=\"closed\"} 1\n");
    expect_metric("pgbridge_circuit_state{node=\"commerce\",direction=\"out\",side=\"broker\",state=\"closed\"} 1\n");
    expect_metric("pgbridge_circuit_openings_total{node=\"commerce\",direction=\"in\",side=\"broker\"} 7\n");
    expect_metric("pgbridge_broker_blocked{node=\"commerce\"} 1\n");
    expect_metric("pgbridge_changes_captured_total{node=\"commerce\"} 1\n");
    expect_metric("pgbridge_changes_received_total{node=\"commerce\",verdict=\"applied\"} 2\n");
    expect_metric("pgbridge_changes_received_total{node=\"commerce\",verdict=\"dead_letter\"} 3\n");
    expect_metric("pgbridge_queue_depth{node=\"commerce\"} 4\n");
    expect_metric("pgbridge_in_flight_batches{node=\"commerce\"} 5\n");
    expect_metric("pgbridge_messages_total{node=\"commerce\",direction=\"in\"} 6\n");
    expect_metric("pgbridge_failures_total{node=\"commerce\",side=\"broker\"} 18446744073709551615\n");
    expect_metric("pgbridge_confirm_seconds_total{node=\"commerce\"} 1.500000\n");
    expect_metric("pgbridge_last_applied_version_timestamp_seconds{node=\"commerce\"} 1763675000.123456\n");
}

static void test_the_process_itself_is_measured(void **state)
{
    (void)state;
    uint64_t virtual_bytes = 0, resident_bytes = 0;
    double start_s = 0;
    assert_true(read_process(&virtual_bytes, &resident_bytes, &start_s));
    assert_true(resident_bytes > 100000 && resident_bytes < virtual_bytes);
    double age_s = (double)time(NULL) - start_s;
    assert_true(age_s > -5 && age_s < 600);
    uint64_t before = open_descriptors();
    FILE *file = fopen("/dev/null", "r");
    assert_non_null(file);
    assert_int_equal(open_descriptors(), before + 1);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_both_workers_running_is_ready_and_healthy, start_both),
        cmocka_unit_test_setup(test_readiness_names_each_thing_that_is_missing, start_both),
        cmocka_unit_test_setup(test_what_is_away_does_not_make_the_process_unhealthy, start_both),
        cmocka_unit_test_setup(test_a_worker_silent_for_more_than_a_minute_is_named, start_both),
        cmocka_unit_test_setup(test_a_worker_that_has_not_begun_is_not_silent, start_both),
        cmocka_unit_test_setup(test_metrics_show_every_counter, start_both),
        cmocka_unit_test_setup(test_the_process_itself_is_measured, start_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
