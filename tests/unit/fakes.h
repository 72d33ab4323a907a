#pragma once
/* The ports in memory, for tests of the flow: a clock with virtual time, a source, an outlet, a broker's queue, an
 * inlet and a target that judges a model table. Every call of every port may be made to fail, by script or at random.
 *
 * The fakes check what the ports promise each other while they run: nothing is released before its confirmation,
 * nothing settled before its commit, no call comes to a port that is closed, envelopes stay valid until they are
 * confirmed. Nothing here waits: sleeping moves the clock. A run that makes too many calls or lasts too long is stopped
 * and called exhausted. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "bridge/base/log.h"
#include "bridge/flow/policy.h"
#include "bridge/flow/worker.h"
#include "tests/unit/numbering.h"
#include "tests/unit/random.h"

/* ---- the world: time, failures, the end ---------------------------------------------------------------------------
 */

enum call {
    CALL_SOURCE_OPEN,
    CALL_NEXT,
    CALL_RELEASE,
    CALL_SOURCE_REPORT,
    CALL_OUTLET_OPEN,
    CALL_PUBLISH,
    CALL_CONFIRM,
    CALL_INLET_OPEN,
    CALL_RECEIVE,
    CALL_SETTLE,
    CALL_DEPTH,
    CALL_TARGET_OPEN,
    CALL_BEGIN,
    CALL_APPLY,
    CALL_BURY,
    CALL_COMMIT,
    CALL_ROLLBACK,
    CALL_TARGET_REPORT,
    CALL_KINDS,
};

enum { RULES_MAX = 16, MINUTE_MS = 60 * 1000 };

/* Calls number [from, from + count) of this kind fail, and those before until_ms. The first call is number 1. */
struct rule {
    enum call call;
    uint64_t from, count;
    int64_t until_ms;
    enum fault fault;
    const char *code;
    bool after; /* what was asked for has happened, only the reply is lost */
};

struct world {
    struct clock clock; /* first */
    atomic_bool stop;
    int64_t now_us;
    int64_t call_us; /* what a call takes */
    uint64_t sleeps;
    uint64_t calls[CALL_KINDS], call_count;
    /* failures */
    size_t rule_count;
    struct rule rules[RULES_MAX];
    struct random random;
    unsigned percent;  /* of the calls that fail at random, */
    int64_t healed_ms; /* until then */
    /* the end: stop is set when it comes */
    bool (*done)(void *context);
    void *context;
    int64_t limit_ms;
    uint64_t call_limit;
    bool exhausted;
};

static inline int64_t world_ms(const struct world *world)
{
    return world->now_us / 1000;
}

static inline void world_check_end(struct world *world)
{
    if (world->done != NULL && world->done(world->context))
        atomic_store(&world->stop, true);
    if (!atomic_load(&world->stop) && (world_ms(world) > world->limit_ms || world->call_count > world->call_limit)) {
        world->exhausted = true;
        atomic_store(&world->stop, true);
    }
}

static inline void world_pass(struct world *world, int64_t ms)
{
    world->now_us += ms * 1000;
    world_check_end(world);
}

enum { EPOCH_S = 1763675000 };

static inline int64_t world_now_us(struct clock *clock)
{
    return EPOCH_S * INT64_C(1000000) + ((struct world *)clock)->now_us;
}

static inline int64_t world_monotonic_ms(struct clock *clock)
{
    return world_ms((struct world *)clock);
}

static inline void world_sleep_ms(struct clock *clock, int wait_ms)
{
    struct world *world = (struct world *)clock;
    world->sleeps++;
    if (!atomic_load(&world->stop))
        world_pass(world, wait_ms);
}

static const struct clock_ops world_clock_ops = {world_now_us, world_monotonic_ms, world_sleep_ms};

/* Everything works, and the run may last an hour and a million calls. */
static inline struct world *world_new(struct random random)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->clock.ops = &world_clock_ops;
    world->random = random;
    world->call_us = 20;
    world->limit_ms = 60 * MINUTE_MS;
    world->call_limit = 1000000;
    /* Thousands of failures are wanted here; their log lines are not. */
    log_configure(false, (enum log_level)0, NULL);
    return world;
}

static inline void world_rule(struct world *world, struct rule rule)
{
    assert_true(world->rule_count < RULES_MAX);
    world->rules[world->rule_count++] = rule;
}

/* What each call can really come to; 0 ends the list. */
static inline enum fault random_fault(struct world *world, enum call call)
{
    static const enum fault faults[CALL_KINDS][3] = {
        [CALL_SOURCE_OPEN] = {FAULT_CONNECTION, FAULT_TRANSIENT, FAULT_OPERATOR},
        [CALL_NEXT] = {FAULT_CONNECTION, FAULT_CONTENTION},
        [CALL_RELEASE] = {FAULT_CONNECTION, FAULT_CONTENTION},
        [CALL_SOURCE_REPORT] = {FAULT_CONNECTION},
        [CALL_OUTLET_OPEN] = {FAULT_CONNECTION, FAULT_OPERATOR},
        [CALL_PUBLISH] = {FAULT_CONNECTION},
        [CALL_CONFIRM] = {FAULT_CONNECTION, FAULT_TRANSIENT, FAULT_OPERATOR},
        [CALL_INLET_OPEN] = {FAULT_CONNECTION, FAULT_OPERATOR},
        [CALL_RECEIVE] = {FAULT_CONNECTION},
        [CALL_SETTLE] = {FAULT_CONNECTION},
        [CALL_DEPTH] = {FAULT_CONNECTION},
        [CALL_TARGET_OPEN] = {FAULT_CONNECTION, FAULT_OPERATOR},
        [CALL_BEGIN] = {FAULT_CONNECTION},
        [CALL_APPLY] = {FAULT_CONNECTION, FAULT_CONTENTION, FAULT_OPERATOR},
        [CALL_BURY] = {FAULT_CONNECTION, FAULT_CONTENTION},
        [CALL_COMMIT] = {FAULT_CONNECTION, FAULT_CONTENTION},
        [CALL_ROLLBACK] = {FAULT_CONNECTION},
        [CALL_TARGET_REPORT] = {FAULT_CONNECTION},
    };
    size_t known = 1;
    while (known < 3 && faults[call][known] != FAULT_NONE)
        known++;
    return faults[call][random_below(&world->random, known)];
}

enum failing { FAILS_NOT, FAILS_BEFORE, FAILS_AFTER };

/* Counts a call and says whether it fails: before it did anything, or after. */
static inline enum failing world_call(struct world *world, enum call call, struct error *error)
{
    uint64_t number = ++world->calls[call];
    world->call_count++;
    world->now_us += world->call_us;
    world_check_end(world);
    for (size_t i = 0; i < world->rule_count; i++) {
        const struct rule *rule = &world->rules[i];
        if (rule->call != call)
            continue;
        if ((number >= rule->from && number - rule->from < rule->count) || world_ms(world) < rule->until_ms) {
            error_set(error, rule->fault, rule->code, "scripted");
            return rule->after ? FAILS_AFTER : FAILS_BEFORE;
        }
    }
    if (world_ms(world) < world->healed_ms && random_below(&world->random, 100) < world->percent) {
        error_set(error, random_fault(world, call), NULL, "random");
        bool lost_reply = error->fault == FAULT_CONNECTION && random_below(&world->random, 2) == 0;
        return lost_reply ? FAILS_AFTER : FAILS_BEFORE;
    }
    return FAILS_NOT;
}

/* How long a connection was left without a call, at most: the broker takes silence for death. */
struct attention {
    int64_t last_ms, longest_ms;
};

static inline void attention_given(struct attention *attention, const struct world *world, bool was_open)
{
    int64_t silent_ms = world_ms(world) - attention->last_ms;
    if (was_open && silent_ms > attention->longest_ms)
        attention->longest_ms = silent_ms;
    attention->last_ms = world_ms(world);
}

/* ---- a set of what has happened ------------------------------------------------------------------------------------
 */

/* Numbers to numbers; 0 is neither. Grows by itself. */
struct book {
    size_t count, mask;
    struct entry {
        uint64_t key, value;
    } * entries;
};

static inline uint64_t book_mix(uint64_t a, uint64_t b)
{
    struct random random = {a * UINT64_C(0x9E3779B97F4A7C15) + b};
    return random_next(&random) | 1;
}

static inline uint64_t text_number(struct text text)
{
    uint64_t number = text.length + 1;
    for (size_t i = 0; i < text.length; i++)
        number = number * 1099511628211u + (unsigned char)text.data[i];
    return book_mix(number, text.length);
}

static inline struct entry *book_slot(const struct book *book, uint64_t key)
{
    size_t at = key & book->mask;
    while (book->entries[at].key != 0 && book->entries[at].key != key)
        at = (at + 1) & book->mask;
    return &book->entries[at];
}

static inline uint64_t book_get(const struct book *book, uint64_t key)
{
    return book->entries != NULL ? book_slot(book, key)->value : 0;
}

static inline void book_put(struct book *book, uint64_t key, uint64_t value)
{
    if (2 * (book->count + 1) > book->mask) {
        struct book grown = {book->count, book->mask * 2 + 63, NULL};
        grown.mask |= grown.mask >> 1;
        grown.mask |= grown.mask >> 2;
        grown.mask |= grown.mask >> 4;
        grown.mask |= grown.mask >> 8;
        grown.mask |= grown.mask >> 16;
        grown.entries = calloc(grown.mask + 1, sizeof *grown.entries);
        assert_non_null(grown.entries);
        for (size_t i = 0; book->entries != NULL && i <= book->mask; i++)
            if (book->entries[i].key != 0)
                *book_slot(&grown, book->entries[i].key) = book->entries[i];
        free(book->entries);
        *book = grown;
    }
    struct entry *entry = book_slot(book, key);
    book->count += entry->key == 0;
    *entry = (struct entry){key, value};
}

static inline void book_free(struct book *book)
{
    free(book->entries);
    *book = (struct book){0};
}

/* ---- entity "item": a number for a key, and one value ---------------------------------------------------------------
 */

enum { ITEM_KEYS = 8192 };

static const struct text item_fields[] = {{"id", 2}, {"value", 5}};
static const struct layout item_layout = {.entity = {"item", 4},
                                          .key_count = 1,
                                          .field_count = 2,
                                          .fields = item_fields,
                                          .schema = {"s1", 2},
                                          .coalesce = true};

static inline size_t item_key(struct text key)
{
    size_t number = 0;
    for (size_t i = 0; i < key.length; i++)
        number = number * 10 + (size_t)(key.data[i] - '0');
    assert_true(key.length > 0 && number < ITEM_KEYS);
    return number;
}

/* One name for one row's state, wherever it is met. */
static inline uint64_t change_number(struct text entity, struct text key, int64_t timestamp_us, struct text node)
{
    return book_mix(book_mix(text_number(entity), text_number(key)),
                    book_mix((uint64_t)timestamp_us, text_number(node)));
}

static inline uint64_t row_number(const struct message *message, size_t row)
{
    return change_number(message->entity, message_row(message, row)[0], message_version(message, row), message->source);
}

/* ---- the broker's queue --------------------------------------------------------------------------------------------
 */

struct queued {
    struct envelope envelope;
    int64_t ready_ms; /* not delivered before */
};

struct queue {
    struct arena arena; /* owns everything below but the list */
    size_t count, capacity;
    struct queued **messages; /* all there ever were */
    size_t settled;           /* the first so many */
};

static inline struct text text_copy(struct arena *arena, struct text text)
{
    return text_is_null(text) ? TEXT_NULL : arena_copy(arena, text);
}

static inline void envelope_copy(struct arena *arena, const struct envelope *from, struct envelope *to)
{
    *to = *from;
    to->routing_key = text_copy(arena, from->routing_key);
    to->body = text_copy(arena, from->body);
    to->content_type = text_copy(arena, from->content_type);
    to->message_id = text_copy(arena, from->message_id);
    to->correlation_id = text_copy(arena, from->correlation_id);
    to->type = text_copy(arena, from->type);
    to->app_id = text_copy(arena, from->app_id);
    to->exchange = text_copy(arena, from->exchange);
    for (size_t i = 0; i < from->header_count; i++) {
        to->headers[i].name = text_copy(arena, from->headers[i].name);
        to->headers[i].text = text_copy(arena, from->headers[i].text);
    }
}

static inline struct queued *queue_add(struct queue *queue, const struct envelope *envelope)
{
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity * 2 + 64;
        queue->messages = realloc(queue->messages, queue->capacity * sizeof *queue->messages);
    }
    assert_non_null(queue->messages);
    if (queue->arena.limit_bytes == 0)
        arena_init(&queue->arena, SIZE_MAX / 2);
    struct queued *queued = arena_take(&queue->arena, sizeof *queued);
    envelope_copy(&queue->arena, envelope, &queued->envelope);
    queue->messages[queue->count++] = queued;
    return queued;
}

static inline void queue_free(struct queue *queue)
{
    arena_free(&queue->arena);
    free(queue->messages);
    *queue = (struct queue){0};
}

/* ---- source: a list of transactions ---------------------------------------------------------------------------------
 */

enum { TRANSACTIONS_MAX = 2048 };

struct ticket {
    uint64_t generation;
    size_t from, to; /* transactions */
};

struct fake_source {
    struct source port; /* first */
    struct world *world;
    struct text node;
    const struct book *confirmed; /* by the outlet, as change_number */
    size_t transaction_count;
    size_t starts[TRANSACTIONS_MAX + 1]; /* each one's first key */
    int64_t interval_ms;                 /* from one commit to the next */
    size_t transactions_max;             /* in one batch */
    bool is_open;
    uint64_t generation;                 /* of opening */
    size_t given, released;              /* transactions */
    size_t outstanding, outstanding_max; /* batches */
    size_t reports;
    char reported_state[32];
};

static inline void source_close(struct source *port)
{
    ((struct fake_source *)port)->is_open = false;
}

static inline bool source_open(struct source *port, struct error *error)
{
    struct fake_source *source = (struct fake_source *)port;
    source->is_open = false;
    if (world_call(source->world, CALL_SOURCE_OPEN, error) != FAILS_NOT)
        return false;
    source->is_open = true;
    source->generation++;
    source->given = source->released;
    source->outstanding = 0;
    return true;
}

static inline bool source_lost(struct fake_source *source, const struct error *error)
{
    source->is_open = source->is_open && error->fault != FAULT_CONNECTION;
    return false;
}

static inline int64_t source_version_us(size_t key)
{
    return EPOCH_S * INT64_C(1000000) + (int64_t)key;
}

static inline void source_fill(struct fake_source *source, struct batch *batch, size_t first, size_t count)
{
    batch->changes = arena_take_array(&batch->arena, count, sizeof *batch->changes);
    for (size_t i = 0; i < count; i++) {
        struct text *values = arena_take_array(&batch->arena, 2, sizeof *values);
        values[0] = arena_printf(&batch->arena, "%zu", first + i);
        values[1] = arena_printf(&batch->arena, "value of %zu", first + i);
        batch->changes[batch->change_count++] =
            (struct change){.layout = &item_layout,
                            .op = (enum change_op)((first + i) % 3),
                            .values = values,
                            .version = {source_version_us(first + i), source->node}};
    }
    batch->captured_count = count;
}

static inline bool source_next(struct source *port, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    struct fake_source *source = (struct fake_source *)port;
    assert_true(source->is_open);
    assert_int_equal(batch->change_count, 0);
    if (world_call(source->world, CALL_NEXT, error) != FAILS_NOT)
        return source_lost(source, error);
    *found = false;
    if (port->holds != NULL && holds_entity(port->holds, item_layout.entity)) {
        world_pass(source->world, wait_ms);
        return true;
    }
    int64_t due_ms = (int64_t)source->given * source->interval_ms;
    if (source->given == source->transaction_count || due_ms > world_ms(source->world)) {
        bool comes = source->given < source->transaction_count && due_ms - world_ms(source->world) <= wait_ms;
        world_pass(source->world, comes ? due_ms - world_ms(source->world) : wait_ms);
        if (!comes)
            return true;
    }
    size_t to = source->given + 1, most = 1 + random_below(&source->world->random, source->transactions_max);
    if (port->holds != NULL && port->holds->changes_max > 0 && most > port->holds->changes_max)
        most = port->holds->changes_max; /* of one row each, as tests of this have them */
    while (to < source->transaction_count && to - source->given < most &&
           (int64_t)to * source->interval_ms <= world_ms(source->world))
        to++;
    struct ticket *ticket = arena_take(&batch->arena, sizeof *ticket);
    *ticket = (struct ticket){source->generation, source->given, to};
    batch->ticket = ticket;
    source_fill(source, batch, source->starts[source->given], source->starts[to] - source->starts[source->given]);
    source->given = to;
    if (++source->outstanding > source->outstanding_max)
        source->outstanding_max = source->outstanding;
    *found = true;
    return true;
}

static inline bool source_release(struct source *port, const struct batch *batch, const struct receipt *receipt,
                                  struct error *error)
{
    struct fake_source *source = (struct fake_source *)port;
    const struct ticket *ticket = batch->ticket;
    assert_true(source->is_open);
    /* Of this opening, in order, and confirmed to the last row. */
    assert_int_equal(ticket->generation, source->generation);
    assert_int_equal(ticket->from, source->released);
    for (size_t key = source->starts[ticket->from]; key < source->starts[ticket->to]; key++) {
        char text[24];
        snprintf(text, sizeof text, "%zu", key);
        assert_true(book_get(source->confirmed, change_number(item_layout.entity, text_from(text),
                                                              source_version_us(key), source->node)) != 0);
    }
    assert_int_equal(receipt->captured, source->starts[ticket->to] - source->starts[ticket->from]);
    enum failing failing = world_call(source->world, CALL_RELEASE, error);
    if (failing != FAILS_BEFORE) {
        source->released = ticket->to;
        source->outstanding--;
    }
    return failing == FAILS_NOT || source_lost(source, error);
}

static inline bool source_report(struct source *port, const struct report *report, struct error *error)
{
    struct fake_source *source = (struct fake_source *)port;
    assert_true(source->is_open);
    if (world_call(source->world, CALL_SOURCE_REPORT, error) != FAILS_NOT)
        return source_lost(source, error);
    source->reports++;
    snprintf(source->reported_state, sizeof source->reported_state, "%s", report->state);
    return true;
}

static const struct source_ops fake_source_ops = {source_open, source_next, source_release, source_report,
                                                  source_close};

/* Transactions of rows_each changes, all there from the beginning. */
static inline struct fake_source fake_source(struct world *world, struct text node, const struct book *confirmed,
                                             size_t transaction_count, size_t rows_each)
{
    assert_true(transaction_count <= TRANSACTIONS_MAX && transaction_count * rows_each <= ITEM_KEYS);
    struct fake_source source = {.port = {&fake_source_ops},
                                 .world = world,
                                 .node = node,
                                 .confirmed = confirmed,
                                 .transaction_count = transaction_count,
                                 .transactions_max = 1};
    for (size_t i = 0; i <= transaction_count; i++)
        source.starts[i] = i * rows_each;
    return source;
}

/* ---- outlet: confirms what it puts into the queue
 * --------------------------------------------------------------------
 */

enum { ACCEPTED_MAX = 4096 };

struct fake_outlet {
    struct outlet port; /* first */
    struct world *world;
    struct queue *queue;
    bool is_open;
    int64_t blocked_until_ms; /* the broker takes nothing before: messages are put by, as pointers */
    int latency_ms;           /* of a confirmation */
    bool confirms_piecemeal;  /* any part of what is there */
    uint64_t accepted, sent, confirmed;
    /* by number % ACCEPTED_MAX */
    struct accepted {
        const struct envelope *borrowed;
        struct queued *copy; /* as it was when it was accepted */
        int64_t sent_ms;
    } messages[ACCEPTED_MAX];
    struct queue copies; /* owns them */
    struct book rows;    /* change_number of what was confirmed to the caller */
    struct attention attention;
};

static inline struct accepted *outlet_message(struct fake_outlet *outlet, uint64_t number)
{
    return &outlet->messages[number % ACCEPTED_MAX];
}

/* What was in the air may have arrived, and may not. */
static inline void outlet_close(struct outlet *port)
{
    struct fake_outlet *outlet = (struct fake_outlet *)port;
    if (!outlet->is_open)
        return;
    attention_given(&outlet->attention, outlet->world, true);
    outlet->is_open = false;
    uint64_t arrived = outlet->confirmed;
    if (outlet->sent > arrived)
        arrived += random_below(&outlet->world->random, (size_t)(outlet->sent - arrived + 1));
    for (uint64_t number = outlet->confirmed + 1; number <= arrived; number++)
        queue_add(outlet->queue, &outlet_message(outlet, number)->copy->envelope);
}

static inline bool outlet_open(struct outlet *port, struct error *error)
{
    struct fake_outlet *outlet = (struct fake_outlet *)port;
    outlet_close(port);
    if (world_call(outlet->world, CALL_OUTLET_OPEN, error) != FAILS_NOT)
        return false;
    outlet->is_open = true;
    outlet->accepted = outlet->sent = outlet->confirmed = 0;
    attention_given(&outlet->attention, outlet->world, false);
    return true;
}

static inline bool outlet_failed_port(struct fake_outlet *outlet, const struct error *error)
{
    if (error->fault == FAULT_CONNECTION)
        outlet_close(&outlet->port);
    return false;
}

/* Sends what was put by. An envelope is read when it is sent, and must be then what it was when it was accepted. */
static inline void outlet_send(struct fake_outlet *outlet)
{
    while (outlet->sent < outlet->accepted && world_ms(outlet->world) >= outlet->blocked_until_ms) {
        struct accepted *message = outlet_message(outlet, ++outlet->sent);
        const struct envelope *copy = &message->copy->envelope;
        assert_true(text_equal(message->borrowed->message_id, copy->message_id));
        assert_true(text_equal(message->borrowed->body, copy->body));
        message->sent_ms = world_ms(outlet->world);
    }
}

static inline bool outlet_publish(struct outlet *port, const struct envelope *envelope, struct error *error)
{
    struct fake_outlet *outlet = (struct fake_outlet *)port;
    assert_true(outlet->is_open);
    enum failing failing = world_call(outlet->world, CALL_PUBLISH, error);
    attention_given(&outlet->attention, outlet->world, true);
    if (failing == FAILS_BEFORE)
        return outlet_failed_port(outlet, error);
    assert_true(outlet->accepted - outlet->confirmed < ACCEPTED_MAX);
    *outlet_message(outlet, ++outlet->accepted) =
        (struct accepted){.borrowed = envelope, .copy = queue_add(&outlet->copies, envelope)};
    outlet_send(outlet);
    return failing == FAILS_NOT || outlet_failed_port(outlet, error);
}

static inline void outlet_confirm_one(struct fake_outlet *outlet)
{
    struct arena arena;
    struct message message;
    struct error error;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const struct envelope *envelope = &outlet_message(outlet, ++outlet->confirmed)->copy->envelope;
    queue_add(outlet->queue, envelope);
    assert_true(envelope_unseal(envelope, &arena, &message, &error));
    for (size_t row = 0; row < message.row_count; row++)
        book_put(&outlet->rows, row_number(&message, row), 1);
    arena_free(&arena);
}

static inline bool outlet_confirm(struct outlet *port, int wait_ms, uint64_t *confirmed, struct error *error)
{
    struct fake_outlet *outlet = (struct fake_outlet *)port;
    assert_true(outlet->is_open);
    attention_given(&outlet->attention, outlet->world, true);
    if (world_call(outlet->world, CALL_CONFIRM, error) != FAILS_NOT)
        return outlet_failed_port(outlet, error);
    outlet_send(outlet);
    uint64_t before = outlet->confirmed;
    int64_t deadline_ms = world_ms(outlet->world) + wait_ms;
    for (;;) {
        uint64_t upto = outlet->sent;
        if (outlet->confirms_piecemeal && upto > outlet->confirmed)
            upto = outlet->confirmed + random_below(&outlet->world->random, (size_t)(upto - outlet->confirmed + 1));
        while (outlet->confirmed < upto &&
               outlet_message(outlet, outlet->confirmed + 1)->sent_ms + outlet->latency_ms <= world_ms(outlet->world))
            outlet_confirm_one(outlet);
        if (outlet->confirmed > before || outlet->confirmed == outlet->accepted ||
            world_ms(outlet->world) >= deadline_ms)
            break;
        world_pass(outlet->world, 1);
        outlet_send(outlet);
    }
    *confirmed = outlet->confirmed;
    return true;
}

static inline const char *outlet_blocked(struct outlet *port)
{
    const struct fake_outlet *outlet = (const struct fake_outlet *)port;
    return world_ms(outlet->world) < outlet->blocked_until_ms ? "low on memory" : NULL;
}

static const struct outlet_ops fake_outlet_ops = {outlet_open, outlet_publish, outlet_confirm, outlet_blocked, outlet_close};

static inline void fake_outlet_init(struct fake_outlet *outlet, struct world *world, struct queue *queue)
{
    *outlet = (struct fake_outlet){.port = {&fake_outlet_ops}, .world = world, .queue = queue};
}

static inline void fake_outlet_free(struct fake_outlet *outlet)
{
    queue_free(&outlet->copies);
    book_free(&outlet->rows);
}

/* ---- target: a table that is judged
 * -----------------------------------------------------------------------------------
 */

struct item_row {
    bool present;
    int64_t timestamp_us; /* 0: no version */
    char node[LIMIT_NAME_BYTES + 1];
    uint64_t content;
};

/* What befalls a row when it is applied. */
struct trouble {
    enum fault fault;
    const char *code;
    int64_t until_ms; /* 0: for ever */
    bool exchange;    /* only until it is put off */
    bool beside;      /* only while other rows are applied with it */
};

struct fake_target {
    struct target port; /* first */
    struct world *world;
    struct text node;
    /* the table */
    struct item_row rows[ITEM_KEYS];
    struct trouble troubles[ITEM_KEYS];
    size_t parents[ITEM_KEYS]; /* 1 + the key of a row that must be there with it at commit; 0: none */
    /* what is committed */
    struct book handled;  /* row_number, or the message_id of one that could not be read, to the transaction */
    struct book letters;  /* the same, of what was buried, to how often */
    struct receipt total; /* over all sources; the sequence is the latest one's */
    uint64_t transactions, lost_replies;
    struct book suspects; /* by message_id, 1 + how many died with it */
    uint64_t acquitted;
    struct numbering numbering, noted; /* committed, and with what the transaction noted */
    uint64_t heard;   /* heartbeats, also of transactions that were rolled back */
    int64_t heard_us; /* the latest one's time */
    int64_t committed_ms; /* the latest */
    /* session and transaction */
    bool is_open, in_transaction, broken;
    size_t undo_count;
    struct undo {
        size_t key;
        struct item_row row;
    } * undo; /* ITEM_KEYS * 4 */
    size_t done_count;
    struct done {
        uint64_t number;
        bool buried;
        const struct message *message; /* of a row that was applied */
        size_t row;
    } * done;
    struct tally tally; /* of this transaction */
    size_t looks;         /* for letters to try */
    size_t looks_at_once; /* so many times there are more of them */
    size_t looks_in_vain; /* so many times somebody holds one of their rows, for so long */
    int64_t held_ms;
    bool others_go; /* meanwhile */
    int64_t looked_ms;    /* the last of these */
    size_t reports;
    char reported_state[32];
    int64_t apply_lasts_ms;
};

enum { UNDO_MAX = 4 * ITEM_KEYS };

/* Back to where only so much was written and done. */
static inline void target_undo_to(struct fake_target *target, size_t undo_count, size_t done_count)
{
    while (target->undo_count > undo_count) {
        const struct undo *undo = &target->undo[--target->undo_count];
        target->rows[undo->key] = undo->row;
    }
    target->done_count = done_count;
}

static inline void target_undo(struct fake_target *target)
{
    target_undo_to(target, 0, 0);
    target->in_transaction = target->broken = false;
}

static inline void target_close(struct target *port)
{
    struct fake_target *target = (struct fake_target *)port;
    target_undo(target);
    target->is_open = false;
}

static inline bool target_open(struct target *port, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    target_close(port);
    target->is_open = world_call(target->world, CALL_TARGET_OPEN, error) == FAILS_NOT;
    return target->is_open;
}

/* Always false. */
static inline bool target_lost(struct fake_target *target, const struct error *error)
{
    if (error->fault == FAULT_CONNECTION)
        target_close(&target->port);
    else
        target->broken = true;
    return false;
}

static inline bool target_begin(struct target *port, enum standing standing, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    assert_true(target->is_open && !target->in_transaction);
    assert_int_equal(standing, STANDS_ALONE);
    if (world_call(target->world, CALL_BEGIN, error) != FAILS_NOT)
        return target_lost(target, error);
    target->in_transaction = true;
    numbering_copy(&target->noted, &target->numbering);
    target->tally = (struct tally){0};
    return true;
}

static inline void target_done(struct fake_target *target, struct done done)
{
    assert_true(target->done_count < UNDO_MAX);
    target->done[target->done_count++] = done;
}

static inline void target_write(struct fake_target *target, size_t key, struct item_row row)
{
    assert_true(target->undo_count < UNDO_MAX);
    target->undo[target->undo_count++] = (struct undo){key, target->rows[key]};
    target->rows[key] = row;
}

static inline void target_judge(struct fake_target *target, const struct message *message, size_t row,
                                struct tally *tally)
{
    const struct text *values = message_row(message, row);
    size_t key = item_key(values[0]);
    struct item_row *here = &target->rows[key];
    struct item_row news = {.present = message->op != CHANGE_DELETED, .timestamp_us = message_version(message, row)};
    snprintf(news.node, sizeof news.node, "%.*s", TEXT_PRINTF(message->source));
    if (news.present)
        news.content = text_number(values[1]);
    bool equal = here->present == news.present && here->content == news.content;
    struct version change = {news.timestamp_us, message->source};
    struct version local = {here->timestamp_us, text_from(here->node)};
    struct write write = message_write(message, row), present = {.version = local};
    tally->received++;
    switch (judge_change(target->node, &write, &present, equal)) {
    case VERDICT_ECHO:
        tally->echo++;
        return;
    case VERDICT_DUPLICATE:
        tally->duplicate++;
        return;
    case VERDICT_STALE:
        tally->stale++;
        return;
    case VERDICT_FRESH:
        tally->applied++;
        break;
    case VERDICT_SAME:
        tally->same++;
        if (version_compare(change, local) < 0)
            return;
        break;
    case VERDICT_CONCURRENT:
        tally->conflicts++;
        if (policy_default()->rule(NULL, local, change) == RULING_LOCAL) {
            tally->kept++;
            return;
        }
        tally->applied++;
        break;
    }
    target_write(target, key, news);
}

/* The server thinks, and whoever waits for us is looked after. */
static inline void target_think(struct fake_target *target, int64_t lasts_ms)
{
    for (; lasts_ms > 0; lasts_ms -= 500) {
        world_pass(target->world, lasts_ms < 500 ? lasts_ms : 500);
        if (target->port.waiting != NULL)
            target->port.waiting(target->port.context);
    }
}

static inline bool target_apply(struct target *port, const struct message *message, size_t first, size_t count,
                                enum apply_mode mode, struct tally *tally, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    struct tally applied = {0};
    size_t undo_count = target->undo_count, done_count = target->done_count;
    assert_true(target->is_open && target->in_transaction && !target->broken);
    assert_true(count > 0 && first + count <= message->row_count);
    assert_true(count == 1 || mode != APPLY_PUT_OFF);
    target_think(target, target->apply_lasts_ms);
    if (world_call(target->world, CALL_APPLY, error) != FAILS_NOT)
        return target_lost(target, error);
    for (size_t row = first; row < first + count; row++) {
        const struct trouble *trouble = &target->troubles[item_key(message_row(message, row)[0])];
        bool lasts = trouble->until_ms == 0 || world_ms(target->world) < trouble->until_ms;
        bool spared = (trouble->exchange && mode == APPLY_PUT_OFF) || (trouble->beside && count == 1);
        if (trouble->fault != FAULT_NONE && lasts && !spared) {
            error_set(error, trouble->fault, trouble->code, "trouble with a row");
            bool ends = trouble->fault == FAULT_CONNECTION || trouble->fault == FAULT_CONTENTION ||
                        trouble->fault == FAULT_OPERATOR;
            if (mode == APPLY_TOGETHER || ends)
                return target_lost(target, error);
            target_undo_to(target, undo_count, done_count);
            return false;
        }
        target_judge(target, message, row, &applied);
        target_done(target, (struct done){row_number(message, row), false, message, row});
    }
    tally_add(tally, &applied);
    return true;
}

static inline bool target_bury(struct target *port, const struct dead_letter *letter, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    assert_true(target->is_open && target->in_transaction && !target->broken);
    if (world_call(target->world, CALL_BURY, error) != FAILS_NOT)
        return target_lost(target, error);
    assert_true(letter->error->fault != FAULT_NONE && letter->envelope != NULL);
    /* A letter has a row of a message that could be read, or no message at all. */
    assert_true(letter->message == NULL || letter->row < letter->message->row_count);
    uint64_t number =
        letter->message ? row_number(letter->message, letter->row) : text_number(letter->envelope->message_id);
    target_done(target, (struct done){.number = number, .buried = true});
    return true;
}

/* Whether every row that was written has the row it needs; else those to blame. */
static inline bool target_parents_present(const struct fake_target *target, struct offences *offences)
{
    bool present = true;
    for (size_t i = 0; i < target->done_count; i++) {
        const struct done *done = &target->done[i];
        if (done->message == NULL)
            continue;
        size_t key = item_key(message_row(done->message, done->row)[0]), parent = target->parents[key];
        if (parent == 0 || !target->rows[key].present || target->rows[parent - 1].present)
            continue;
        present = false;
        if (offences != NULL && offences->count < OFFENCES_MAX)
            offences->rows[offences->count++] = (struct offence){done->message, done->row};
    }
    return present;
}

static inline bool target_commit(struct target *port, const struct receipt *receipts, size_t receipt_count,
                                 struct offences *offences, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    assert_true(target->is_open && target->in_transaction && !target->broken);
    assert_true(receipt_count > 0 || target->heard > 0);
    for (size_t i = 0; i < receipt_count; i++)
        assert_true(tally_conserves(&receipts[i].tally));
    enum failing failing = world_call(target->world, CALL_COMMIT, error);
    if (failing == FAILS_BEFORE)
        return target_lost(target, error);
    if (!target_parents_present(target, offences)) {
        error_set(error, FAULT_TRANSIENT, "23503", "a parent is missing");
        return target_lost(target, error);
    }
    target->transactions++;
    target->committed_ms = world_ms(target->world);
    for (size_t i = 0; i < target->done_count; i++) {
        const struct done *done = &target->done[i];
        if (book_get(&target->handled, done->number) == 0)
            book_put(&target->handled, done->number, target->transactions);
        if (done->buried)
            book_put(&target->letters, done->number, 1 + book_get(&target->letters, done->number));
    }
    for (size_t i = 0; i < receipt_count; i++) {
        target->total.messages += receipts[i].messages;
        target->total.bytes += receipts[i].bytes;
        target->total.gaps += receipts[i].gaps;
        target->total.sequence = receipts[i].sequence;
        target->total.refused += receipts[i].refused;
        tally_add(&target->total.tally, &receipts[i].tally);
    }
    numbering_copy(&target->numbering, &target->noted);
    target->undo_count = target->done_count = 0;
    target->in_transaction = false;
    target->lost_replies += failing == FAILS_AFTER;
    return failing == FAILS_NOT || target_lost(target, error);
}

static inline bool target_rollback(struct target *port, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    assert_true(target->is_open);
    if (world_call(target->world, CALL_ROLLBACK, error) != FAILS_NOT)
        return target_lost(target, error);
    target_undo(target);
    return true;
}

static inline bool target_hear(struct target *port, const struct heartbeat *heartbeat, int64_t *offset_us, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    assert_true(target->is_open && target->in_transaction && !target->broken);
    (void)error;
    target->heard++;
    target->heard_us = heartbeat->time_us;
    *offset_us = 0;
    return true;
}

static inline bool target_note(struct target *port, const struct sighting *sighting, uint64_t *missing, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    assert_true(target->is_open && target->in_transaction && !target->broken);
    (void)error;
    *missing = numbering_note(&target->noted, sighting);
    return true;
}

static inline bool target_note_confirmed(struct target *port, const struct heartbeat *heartbeat, uint64_t *missing, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    assert_true(target->is_open && target->in_transaction && !target->broken);
    (void)error;
    *missing = numbering_note_confirmed(&target->noted, heartbeat);
    return true;
}

/* No letter waits, unless the test says so. */
static inline bool target_retry(struct target *port, bool hurry, struct retried *left, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    (void)hurry;
    assert_true(target->is_open && !target->in_transaction);
    if (++target->looks <= target->looks_in_vain) {
        target_think(target, target->held_ms);
        *left = (struct retried){.next_ms = 0, .held = true};
        if (target->others_go)
            return true;
        target->in_transaction = true; /* one that is to be rolled back */
        return error_set(error, FAULT_CONTENTION, "55P03", "letters: somebody holds a row");
    }
    bool more = target->looks <= target->looks_at_once;
    if (more)
        target->looked_ms = world_ms(target->world);
    left->next_ms = more ? 0 : -1;
    return true;
}

static inline bool target_report(struct target *port, const struct report *report, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    assert_true(target->is_open && !target->in_transaction);
    if (world_call(target->world, CALL_TARGET_REPORT, error) != FAILS_NOT) {
        target_close(port);
        return false;
    }
    target->reports++;
    snprintf(target->reported_state, sizeof target->reported_state, "%s", report->state);
    return true;
}

static inline bool target_suspect(struct target *port, const struct envelope *envelope, int *deaths, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    (void)error;
    assert_true(target->is_open && !target->in_transaction);
    uint64_t number = text_number(envelope->message_id), noted = book_get(&target->suspects, number);
    *deaths = noted > 0 ? (int)noted - 1 : 0;
    if (noted == 0)
        book_put(&target->suspects, number, 1);
    return true;
}

static inline bool target_acquit(struct target *port, const struct envelope *envelope, struct error *error)
{
    struct fake_target *target = (struct fake_target *)port;
    (void)error;
    assert_true(target->is_open && !target->in_transaction);
    assert_true(book_get(&target->suspects, text_number(envelope->message_id)) > 0);
    book_put(&target->suspects, text_number(envelope->message_id), 0);
    target->acquitted++;
    return true;
}

static const struct target_ops fake_target_ops = {target_open,   target_begin,  target_apply,    target_hear,  target_note,   target_note_confirmed,
                                                  target_bury,   target_commit, target_rollback, target_retry, target_suspect,
                                                  target_acquit, target_report, target_close};

static inline struct fake_target *fake_target_new(struct world *world, struct text node)
{
    struct fake_target *target = calloc(1, sizeof *target);
    assert_non_null(target);
    target->port.ops = &fake_target_ops;
    target->world = world;
    target->node = node;
    target->undo = calloc(UNDO_MAX, sizeof *target->undo);
    target->done = calloc(UNDO_MAX, sizeof *target->done);
    assert_true(target->undo != NULL && target->done != NULL);
    return target;
}

static inline void fake_target_free(struct fake_target *target)
{
    book_free(&target->handled);
    book_free(&target->letters);
    book_free(&target->suspects);
    free(target->undo);
    free(target->done);
    free(target);
}

/* ---- brake: paused for a time, or from a pull on
 * ---------------------------------------------------------
 */

struct fake_brake {
    struct brake port; /* first */
    struct world *world;
    const char *entity; /* that is paused; NULL: the whole direction */
    int64_t from_ms, until_ms;
    int64_t pull_lasts_ms;
    const char *full; /* an entity of which too much is held */
    uint64_t rows;    /* of any entity */
    size_t pulls;
    char pulled[64], reason[256];
};

static inline bool brake_look(struct brake *port, const char *direction, struct holds *holds, struct error *error)
{
    struct fake_brake *brake = (struct fake_brake *)port;
    (void)direction, (void)error;
    assert_true(!holds->all && holds->count == 0);
    if (world_ms(brake->world) < brake->from_ms || world_ms(brake->world) >= brake->until_ms)
        return true;
    if (brake->full != NULL)
        snprintf(holds->full, sizeof holds->full, "%s", brake->full);
    if (brake->entity != NULL)
        holds_add(holds, text_from(brake->entity));
    else
        holds->all = true;
    return true;
}

static inline bool brake_pull(struct brake *port, const char *direction, struct text entity, const char *reason, struct error *error)
{
    struct fake_brake *brake = (struct fake_brake *)port;
    (void)direction, (void)error;
    brake->pulls++;
    snprintf(brake->pulled, sizeof brake->pulled, "%.*s", TEXT_PRINTF(entity));
    snprintf(brake->reason, sizeof brake->reason, "%s", reason);
    brake->full = NULL;
    brake->entity = text_is_null(entity) ? NULL : brake->pulled;
    brake->from_ms = world_ms(brake->world);
    brake->until_ms = brake->from_ms + brake->pull_lasts_ms;
    return true;
}

static inline bool brake_size(struct brake *port, struct text entity, uint64_t *rows, struct error *error)
{
    (void)entity, (void)error;
    *rows = ((struct fake_brake *)port)->rows;
    return true;
}

static const struct brake_ops fake_brake_ops = {brake_look, brake_pull, brake_size};

/* ---- inlet: delivers the queue, and again what was not settled
 * ---------------------------------------------------------
 */

struct fake_inlet {
    struct inlet port; /* first */
    struct world *world;
    struct queue *queue;
    const struct fake_target *target; /* where everything must be durable before it is settled */
    struct text node;
    size_t peer_count;
    const char *const *peers;
    bool is_open, is_dry;
    size_t first;     /* message of tag 1 */
    size_t delivered; /* messages, on this connection */
    uint64_t redelivered;
    size_t delivered_once;
    uint64_t waits_in_hand; /* while messages were not settled */
    int64_t asleep_ms; /* the first delivery wakes a process that was suspended for so long */
    struct attention attention;
};

static inline void inlet_close(struct inlet *port)
{
    struct fake_inlet *inlet = (struct fake_inlet *)port;
    if (inlet->is_open)
        attention_given(&inlet->attention, inlet->world, true);
    inlet->is_open = false;
}

static inline bool inlet_open(struct inlet *port, struct error *error)
{
    struct fake_inlet *inlet = (struct fake_inlet *)port;
    inlet_close(port);
    if (world_call(inlet->world, CALL_INLET_OPEN, error) != FAILS_NOT)
        return false;
    inlet->is_open = true;
    inlet->is_dry = port->dry;
    inlet->first = inlet->queue->settled;
    inlet->delivered = 0;
    attention_given(&inlet->attention, inlet->world, false);
    return true;
}

static inline bool inlet_lost(struct fake_inlet *inlet)
{
    inlet_close(&inlet->port);
    return false;
}

static inline bool inlet_receive(struct inlet *port, int wait_ms, struct delivery **delivery, struct error *error)
{
    struct fake_inlet *inlet = (struct fake_inlet *)port;
    const struct queue *queue = inlet->queue;
    assert_true(inlet->is_open);
    attention_given(&inlet->attention, inlet->world, true);
    if (world_call(inlet->world, CALL_RECEIVE, error) != FAILS_NOT)
        return inlet_lost(inlet);
    *delivery = NULL;
    size_t next = inlet->first + inlet->delivered;
    bool may = !inlet->is_dry && next < queue->count && next - queue->settled < LIMIT_PREFETCH_MESSAGES;
    int64_t due_ms = may ? queue->messages[next]->ready_ms : INT64_MAX;
    if (due_ms > world_ms(inlet->world)) {
        int64_t left_ms = due_ms - world_ms(inlet->world);
        bool comes = due_ms < INT64_MAX && left_ms <= wait_ms;
        inlet->waits_in_hand += wait_ms > 0 && next > queue->settled;
        world_pass(inlet->world, comes ? left_ms : wait_ms);
        attention_given(&inlet->attention, inlet->world, false);
        if (!comes)
            return true;
    }
    if (inlet->asleep_ms > 0) {
        world_pass(inlet->world, inlet->asleep_ms);
        attention_given(&inlet->attention, inlet->world, false);
        inlet->asleep_ms = 0;
    }
    struct delivery *new = delivery_new();
    envelope_copy(&new->arena, &queue->messages[next]->envelope, &new->envelope);
    new->envelope.redelivered = next < inlet->delivered_once;
    inlet->redelivered += new->envelope.redelivered;
    if (next >= inlet->delivered_once)
        inlet->delivered_once = next + 1;
    new->tag = ++inlet->delivered;
    *delivery = new;
    return true;
}

static inline bool inlet_knows_peer(const struct fake_inlet *inlet, struct text source)
{
    for (size_t i = 0; i < inlet->peer_count; i++)
        if (text_equal(text_from(inlet->peers[i]), source))
            return true;
    return false;
}

/* Every row of a peer is applied or buried, and what cannot be read is buried: committed, all of it. */
static inline void inlet_check_durable(const struct fake_inlet *inlet, const struct envelope *envelope)
{
    struct arena arena;
    struct message message;
    struct error error;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    if (heartbeat_is(envelope)) {
        assert_true(inlet->target->heard > 0);
    } else if (!envelope_unseal(envelope, &arena, &message, &error)) {
        assert_true(book_get(&inlet->target->letters, text_number(envelope->message_id)) > 0);
    } else if (inlet_knows_peer(inlet, message.source)) {
        for (size_t row = 0; row < message.row_count; row++)
            assert_true(book_get(&inlet->target->handled, row_number(&message, row)) > 0 ||
                        book_get(&inlet->target->letters, text_number(envelope->message_id)) > 0);
    }
    arena_free(&arena);
}

static inline bool inlet_settle(struct inlet *port, uint64_t tag, struct error *error)
{
    struct fake_inlet *inlet = (struct fake_inlet *)port;
    struct queue *queue = inlet->queue;
    assert_true(inlet->is_open);
    size_t upto = inlet->first + (size_t)tag;
    assert_true(tag >= 1 && tag <= inlet->delivered && upto > queue->settled);
    for (size_t i = queue->settled; i < upto; i++)
        inlet_check_durable(inlet, &queue->messages[i]->envelope);
    assert_true(inlet->target->total.messages + inlet->target->heard >= upto);
    enum failing failing = world_call(inlet->world, CALL_SETTLE, error);
    attention_given(&inlet->attention, inlet->world, true);
    if (failing != FAILS_BEFORE)
        queue->settled = upto;
    return failing == FAILS_NOT || inlet_lost(inlet);
}

static inline bool inlet_depth(struct inlet *port, uint64_t *messages, struct error *error)
{
    struct fake_inlet *inlet = (struct fake_inlet *)port;
    attention_given(&inlet->attention, inlet->world, inlet->is_open);
    if (world_call(inlet->world, CALL_DEPTH, error) != FAILS_NOT)
        return inlet_lost(inlet);
    *messages = inlet->queue->count - (inlet->is_open ? inlet->first + inlet->delivered : inlet->queue->settled);
    return true;
}

static const struct inlet_ops fake_inlet_ops = {inlet_open, inlet_receive, inlet_settle, inlet_depth, inlet_close};

static inline void fake_inlet_init(struct fake_inlet *inlet, struct world *world, struct queue *queue,
                                   const struct fake_target *target)
{
    *inlet = (struct fake_inlet){
        .port = {&fake_inlet_ops}, .world = world, .queue = queue, .target = target, .node = target->node};
}
