#include "tests/unit/fakes.h"

#define NODE TEXT_LITERAL("commerce")

struct bench {
    struct world *world;
    struct counters counters;
    struct worker worker;
};

static struct bench *bench_new(const char *direction)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench->world = world_new((struct random){1});
    worker_init(&bench->worker, direction, NODE, &bench->world->clock, &bench->counters, &bench->world->stop);
    return bench;
}

static void bench_free(struct bench *bench)
{
    free(bench->world);
    free(bench);
}

static struct error away(void)
{
    struct error error;
    error_set(&error, FAULT_CONNECTION, "08006", "gone");
    return error;
}

static void test_states_have_the_words_of_the_status_view(void **state)
{
    (void)state;
    assert_string_equal(worker_state_name(WORKER_STARTING), "starting");
    assert_string_equal(worker_state_name(WORKER_DATABASE_AWAY), "database away");
    assert_string_equal(worker_state_name(WORKER_BROKER_AWAY), "broker away");
    assert_string_equal(worker_state_name(WORKER_BROKER_BLOCKED), "broker blocked");
    assert_string_equal(worker_state_name(WORKER_STANDBY), "standby");
    assert_string_equal(worker_state_name(WORKER_RUNNING), "running");
    assert_string_equal(worker_state_name(WORKER_STOPPED), "stopped");
}

static void test_each_direction_shows_its_own_state_and_life(void **state)
{
    (void)state;
    struct bench *in = bench_new("in"), *out = bench_new("out");
    world_pass(in->world, 1234);
    world_pass(out->world, 4321);
    worker_show(&in->worker, WORKER_RUNNING);
    worker_show(&out->worker, WORKER_STANDBY);
    assert_int_equal(in->counters.in_state, WORKER_RUNNING);
    assert_int_equal(in->counters.in_alive_ms, 1234);
    assert_int_equal(in->counters.out_state, WORKER_STARTING);
    assert_int_equal(in->counters.out_alive_ms, 0);
    assert_int_equal(out->counters.out_state, WORKER_STANDBY);
    assert_int_equal(out->counters.out_alive_ms, 4321);
    assert_int_equal(out->counters.in_alive_ms, 0);
    bench_free(in);
    bench_free(out);
}

static void test_life_is_shown_also_when_the_state_stays(void **state)
{
    (void)state;
    struct bench *bench = bench_new("in");
    worker_show(&bench->worker, WORKER_RUNNING);
    world_pass(bench->world, 500);
    worker_show(&bench->worker, WORKER_RUNNING);
    assert_int_equal(bench->counters.in_alive_ms, 500);
    bench_free(bench);
}

static void test_stop_is_seen(void **state)
{
    (void)state;
    struct bench *bench = bench_new("in");
    assert_false(worker_stopping(&bench->worker));
    atomic_store(&bench->world->stop, true);
    assert_true(worker_stopping(&bench->worker));
    bench_free(bench);
}

static void test_failures_count_for_the_side_that_failed(void **state)
{
    (void)state;
    struct bench *bench = bench_new("in");
    struct error error = away();
    worker_fail(&bench->worker, BACKEND_DATABASE, &error);
    worker_fail(&bench->worker, BACKEND_DATABASE, &error);
    worker_fail(&bench->worker, BACKEND_BROKER, &error);
    assert_int_equal(bench->counters.database_failures, 2);
    assert_int_equal(bench->counters.broker_failures, 1);
    bench_free(bench);
}

static void test_failures_in_a_row_wait_longer_and_longer(void **state)
{
    (void)state;
    struct bench *bench = bench_new("in");
    struct error error = away();
    for (int i = 0; i < 20; i++) {
        worker_fail(&bench->worker, BACKEND_DATABASE, &error);
        assert_true(worker_try(&bench->worker, BACKEND_DATABASE));
    }
    assert_int_equal(bench->world->sleeps, 20);
    /* 200, 400, ... up to 5000 ms, each at least half. */
    assert_in_range(world_ms(bench->world), 20000, 90000);
    bench_free(bench);
}

static void test_failure_does_not_wait_when_the_process_stops(void **state)
{
    (void)state;
    struct bench *bench = bench_new("in");
    struct error error = away();
    atomic_store(&bench->world->stop, true);
    worker_fail(&bench->worker, BACKEND_DATABASE, &error);
    assert_false(worker_try(&bench->worker, BACKEND_DATABASE));
    assert_int_equal(world_ms(bench->world), 0);
    bench_free(bench);
}

static void test_a_failed_backend_keeps_nobody_from_the_other(void **state)
{
    (void)state;
    struct bench *bench = bench_new("in");
    struct error error = away();
    worker_fail(&bench->worker, BACKEND_BROKER, &error);
    assert_true(worker_try(&bench->worker, BACKEND_DATABASE));
    assert_int_equal(bench->world->sleeps, 0);
    assert_true(worker_try(&bench->worker, BACKEND_BROKER));
    assert_int_equal(bench->world->sleeps, 1);
    bench_free(bench);
}

static void test_circuits_are_shown_and_their_openings_counted(void **state)
{
    (void)state;
    struct bench *bench = bench_new("out");
    struct counters *counters = &bench->counters;
    struct error error = away();
    struct report report;
    for (int i = 0; i < 3; i++) {
        worker_fail(&bench->worker, BACKEND_BROKER, &error);
        assert_int_equal(counters->out_circuits[BACKEND_BROKER], CIRCUIT_OPEN);
        worker_try(&bench->worker, BACKEND_BROKER);
        assert_int_equal(counters->out_circuits[BACKEND_BROKER], CIRCUIT_HALF_OPEN);
    }
    assert_int_equal(counters->out_openings[BACKEND_BROKER], 1);
    assert_true(worker_report_due(&bench->worker, &report));
    assert_string_equal(report.broker_circuit, "half-open");
    assert_string_equal(report.database_circuit, "closed");
    worker_reported(&bench->worker);
    assert_false(worker_report_due(&bench->worker, &report));
    worker_works(&bench->worker, BACKEND_BROKER);
    worker_works(&bench->worker, BACKEND_BROKER);
    assert_int_equal(counters->out_circuits[BACKEND_BROKER], CIRCUIT_CLOSED);
    assert_true(worker_report_due(&bench->worker, &report));
    assert_string_equal(report.broker_circuit, "closed");
    worker_fail(&bench->worker, BACKEND_BROKER, &error);
    assert_int_equal(counters->out_openings[BACKEND_BROKER], 2);
    assert_int_equal(counters->in_openings[BACKEND_BROKER] + counters->out_openings[BACKEND_DATABASE], 0);
    bench_free(bench);
}

static void test_report_is_due_at_first_and_every_few_seconds(void **state)
{
    (void)state;
    struct bench *bench = bench_new("out");
    struct report report;
    assert_true(worker_report_due(&bench->worker, &report));
    assert_string_equal(report.direction, "out");
    assert_string_equal(report.state, "starting");
    assert_null(report.error);
    assert_null(report.error_code);
    assert_false(report.queue_depth_known);
    worker_reported(&bench->worker);
    assert_false(worker_report_due(&bench->worker, &report));
    world_pass(bench->world, 4999);
    assert_false(worker_report_due(&bench->worker, &report));
    world_pass(bench->world, 1);
    assert_true(worker_report_due(&bench->worker, &report));
    bench_free(bench);
}

static void test_report_that_was_not_written_stays_due(void **state)
{
    (void)state;
    struct bench *bench = bench_new("out");
    struct report report;
    assert_true(worker_report_due(&bench->worker, &report));
    assert_true(worker_report_due(&bench->worker, &report));
    bench_free(bench);
}

static void test_change_of_state_is_reported_at_once(void **state)
{
    (void)state;
    struct bench *bench = bench_new("out");
    struct report report;
    worker_reported(&bench->worker);
    worker_show(&bench->worker, WORKER_RUNNING);
    assert_true(worker_report_due(&bench->worker, &report));
    assert_string_equal(report.state, "running");
    worker_reported(&bench->worker);
    worker_show(&bench->worker, WORKER_RUNNING);
    assert_false(worker_report_due(&bench->worker, &report));
    bench_free(bench);
}

static void test_error_is_reported_once(void **state)
{
    (void)state;
    struct bench *bench = bench_new("out");
    struct report report;
    struct error error = away();
    worker_reported(&bench->worker);
    worker_fail(&bench->worker, BACKEND_BROKER, &error);
    assert_true(worker_report_due(&bench->worker, &report));
    assert_string_equal(report.error, "gone");
    assert_string_equal(report.error_code, "08006");
    worker_reported(&bench->worker);
    world_pass(bench->world, 5000);
    assert_true(worker_report_due(&bench->worker, &report));
    assert_null(report.error);
    bench_free(bench);
}

static void test_error_without_code_is_reported_without_code(void **state)
{
    (void)state;
    struct bench *bench = bench_new("out");
    struct report report;
    struct error error;
    error_set(&error, FAULT_CONNECTION, NULL, "gone");
    worker_fail(&bench->worker, BACKEND_BROKER, &error);
    assert_true(worker_report_due(&bench->worker, &report));
    assert_string_equal(report.error, "gone");
    assert_null(report.error_code);
    bench_free(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states_have_the_words_of_the_status_view),
        cmocka_unit_test(test_each_direction_shows_its_own_state_and_life),
        cmocka_unit_test(test_life_is_shown_also_when_the_state_stays),
        cmocka_unit_test(test_stop_is_seen),
        cmocka_unit_test(test_failures_count_for_the_side_that_failed),
        cmocka_unit_test(test_failures_in_a_row_wait_longer_and_longer),
        cmocka_unit_test(test_failure_does_not_wait_when_the_process_stops),
        cmocka_unit_test(test_a_failed_backend_keeps_nobody_from_the_other),
        cmocka_unit_test(test_circuits_are_shown_and_their_openings_counted),
        cmocka_unit_test(test_report_is_due_at_first_and_every_few_seconds),
        cmocka_unit_test(test_report_that_was_not_written_stays_due),
        cmocka_unit_test(test_change_of_state_is_reported_at_once),
        cmocka_unit_test(test_error_is_reported_once),
        cmocka_unit_test(test_error_without_code_is_reported_without_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
