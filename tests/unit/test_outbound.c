#include "bridge/flow/outbound.h"
#include "tests/unit/fakes.h"

#define NODE TEXT_LITERAL("commerce")

/* An outbound worker between a source and a broker in memory. */
struct bench {
    struct world *world;
    struct counters counters;
    struct queue queue;
    struct fake_source source;
    struct fake_outlet outlet;
    struct outbound outbound;
    struct brake *brake;
};

static bool all_released(void *context)
{
    struct bench *bench = context;
    return bench->source.released == bench->source.transaction_count;
}

static struct bench *bench_new(struct random random, size_t transaction_count, size_t rows_each)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench->world = world_new(random);
    bench->world->done = all_released;
    bench->world->context = bench;
    fake_outlet_init(&bench->outlet, bench->world, &bench->queue);
    bench->source = fake_source(bench->world, NODE, &bench->outlet.rows, transaction_count, rows_each);
    bench->outbound = (struct outbound){
        .source = &bench->source.port, .outlet = &bench->outlet.port, .message_bytes = LIMIT_MESSAGE_BYTES};
    return bench;
}

static void bench_run(struct bench *bench)
{
    worker_init(&bench->outbound.worker, "out", NODE, &bench->world->clock, &bench->counters, &bench->world->stop);
    bench->outbound.worker.brake = bench->brake;
    outbound_run(&bench->outbound);
    assert_false(bench->source.is_open || bench->outlet.is_open);
}

static void bench_free(struct bench *bench)
{
    fake_outlet_free(&bench->outlet);
    queue_free(&bench->queue);
    free(bench->world);
    free(bench);
}

/* That the source's changes are all with the broker: what counts, whoever thinks what. */
static void assert_nothing_lost(const struct bench *bench)
{
    const struct fake_source *source = &bench->source;
    assert_false(bench->world->exhausted);
    assert_int_equal(source->released, source->transaction_count);
    struct book arrived = {0};
    for (size_t i = 0; i < bench->queue.count; i++) {
        struct arena arena;
        struct message message;
        struct error error;
        arena_init(&arena, LIMIT_ARENA_BYTES);
        assert_true(envelope_unseal(&bench->queue.messages[i]->envelope, &arena, &message, &error));
        for (size_t row = 0; row < message.row_count; row++)
            book_put(&arrived, row_number(&message, row), 1);
        arena_free(&arena);
    }
    assert_int_equal(arrived.count, source->starts[source->transaction_count]);
    book_free(&arrived);
}

/* ---- all is well
 * ------------------------------------------------------------------------------------------------------ */

static void test_every_change_is_published_once_and_released(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1}, 300, 7);
    bench->source.transactions_max = 5;
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_int_equal(bench->counters.captured, 2100);
    assert_int_equal(bench->counters.published, 2100);
    assert_int_equal(bench->counters.messages_out, bench->queue.count);
    assert_int_equal(bench->counters.in_flight, 0);
    assert_int_equal(bench->counters.publish_failures, 0);
    assert_int_equal(bench->counters.out_state, WORKER_STOPPED);
    assert_string_equal(bench->source.reported_state, "stopped");
    bench_free(bench);
}

static void test_batches_overlap_but_no_more_than_the_limit(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1}, 100, 3);
    bench->outlet.latency_ms = 50;
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_int_equal(bench->source.outstanding_max, LIMIT_UNCONFIRMED_BATCHES);
    /* Not one after the other: that would take 100 times 50 ms. */
    assert_true(world_ms(bench->world) < 100 * 50 / 2);
    bench_free(bench);
}

static void test_what_comes_while_a_small_batch_is_under_way_gathers(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1}, 100, 1);
    bench->source.transactions_max = 100;
    bench->source.interval_ms = 1;
    bench->outlet.latency_ms = 5;
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_in_range(bench->counters.batches_out, 10, 25);
    bench_free(bench);
}

static void test_large_batches_overlap_even_when_the_broker_is_near(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1}, 20, 300);
    bench->source.transactions_max = 1;
    bench->outlet.latency_ms = 12;
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_int_equal(bench->source.outstanding_max, LIMIT_UNCONFIRMED_BATCHES);
    bench_free(bench);
}

static void test_messages_of_a_batch_are_released_together(void **state)
{
    (void)state;
    /* A dozen messages a batch, confirmed bit by bit: the source checks that no release comes early. */
    struct bench *bench = bench_new((struct random){2}, 20, 300);
    bench->outbound.message_bytes = 1024;
    bench->outlet.confirms_piecemeal = true;
    bench->outlet.latency_ms = 3;
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_true(bench->queue.count > 20 * 10);
    bench_free(bench);
}

static void test_blocked_broker_is_waited_for_without_failure(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){3}, 200, 4);
    bench->outlet.blocked_until_ms = 2 * MINUTE_MS;
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_int_equal(bench->counters.broker_failures, 0);
    assert_int_equal(bench->queue.count, 3 * 200);
    assert_true(bench->world->call_count < 10000);
    bench_free(bench);
}

static void test_blocked_broker_is_told_and_waited_for(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){3}, 200, 4);
    bench->outlet.blocked_until_ms = 10 * MINUTE_MS;
    bench->world->limit_ms = 2 * MINUTE_MS;
    bench_run(bench);
    assert_true(bench->world->exhausted);
    assert_string_equal(bench->counters.blocked, "low on memory");
    assert_int_equal(bench->counters.broker_failures, 0);
    assert_int_equal(bench->world->calls[CALL_OUTLET_OPEN], 1);
    /* It has shown itself to the end. */
    assert_true(bench->counters.out_alive_ms >= 2 * MINUTE_MS - 1000);
    bench_free(bench);
}

/* ---- what fails is done again
 * ------------------------------------------------------------------------------------------ */

static void fail_once(enum call call, enum fault fault, uint64_t number, bool after)
{
    struct bench *bench = bench_new((struct random){number}, 60, 5);
    bench->source.transactions_max = 3;
    bench->outlet.latency_ms = 20;
    world_rule(bench->world, (struct rule){.call = call, .from = number, .count = 1, .fault = fault, .after = after});
    bench_run(bench);
    assert_nothing_lost(bench);
    bench_free(bench);
}

static void test_failure_of_any_call_loses_nothing(void **state)
{
    (void)state;
    static const enum call calls[] = {CALL_SOURCE_OPEN, CALL_NEXT,    CALL_RELEASE, CALL_SOURCE_REPORT,
                                      CALL_OUTLET_OPEN, CALL_PUBLISH, CALL_CONFIRM};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        for (uint64_t number = 1; number < 25; number++) {
            fail_once(calls[i], FAULT_CONNECTION, number, false);
            fail_once(calls[i], FAULT_CONNECTION, number, true);
        }
    }
}

static void test_refused_and_unroutable_messages_are_sent_again(void **state)
{
    (void)state;
    for (uint64_t number = 1; number < 20; number++) {
        fail_once(CALL_CONFIRM, FAULT_TRANSIENT, number, false);
        fail_once(CALL_CONFIRM, FAULT_OPERATOR, number, false);
    }
}

static void test_random_failures_of_every_call_lose_nothing(void **state)
{
    (void)state;
    struct random random = random_start("test_random_failures_of_every_call_lose_nothing");
    for (int round = 0; round < 30; round++) {
        struct bench *bench = bench_new((struct random){random_next(&random)}, 1 + random_below(&random, 120),
                                        1 + random_below(&random, 20));
        bench->source.transactions_max = 1 + random_below(&random, 10);
        bench->source.interval_ms = (int64_t)random_below(&random, 300);
        bench->outlet.latency_ms = (int)random_below(&random, 100);
        bench->outlet.confirms_piecemeal = random_below(&random, 2) == 0;
        bench->outbound.message_bytes = 1024 << random_below(&random, 5);
        bench->world->percent = (unsigned)random_below(&random, 40);
        bench->world->healed_ms = 2 * MINUTE_MS;
        bench_run(bench);
        assert_nothing_lost(bench);
        bench_free(bench);
    }
}

static void test_random_failures_while_the_broker_is_blocked_lose_nothing(void **state)
{
    (void)state;
    struct random random = random_start("test_random_failures_while_the_broker_is_blocked_lose_nothing");
    for (int round = 0; round < 25; round++) {
        struct bench *bench = bench_new((struct random){random_next(&random)}, 50, 1 + random_below(&random, 20));
        bench->source.transactions_max = 1 + random_below(&random, 5);
        bench->outlet.blocked_until_ms = MINUTE_MS;
        bench->world->percent = 10;
        bench->world->healed_ms = 2 * MINUTE_MS;
        bench_run(bench);
        assert_nothing_lost(bench);
        bench_free(bench);
    }
}

/* The outlet borrows envelopes until they are confirmed or it is closed. When the source is lost, its batches go; then
 * the outlet has to go first. */
static void test_envelopes_stay_valid_while_the_outlet_has_put_them_by(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){4}, 40, 5);
    bench->outlet.blocked_until_ms = 30 * 1000;
    for (uint64_t number = 3; number < 30; number += 3)
        world_rule(bench->world,
                   (struct rule){.call = CALL_NEXT, .from = number, .count = 1, .fault = FAULT_CONNECTION});
    bench_run(bench);
    assert_nothing_lost(bench);
    bench_free(bench);
}

/* ---- numbers
 * ---------------------------------------------------------------------------------------------------------- */

/* The receiver takes a number that is skipped for a lost message. */
static void assert_numbers_have_no_gaps(const struct bench *bench)
{
    char epoch[40] = "";
    int64_t last = 0;
    for (size_t i = 0; i < bench->queue.count; i++) {
        const struct envelope *envelope = &bench->queue.messages[i]->envelope;
        const struct header *in = envelope_header(envelope, "x-epoch"), *number = envelope_header(envelope, "x-seq");
        assert_true(in != NULL && number != NULL);
        bool same = text_equal(in->text, text_from(epoch));
        assert_true(!same || number->number <= last + 1);
        if (!same || number->number > last)
            last = number->number;
        snprintf(epoch, sizeof epoch, "%.*s", TEXT_PRINTF(in->text));
    }
}

static void test_numbers_have_no_gaps_when_the_broker_goes_and_comes(void **state)
{
    (void)state;
    for (uint64_t number = 1; number < 60; number++) {
        struct bench *bench = bench_new((struct random){number}, 60, 5);
        bench->outlet.latency_ms = 20;
        world_rule(bench->world,
                   (struct rule){.call = CALL_PUBLISH, .from = number, .count = 2, .fault = FAULT_CONNECTION});
        bench_run(bench);
        assert_numbers_have_no_gaps(bench);
        bench_free(bench);
    }
}

static void test_numbers_have_no_gaps_when_sealed_batches_are_given_up(void **state)
{
    (void)state;
    /* Sealed and never sent: the broker is away, then the database goes as well. */
    struct bench *bench = bench_new((struct random){5}, 20, 5);
    bench->source.interval_ms = 100;
    world_rule(bench->world, (struct rule){.call = CALL_PUBLISH, .from = 13, .count = 1, .fault = FAULT_CONNECTION});
    world_rule(bench->world, (struct rule){.call = CALL_NEXT, .from = 6, .count = 1, .fault = FAULT_CONNECTION});
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_numbers_have_no_gaps(bench);
    bench_free(bench);
}

/* ---- nobody there
 * ------------------------------------------------------------------------------------------------------ */

static void stay_away(enum call call, enum fault fault, uint64_t tries_max)
{
    struct bench *bench = bench_new((struct random){6}, 10, 3);
    bench->world->limit_ms = 10 * MINUTE_MS;
    world_rule(bench->world, (struct rule){.call = call, .until_ms = 5 * MINUTE_MS, .fault = fault});
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_true(bench->world->now_us >= 5 * MINUTE_MS * INT64_C(1000));
    assert_true(bench->world->calls[call] < tries_max);
    assert_true(bench->world->call_count < 20 * tries_max);
    assert_true(bench->world->sleeps > 0);
    bench_free(bench);
}

static void test_database_that_is_away_is_tried_with_backoff(void **state)
{
    (void)state;
    stay_away(CALL_SOURCE_OPEN, FAULT_CONNECTION, 250);
    stay_away(CALL_SOURCE_OPEN, FAULT_OPERATOR, 250);
}

static void test_broker_that_is_away_is_tried_with_backoff(void **state)
{
    (void)state;
    stay_away(CALL_OUTLET_OPEN, FAULT_CONNECTION, 250);
}

static void test_standby_looks_once_a_second(void **state)
{
    (void)state;
    stay_away(CALL_SOURCE_OPEN, FAULT_TRANSIENT, 500);
}

static void test_backoff_grows_when_connecting_works_and_the_first_use_fails(void **state)
{
    (void)state;
    stay_away(CALL_CONFIRM, FAULT_OPERATOR, 500);
    stay_away(CALL_PUBLISH, FAULT_CONNECTION, 500);
    stay_away(CALL_NEXT, FAULT_CONNECTION, 500);
}

static void test_idle_worker_is_quiet(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){7}, 2, 3);
    bench->source.interval_ms = 10 * MINUTE_MS;
    bench_run(bench);
    assert_nothing_lost(bench);
    /* Two calls every 200 ms, and the reports. */
    assert_true(bench->world->call_count < 10 * 60 * 5 * 2 + 500);
    assert_in_range(bench->source.reports, 110, 125);
    bench_free(bench);
}

static void test_broker_hears_of_us_while_there_is_nothing_to_send(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){8}, 2, 3);
    bench->source.interval_ms = 10 * MINUTE_MS;
    bench_run(bench);
    assert_true(bench->outlet.attention.longest_ms < 5000);
    bench_free(bench);
}

static void test_broker_hears_of_us_while_the_database_is_away(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){9}, 2, 3);
    bench->source.interval_ms = 10 * MINUTE_MS;
    world_rule(bench->world, (struct rule){.call = CALL_NEXT, .from = 50, .count = 1, .fault = FAULT_CONNECTION});
    world_rule(bench->world,
               (struct rule){.call = CALL_SOURCE_OPEN, .from = 2, .count = 60, .fault = FAULT_CONNECTION});
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_true(bench->outlet.attention.longest_ms < 15000);
    bench_free(bench);
}

/* ---- stopping
 * ----------------------------------------------------------------------------------------------------------- */

static bool some_in_the_air(void *context)
{
    struct bench *bench = context;
    return bench->source.outstanding == LIMIT_UNCONFIRMED_BATCHES;
}

static void test_stop_waits_for_what_is_published(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){10}, 50, 5);
    bench->outlet.latency_ms = 700;
    bench->world->done = some_in_the_air;
    bench_run(bench);
    assert_int_equal(bench->source.given, LIMIT_UNCONFIRMED_BATCHES);
    assert_int_equal(bench->source.released, LIMIT_UNCONFIRMED_BATCHES);
    assert_string_equal(bench->source.reported_state, "stopped");
    bench_free(bench);
}

static void test_stop_waits_only_a_few_seconds(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){11}, 50, 5);
    bench->outlet.blocked_until_ms = INT64_MAX;
    bench->world->done = some_in_the_air;
    bench_run(bench);
    assert_int_equal(bench->source.released, 0);
    assert_in_range(world_ms(bench->world), 4000, 8000);
    assert_true(bench->world->call_count < 200);
    bench_free(bench);
}

static void test_stop_does_not_begin_to_reconnect(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){12}, 50, 5);
    bench->outlet.latency_ms = 700;
    bench->world->done = some_in_the_air;
    world_rule(bench->world, (struct rule){.call = CALL_CONFIRM, .from = 4, .count = 1, .fault = FAULT_CONNECTION});
    bench_run(bench);
    assert_int_equal(bench->world->calls[CALL_OUTLET_OPEN], 1);
    assert_int_equal(bench->source.released, 0);
    bench_free(bench);
}

static void test_stop_at_any_moment_leaves_a_source_that_can_go_on(void **state)
{
    (void)state;
    struct random random = random_start("test_stop_at_any_moment_leaves_a_source_that_can_go_on");
    for (int round = 0; round < 20; round++) {
        struct bench *bench = bench_new((struct random){random_next(&random)}, 60, 1 + random_below(&random, 10));
        bench->source.transactions_max = 1 + random_below(&random, 4);
        bench->outlet.latency_ms = (int)random_below(&random, 400);
        bench->world->percent = (unsigned)random_below(&random, 20);
        bench->world->healed_ms = 2 * MINUTE_MS;
        for (int restarts = 0; !all_released(bench); restarts++) {
            assert_true(restarts < 10000);
            bench->world->call_limit = bench->world->call_count + 1 + random_below(&random, 200);
            atomic_store(&bench->world->stop, false);
            bench_run(bench);
        }
        bench->world->exhausted = false;
        assert_nothing_lost(bench);
        assert_numbers_have_no_gaps(bench);
        bench_free(bench);
    }
}

/* ---- what is held
 * ---------------------------------------------------------------------------------------------------------- */

static size_t sealed_between(const struct bench *bench, int64_t from_s, int64_t to_s)
{
    size_t count = 0;
    for (size_t i = 0; i < bench->queue.count; i++) {
        int64_t at_s = bench->queue.messages[i]->envelope.timestamp_s - EPOCH_S;
        count += at_s >= from_s && at_s < to_s;
    }
    return count;
}

static void test_a_paused_direction_sends_nothing_and_loses_nothing(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){7}, 200, 4);
    struct fake_brake brake = {.port = {&fake_brake_ops}, .world = bench->world, .from_ms = 3000, .until_ms = MINUTE_MS};
    bench->source.interval_ms = 50;
    bench->brake = &brake.port;
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_true(sealed_between(bench, 0, 4) > 30);
    assert_int_equal(sealed_between(bench, 5, 60), 0);
    assert_true(sealed_between(bench, 60, 70) > 100);
    assert_int_equal(bench->counters.broker_failures + bench->counters.database_failures, 0);
    bench_free(bench);
}

static void test_a_pause_before_anything_was_published_waits_quietly(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){9}, 50, 1);
    struct fake_brake brake = {.port = {&fake_brake_ops}, .world = bench->world, .from_ms = 500, .until_ms = MINUTE_MS};
    world_rule(bench->world, (struct rule){.call = CALL_PUBLISH, .until_ms = 3000, .fault = FAULT_CONNECTION});
    bench->brake = &brake.port;
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_in_range(bench->world->calls[CALL_CONFIRM], 100, 2000);
    bench_free(bench);
}

static void test_what_is_paused_before_the_start_is_never_sent(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){8}, 50, 1);
    struct fake_brake brake = {.port = {&fake_brake_ops}, .world = bench->world, .entity = "item", .until_ms = MINUTE_MS};
    bench->brake = &brake.port;
    bench_run(bench);
    assert_nothing_lost(bench);
    assert_int_equal(sealed_between(bench, 0, 60), 0);
    bench_free(bench);
}

static void test_a_budget_slows_and_loses_nothing(void **state)
{
    (void)state;
    struct random random = random_start("test_a_budget_slows_and_loses_nothing");
    struct bench *bench = bench_new(random, 300, 1);
    struct budget budget;
    budget_init(&budget, item_layout.entity, 10, 0);
    bench->source.transactions_max = 50;
    bench->outbound.budgets = &budget;
    bench->outbound.budget_count = 1;
    bench_run(bench);
    assert_nothing_lost(bench);
    /* Ten a second, of which a hundred are ahead of their time. */
    assert_in_range(world_ms(bench->world), 18000, 40000);
    bench_free(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_paused_direction_sends_nothing_and_loses_nothing),
        cmocka_unit_test(test_a_pause_before_anything_was_published_waits_quietly),
        cmocka_unit_test(test_what_is_paused_before_the_start_is_never_sent),
        cmocka_unit_test(test_a_budget_slows_and_loses_nothing),
        cmocka_unit_test(test_every_change_is_published_once_and_released),
        cmocka_unit_test(test_batches_overlap_but_no_more_than_the_limit),
        cmocka_unit_test(test_what_comes_while_a_small_batch_is_under_way_gathers),
        cmocka_unit_test(test_large_batches_overlap_even_when_the_broker_is_near),
        cmocka_unit_test(test_messages_of_a_batch_are_released_together),
        cmocka_unit_test(test_blocked_broker_is_waited_for_without_failure),
        cmocka_unit_test(test_blocked_broker_is_told_and_waited_for),
        cmocka_unit_test(test_failure_of_any_call_loses_nothing),
        cmocka_unit_test(test_refused_and_unroutable_messages_are_sent_again),
        cmocka_unit_test(test_random_failures_of_every_call_lose_nothing),
        cmocka_unit_test(test_random_failures_while_the_broker_is_blocked_lose_nothing),
        cmocka_unit_test(test_envelopes_stay_valid_while_the_outlet_has_put_them_by),
        cmocka_unit_test(test_numbers_have_no_gaps_when_the_broker_goes_and_comes),
        cmocka_unit_test(test_numbers_have_no_gaps_when_sealed_batches_are_given_up),
        cmocka_unit_test(test_database_that_is_away_is_tried_with_backoff),
        cmocka_unit_test(test_broker_that_is_away_is_tried_with_backoff),
        cmocka_unit_test(test_standby_looks_once_a_second),
        cmocka_unit_test(test_backoff_grows_when_connecting_works_and_the_first_use_fails),
        cmocka_unit_test(test_idle_worker_is_quiet),
        cmocka_unit_test(test_broker_hears_of_us_while_there_is_nothing_to_send),
        cmocka_unit_test(test_broker_hears_of_us_while_the_database_is_away),
        cmocka_unit_test(test_stop_waits_for_what_is_published),
        cmocka_unit_test(test_stop_waits_only_a_few_seconds),
        cmocka_unit_test(test_stop_does_not_begin_to_reconnect),
        cmocka_unit_test(test_stop_at_any_moment_leaves_a_source_that_can_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
