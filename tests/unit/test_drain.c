/* The broker's dead letters, drained beside a queue that flows. */
#include "bridge/flow/inbound.h"
#include "tests/unit/fakes.h"

#define NODE TEXT_LITERAL("home")

struct bench {
    struct world *world;
    struct counters counters;
    struct arena arena;
    struct queue queue, dead_queue;
    struct fake_inlet inlet, dead;
    struct fake_target *target;
    struct inbound inbound;
    uint64_t wanted; /* acquitted */
};

static const char *const peers[] = {"alpha"};

static bool all_acquitted(void *context)
{
    struct bench *bench = context;
    return bench->target->acquitted >= bench->wanted && bench->dead_queue.settled == bench->dead_queue.count;
}

static struct bench *bench_new(void)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench->world = world_new((struct random){1});
    bench->world->done = all_acquitted;
    bench->world->context = bench;
    arena_init(&bench->arena, LIMIT_ARENA_BYTES);
    bench->target = fake_target_new(bench->world, NODE);
    fake_inlet_init(&bench->inlet, bench->world, &bench->queue, bench->target);
    fake_inlet_init(&bench->dead, bench->world, &bench->dead_queue, bench->target);
    bench->inlet.peer_count = bench->dead.peer_count = 1;
    bench->inlet.peers = bench->dead.peers = peers;
    bench->inbound = (struct inbound){.inlet = &bench->inlet.port,
                                      .dead = &bench->dead.port,
                                      .target = &bench->target->port,
                                      .peer_count = 1,
                                      .peers = peers};
    return bench;
}

static void bench_run(struct bench *bench)
{
    worker_init(&bench->inbound.worker, "in", NODE, &bench->world->clock, &bench->counters, &bench->world->stop);
    inbound_run(&bench->inbound);
}

static void bench_free(struct bench *bench)
{
    fake_target_free(bench->target);
    queue_free(&bench->queue);
    queue_free(&bench->dead_queue);
    arena_free(&bench->arena);
    free(bench->world);
    free(bench);
}

/* A message of one row, in the dead-letter queue. */
static struct queued *put(struct bench *bench, size_t key)
{
    struct text *values = arena_take_array(&bench->arena, 2, sizeof *values);
    int64_t *versions = arena_take_array(&bench->arena, 1, sizeof *versions);
    values[0] = arena_printf(&bench->arena, "%zu", key);
    values[1] = TEXT_LITERAL("value");
    versions[0] = 1000;
    struct message message = {
        .source = TEXT_LITERAL("alpha"),
        .epoch = TEXT_LITERAL("11111111-1111-4111-8111-111111111111"),
        .sequence = (int64_t)key,
        .part = 1,
        .parts = 1,
        .schema = TEXT_LITERAL("s1"),
        .entity = item_layout.entity,
        .key_count = 1,
        .column_count = 2,
        .columns = item_fields,
        .row_count = 1,
        .values = values,
        .versions = versions,
    };
    struct envelope envelope;
    envelope_seal(&message, world_now_us(&bench->world->clock), &bench->arena, &envelope);
    bench->wanted++;
    return queue_add(&bench->dead_queue, &envelope);
}

/* So many processes have noted it before, and nobody has acquitted it. */
static void suspect(struct bench *bench, const struct queued *queued, uint64_t deaths)
{
    book_put(&bench->target->suspects, text_number(queued->envelope.message_id), 1 + deaths);
}

static void test_dead_letters_are_applied_like_any_message(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    for (size_t key = 1; key <= 50; key++)
        put(bench, key);
    bench_run(bench);
    assert_false(bench->world->exhausted);
    assert_int_equal(bench->target->total.tally.applied, 50);
    assert_int_equal(bench->target->total.tally.dead_letters, 0);
    assert_int_equal(bench->target->acquitted, 50);
    /* One at a time. */
    assert_int_equal(bench->target->transactions, 50);
    assert_int_equal(bench->counters.drained, 50);
    bench_free(bench);
}

static void test_one_that_ended_two_processes_is_quarantined_unread(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    suspect(bench, put(bench, 1), 1);
    suspect(bench, put(bench, 2), 2);
    put(bench, 3);
    bench_run(bench);
    assert_false(bench->world->exhausted);
    assert_int_equal(bench->target->total.tally.applied, 2);
    assert_int_equal(bench->target->total.tally.dead_letters, 1);
    assert_false(bench->target->rows[2].present);
    assert_true(bench->target->rows[1].present && bench->target->rows[3].present);
    /* It has come all the same. */
    assert_int_equal(bench->counters.gaps, 0);
    bench_free(bench);
}

static void test_nothing_is_settled_that_is_not_committed(void **state)
{
    (void)state;
    for (uint64_t number = 1; number < 12; number++) {
        struct bench *bench = bench_new();
        for (size_t key = 1; key <= 5; key++)
            put(bench, key);
        world_rule(bench->world, (struct rule){.call = CALL_COMMIT, .from = number, .count = 1, .fault = FAULT_CONNECTION});
        world_rule(bench->world, (struct rule){.call = CALL_RECEIVE, .from = number, .count = 1, .fault = FAULT_CONNECTION});
        world_rule(bench->world, (struct rule){.call = CALL_SETTLE, .from = number, .count = 1, .fault = FAULT_CONNECTION});
        bench_run(bench);
        assert_false(bench->world->exhausted);
        assert_int_equal(bench->target->total.tally.applied, 5);
        assert_int_equal(bench->target->total.tally.dead_letters, 0);
        bench_free(bench);
    }
}

static void test_a_dead_letter_queue_that_cannot_be_read_stops_nobody(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, 1);
    bench->world->limit_ms = 2 * MINUTE_MS;
    world_rule(bench->world, (struct rule){.call = CALL_DEPTH, .from = 1, .count = UINT64_MAX, .fault = FAULT_OPERATOR, .code = "404"});
    bench_run(bench);
    assert_true(bench->world->exhausted);
    assert_int_equal(bench->dead_queue.settled, 0);
    bench_free(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dead_letters_are_applied_like_any_message),
        cmocka_unit_test(test_one_that_ended_two_processes_is_quarantined_unread),
        cmocka_unit_test(test_nothing_is_settled_that_is_not_committed),
        cmocka_unit_test(test_a_dead_letter_queue_that_cannot_be_read_stops_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
