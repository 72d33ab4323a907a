/* A transaction prepared beside the one before it, by a thread: two targets that write down what they are asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bridge/flow/follower.h"

#define NODE TEXT_LITERAL("home")

enum { ITEMS_MAX = 8, GROUP_ROWS = 10, NOTES_BYTES = 8192, PATIENCE_US = 30000000 };

struct scribe {
    struct target port; /* first */
    struct bench *bench;
    const char *name;
    const char *fails, *code; /* the call that fails next, once */
    enum fault fault;
    const char *waits_for; /* before its first rows are applied somebody has to do that */
    bool open, begun;
    struct text alone, exact;
};

struct bench {
    struct clock clock; /* first; stands still */
    struct counters counters;
    struct worker worker;
    atomic_bool stop;
    struct scribe first, second;
    struct application application;
    struct arena arena;
    size_t count;
    struct item items[ITEMS_MAX];
    pthread_mutex_t mutex;
    char notes[NOTES_BYTES]; /* "first.begin 1; second.begin 2; first.apply 1-3; ..." */
    int64_t now_ms;
};

/* ---- what was asked for ---- */

static void note(struct scribe *scribe, const char *call, const char *detail)
{
    struct bench *bench = scribe->bench;
    pthread_mutex_lock(&bench->mutex);
    size_t length = strlen(bench->notes);
    assert_true(length + 100 < sizeof bench->notes);
    snprintf(bench->notes + length, sizeof bench->notes - length, "%s.%s%s%s; ", scribe->name, call, *detail ? " " : "", detail);
    pthread_mutex_unlock(&bench->mutex);
}

/* Where it stands among the notes; -1: nowhere. */
static long place_of(struct bench *bench, const char *wanted)
{
    pthread_mutex_lock(&bench->mutex);
    const char *found = strstr(bench->notes, wanted);
    long place = found != NULL ? found - bench->notes : -1;
    pthread_mutex_unlock(&bench->mutex);
    return place;
}

static void assert_order(struct bench *bench, const char *before, const char *after)
{
    if (place_of(bench, before) < 0 || place_of(bench, after) < 0 || place_of(bench, before) > place_of(bench, after))
        fail_msg("\"%s\" and then \"%s\" in %s", before, after, bench->notes);
}

static void assert_never(struct bench *bench, const char *what)
{
    if (place_of(bench, what) >= 0)
        fail_msg("\"%s\" in %s", what, bench->notes);
}

static bool fails(struct scribe *scribe, const char *call, struct error *error)
{
    if (scribe->fails == NULL || strcmp(scribe->fails, call) != 0)
        return false;
    scribe->fails = NULL;
    error_set(error, scribe->fault, scribe->code, "made to fail");
    return true;
}

/* ---- a target ---- */

static bool scribe_open(struct target *port, struct error *error)
{
    struct scribe *scribe = (struct scribe *)port;
    note(scribe, "open", "");
    if (fails(scribe, "open", error))
        return false;
    scribe->open = true;
    return true;
}

static bool scribe_begin(struct target *port, enum standing standing, struct error *error)
{
    struct scribe *scribe = (struct scribe *)port;
    static const char *const words[] = {[STANDS_ALONE] = "alone", [STANDS_FIRST] = "first", [STANDS_BEHIND] = "behind"};
    assert_true(scribe->open && !scribe->begun);
    note(scribe, "begin", words[standing]);
    if (fails(scribe, "begin", error))
        return false;
    return scribe->begun = true;
}

static bool scribe_apply(struct target *port, const struct message *message, size_t first, size_t count, enum apply_mode mode,
                         struct tally *tally, struct error *error)
{
    struct scribe *scribe = (struct scribe *)port;
    char keys[200] = "";
    assert_true(scribe->begun);
    assert_int_equal(first, 0);
    assert_int_equal(count, message->row_count);
    assert_int_equal(mode, APPLY_TOGETHER);
    for (int64_t waited = 0; scribe->waits_for != NULL && place_of(scribe->bench, scribe->waits_for) < 0; waited += 1000) {
        assert_true(waited < PATIENCE_US);
        usleep(1000);
    }
    scribe->waits_for = NULL;
    for (size_t row = 0; row < count; row++)
        snprintf(keys + strlen(keys), sizeof keys - strlen(keys), "%s%.*s", row > 0 ? "," : "", TEXT_PRINTF(message_row(message, row)[0]));
    if (fails(scribe, "apply", error)) {
        note(scribe, "failed", keys);
        return false;
    }
    note(scribe, "apply", keys);
    tally->received += count;
    tally->applied += count;
    return true;
}

static bool scribe_note(struct target *port, const struct sighting *sighting, uint64_t *missing, struct error *error)
{
    char numbers[60];
    (void)error;
    snprintf(numbers, sizeof numbers, "%lld-%lld", (long long)sighting->first, (long long)sighting->last);
    note((struct scribe *)port, "note", numbers);
    *missing = 0;
    return true;
}

static bool scribe_commit(struct target *port, const struct receipt *receipts, size_t count, struct offences *offences, struct error *error)
{
    struct scribe *scribe = (struct scribe *)port;
    char received[40];
    (void)offences;
    assert_true(scribe->begun && count == 1);
    if (fails(scribe, "commit", error))
        return false;
    snprintf(received, sizeof received, "%llu", (unsigned long long)receipts[0].tally.received);
    note(scribe, "commit", received);
    scribe->begun = false;
    return true;
}

static bool scribe_rollback(struct target *port, struct error *error)
{
    (void)error;
    note((struct scribe *)port, "rollback", "");
    ((struct scribe *)port)->begun = false;
    return true;
}

static void scribe_close(struct target *port)
{
    struct scribe *scribe = (struct scribe *)port;
    if (scribe->open)
        note(scribe, "close", "");
    scribe->open = scribe->begun = false;
}

static const struct target_ops scribe_ops = {.open = scribe_open, .begin = scribe_begin, .apply = scribe_apply, .note = scribe_note,
                                             .commit = scribe_commit, .rollback = scribe_rollback, .close = scribe_close};

/* ---- the bench ---- */

static int64_t now_us(struct clock *clock)
{
    (void)clock;
    return 1000000;
}

static int64_t monotonic_ms(struct clock *clock)
{
    return ((struct bench *)clock)->now_ms;
}

static void sleep_ms(struct clock *clock, int wait_ms)
{
    ((struct bench *)clock)->now_ms += wait_ms;
}

static const struct clock_ops clock_ops = {now_us, monotonic_ms, sleep_ms};

static void nobody_waits(void *context)
{
    (void)context;
}

static void scribe_init(struct scribe *scribe, struct bench *bench, const char *name)
{
    *scribe = (struct scribe){.port = {.ops = &scribe_ops, .alone = &scribe->alone, .alone_count = 1, .exact = &scribe->exact, .exact_count = 1},
                              .bench = bench, .name = name, .alone = TEXT_LITERAL("triggered"), .exact = TEXT_LITERAL("named")};
}

static struct bench *bench_new(void)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench->clock.ops = &clock_ops;
    arena_init(&bench->arena, LIMIT_ARENA_BYTES);
    pthread_mutex_init(&bench->mutex, NULL);
    scribe_init(&bench->first, bench, "first");
    scribe_init(&bench->second, bench, "second");
    worker_init(&bench->worker, "in", NODE, &bench->clock, &bench->counters, &bench->stop);
    application_init(&bench->application, &bench->worker, &bench->first.port, nobody_waits, NULL);
    bench->application.waits_for_clock = true;
    bench->application.follower = follower_new(&bench->application, &bench->second.port, GROUP_ROWS);
    struct error error;
    assert_true(application_open(&bench->application) || error_set(&error, FAULT_BUG, NULL, "not open"));
    return bench;
}

static void bench_free(struct bench *bench)
{
    application_free(&bench->application);
    for (size_t i = 0; i < bench->count; i++)
        delivery_free(bench->items[i].delivery);
    pthread_mutex_destroy(&bench->mutex);
    arena_free(&bench->arena);
    free(bench);
}

/* One message, a batch: rows of these keys. */
static struct item *put(struct bench *bench, const char *entity, int from, int count)
{
    static const struct text columns[] = {{"id", 2}};
    struct item *item = &bench->items[bench->count++];
    struct text *values = arena_take_array(&bench->arena, (size_t)count, sizeof *values);
    int64_t *versions = arena_take_array(&bench->arena, (size_t)count, sizeof *versions);
    for (int i = 0; i < count; i++) {
        values[i] = arena_printf(&bench->arena, "%d", from + i);
        versions[i] = 1000;
    }
    *item = (struct item){.delivery = delivery_new(), .fate = FATE_APPLY, .ends_batch = true};
    item->message = (struct message){.source = TEXT_LITERAL("there"), .epoch = TEXT_LITERAL("e"), .sequence = (int64_t)bench->count,
                                     .entity = text_from(entity), .op = CHANGE_UPDATED, .key_count = 1, .column_count = 1,
                                     .columns = columns, .row_count = (size_t)count, .values = values, .versions = versions};
    return item;
}

static size_t apply(struct bench *bench)
{
    return application_apply(&bench->application, bench->items, 1, bench->count - 1);
}

/* ---- tests ---- */

static void test_both_are_committed_in_order(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, "stock", 1, 3);
    put(bench, "stock", 11, 2);
    put(bench, "stock", 21, 1);
    bench->first.waits_for = "second.apply 11,12,21";
    assert_int_equal(apply(bench), 3);
    assert_order(bench, "first.begin first", "second.begin behind");
    assert_order(bench, "second.apply 11,12,21", "first.apply 1,2,3");
    assert_order(bench, "first.commit 3", "second.note 2-3");
    assert_order(bench, "second.note 2-3", "second.commit 3");
    assert_int_equal(bench->counters.transactions_in, 2);
    assert_int_equal(bench->counters.transactions_beside, 1);
    assert_int_equal(bench->counters.received, 6);
    bench_free(bench);
}

static void test_rows_of_both_wait_for_the_first(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, "stock", 1, 3);
    put(bench, "stock", 3, 4);
    bench->first.waits_for = "second.apply 4,5,6";
    assert_int_equal(apply(bench), 2);
    assert_order(bench, "first.commit 3", "second.apply 3;");
    assert_order(bench, "second.apply 3;", "second.commit 4");
    bench_free(bench);
}

static void test_mostly_the_same_rows_come_in_their_turn(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, "stock", 1, 3);
    put(bench, "stock", 1, 4);
    assert_int_equal(apply(bench), 1);
    assert_never(bench, "second.begin");
    assert_never(bench, "second.commit");
    bench_free(bench);
}

static void test_what_fails_beside_is_undone_and_stays_apart(void **state)
{
    (void)state;
    static const char *const calls[] = {"begin", "apply", "commit"};
    for (size_t i = 0; i < 3; i++) {
        struct bench *bench = bench_new();
        put(bench, "stock", 1, 3);
        put(bench, "stock", 11, 3);
        bench->second.fails = calls[i];
        bench->second.fault = FAULT_TRANSIENT;
        bench->second.code = "23505";
        assert_int_equal(apply(bench), 1);
        assert_order(bench, "first.commit 3", "second.rollback");
        assert_never(bench, "second.commit");
        bench->notes[0] = '\0';
        for (int times = 0; times < 16; times++)
            assert_int_equal(apply(bench), 1);
        assert_never(bench, "second.");
        assert_int_equal(apply(bench), 2);
        bench_free(bench);
    }
}

static void test_the_first_fails_and_the_second_is_undone_before_it_is_tried_again(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, "stock", 1, 3);
    put(bench, "stock", 11, 3);
    bench->first.waits_for = "second.apply 11,12,13";
    bench->first.fails = "apply";
    bench->first.fault = FAULT_CONTENTION;
    bench->first.code = "55P03";
    assert_int_equal(apply(bench), 1);
    assert_order(bench, "first.failed 1,2,3", "first.rollback");
    assert_order(bench, "first.rollback", "second.rollback");
    assert_order(bench, "second.rollback", "first.begin alone");
    assert_order(bench, "first.begin alone", "first.commit 3");
    assert_never(bench, "second.commit");
    bench_free(bench);
}

static void test_a_first_that_is_lost_ends_both_sessions(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, "stock", 1, 3);
    put(bench, "stock", 11, 3);
    bench->first.waits_for = "second.apply 11,12,13";
    bench->first.fails = "commit";
    bench->first.fault = FAULT_CONNECTION;
    assert_int_equal(apply(bench), 1);
    assert_order(bench, "second.rollback", "first.close");
    assert_order(bench, "first.close", "second.close");
    assert_never(bench, "second.commit");
    bench_free(bench);
}

static void test_one_that_is_late_is_no_reason_to_stay_apart(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, "stock", 1, 3);
    put(bench, "stock", 11, 3);
    bench->second.fails = "apply";
    bench->second.fault = FAULT_CONTENTION;
    bench->second.code = TARGET_LATE;
    assert_int_equal(apply(bench), 1);
    assert_int_equal(apply(bench), 2);
    bench_free(bench);
}

static void test_a_second_session_that_is_refused_is_asked_for_later(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    put(bench, "stock", 1, 3);
    put(bench, "stock", 11, 3);
    bench->second.fails = "open";
    bench->second.fault = FAULT_CONNECTION;
    assert_int_equal(apply(bench), 1);
    bench->notes[0] = '\0';
    for (int times = 0; times < 40; times++)
        assert_int_equal(apply(bench), 1);
    assert_never(bench, "second.");
    bench->now_ms += 2000;
    assert_int_equal(apply(bench), 2);
    bench_free(bench);
}

static void test_texts_and_plain_keys_go_beside(void **state)
{
    (void)state;
    static const char *const plain[] = {"0", "-7", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"};
    for (size_t i = 0; i < 4; i++) {
        struct bench *bench = bench_new();
        put(bench, "stock", 1, 3);
        struct item *behind = put(bench, i < 3 ? "parcel" : "named", 11, 3);
        ((struct text *)(uintptr_t)behind->message.values)[2] = text_from(i < 3 ? plain[i] : "013, or so");
        assert_int_equal(apply(bench), 2);
        bench_free(bench);
    }
}

static void test_what_may_not_go_beside(void **state)
{
    (void)state;
    for (int kind = 0; kind < 14; kind++) {
        struct bench *bench = bench_new();
        struct holds holds = {0};
        int64_t held_until_us[3] = {0}, ahead_us[3] = {1000, 1000, 1000001};
        put(bench, kind == 0 ? "triggered" : "stock", 1, 3);
        struct item *behind = put(bench, kind == 1 ? "triggered" : "parcel", 11, kind == 2 ? 0 : 3);
        if (kind == 3)
            behind->fate = FATE_POISON;
        if (kind == 4)
            behind->held_until_us = held_until_us;
        if (kind == 5)
            behind->message.versions = ahead_us;
        if (kind == 6)
            holds_add(&holds, TEXT_LITERAL("parcel"));
        if (kind == 7)
            bench->application.one_by_one = 1;
        if (kind == 8)
            behind->message.epoch = TEXT_NULL;
        static const char *const spelt[] = {"013", "+13", "", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380A11", "-0"};
        if (kind > 8)
            ((struct text *)(uintptr_t)behind->message.values)[2] = text_from(spelt[kind - 9]);
        bench->application.holds = &holds;
        assert_int_equal(apply(bench), 1);
        assert_never(bench, "second.");
        assert_never(bench, "first.begin first");
        bench_free(bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_are_committed_in_order),
        cmocka_unit_test(test_rows_of_both_wait_for_the_first),
        cmocka_unit_test(test_mostly_the_same_rows_come_in_their_turn),
        cmocka_unit_test(test_what_fails_beside_is_undone_and_stays_apart),
        cmocka_unit_test(test_the_first_fails_and_the_second_is_undone_before_it_is_tried_again),
        cmocka_unit_test(test_a_first_that_is_lost_ends_both_sessions),
        cmocka_unit_test(test_one_that_is_late_is_no_reason_to_stay_apart),
        cmocka_unit_test(test_a_second_session_that_is_refused_is_asked_for_later),
        cmocka_unit_test(test_texts_and_plain_keys_go_beside),
        cmocka_unit_test(test_what_may_not_go_beside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
