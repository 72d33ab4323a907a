#include "bridge/flow/inbound.h"
#include "tests/unit/fakes.h"

#define NODE TEXT_LITERAL("home")

static const char *const peers[] = {"alpha", "beta"};

/* An inbound worker between a broker's queue and a database in memory. */
struct bench {
    struct world *world;
    struct counters counters;
    struct queue queue;
    struct fake_target *target;
    struct fake_inlet inlet;
    struct inbound inbound;
    struct brake *brake;
    struct arena arena; /* of the messages that tests make */
    /* what was put into the queue */
    size_t rows, echo_rows, poison, refused;
};

/* All of it delivered, committed and settled. */
static bool all_settled(void *context)
{
    struct bench *bench = context;
    return bench->queue.settled == bench->queue.count;
}

static struct bench *bench_new(struct random random)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    arena_init(&bench->arena, SIZE_MAX / 2);
    bench->world = world_new(random);
    bench->world->done = all_settled;
    bench->world->context = bench;
    bench->target = fake_target_new(bench->world, NODE);
    fake_inlet_init(&bench->inlet, bench->world, &bench->queue, bench->target);
    bench->inlet.peer_count = 2;
    bench->inlet.peers = peers;
    bench->inbound =
        (struct inbound){.inlet = &bench->inlet.port, .target = &bench->target->port, .peer_count = 2, .peers = peers};
    return bench;
}

static void bench_run(struct bench *bench)
{
    worker_init(&bench->inbound.worker, "in", NODE, &bench->world->clock, &bench->counters, &bench->world->stop);
    bench->inbound.worker.brake = bench->brake;
    inbound_run(&bench->inbound);
    assert_false(bench->inlet.is_open || bench->target->is_open);
}

static void bench_free(struct bench *bench)
{
    fake_target_free(bench->target);
    queue_free(&bench->queue);
    arena_free(&bench->arena);
    free(bench->world);
    free(bench);
}

/* ---- messages
 * ------------------------------------------------------------------------------------------------------------ */

#define EPOCH "11111111-1111-4111-8111-111111111111"
#define OTHER_EPOCH "22222222-2222-4222-8222-222222222222"

struct spec {
    const char *source; /* NULL: alpha */
    const char *epoch;
    int64_t sequence;
    const char *batch;
    int64_t part, parts; /* 0: 1 of 1 */
    enum change_op op;
    size_t first, count; /* keys */
    int64_t version_us;  /* of the first row, +1 for each; 0: 1000 */
    int64_t ready_ms;
    const char *replaced; /* the node whose write each row replaced */
};

static struct queued *put(struct bench *bench, struct spec spec)
{
    struct arena *arena = &bench->arena;
    size_t columns = spec.op == CHANGE_DELETED ? 1 : 2;
    struct text *values = arena_take_array(arena, spec.count * columns, sizeof *values);
    int64_t *versions = arena_take_array(arena, spec.count, sizeof *versions);
    for (size_t i = 0; i < spec.count; i++) {
        values[i * columns] = arena_printf(arena, "%zu", spec.first + i);
        if (columns > 1)
            values[i * columns + 1] = arena_printf(arena, "value %zu", spec.first + i);
        versions[i] = (spec.version_us ? spec.version_us : 1000) + (int64_t)i;
    }
    struct message message = {
        .source = text_from(spec.source ? spec.source : "alpha"),
        .epoch = text_from(spec.epoch ? spec.epoch : EPOCH),
        .sequence = spec.sequence,
        .batch = text_from(spec.batch),
        .part = spec.part ? spec.part : 1,
        .parts = spec.parts ? spec.parts : 1,
        .schema = TEXT_LITERAL("s1"),
        .entity = item_layout.entity,
        .op = spec.op,
        .key_count = 1,
        .column_count = columns,
        .columns = item_fields,
        .row_count = spec.count,
        .values = values,
        .versions = versions,
    };
    if (spec.replaced != NULL) {
        struct version *bases = arena_take_array(arena, spec.count, sizeof *bases);
        for (size_t i = 0; i < spec.count; i++)
            bases[i] = (struct version){versions[i] - 1, text_from(spec.replaced)};
        message.bases = bases;
    }
    struct envelope envelope;
    envelope_seal(&message, world_now_us(&bench->world->clock), arena, &envelope);
    struct queued *queued = queue_add(&bench->queue, &envelope);
    queued->ready_ms = spec.ready_ms;
    if (text_equal(message.source, NODE))
        bench->echo_rows += spec.count;
    else if (inlet_knows_peer(&bench->inlet, message.source))
        bench->rows += spec.count;
    else
        bench->refused++;
    return queued;
}

/* A message that has lost its hash on the way. */
static struct queued *put_poison(struct bench *bench, struct spec spec)
{
    struct queued *queued = put(bench, spec);
    if (spec.source == NULL || inlet_knows_peer(&bench->inlet, text_from(spec.source)))
        bench->rows -= spec.count;
    for (size_t i = 0; i < queued->envelope.header_count; i++)
        if (text_equal(queued->envelope.headers[i].name, TEXT_LITERAL("x-content-hash")))
            queued->envelope.headers[i].text = TEXT_LITERAL("sha256:0");
    bench->poison++;
    return queued;
}

static uint64_t number_of(const char *source, size_t key, int64_t version_us)
{
    char text[24];
    snprintf(text, sizeof text, "%zu", key);
    return change_number(item_layout.entity, text_from(text), version_us, text_from(source));
}

/* The transaction that the row went through; 0: none. */
static uint64_t transaction_of(const struct bench *bench, size_t key)
{
    return book_get(&bench->target->handled, number_of("alpha", key, bench->target->rows[key].timestamp_us));
}

static void trouble(struct bench *bench, size_t key, enum fault fault, int64_t until_ms)
{
    const char *code = fault == FAULT_CONTENTION ? "40001" : "23514";
    bench->target->troubles[key] = (struct trouble){.fault = fault, .code = code, .until_ms = until_ms};
}

/* Everything of the peers was applied or buried, and what was done only once counts only once. */
static void assert_all_settled(const struct bench *bench)
{
    const struct fake_target *target = bench->target;
    const struct tally *tally = &target->total.tally;
    assert_false(bench->world->exhausted);
    assert_int_equal(bench->queue.settled, bench->queue.count);
    assert_true(tally_conserves(tally));
    assert_true(tally->received >= bench->rows + bench->echo_rows + bench->poison);
    assert_true(target->total.messages >= bench->queue.count);
    if (bench->inlet.redelivered > 0 || target->lost_replies > 0)
        return;
    assert_int_equal(tally->received, bench->rows + bench->echo_rows + bench->poison);
    assert_int_equal(tally->echo, bench->echo_rows);
    assert_int_equal(target->total.messages, bench->queue.count);
    assert_int_equal(target->total.refused, bench->refused);
    uint64_t bytes = 0;
    for (size_t i = 0; i < bench->queue.count; i++)
        bytes += bench->queue.messages[i]->envelope.body.length;
    assert_int_equal(target->total.bytes, bytes);
}

/* ---- all is well
 * -------------------------------------------------------------------------------------------------------- */

static void test_every_row_is_applied_and_counted_once(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 300; i++)
        put(bench,
            (struct spec){.sequence = (int64_t)i + 1, .op = (enum change_op)(i % 3), .first = i * 20, .count = 20});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.tally.applied, 6000);
    assert_int_equal(bench->counters.received, 6000);
    assert_int_equal(bench->counters.applied, 6000);
    assert_int_equal(bench->counters.messages_in, 300);
    assert_int_equal(bench->counters.transactions_in, bench->target->transactions);
    assert_int_equal(bench->counters.newest_us, 1019);
    assert_int_equal(bench->counters.gaps, 0);
    assert_string_equal(bench->target->reported_state, "stopped");
    bench_free(bench);
}

static void test_backlog_is_applied_in_large_transactions(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 1000; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i * 8, .count = 8});
    bench_run(bench);
    assert_all_settled(bench);
    assert_in_range(bench->target->transactions, 2, 20);
    bench_free(bench);
}

static void test_group_ends_at_its_limit_of_rows(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 8; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i * 1000, .count = 1000});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->transactions, 2);
    bench_free(bench);
}

static void test_same_messages_again_change_nothing(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (int copy = 0; copy < 3; copy++)
        for (size_t i = 0; i < 50; i++)
            put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i, .count = 1, .version_us = 500});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.tally.applied, 50);
    assert_int_equal(bench->target->total.tally.duplicate, 100);
    bench_free(bench);
}

static void test_change_that_waits_alone_is_applied_at_once(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 20; i++)
        put(bench,
            (struct spec){.sequence = (int64_t)i + 1, .first = i, .count = 1, .ready_ms = 1000 * (int64_t)i + 70});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->transactions, 20);
    assert_in_range(bench->target->committed_ms, 19070, 19080);
    bench_free(bench);
}

static void test_letters_that_somebody_asks_for_are_looked_for_every_second(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1, .ready_ms = 20000});
    bench_run(bench);
    assert_all_settled(bench);
    assert_in_range(bench->target->looks, 17, 25);
    bench_free(bench);
}

static void test_many_letters_are_tried_without_a_pause(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    bench->target->looks_at_once = 100;
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1, .ready_ms = 20000});
    bench_run(bench);
    assert_all_settled(bench);
    assert_true(bench->target->looks > 100);
    assert_true(bench->target->looked_ms < 200);
    bench_free(bench);
}

static void test_letters_whose_rows_somebody_holds_are_tried_again_soon(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    bench->target->looks_in_vain = 5;
    bench->target->looks_at_once = 6;
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1, .ready_ms = 20000});
    bench_run(bench);
    assert_all_settled(bench);
    assert_in_range(bench->target->looked_ms, 1000, 2000);
    bench_free(bench);
}

static void test_letters_whose_rows_are_held_for_long_take_a_tenth_of_the_time(void **state)
{
    (void)state;
    for (int others_go = 0; others_go < 2; others_go++) {
        struct bench *bench = bench_new((struct random){1});
        bench->target->looks_in_vain = 1000;
        bench->target->held_ms = 400;
        bench->target->others_go = others_go;
        for (size_t i = 0; i < 100; i++)
            put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i, .count = 1, .ready_ms = 400 * (int64_t)i});
        bench_run(bench);
        assert_all_settled(bench);
        assert_in_range(bench->target->looks, 8, 12);
        bench_free(bench);
    }
}

/* ---- what is not applied
 * ------------------------------------------------------------------------------------------------ */

static void test_echo_refused_and_poison_are_counted_and_never_applied(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.source = "home", .sequence = 1, .first = 10, .count = 5});
    put(bench, (struct spec){.source = "mallory", .sequence = 1, .first = 20, .count = 5});
    struct queued *poison = put_poison(bench, (struct spec){.sequence = 1, .first = 30, .count = 5});
    put(bench, (struct spec){.sequence = 2, .first = 40, .count = 5});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.tally.applied, 5);
    assert_int_equal(bench->target->total.tally.echo, 5);
    assert_int_equal(bench->target->total.tally.dead_letters, 1);
    assert_int_equal(bench->target->total.refused, 1);
    assert_int_equal(bench->counters.echo, 5);
    assert_int_equal(bench->counters.refused, 1);
    assert_int_equal(bench->counters.poison, 1);
    for (size_t key = 10; key < 40; key++)
        assert_false(bench->target->rows[key].present);
    assert_int_equal(book_get(&bench->target->letters, text_number(poison->envelope.message_id)), 1);
    bench_free(bench);
}

static void test_sources_that_are_no_peers_share_one_receipt(void **state)
{
    (void)state;
    /* More of them than there may be receipts. */
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 120; i++) {
        char *name = arena_string(&bench->arena, arena_printf(&bench->arena, "stranger%zu", i));
        put(bench, (struct spec){.source = name, .sequence = 1, .first = i, .count = 1});
    }
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.refused, 120);
    assert_int_equal(bench->target->total.tally.received, 0);
    bench_free(bench);
}

static void test_oversize_message_is_buried(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    struct queued *queued = put_poison(bench, (struct spec){.sequence = 1, .first = 1, .count = 1});
    queued->envelope.oversize_bytes = 1 << 30;
    queued->envelope.body = TEXT_LITERAL("");
    put(bench, (struct spec){.sequence = 2, .first = 2, .count = 1});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->letters.count, 1);
    assert_true(bench->target->rows[2].present);
    bench_free(bench);
}

/* ---- one bad row
 * ---------------------------------------------------------------------------------------------------------- */

static void one_bad_row(enum fault fault, size_t messages, size_t rows_each, size_t bad)
{
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < messages; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i * rows_each, .count = rows_each});
    trouble(bench, bad, fault, 0);
    bench_run(bench);
    assert_all_settled(bench);
    size_t total = messages * rows_each;
    assert_int_equal(bench->target->total.tally.applied, total - 1);
    assert_int_equal(bench->target->total.tally.dead_letters, 1);
    assert_int_equal(bench->counters.dead_letters, 1);
    assert_int_equal(bench->target->letters.count, 1);
    for (size_t key = 0; key < total; key++)
        assert_int_equal(bench->target->rows[key].present, key != bad);
    assert_int_equal(book_get(&bench->target->letters, number_of("alpha", bad, 1000 + (int64_t)(bad % rows_each))), 1);
    /* Found by halving. */
    assert_true(bench->world->calls[CALL_BEGIN] < 40);
    bench_free(bench);
}

static void test_one_bad_row_is_isolated_and_everything_else_applied(void **state)
{
    (void)state;
    static const enum fault faults[] = {FAULT_PERMANENT, FAULT_TRANSIENT, FAULT_BUG};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        one_bad_row(faults[i], 1, 1, 0);
        one_bad_row(faults[i], 1, 2, 1);
        one_bad_row(faults[i], 2, 1, 0);
        one_bad_row(faults[i], 7, 13, 52);
        one_bad_row(faults[i], 1, 5000, 4999);
        one_bad_row(faults[i], 100, 50, 2500);
    }
}

static void test_any_bad_rows_are_isolated(void **state)
{
    (void)state;
    struct random random = random_start("test_any_bad_rows_are_isolated");
    for (int round = 0; round < 40; round++) {
        struct bench *bench = bench_new((struct random){random_next(&random)});
        size_t messages = 1 + random_below(&random, 60), rows_each = 1 + random_below(&random, 30);
        for (size_t i = 0; i < messages; i++) {
            struct spec spec = {.sequence = (int64_t)i + 1, .first = i * rows_each, .count = rows_each};
            if (random_below(&random, 10) == 0)
                put_poison(bench, spec);
            else
                put(bench, spec);
        }
        size_t bad_count = 0;
        for (size_t key = 0; key < messages * rows_each; key++)
            if (random_below(&random, 20) == 0)
                trouble(bench, key, FAULT_PERMANENT, 0);
        bench_run(bench);
        assert_all_settled(bench);
        for (size_t i = 0; i < bench->queue.count; i++)
            for (size_t row = 0; row < rows_each; row++)
                bad_count +=
                    bench->target->troubles[i * rows_each + row].fault != FAULT_NONE &&
                    book_get(&bench->target->handled, number_of("alpha", i * rows_each + row, 1000 + (int64_t)row)) > 0;
        assert_int_equal(bench->target->letters.count, bad_count + bench->poison);
        assert_int_equal(bench->target->total.tally.applied, bench->rows - bad_count);
        bench_free(bench);
    }
}

/* A transaction moves children to a new parent: the update travels before the creation, which is fine as long as both
 * are in one transaction. */
static void test_change_that_needs_another_of_its_batch_is_not_buried_because_of_a_third(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){
                   .sequence = 1, .batch = "b", .part = 1, .parts = 3, .op = CHANGE_UPDATED, .first = 1, .count = 1});
    put(bench, (struct spec){.sequence = 2, .batch = "b", .part = 2, .parts = 3, .first = 2, .count = 1});
    put(bench, (struct spec){.sequence = 3, .batch = "b", .part = 3, .parts = 3, .first = 3, .count = 1});
    bench->target->parents[1] = 1 + 2;
    trouble(bench, 3, FAULT_PERMANENT, 0);
    bench_run(bench);
    assert_all_settled(bench);
    assert_true(bench->target->rows[1].present && bench->target->rows[2].present);
    assert_int_equal(bench->target->letters.count, 1);
    bench_free(bench);
}

static void test_row_that_needs_what_never_comes_is_buried(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 1, .count = 10});
    bench->target->parents[5] = 1 + 100;
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->letters.count, 1);
    assert_int_equal(bench->target->total.tally.applied, 9);
    bench_free(bench);
}

static void test_any_rows_that_need_what_never_comes_are_buried(void **state)
{
    (void)state;
    /* More of them than a check names at once. */
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 20; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i * 100, .count = 100});
    size_t bad = 0;
    for (size_t key = 0; key < 2000; key += 3, bad++)
        bench->target->parents[key] = 1 + 5000;
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->letters.count, bad);
    assert_int_equal(bench->target->total.tally.applied, 2000 - bad);
    bench_free(bench);
}

static void test_rows_that_exchange_unique_values_are_applied(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .op = CHANGE_UPDATED, .first = 0, .count = 10});
    for (size_t key = 3; key < 7; key++)
        bench->target->troubles[key] = (struct trouble){.fault = FAULT_PERMANENT, .code = "23505", .exchange = true};
    trouble(bench, 8, FAULT_PERMANENT, 0);
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->letters.count, 1);
    assert_int_equal(bench->target->total.tally.applied, 9);
    bench_free(bench);
}

static void test_a_backlog_of_small_messages_is_applied_by_one_call(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 100; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .op = CHANGE_UPDATED, .first = i, .count = 1});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->world->calls[CALL_APPLY], 1);
    assert_int_equal(bench->target->total.tally.applied, 100);
    assert_int_equal(bench->target->total.messages, 100);
    bench_free(bench);
}

static void test_entities_that_keep_their_order_are_applied_one_by_one(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 10; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .op = CHANGE_UPDATED, .first = i, .count = 1});
    bench->target->port.in_order = &item_layout.entity;
    bench->target->port.in_order_count = 1;
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->world->calls[CALL_APPLY], 10);
    assert_int_equal(bench->target->transactions, 1);
    bench_free(bench);
}

static void test_unique_values_that_move_within_a_backlog_are_applied_one_by_one(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 10; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .op = CHANGE_UPDATED, .first = i, .count = 1});
    bench->target->troubles[6] = (struct trouble){.fault = FAULT_PERMANENT, .code = "23505", .beside = true};
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->world->calls[CALL_APPLY], 1 + 10);
    assert_int_equal(bench->target->transactions, 1);
    assert_int_equal(bench->target->total.tally.applied, 10);
    bench_free(bench);
}

static void test_poison_that_cannot_be_buried_at_first_stays_poison(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    struct queued *poison = put_poison(bench, (struct spec){.sequence = 1, .first = 1, .count = 1});
    world_rule(bench->world,
               (struct rule){.call = CALL_BURY, .from = 1, .count = 1, .fault = FAULT_PERMANENT, .code = "22021"});
    bench_run(bench);
    assert_all_settled(bench);
    /* The fake target refuses a letter with a message of no rows. */
    assert_int_equal(book_get(&bench->target->letters, text_number(poison->envelope.message_id)), 1);
    bench_free(bench);
}

static void bury_in_vain(size_t messages)
{
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < messages; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i, .count = 1});
    trouble(bench, 0, FAULT_PERMANENT, 0);
    world_rule(bench->world,
               (struct rule){.call = CALL_BURY, .until_ms = MINUTE_MS, .fault = FAULT_PERMANENT, .code = "22021"});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->letters.count, 1);
    assert_int_equal(bench->target->total.tally.applied, messages - 1);
    assert_true(bench->world->calls[CALL_BURY] < 600);
    bench_free(bench);
}

static void test_burying_that_fails_for_good_is_tried_with_backoff(void **state)
{
    (void)state;
    bury_in_vain(1);
    /* As many as the broker delivers at once: there is nothing to wait for on the inlet. */
    bury_in_vain(LIMIT_PREFETCH_MESSAGES);
}

/* ---- batches are whole
 * --------------------------------------------------------------------------------------------------- */

static void assert_one_transaction(const struct bench *bench, size_t first, size_t count)
{
    for (size_t key = first; key < first + count; key++) {
        assert_true(transaction_of(bench, key) > 0);
        assert_int_equal(transaction_of(bench, key), transaction_of(bench, first));
    }
}

static void test_rest_of_a_batch_with_bad_rows_is_applied_in_one_transaction(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 3; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1,
                                 .batch = "b",
                                 .part = (int64_t)i + 1,
                                 .parts = 3,
                                 .first = i * 50,
                                 .count = 50});
    trouble(bench, 60, FAULT_PERMANENT, 0);
    bench->target->parents[120] = 1 + 5000;
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->letters.count, 2);
    uint64_t transaction = transaction_of(bench, 0);
    for (size_t key = 0; key < 150; key++)
        assert_int_equal(book_get(&bench->target->handled, number_of("alpha", key, 1000 + (int64_t)(key % 50))),
                         transaction);
    bench_free(bench);
}

static void test_parts_that_come_one_by_one_are_applied_in_one_transaction(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 5; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1,
                                 .batch = "b",
                                 .part = (int64_t)i + 1,
                                 .parts = 5,
                                 .first = i * 10,
                                 .count = 10,
                                 .ready_ms = (int64_t)i * 1500});
    bench_run(bench);
    assert_all_settled(bench);
    assert_one_transaction(bench, 0, 50);
    bench_free(bench);
}

static void test_batch_is_waited_for_from_its_first_part_on(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    bench->inlet.asleep_ms = MINUTE_MS;
    for (size_t i = 0; i < 2; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1,
                                 .batch = "b",
                                 .part = (int64_t)i + 1,
                                 .parts = 2,
                                 .first = i * 10,
                                 .count = 10,
                                 .ready_ms = (int64_t)i * (MINUTE_MS + 500)});
    bench_run(bench);
    assert_all_settled(bench);
    assert_one_transaction(bench, 0, 20);
    bench_free(bench);
}

static void test_batch_larger_than_a_group_is_applied_in_one_transaction(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 8; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1,
                                 .batch = "b",
                                 .part = (int64_t)i + 1,
                                 .parts = 8,
                                 .first = i * 1000,
                                 .count = 1000});
    bench_run(bench);
    assert_all_settled(bench);
    assert_one_transaction(bench, 0, 8000);
    bench_free(bench);
}

static void test_no_batch_of_a_backlog_is_cut(void **state)
{
    (void)state;
    /* More parts than the broker delivers at once, and no multiple of it. */
    enum { MESSAGES = (2 * LIMIT_PREFETCH_MESSAGES + 48) / 3 * 3 };
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < MESSAGES; i++) {
        char *batch = arena_string(&bench->arena, arena_printf(&bench->arena, "b%zu", i / 3));
        put(bench, (struct spec){.sequence = (int64_t)i + 1,
                                 .batch = batch,
                                 .part = (int64_t)(i % 3) + 1,
                                 .parts = 3,
                                 .first = i,
                                 .count = 1});
    }
    assert_true(LIMIT_PREFETCH_MESSAGES % 3 != 0);
    bench_run(bench);
    assert_all_settled(bench);
    for (size_t i = 0; i < MESSAGES; i += 3)
        assert_one_transaction(bench, i, 3);
    bench_free(bench);
}

static void test_what_is_read_ahead_is_applied_in_groups_of_whole_batches(void **state)
{
    (void)state;
    /* All come while the first is applied. Batches of two messages; four messages are a group's rows. */
    enum { MESSAGES = 7, ROWS = LIMIT_GROUP_ROWS / 4 };
    struct bench *bench = bench_new((struct random){1});
    bench->target->apply_lasts_ms = 1000;
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1});
    for (size_t i = 0; i < MESSAGES - 1; i++) {
        char *batch = arena_string(&bench->arena, arena_printf(&bench->arena, "b%zu", i / 2));
        put(bench, (struct spec){.sequence = (int64_t)i + 2,
                                 .batch = batch,
                                 .part = (int64_t)(i % 2) + 1,
                                 .parts = 2,
                                 .first = 1 + i * ROWS,
                                 .count = ROWS,
                                 .ready_ms = 1 + (int64_t)i});
    }
    bench_run(bench);
    assert_all_settled(bench);
    for (size_t batch = 0; batch < (MESSAGES - 1) / 2; batch++)
        assert_one_transaction(bench, 1 + batch * 2 * ROWS, 2 * ROWS);
    assert_int_not_equal(transaction_of(bench, 0), transaction_of(bench, 1));
    assert_int_equal(transaction_of(bench, 1), transaction_of(bench, 1 + 2 * ROWS));
    assert_int_not_equal(transaction_of(bench, 1), transaction_of(bench, 1 + 4 * ROWS));
    bench_free(bench);
}

static void test_what_is_read_ahead_waits_for_nobody(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    bench->target->apply_lasts_ms = 1000;
    for (int64_t i = 0; i < 3; i++)
        put(bench, (struct spec){.sequence = i + 1, .first = (size_t)i, .count = 1, .ready_ms = i * 800});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->transactions, 3);
    assert_int_equal(bench->inlet.waits_in_hand, 0);
    bench_free(bench);
}

static void test_batches_of_two_peers_that_interleave_are_whole(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (int64_t i = 0; i < 4; i++) {
        put(bench, (struct spec){.sequence = i + 1,
                                 .batch = "a",
                                 .part = i + 1,
                                 .parts = 4,
                                 .first = (size_t)i,
                                 .count = 1,
                                 .ready_ms = i * 400});
        put(bench, (struct spec){.source = "beta",
                                 .sequence = i + 1,
                                 .batch = "b",
                                 .part = i + 1,
                                 .parts = 4,
                                 .first = 100 + (size_t)i,
                                 .count = 1,
                                 .ready_ms = i * 400 + 100});
    }
    bench_run(bench);
    assert_all_settled(bench);
    assert_one_transaction(bench, 0, 4);
    for (size_t key = 100; key < 104; key++)
        assert_int_equal(book_get(&bench->target->handled, number_of("beta", key, 1000)),
                         book_get(&bench->target->handled, number_of("beta", 100, 1000)));
    bench_free(bench);
}

static void test_batch_is_not_cut_where_another_peers_message_stands_between_its_parts(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .batch = "x", .part = 1, .parts = 2, .first = 1, .count = 1});
    put(bench, (struct spec){.source = "beta", .sequence = 1, .batch = "y", .first = 100, .count = 1});
    put(bench, (struct spec){.sequence = 2, .batch = "x", .part = 2, .parts = 2, .first = 2, .count = 1});
    bench->target->parents[1] = 1 + 2;
    trouble(bench, 100, FAULT_PERMANENT, 0);
    bench_run(bench);
    assert_all_settled(bench);
    assert_true(bench->target->rows[1].present && bench->target->rows[2].present);
    assert_int_equal(bench->target->letters.count, 1);
    assert_int_equal(transaction_of(bench, 1), book_get(&bench->target->handled, number_of("alpha", 2, 1000)));
    bench_free(bench);
}

static void test_abandoned_batch_is_superseded_by_the_next(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 8, .batch = "x", .part = 1, .parts = 3, .first = 0, .count = 2});
    put(bench, (struct spec){
                   .epoch = OTHER_EPOCH, .sequence = 1, .batch = "y", .part = 1, .parts = 2, .first = 0, .count = 2});
    put(bench, (struct spec){
                   .epoch = OTHER_EPOCH, .sequence = 2, .batch = "y", .part = 2, .parts = 2, .first = 2, .count = 4});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.tally.duplicate, 2);
    assert_int_equal(bench->target->total.tally.applied, 6);
    assert_one_transaction(bench, 0, 6);
    assert_true(bench->target->committed_ms < 1000);
    bench_free(bench);
}

static void test_rest_of_a_batch_is_not_waited_for_for_ever(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .batch = "x", .part = 1, .parts = 3, .first = 0, .count = 2});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.tally.applied, 2);
    assert_in_range(bench->target->committed_ms, 5000, 15000);
    bench_free(bench);
}

static void test_batch_with_an_unreadable_last_part_does_not_wait(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .batch = "x", .part = 1, .parts = 2, .first = 0, .count = 2});
    put_poison(bench, (struct spec){.sequence = 2, .batch = "x", .part = 2, .parts = 2, .first = 2, .count = 2});
    bench_run(bench);
    assert_all_settled(bench);
    assert_true(bench->target->committed_ms < 2000);
    bench_free(bench);
}

/* ---- contention, and what an operator has to mend
 * -------------------------------------------------------------------------- */

static void test_contended_row_is_tried_until_it_is_free(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 10; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i * 10, .count = 10});
    trouble(bench, 37, FAULT_CONTENTION, 3 * MINUTE_MS);
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->letters.count, 0);
    assert_int_equal(bench->target->total.tally.applied, 100);
    /* Tried with pauses, and the broker is heard all the while. */
    assert_true(bench->world->calls[CALL_BEGIN] < 600);
    assert_true(bench->inlet.attention.longest_ms < 10000);
    bench_free(bench);
}

static void test_row_that_is_busy_for_a_moment_costs_no_halving(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1000});
    trouble(bench, 500, FAULT_CONTENTION, 25);
    bench_run(bench);
    assert_all_settled(bench);
    assert_one_transaction(bench, 0, 1000);
    bench_free(bench);
}

static void test_stale_plan_gets_a_new_session(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 10});
    world_rule(bench->world,
               (struct rule){.call = CALL_APPLY, .from = 1, .count = 1, .fault = FAULT_CONTENTION, .code = "26000"});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->world->calls[CALL_TARGET_OPEN], 2);
    assert_int_equal(bench->target->total.tally.applied, 10);
    bench_free(bench);
}

/* The service manager takes a worker that shows no life for minutes for stuck. */
struct watched {
    struct bench *bench;
    int64_t longest_ms;
};

static bool note_silence(void *context)
{
    struct watched *watched = context;
    int64_t silent_ms = world_ms(watched->bench->world) - atomic_load(&watched->bench->counters.in_alive_ms);
    if (silent_ms > watched->longest_ms)
        watched->longest_ms = silent_ms;
    return all_settled(watched->bench);
}

static void test_worker_shows_life_while_it_waits_for_a_row(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    struct watched watched = {.bench = bench};
    bench->world->done = note_silence;
    bench->world->context = &watched;
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1});
    trouble(bench, 0, FAULT_CONTENTION, 10 * MINUTE_MS);
    bench_run(bench);
    assert_all_settled(bench);
    assert_true(watched.longest_ms < MINUTE_MS);
    bench_free(bench);
}

static void test_what_an_operator_must_mend_is_waited_for_and_never_buried(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 10; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i * 10, .count = 10});
    trouble(bench, 37, FAULT_OPERATOR, 5 * MINUTE_MS);
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->letters.count, 0);
    assert_int_equal(bench->target->total.tally.applied, 100);
    assert_true(bench->world->now_us > 5 * MINUTE_MS * INT64_C(1000));
    bench_free(bench);
}

static void test_backoff_grows_when_connecting_works_and_the_first_use_fails(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 10});
    trouble(bench, 5, FAULT_OPERATOR, 5 * MINUTE_MS);
    bench_run(bench);
    assert_all_settled(bench);
    assert_true(bench->world->calls[CALL_TARGET_OPEN] < 300);
    bench_free(bench);
}

/* ---- the database is away
 * --------------------------------------------------------------------------------------------------- */

struct away {
    struct bench *bench;
    int64_t from_ms, until_ms;
    size_t settled;
};

/* Nothing is settled while nothing can be committed. */
static bool watch_settled(void *context)
{
    struct away *away = context;
    int64_t now_ms = world_ms(away->bench->world);
    if (now_ms < away->from_ms)
        away->settled = away->bench->queue.settled;
    else if (now_ms < away->until_ms)
        assert_int_equal(away->bench->queue.settled, away->settled);
    return all_settled(away->bench);
}

/* The database goes in the middle of the first transaction and stays away; queued messages wait. */
static struct bench *database_away(size_t queued)
{
    struct bench *bench = bench_new((struct random){1});
    struct away away = {.bench = bench, .from_ms = 100, .until_ms = 5 * MINUTE_MS};
    bench->world->done = watch_settled;
    bench->world->context = &away;
    for (size_t i = 0; i < queued; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i, .count = 1, .ready_ms = 50});
    world_rule(bench->world, (struct rule){.call = CALL_COMMIT, .until_ms = 100, .fault = FAULT_CONNECTION});
    world_rule(bench->world,
               (struct rule){.call = CALL_TARGET_OPEN, .from = 2, .count = 225, .fault = FAULT_CONNECTION});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.tally.applied, queued);
    assert_int_equal(bench->target->letters.count, 0);
    assert_true(world_ms(bench->world) > 4 * MINUTE_MS);
    return bench;
}

static void test_broker_hears_of_us_while_the_database_is_away(void **state)
{
    (void)state;
    struct bench *bench = database_away(3);
    assert_true(bench->inlet.attention.longest_ms < 10000);
    bench_free(bench);
}

static void test_broker_hears_of_us_with_all_it_delivers_at_once_in_hand(void **state)
{
    (void)state;
    struct bench *bench = database_away(3 * LIMIT_PREFETCH_MESSAGES + 16);
    assert_true(bench->inlet.attention.longest_ms < 10000);
    bench_free(bench);
}

static void test_broker_hears_of_us_while_there_is_nothing_in_hand_and_the_database_is_away(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1, .ready_ms = 10 * MINUTE_MS});
    world_rule(bench->world,
               (struct rule){.call = CALL_TARGET_REPORT, .from = 3, .count = 1, .fault = FAULT_CONNECTION});
    world_rule(bench->world,
               (struct rule){.call = CALL_TARGET_OPEN, .from = 2, .count = 60, .fault = FAULT_CONNECTION});
    bench_run(bench);
    assert_all_settled(bench);
    assert_true(bench->inlet.attention.longest_ms < 10000);
    bench_free(bench);
}

static void test_broker_hears_of_us_while_many_bad_rows_are_isolated(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 2000});
    for (size_t key = 0; key < 2000; key++)
        trouble(bench, key, FAULT_PERMANENT, 0);
    bench->world->call_us = 5000;
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->letters.count, 2000);
    assert_true(bench->inlet.attention.longest_ms < 10000);
    bench_free(bench);
}

static void test_broker_hears_of_us_while_a_statement_lasts_for_minutes(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 20; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i * 10, .count = 10, .ready_ms = (int64_t)i * 7000});
    bench->target->apply_lasts_ms = MINUTE_MS;
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.tally.applied, 200);
    assert_true(bench->inlet.attention.longest_ms < 10000);
    /* What came meanwhile was kept for the next transaction. */
    assert_int_equal(bench->target->transactions, 4);
    bench_free(bench);
}

static void test_broker_that_goes_while_a_statement_lasts_delivers_again(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 10});
    put(bench, (struct spec){.sequence = 2, .first = 10, .count = 10, .ready_ms = 2000});
    bench->target->apply_lasts_ms = 10000;
    world_rule(bench->world, (struct rule){.call = CALL_RECEIVE, .from = 8, .count = 1, .fault = FAULT_CONNECTION});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.tally.applied, 20);
    assert_int_equal(bench->world->calls[CALL_INLET_OPEN], 2);
    bench_free(bench);
}

static void test_broker_that_goes_while_the_database_is_away_delivers_again(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    for (size_t i = 0; i < 20; i++)
        put(bench, (struct spec){.sequence = (int64_t)i + 1, .first = i, .count = 1});
    world_rule(bench->world, (struct rule){.call = CALL_COMMIT, .from = 1, .count = 1, .fault = FAULT_CONNECTION});
    world_rule(bench->world,
               (struct rule){.call = CALL_TARGET_OPEN, .from = 2, .count = 20, .fault = FAULT_CONNECTION});
    world_rule(bench->world, (struct rule){.call = CALL_RECEIVE, .from = 25, .count = 1, .fault = FAULT_CONNECTION});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->world->calls[CALL_INLET_OPEN], 2);
    assert_int_equal(bench->inlet.redelivered, 20);
    assert_int_equal(bench->target->total.tally.applied, 20);
    assert_int_equal(bench->target->total.tally.duplicate, 20);
    bench_free(bench);
}

/* ---- anything fails
 * ------------------------------------------------------------------------------------------------------------ */

static const enum call inbound_calls[] = {CALL_INLET_OPEN,  CALL_RECEIVE,  CALL_SETTLE,       CALL_DEPTH,
                                          CALL_TARGET_OPEN, CALL_BEGIN,    CALL_APPLY,        CALL_BURY,
                                          CALL_COMMIT,      CALL_ROLLBACK, CALL_TARGET_REPORT};

static void test_failure_of_any_call_loses_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof inbound_calls / sizeof inbound_calls[0]; i++) {
        for (uint64_t number = 1; number < 20; number++) {
            struct bench *bench = bench_new((struct random){number});
            for (size_t j = 0; j < 12; j++)
                put(bench,
                    (struct spec){
                        .sequence = (int64_t)j + 1, .first = j * 4, .count = 4, .ready_ms = (int64_t)(j / 4) * 6000});
            put_poison(bench, (struct spec){.sequence = 13, .first = 100, .count = 1});
            trouble(bench, 17, FAULT_PERMANENT, 0);
            world_rule(bench->world, (struct rule){.call = inbound_calls[i],
                                                   .from = number,
                                                   .count = 1,
                                                   .fault = FAULT_CONNECTION,
                                                   .after = number % 2 == 0});
            bench_run(bench);
            assert_all_settled(bench);
            assert_int_equal(bench->target->letters.count, 2);
            for (size_t key = 0; key < 48; key++)
                assert_int_equal(bench->target->rows[key].present, key != 17);
            bench_free(bench);
        }
    }
}

static void test_random_failures_of_every_call_lose_nothing(void **state)
{
    (void)state;
    struct random random = random_start("test_random_failures_of_every_call_lose_nothing");
    for (int round = 0; round < 25; round++) {
        struct bench *bench = bench_new((struct random){random_next(&random)});
        int64_t sequence[2] = {0, 0};
        size_t key = 0, bad = 0;
        int64_t ready_ms = 0, pace_ms = (int64_t)random_below(&random, 500);
        for (size_t batch = 0; batch < 40; batch++) {
            size_t peer = random_below(&random, 2), parts = 1 + random_below(&random, 4);
            char *name = arena_string(&bench->arena, arena_printf(&bench->arena, "batch%zu", batch));
            for (size_t part = 0; part < parts; part++) {
                struct spec spec = {.source = peers[peer],
                                    .sequence = ++sequence[peer],
                                    .batch = name,
                                    .part = (int64_t)part + 1,
                                    .parts = (int64_t)parts,
                                    .first = key,
                                    .count = 1 + random_below(&random, 20),
                                    .op = (enum change_op)random_below(&random, 3),
                                    .ready_ms = ready_ms};
                key += spec.count;
                put(bench, spec);
            }
            ready_ms += pace_ms;
            if (random_below(&random, 10) == 0)
                put_poison(bench, (struct spec){.sequence = 1000, .first = 0, .count = 1});
            if (random_below(&random, 10) == 0)
                put(bench, (struct spec){.source = "home", .sequence = 1, .first = 0, .count = 3});
            if (random_below(&random, 10) == 0)
                put(bench, (struct spec){.source = "mallory", .sequence = 1, .first = 0, .count = 3});
        }
        for (size_t i = 0; i < key; i++) {
            size_t chance = random_below(&random, 100);
            if (chance == 0) {
                trouble(bench, i, FAULT_PERMANENT, 0);
                bad++;
            } else if (chance == 1) {
                trouble(bench, i, FAULT_CONTENTION, 1 + (int64_t)random_below(&random, MINUTE_MS)); /* 0 would be for ever */
            }
        }
        bench->world->percent = (unsigned)random_below(&random, 25);
        bench->world->healed_ms = MINUTE_MS;
        bench_run(bench);
        /* Every settle has checked that what it settles is durable: here is what remains to be seen. */
        assert_all_settled(bench);
        assert_int_equal(bench->target->letters.count, bad + bench->poison);
        assert_int_equal(bench->target->handled.count, key + bench->poison);
        bench_free(bench);
    }
}

static void test_lost_reply_of_a_commit_is_settled_by_applying_again(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 10});
    world_rule(bench->world,
               (struct rule){.call = CALL_COMMIT, .from = 1, .count = 1, .fault = FAULT_CONNECTION, .after = true});
    bench_run(bench);
    assert_false(bench->world->exhausted);
    assert_int_equal(bench->target->total.tally.applied, 10);
    assert_int_equal(bench->target->total.tally.duplicate, 10);
    assert_int_equal(bench->queue.settled, 1);
    bench_free(bench);
}

static void test_stop_at_any_moment_leaves_a_queue_that_can_go_on(void **state)
{
    (void)state;
    struct random random = random_start("test_stop_at_any_moment_leaves_a_queue_that_can_go_on");
    for (int round = 0; round < 20; round++) {
        struct bench *bench = bench_new((struct random){random_next(&random)});
        for (size_t i = 0; i < 60; i++) {
            char *batch = arena_string(&bench->arena, arena_printf(&bench->arena, "b%zu", i / 3));
            put(bench, (struct spec){.sequence = (int64_t)i + 1,
                                     .batch = batch,
                                     .part = (int64_t)(i % 3) + 1,
                                     .parts = 3,
                                     .first = i * 5,
                                     .count = 5,
                                     .ready_ms = (int64_t)i * 50});
        }
        trouble(bench, 100, FAULT_PERMANENT, 0);
        bench->world->percent = (unsigned)random_below(&random, 20);
        bench->world->healed_ms = 2 * MINUTE_MS;
        for (int restarts = 0; !all_settled(bench); restarts++) {
            assert_true(restarts < 10000);
            bench->world->call_limit = bench->world->call_count + 1 + random_below(&random, 300);
            atomic_store(&bench->world->stop, false);
            bench_run(bench);
        }
        assert_int_equal(bench->target->letters.count, 1);
        assert_int_equal(bench->target->handled.count, 300);
        bench_free(bench);
    }
}

static void test_stop_while_a_row_is_contended_settles_nothing_of_it(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    bench->world->limit_ms = MINUTE_MS;
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 10});
    trouble(bench, 5, FAULT_CONTENTION, INT64_MAX);
    bench_run(bench);
    assert_int_equal(bench->queue.settled, 0);
    assert_int_equal(bench->target->letters.count, 0);
    assert_true(world_ms(bench->world) < MINUTE_MS + 2000);
    bench_free(bench);
}

/* ---- numbers
 * -------------------------------------------------------------------------------------------------------------------
 */

static void test_heartbeat_is_noted_with_what_came_before_it(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .op = CHANGE_UPDATED, .first = 0, .count = 3});
    struct heartbeat heartbeat = {.source = TEXT_LITERAL("alpha"), .time_us = 77};
    struct envelope envelope;
    heartbeat_seal(&heartbeat, 77, &bench->arena, &envelope);
    queue_add(&bench->queue, &envelope);
    bench_run(bench);
    assert_int_equal(bench->queue.settled, 2);
    assert_int_equal(bench->target->heard, 1);
    assert_int_equal(bench->target->heard_us, 77);
    assert_int_equal(bench->target->total.messages, 1);
    assert_int_equal(bench->target->transactions, 1);
    bench_free(bench);
}

static void test_heartbeat_that_comes_again_says_nothing(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    struct heartbeat heartbeat = {.source = TEXT_LITERAL("alpha"), .time_us = 77};
    struct envelope envelope;
    heartbeat_seal(&heartbeat, 77, &bench->arena, &envelope);
    queue_add(&bench->queue, &envelope);
    world_rule(bench->world, (struct rule){.call = CALL_SETTLE, .from = 1, .count = 1, .fault = FAULT_CONNECTION});
    bench_run(bench);
    assert_int_equal(bench->queue.settled, 1);
    assert_int_equal(bench->inlet.redelivered, 1);
    assert_int_equal(bench->target->heard, 1);
    bench_free(bench);
}

static void test_change_from_a_clock_far_ahead_is_held_and_its_neighbours_applied(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    bench->inbound.max_clock_skew_us = 60000000;
    int64_t now_us = world_now_us(&bench->world->clock);
    put(bench, (struct spec){.sequence = 1, .op = CHANGE_UPDATED, .first = 0, .count = 3, .version_us = now_us - 1});
    put(bench, (struct spec){.sequence = 2, .op = CHANGE_UPDATED, .first = 10, .count = 1, .version_us = now_us + 59000000});
    put(bench, (struct spec){.sequence = 3, .op = CHANGE_UPDATED, .first = 20, .count = 1, .version_us = now_us + 3600000000});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->letters.count, 1);
    assert_int_equal(book_get(&bench->target->letters, number_of("alpha", 20, now_us + 3600000000)), 1);
    assert_int_equal(bench->target->total.tally.applied, 4);
    assert_int_equal(bench->target->transactions, 1);
    bench_free(bench);
}

static void test_skipped_number_is_a_gap(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    static const int64_t numbers[] = {1, 2, 4, 5, 9};
    for (size_t i = 0; i < 5; i++)
        put(bench, (struct spec){.sequence = numbers[i], .first = i, .count = 1});
    put(bench, (struct spec){.source = "beta", .sequence = 77, .first = 50, .count = 1});
    bench_run(bench);
    assert_all_settled(bench);
    /* 3, 6, 7 and 8; what beta said before it was heard for the first time is not missed. */
    assert_int_equal(bench->target->total.gaps, 4);
    assert_int_equal(bench->counters.gaps, 4);
    bench_free(bench);
}

static void test_sender_that_begins_anew_is_no_gap(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1});
    put(bench, (struct spec){.sequence = 2, .first = 1, .count = 1});
    put(bench, (struct spec){.sequence = 1, .epoch = OTHER_EPOCH, .first = 2, .count = 1});
    /* Late, and no step back. */
    put(bench, (struct spec){.sequence = 3, .first = 4, .count = 1});
    put(bench, (struct spec){.sequence = 2, .epoch = OTHER_EPOCH, .first = 3, .count = 1});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.gaps, 0);
    bench_free(bench);
}

static void test_sender_that_begins_anew_is_noted_with_its_new_number(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 7, .first = 0, .count = 1});
    put(bench, (struct spec){.sequence = 1, .epoch = OTHER_EPOCH, .first = 1, .count = 1});
    put(bench, (struct spec){.sequence = 2, .epoch = OTHER_EPOCH, .first = 2, .count = 1});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->transactions, 1);
    assert_int_equal(bench->target->total.sequence, 2);
    bench_free(bench);
}

static void test_known_sender_whose_first_words_are_missing_leaves_a_gap(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1});
    put(bench, (struct spec){.sequence = 5, .epoch = OTHER_EPOCH, .first = 2, .count = 1});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.gaps, 4);
    bench_free(bench);
}

static struct queued *put_heartbeat(struct bench *bench, const char *epoch, int64_t sequence)
{
    struct heartbeat heartbeat = {.source = TEXT_LITERAL("alpha"), .epoch = text_from(epoch), .sequence = sequence, .time_us = 1000};
    struct envelope envelope;
    heartbeat_seal(&heartbeat, world_now_us(&bench->world->clock), &bench->arena, &envelope);
    return queue_add(&bench->queue, &envelope);
}

static void test_heartbeat_tells_of_a_lost_end(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put_heartbeat(bench, EPOCH, 7);
    put(bench, (struct spec){.sequence = 8, .first = 0, .count = 1});
    put_heartbeat(bench, EPOCH, 8);
    put_heartbeat(bench, EPOCH, 11);
    put_heartbeat(bench, EPOCH, 11);
    put_heartbeat(bench, NULL, 99);
    put(bench, (struct spec){.sequence = 12, .first = 1, .count = 1});
    put_heartbeat(bench, OTHER_EPOCH, 0);
    put_heartbeat(bench, OTHER_EPOCH, 2);
    put(bench, (struct spec){.sequence = 3, .epoch = OTHER_EPOCH, .first = 2, .count = 1});
    bench_run(bench);
    assert_int_equal(bench->counters.gaps, 5);
    bench_free(bench);
}

/* Of an incarnation of which nothing more comes: its last two messages, all of the next one's, and nothing of what was before any that came. */
static void test_heartbeat_tells_of_the_lost_end_of_an_incarnation(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 5, .first = 0, .count = 1});
    const struct confirmed confirmed[] = {
        {TEXT_LITERAL("longago"), 99}, {TEXT_LITERAL(EPOCH), 7}, {TEXT_LITERAL("unheard"), 3}, {TEXT_LITERAL(OTHER_EPOCH), 1}};
    for (int times = 0; times < 2; times++) {
        struct heartbeat heartbeat = {.source = TEXT_LITERAL("alpha"), .epoch = TEXT_LITERAL(OTHER_EPOCH), .sequence = 1, .time_us = 1000,
                                      .confirmed_count = 4, .confirmed = confirmed};
        put(bench, (struct spec){.sequence = 1 + times, .epoch = OTHER_EPOCH, .first = 1 + (size_t)times, .count = 1});
        struct envelope envelope;
        heartbeat.sequence = 1 + times;
        heartbeat_seal(&heartbeat, world_now_us(&bench->world->clock), &bench->arena, &envelope);
        queue_add(&bench->queue, &envelope);
    }
    bench_run(bench);
    assert_int_equal(bench->counters.gaps, 2 + 3);
    bench_free(bench);
}

static void test_numbers_that_come_again_are_no_gap(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    static const int64_t numbers[] = {1, 2, 3, 2, 3, 4, 1, 5};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        put(bench, (struct spec){.sequence = numbers[i], .first = i, .count = 1});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.gaps, 0);
    bench_free(bench);
}

static void test_number_that_came_again_before_the_connection_was_lost_is_no_gap(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    static const int64_t numbers[] = {1, 2, 3, 4, 2};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        put(bench, (struct spec){.sequence = numbers[i], .first = i, .count = 1});
    put(bench, (struct spec){.sequence = 5, .first = 10, .count = 1, .ready_ms = 1000});
    world_rule(bench->world, (struct rule){.call = CALL_RECEIVE, .from = 8, .count = 1, .fault = FAULT_CONNECTION});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->world->calls[CALL_INLET_OPEN], 2);
    assert_int_equal(bench->target->total.gaps, 0);
    bench_free(bench);
}

static void test_settling_whose_reply_is_lost_leaves_no_gap(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1});
    put(bench, (struct spec){.sequence = 2, .first = 1, .count = 1, .ready_ms = 1000});
    put(bench, (struct spec){.sequence = 3, .first = 2, .count = 1, .ready_ms = 2000});
    world_rule(bench->world,
               (struct rule){.call = CALL_SETTLE, .from = 2, .count = 1, .fault = FAULT_CONNECTION, .after = true});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->inlet.redelivered, 0);
    assert_int_equal(bench->target->total.gaps, 0);
    bench_free(bench);
}

static void test_unreadable_message_is_no_gap(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1});
    put_poison(bench, (struct spec){.sequence = 2, .first = 1, .count = 1});
    put(bench, (struct spec){.sequence = 3, .first = 2, .count = 1});
    bench_run(bench);
    assert_all_settled(bench);
    assert_int_equal(bench->target->total.gaps, 0);
    bench_free(bench);
}

static void test_gap_is_recorded_when_its_delivery_was_lost_before_the_commit(void **state)
{
    (void)state;
    uint64_t redelivered = 0;
    for (uint64_t number = 1; number < 30; number++) {
        struct bench *bench = bench_new((struct random){number});
        put(bench, (struct spec){.sequence = 1, .first = 0, .count = 1});
        put(bench, (struct spec){.sequence = 3, .first = 1, .count = 1, .ready_ms = 1000});
        put(bench, (struct spec){.sequence = 4, .first = 2, .count = 1, .ready_ms = 2000});
        world_rule(bench->world,
                   (struct rule){.call = CALL_RECEIVE, .from = number, .count = 1, .fault = FAULT_CONNECTION});
        bench_run(bench);
        assert_all_settled(bench);
        assert_int_equal(bench->target->total.gaps, 1);
        redelivered += bench->inlet.redelivered;
        bench_free(bench);
    }
    assert_true(redelivered >= 2);
}

/* ---- what is held
 * ---------------------------------------------------------------------------------------------------------- */

static void test_a_paused_direction_takes_nothing_and_stays_connected(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    struct fake_brake brake = {.port = {&fake_brake_ops}, .world = bench->world, .from_ms = 2000, .until_ms = 5 * MINUTE_MS};
    bench->brake = &brake.port;
    for (int i = 0; i < 100; i++)
        put(bench, (struct spec){.sequence = i + 1, .first = (size_t)i, .count = 1, .ready_ms = i * 50});
    bench_run(bench);
    assert_false(bench->world->exhausted);
    assert_int_equal(bench->target->total.tally.applied, 100);
    assert_int_equal(bench->target->total.gaps, 0);
    assert_int_equal(bench->counters.held, 0);
    assert_true(bench->target->committed_ms >= 5 * MINUTE_MS);
    assert_int_equal(bench->counters.broker_failures + bench->counters.database_failures, 0);
    bench_free(bench);
}

static void test_changes_of_a_paused_entity_are_put_aside(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    struct fake_brake brake = {.port = {&fake_brake_ops}, .world = bench->world, .entity = "item", .until_ms = 10000};
    bench->brake = &brake.port;
    for (int i = 0; i < 100; i++)
        put(bench, (struct spec){.sequence = i + 1, .first = (size_t)i * 3, .count = 3, .ready_ms = i < 60 ? 0 : 20000});
    bench_run(bench);
    assert_int_equal(bench->target->total.tally.dead_letters, 180);
    assert_int_equal(bench->target->total.tally.held, 180);
    assert_int_equal(bench->target->total.tally.applied, 120);
    assert_int_equal(bench->counters.held, 180);
    bench_free(bench);
}

static void test_when_too_much_is_put_aside_the_direction_pauses_itself(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    struct fake_brake brake = {.port = {&fake_brake_ops}, .world = bench->world, .entity = "item", .from_ms = 5000,
                               .until_ms = 10 * MINUTE_MS, .full = "item", .pull_lasts_ms = 2 * MINUTE_MS};
    bench->brake = &brake.port;
    for (int i = 0; i < 50; i++)
        put(bench, (struct spec){.sequence = i + 1, .first = (size_t)i, .count = 1, .ready_ms = i < 20 ? 0 : 6000});
    bench_run(bench);
    assert_int_equal(brake.pulls, 1);
    assert_string_equal(brake.pulled, "");
    assert_non_null(strstr(brake.reason, "item"));
    assert_int_equal(bench->target->total.tally.applied, 50);
    assert_true(bench->target->committed_ms > 2 * MINUTE_MS);
    bench_free(bench);
}

static void test_a_row_rewritten_in_turns_waits_and_others_do_not(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    bench->inbound.rally_rule = (struct rally_rule){.times = 20, .within_ms = 10000, .cool_down_ms = 60000};
    for (int i = 0; i < 50; i++) {
        put(bench, (struct spec){.sequence = 2 * i + 1, .op = CHANGE_UPDATED, .first = 7, .count = 2, .version_us = 1000 + 10 * i,
                                 .ready_ms = i * 20, .replaced = i < 45 ? "home" : "alpha"});
        put(bench, (struct spec){.sequence = 2 * i + 2, .op = CHANGE_UPDATED, .first = (size_t)i + 100, .count = 1, .ready_ms = i * 20, .replaced = "home"});
    }
    bench_run(bench);
    /* Each comes in place of a write of ours, with what it brought before: from the twelfth on, rows 7 and 8 wait. */
    assert_int_equal(bench->target->total.tally.held, 2 * 39);
    assert_int_equal(bench->target->total.tally.dead_letters, 2 * 39);
    assert_int_equal(bench->counters.rallies, 2);
    assert_int_equal(bench->target->total.tally.received, 150);
    bench_free(bench);
}

static void test_a_mass_of_deletions_pauses_the_entity_before_it_is_applied(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    struct fake_brake brake = {.port = {&fake_brake_ops}, .world = bench->world, .pull_lasts_ms = MINUTE_MS};
    bench->brake = &brake.port;
    bench->inbound.deletion_rule = (struct deletion_rule){.rows = 50, .within_ms = 60000};
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 200});
    put(bench, (struct spec){.sequence = 2, .op = CHANGE_DELETED, .first = 0, .count = 50, .version_us = 5000, .ready_ms = 1000});
    put(bench, (struct spec){.sequence = 3, .op = CHANGE_DELETED, .first = 50, .count = 1, .version_us = 6000, .ready_ms = 2000});
    put(bench, (struct spec){.sequence = 4, .op = CHANGE_UPDATED, .first = 60, .count = 1, .version_us = 6000, .ready_ms = 3000});
    put(bench, (struct spec){.sequence = 5, .op = CHANGE_UPDATED, .first = 61, .count = 1, .version_us = 6000, .ready_ms = 2 * MINUTE_MS});
    bench_run(bench);
    assert_int_equal(brake.pulls, 1);
    assert_string_equal(brake.pulled, "item");
    assert_string_equal(brake.reason, "mass delete by alpha, 51 rows within 60 s");
    assert_int_equal(bench->target->total.tally.held, 2);
    assert_int_equal(bench->target->total.tally.applied, 200 + 50 + 1);
    assert_true(bench->target->rows[50].present);
    bench_free(bench);
}

static void test_a_share_of_deletions_pauses_the_entity(void **state)
{
    (void)state;
    struct bench *bench = bench_new((struct random){1});
    struct fake_brake brake = {.port = {&fake_brake_ops}, .world = bench->world, .pull_lasts_ms = MINUTE_MS, .rows = 150};
    bench->brake = &brake.port;
    bench->inbound.deletion_rule = (struct deletion_rule){.percent = 50, .within_ms = 60000};
    put(bench, (struct spec){.sequence = 1, .first = 0, .count = 200});
    put(bench, (struct spec){.sequence = 2, .op = CHANGE_DELETED, .first = 0, .count = 50, .version_us = 5000, .ready_ms = 1000});
    put(bench, (struct spec){.sequence = 3, .op = CHANGE_DELETED, .first = 50, .count = 50, .version_us = 6000, .ready_ms = 2000});
    put(bench, (struct spec){.sequence = 4, .op = CHANGE_DELETED, .first = 100, .count = 51, .version_us = 6000, .ready_ms = 3000});
    bench_run(bench);
    /* 100 of 150 that are there and 50 that were here: half; 151 of 250: more. */
    assert_int_equal(brake.pulls, 1);
    assert_int_equal(bench->target->total.tally.held, 51);
    bench_free(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_paused_direction_takes_nothing_and_stays_connected),
        cmocka_unit_test(test_changes_of_a_paused_entity_are_put_aside),
        cmocka_unit_test(test_when_too_much_is_put_aside_the_direction_pauses_itself),
        cmocka_unit_test(test_a_row_rewritten_in_turns_waits_and_others_do_not),
        cmocka_unit_test(test_a_mass_of_deletions_pauses_the_entity_before_it_is_applied),
        cmocka_unit_test(test_a_share_of_deletions_pauses_the_entity),
        cmocka_unit_test(test_every_row_is_applied_and_counted_once),
        cmocka_unit_test(test_backlog_is_applied_in_large_transactions),
        cmocka_unit_test(test_group_ends_at_its_limit_of_rows),
        cmocka_unit_test(test_same_messages_again_change_nothing),
        cmocka_unit_test(test_change_that_waits_alone_is_applied_at_once),
        cmocka_unit_test(test_letters_that_somebody_asks_for_are_looked_for_every_second),
        cmocka_unit_test(test_many_letters_are_tried_without_a_pause),
        cmocka_unit_test(test_letters_whose_rows_somebody_holds_are_tried_again_soon),
        cmocka_unit_test(test_letters_whose_rows_are_held_for_long_take_a_tenth_of_the_time),
        cmocka_unit_test(test_echo_refused_and_poison_are_counted_and_never_applied),
        cmocka_unit_test(test_sources_that_are_no_peers_share_one_receipt),
        cmocka_unit_test(test_oversize_message_is_buried),
        cmocka_unit_test(test_one_bad_row_is_isolated_and_everything_else_applied),
        cmocka_unit_test(test_any_bad_rows_are_isolated),
        cmocka_unit_test(test_change_that_needs_another_of_its_batch_is_not_buried_because_of_a_third),
        cmocka_unit_test(test_row_that_needs_what_never_comes_is_buried),
        cmocka_unit_test(test_any_rows_that_need_what_never_comes_are_buried),
        cmocka_unit_test(test_rows_that_exchange_unique_values_are_applied),
        cmocka_unit_test(test_a_backlog_of_small_messages_is_applied_by_one_call),
        cmocka_unit_test(test_entities_that_keep_their_order_are_applied_one_by_one),
        cmocka_unit_test(test_unique_values_that_move_within_a_backlog_are_applied_one_by_one),
        cmocka_unit_test(test_poison_that_cannot_be_buried_at_first_stays_poison),
        cmocka_unit_test(test_burying_that_fails_for_good_is_tried_with_backoff),
        cmocka_unit_test(test_rest_of_a_batch_with_bad_rows_is_applied_in_one_transaction),
        cmocka_unit_test(test_parts_that_come_one_by_one_are_applied_in_one_transaction),
        cmocka_unit_test(test_batch_is_waited_for_from_its_first_part_on),
        cmocka_unit_test(test_batch_larger_than_a_group_is_applied_in_one_transaction),
        cmocka_unit_test(test_no_batch_of_a_backlog_is_cut),
        cmocka_unit_test(test_what_is_read_ahead_is_applied_in_groups_of_whole_batches),
        cmocka_unit_test(test_what_is_read_ahead_waits_for_nobody),
        cmocka_unit_test(test_batches_of_two_peers_that_interleave_are_whole),
        cmocka_unit_test(test_batch_is_not_cut_where_another_peers_message_stands_between_its_parts),
        cmocka_unit_test(test_abandoned_batch_is_superseded_by_the_next),
        cmocka_unit_test(test_rest_of_a_batch_is_not_waited_for_for_ever),
        cmocka_unit_test(test_batch_with_an_unreadable_last_part_does_not_wait),
        cmocka_unit_test(test_contended_row_is_tried_until_it_is_free),
        cmocka_unit_test(test_row_that_is_busy_for_a_moment_costs_no_halving),
        cmocka_unit_test(test_stale_plan_gets_a_new_session),
        cmocka_unit_test(test_worker_shows_life_while_it_waits_for_a_row),
        cmocka_unit_test(test_what_an_operator_must_mend_is_waited_for_and_never_buried),
        cmocka_unit_test(test_backoff_grows_when_connecting_works_and_the_first_use_fails),
        cmocka_unit_test(test_broker_hears_of_us_while_the_database_is_away),
        cmocka_unit_test(test_broker_hears_of_us_with_all_it_delivers_at_once_in_hand),
        cmocka_unit_test(test_broker_hears_of_us_while_there_is_nothing_in_hand_and_the_database_is_away),
        cmocka_unit_test(test_broker_hears_of_us_while_many_bad_rows_are_isolated),
        cmocka_unit_test(test_broker_hears_of_us_while_a_statement_lasts_for_minutes),
        cmocka_unit_test(test_broker_that_goes_while_a_statement_lasts_delivers_again),
        cmocka_unit_test(test_broker_that_goes_while_the_database_is_away_delivers_again),
        cmocka_unit_test(test_failure_of_any_call_loses_nothing),
        cmocka_unit_test(test_random_failures_of_every_call_lose_nothing),
        cmocka_unit_test(test_lost_reply_of_a_commit_is_settled_by_applying_again),
        cmocka_unit_test(test_stop_at_any_moment_leaves_a_queue_that_can_go_on),
        cmocka_unit_test(test_stop_while_a_row_is_contended_settles_nothing_of_it),
        cmocka_unit_test(test_heartbeat_is_noted_with_what_came_before_it),
        cmocka_unit_test(test_heartbeat_that_comes_again_says_nothing),
        cmocka_unit_test(test_change_from_a_clock_far_ahead_is_held_and_its_neighbours_applied),
        cmocka_unit_test(test_skipped_number_is_a_gap),
        cmocka_unit_test(test_sender_that_begins_anew_is_no_gap),
        cmocka_unit_test(test_sender_that_begins_anew_is_noted_with_its_new_number),
        cmocka_unit_test(test_known_sender_whose_first_words_are_missing_leaves_a_gap),
        cmocka_unit_test(test_heartbeat_tells_of_a_lost_end),
        cmocka_unit_test(test_heartbeat_tells_of_the_lost_end_of_an_incarnation),
        cmocka_unit_test(test_numbers_that_come_again_are_no_gap),
        cmocka_unit_test(test_number_that_came_again_before_the_connection_was_lost_is_no_gap),
        cmocka_unit_test(test_settling_whose_reply_is_lost_leaves_no_gap),
        cmocka_unit_test(test_unreadable_message_is_no_gap),
        cmocka_unit_test(test_gap_is_recorded_when_its_delivery_was_lost_before_the_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
