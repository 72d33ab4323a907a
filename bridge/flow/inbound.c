#include "bridge/flow/inbound.h"

#include <assert.h>
#include <stdlib.h>

#include "bridge/base/log.h"

enum {
    IDLE_WAIT_MS = 200,
    PARTS_WAIT_MS = 10000, /* for the rest of a batch whose sender is gone */
    CONTENTION_TRIES = 5,
    CONTENTION_BASE_MS = 10,
    CONTENTION_CAP_MS = 1000,
    OPERATOR_WAIT_MS = 1000,
};

enum fate {
    FATE_APPLY,
    FATE_ECHO,    /* our own message came back */
    FATE_REFUSED, /* of a source that is not a peer */
    FATE_POISON,  /* unreadable */
};

struct item {
    struct delivery *delivery;
    struct message message;
    enum fate fate;
    struct error error; /* why it is poison */
    bool gap;
};

/* Some rows of one message; rows [0, 0) of a message that is not applied. */
struct unit {
    struct item *item;
    size_t first, count;
};

/* Where a source's numbering and its latest batch stand. */
struct source_progress {
    char name[LIMIT_NAME_BYTES + 1];
    char epoch[64];
    int64_t sequence;
    char batch[64];
    int64_t parts_missing;
};

struct group {
    struct item items[LIMIT_PREFETCH_MESSAGES];
    size_t count;
    size_t rows, bytes;
    struct source_progress sources[LIMIT_PEERS];
    size_t source_count;
    bool target_open, inlet_open;
    struct retry contention;
};

static void forget_items(struct group *group)
{
    for (size_t i = 0; i < group->count; i++)
        delivery_free(group->items[i].delivery);
    group->count = group->rows = group->bytes = 0;
    for (size_t i = 0; i < group->source_count; i++)
        group->sources[i].parts_missing = 0;
}

/* The broker will deliver again what is not settled. */
static void inlet_failed(struct inbound *in, struct group *group, const struct error *error)
{
    in->inlet->ops->close(in->inlet);
    group->inlet_open = false;
    forget_items(group);
    worker_show(&in->worker, WORKER_BROKER_AWAY);
    worker_fail(&in->worker, "broker", error);
}

static void target_failed(struct inbound *in, struct group *group, const struct error *error)
{
    in->target->ops->close(in->target);
    group->target_open = false;
    worker_show(&in->worker, WORKER_DATABASE_AWAY);
    worker_fail(&in->worker, "database", error);
}

static bool open_ports(struct inbound *in, struct group *group)
{
    struct error error;
    if (!group->target_open) {
        if (!in->target->ops->open(in->target, &error)) {
            target_failed(in, group, &error);
            return false;
        }
        group->target_open = true;
    }
    if (!group->inlet_open) {
        if (!in->inlet->ops->open(in->inlet, &error)) {
            inlet_failed(in, group, &error);
            return false;
        }
        group->inlet_open = true;
    }
    worker_show(&in->worker, WORKER_RUNNING);
    return true;
}

/* ---- 1. receive, 2. unseal ---- */

static bool is_peer(const struct inbound *in, struct text source)
{
    for (size_t i = 0; i < in->peer_count; i++)
        if (text_equal(text_from(in->peers[i]), source))
            return true;
    return false;
}

static struct source_progress *progress_of(struct group *group, struct text source)
{
    for (size_t i = 0; i < group->source_count; i++)
        if (text_equal(text_from(group->sources[i].name), source))
            return &group->sources[i];
    if (group->source_count == LIMIT_PEERS || source.length > LIMIT_NAME_BYTES)
        return NULL;
    struct source_progress *progress = &group->sources[group->source_count++];
    *progress = (struct source_progress){0};
    memcpy(progress->name, source.data, source.length);
    return progress;
}

static bool same_text(const char *known, struct text text)
{
    return text_equal(text_from(known), text_is_null(text) ? TEXT_LITERAL("") : text);
}

static void keep_text(char *known, size_t size, struct text text)
{
    size_t length = text.length < size - 1 ? text.length : size - 1;
    if (length > 0)
        memcpy(known, text.data, length);
    known[length] = '\0';
}

/* A number that is skipped means a message was lost; a batch is whole when its last part has come. */
static void note_progress(struct inbound *in, struct group *group, struct item *item)
{
    const struct message *message = &item->message;
    struct source_progress *progress = progress_of(group, message->source);
    if (progress == NULL)
        return;
    if (message->sequence > 0) {
        bool same_epoch = same_text(progress->epoch, message->epoch);
        item->gap = same_epoch && message->sequence > progress->sequence + 1;
        if (item->gap) {
            atomic_fetch_add(&in->worker.counters->gaps, 1);
            log_event(LOG_LEVEL_ERROR, "missed", "source=%s x-seq=%lld..%lld", progress->name,
                      (long long)progress->sequence + 1, (long long)message->sequence - 1);
        }
        if (!same_epoch || message->sequence > progress->sequence)
            progress->sequence = message->sequence;
        keep_text(progress->epoch, sizeof progress->epoch, message->epoch);
    }
    if (!same_text(progress->batch, message->batch) || message->part == 1) {
        keep_text(progress->batch, sizeof progress->batch, message->batch);
        progress->parts_missing = message->parts;
    }
    progress->parts_missing = message->parts - message->part;
}

static bool group_complete(const struct group *group)
{
    for (size_t i = 0; i < group->source_count; i++)
        if (group->sources[i].parts_missing > 0)
            return false;
    return true;
}

static void add_item(struct inbound *in, struct group *group, struct delivery *delivery)
{
    struct item *item = &group->items[group->count++];
    *item = (struct item){.delivery = delivery};
    group->bytes += delivery->envelope.body.length;
    if (!envelope_unseal(&delivery->envelope, &delivery->arena, &item->message, &item->error)) {
        item->fate = FATE_POISON;
        item->message = (struct message){0};
        return;
    }
    group->rows += item->message.row_count;
    if (item->message.unknown_members > 0)
        atomic_fetch_add(&in->worker.counters->unknown_members, item->message.unknown_members);
    if (text_equal(item->message.source, in->worker.node)) {
        item->fate = in->apply_echoes ? FATE_APPLY : FATE_ECHO;
    } else if (!is_peer(in, item->message.source)) {
        item->fate = FATE_REFUSED;
        log_event(LOG_LEVEL_WARNING, "refused", "source=%.*s entity=%.*s reason=\"not among peers\"",
                  TEXT_PRINTF(item->message.source), TEXT_PRINTF(item->message.entity));
    } else {
        note_progress(in, group, item);
    }
}

/* Takes what is there, without a timer, up to the bounds; then waits for the rest of a batch that has begun. */
static bool receive_group(struct inbound *in, struct group *group)
{
    struct clock *clock = in->worker.clock;
    struct error error;
    int64_t deadline = clock->ops->monotonic_ms(clock) + PARTS_WAIT_MS;
    int wait_ms = IDLE_WAIT_MS;
    while (group->count < LIMIT_PREFETCH_MESSAGES && !worker_stopping(&in->worker)) {
        bool full = group->rows >= LIMIT_GROUP_ROWS || group->bytes >= LIMIT_GROUP_BYTES;
        bool complete = group_complete(group);
        if (full && complete)
            break;
        struct delivery *delivery = NULL;
        if (!in->inlet->ops->receive(in->inlet, wait_ms, &delivery, &error)) {
            inlet_failed(in, group, &error);
            return false;
        }
        if (delivery != NULL) {
            add_item(in, group, delivery);
            wait_ms = 0;
            continue;
        }
        if (group->count == 0 || complete)
            break;
        if (clock->ops->monotonic_ms(clock) >= deadline) {
            log_event(LOG_LEVEL_WARNING, "waited", "reason=\"the rest of a batch did not come\" wait_ms=%d", PARTS_WAIT_MS);
            break;
        }
        wait_ms = IDLE_WAIT_MS;
    }
    return true;
}

/* ---- 3. apply, 4. record, 5. commit ---- */

static struct receipt *receipt_of(struct receipt *receipts, size_t *count, struct text source)
{
    for (size_t i = 0; i < *count; i++)
        if (text_equal(receipts[i].source, source))
            return &receipts[i];
    if (*count > LIMIT_PEERS)
        return &receipts[LIMIT_PEERS];
    receipts[*count] = (struct receipt){.source = source};
    return &receipts[(*count)++];
}

/* Sources that are no peers share one line, so that nobody can fill the table with names. */
static struct text counted_source(const struct item *item)
{
    switch (item->fate) {
    case FATE_APPLY:
    case FATE_ECHO:
        return item->message.source;
    case FATE_REFUSED:
    case FATE_POISON:
        break;
    }
    return TEXT_LITERAL("(other)");
}

static void fill_receipt(struct receipt *receipt, const struct unit *unit, const struct tally *tally)
{
    const struct item *item = unit->item;
    tally_add(&receipt->tally, tally);
    if (unit->first > 0)
        return;
    receipt->messages++;
    receipt->bytes += item->delivery->envelope.body.length;
    receipt->refused += item->fate == FATE_REFUSED;
    if (item->fate != FATE_APPLY)
        return;
    receipt->gaps += item->gap;
    receipt->epoch = item->message.epoch;
    if (item->message.sequence > receipt->sequence)
        receipt->sequence = item->message.sequence;
    for (size_t row = 0; row < item->message.row_count; row++)
        if (message_version(&item->message, row) > receipt->newest_us)
            receipt->newest_us = message_version(&item->message, row);
}

static void log_applied(const struct unit *unit, const struct tally *tally)
{
    const struct message *message = &unit->item->message;
    const struct envelope *envelope = &unit->item->delivery->envelope;
    struct text correlation = envelope->correlation_id;
    log_event(text_is_null(correlation) ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "applied",
              "source=%.*s entity=%.*s op=%s rows=%llu applied=%llu x-seq=%lld correlation_id=%.*s",
              TEXT_PRINTF(message->source), TEXT_PRINTF(message->entity), change_op_name(message->op),
              (unsigned long long)tally->received, (unsigned long long)tally->applied, (long long)message->sequence,
              TEXT_PRINTF(correlation));
}

static bool apply_unit(struct inbound *in, const struct unit *unit, struct tally *tally, struct error *error)
{
    struct item *item = unit->item;
    switch (item->fate) {
    case FATE_ECHO:
        tally->received = tally->echo = item->message.row_count;
        return true;
    case FATE_REFUSED:
        return true;
    case FATE_POISON: {
        struct dead_letter letter = {.envelope = &item->delivery->envelope, .error = &item->error};
        tally->received = tally->dead_letters = 1;
        return in->target->ops->bury(in->target, &letter, error);
    }
    case FATE_APPLY:
        break;
    }
    if (!in->target->ops->apply(in->target, &item->message, unit->first, unit->count, tally, error))
        return error_prefix(error, "source %.*s, entity %.*s", TEXT_PRINTF(item->message.source),
                            TEXT_PRINTF(item->message.entity));
    assert(tally_conserves(tally));
    return true;
}

static void count_transaction(struct inbound *in, const struct receipt *receipts, size_t receipt_count)
{
    struct counters *counters = in->worker.counters;
    atomic_fetch_add(&counters->transactions_in, 1);
    for (size_t i = 0; i < receipt_count; i++) {
        const struct receipt *receipt = &receipts[i];
        const struct tally *tally = &receipt->tally;
        atomic_fetch_add(&counters->messages_in, receipt->messages);
        atomic_fetch_add(&counters->bytes_in, receipt->bytes);
        atomic_fetch_add(&counters->refused, receipt->refused);
        atomic_fetch_add(&counters->received, tally->received);
        atomic_fetch_add(&counters->applied, tally->applied);
        atomic_fetch_add(&counters->unchanged, tally->unchanged);
        atomic_fetch_add(&counters->same, tally->same);
        atomic_fetch_add(&counters->duplicate, tally->duplicate);
        atomic_fetch_add(&counters->stale, tally->stale);
        atomic_fetch_add(&counters->echo, tally->echo);
        atomic_fetch_add(&counters->kept, tally->kept);
        atomic_fetch_add(&counters->conflicts, tally->conflicts);
        atomic_fetch_add(&counters->dead_letters, tally->dead_letters);
        if (receipt->newest_us > atomic_load(&counters->newest_us))
            atomic_store(&counters->newest_us, receipt->newest_us);
    }
}

/* One transaction. buried: instead of being applied, the only row of the only unit becomes a dead letter for this
 * reason. */
static bool try_units(struct inbound *in, const struct unit *units, size_t count, const struct error *buried,
                      struct error *error)
{
    struct target *target = in->target;
    struct receipt receipts[LIMIT_PEERS + 1];
    struct tally tallies[LIMIT_PREFETCH_MESSAGES];
    size_t receipt_count = 0;
    if (!target->ops->begin(target, error))
        return false;
    for (size_t i = 0; i < count; i++) {
        tallies[i] = (struct tally){0};
        if (buried != NULL) {
            struct dead_letter letter = {.message = &units[i].item->message, .row = units[i].first,
                                         .envelope = &units[i].item->delivery->envelope, .error = buried};
            tallies[i].received = tallies[i].dead_letters = 1;
            if (!target->ops->bury(target, &letter, error))
                return false;
        } else if (!apply_unit(in, &units[i], &tallies[i], error)) {
            return false;
        }
        struct receipt *receipt = receipt_of(receipts, &receipt_count, counted_source(units[i].item));
        fill_receipt(receipt, &units[i], &tallies[i]);
    }
    if (!target->ops->commit(target, receipts, receipt_count, error))
        return false;
    count_transaction(in, receipts, receipt_count);
    for (size_t i = 0; i < count; i++)
        if (units[i].item->fate == FATE_APPLY && buried == NULL)
            log_applied(&units[i], &tallies[i]);
    return true;
}

enum outcome { OUTCOME_COMMITTED, OUTCOME_FAILED, OUTCOME_STOPPED };

/* The broker expects a sign of life also while the database is away. What it delivers meanwhile waits behind the units
 * under way, which stay valid when the inlet fails. */
static void keep_inlet_alive(struct inbound *in, struct group *group)
{
    struct error error;
    struct delivery *delivery = NULL;
    while (group->inlet_open && group->count < LIMIT_PREFETCH_MESSAGES) {
        if (!in->inlet->ops->receive(in->inlet, 0, &delivery, &error)) {
            in->inlet->ops->close(in->inlet);
            group->inlet_open = false;
            log_error(LOG_LEVEL_WARNING, "disconnected", &error);
        }
        if (delivery == NULL)
            return;
        add_item(in, group, delivery);
        delivery = NULL;
    }
}

/* Tries until it is committed, has failed for good, or the process stops. What is away is waited for; while it is, the
 * inlet is kept alive. Messages spend nothing of any budget on that. */
static enum outcome commit_units(struct inbound *in, struct group *group, const struct unit *units, size_t count,
                                 const struct error *buried, bool patient, struct error *error)
{
    for (int contended = 0;;) {
        if (!group->target_open) {
            if (worker_stopping(&in->worker))
                return OUTCOME_STOPPED;
            keep_inlet_alive(in, group);
            if (!in->target->ops->open(in->target, error)) {
                target_failed(in, group, error);
                continue;
            }
            group->target_open = true;
            worker_show(&in->worker, WORKER_RUNNING);
        }
        if (try_units(in, units, count, buried, error)) {
            retry_reset(&group->contention);
            return OUTCOME_COMMITTED;
        }
        atomic_fetch_add(&in->worker.counters->apply_retries, 1);
        struct error failed;
        if (error->fault != FAULT_CONNECTION && !in->target->ops->rollback(in->target, &failed))
            *error = failed;
        if (error->fault == FAULT_CONNECTION || error->fault == FAULT_OPERATOR) {
            /* Away, or forbidden to us: a new session sees when that is mended. */
            target_failed(in, group, error);
            if (worker_stopping(&in->worker))
                return OUTCOME_STOPPED;
            continue;
        }
        if (error->fault != FAULT_CONTENTION || (!patient && ++contended >= CONTENTION_TRIES))
            return OUTCOME_FAILED;
        if (worker_stopping(&in->worker))
            return OUTCOME_STOPPED;
        if (text_equal(text_from(error->code), TEXT_LITERAL("0A000")) ||
            text_equal(text_from(error->code), TEXT_LITERAL("26000"))) {
            in->target->ops->close(in->target);
            group->target_open = false;
        }
        keep_inlet_alive(in, group);
        in->worker.clock->ops->sleep_ms(in->worker.clock, retry_wait_ms(&group->contention));
    }
}

/* Where a list of units is best cut in two: between batches if it holds several, so that transactions stay whole. */
static size_t cut_between(const struct unit *units, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        const struct message *before = &units[i - 1].item->message, *after = &units[i].item->message;
        bool boundary = !text_equal(before->batch, after->batch) || text_is_null(after->batch);
        if (boundary && (best == 0 || llabs((long long)i - (long long)(count / 2)) <
                                          llabs((long long)best - (long long)(count / 2))))
            best = i;
    }
    return best > 0 ? best : count / 2;
}

/* Applies the units in one transaction; if that fails, in halves, until what fails stands alone and becomes a dead
 * letter. False when the process stops before all is committed. */
static bool apply_units(struct inbound *in, struct group *group, const struct unit *units, size_t count)
{
    struct error error;
    bool alone = count == 1 && units[0].count <= 1;
    /* A lock that is held for minutes is waited for: nobody is to blame, and nothing may be lost. */
    enum outcome outcome = commit_units(in, group, units, count, NULL, alone, &error);
    if (outcome != OUTCOME_FAILED)
        return outcome == OUTCOME_COMMITTED;
    if (count > 1) {
        size_t cut = cut_between(units, count);
        return apply_units(in, group, units, cut) && apply_units(in, group, units + cut, count - cut);
    }
    if (!alone) {
        size_t half = units[0].count / 2;
        struct unit halves[] = {{units[0].item, units[0].first, half},
                                {units[0].item, units[0].first + half, units[0].count - half}};
        return apply_units(in, group, &halves[0], 1) && apply_units(in, group, &halves[1], 1);
    }
    log_error(LOG_LEVEL_ERROR, "buried", &error);
    in->worker.last_error = error;
    struct error reason = error;
    return commit_units(in, group, units, 1, &reason, true, &error) == OUTCOME_COMMITTED;
}

static bool apply_group(struct inbound *in, struct group *group)
{
    struct unit units[LIMIT_PREFETCH_MESSAGES];
    for (size_t i = 0; i < group->count; i++) {
        struct item *item = &group->items[i];
        units[i] = (struct unit){item, 0, item->fate == FATE_APPLY ? item->message.row_count : 0};
        if (item->fate == FATE_POISON) {
            atomic_fetch_add(&in->worker.counters->poison, 1);
            log_error(LOG_LEVEL_ERROR, "quarantined", &item->error);
        }
    }
    return apply_units(in, group, units, group->count);
}

/* ---- 6. settle ---- */

static void settle_items(struct inbound *in, struct group *group, size_t count)
{
    struct error error;
    if (!group->inlet_open) {
        /* The connection that delivered them is gone, and their tags with it: they come again and are duplicates. */
        forget_items(group);
        return;
    }
    if (!in->inlet->ops->settle(in->inlet, group->items[count - 1].delivery->tag, &error)) {
        inlet_failed(in, group, &error);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        group->rows -= group->items[i].message.row_count;
        group->bytes -= group->items[i].delivery->envelope.body.length;
        delivery_free(group->items[i].delivery);
    }
    group->count -= count;
    memmove(group->items, group->items + count, group->count * sizeof *group->items);
}

static void report(struct inbound *in, struct group *group)
{
    struct error error;
    struct report report;
    if (!worker_report_due(&in->worker, &report))
        return;
    if (group->inlet_open) {
        if (!in->inlet->ops->depth(in->inlet, &report.queue_depth, &error)) {
            inlet_failed(in, group, &error);
            return;
        }
        report.queue_depth_known = true;
        atomic_store(&in->worker.counters->queue_depth, report.queue_depth);
    }
    if (!in->target->ops->report(in->target, &report, &error))
        target_failed(in, group, &error);
    else
        worker_reported(&in->worker);
}

static void step(struct inbound *in, struct group *group)
{
    if (!open_ports(in, group))
        return;
    report(in, group);
    if (!group->target_open || !group->inlet_open || !receive_group(in, group) || group->count == 0)
        return;
    if (worker_stopping(&in->worker) && !group_complete(group))
        return;
    worker_show(&in->worker, WORKER_RUNNING);
    size_t count = group->count;
    if (apply_group(in, group))
        settle_items(in, group, count);
}

void inbound_run(struct inbound *in)
{
    struct group *group = calloc(1, sizeof *group);
    if (group == NULL)
        abort();
    retry_init(&group->contention, CONTENTION_BASE_MS, CONTENTION_CAP_MS,
               (uint64_t)in->worker.clock->ops->now_us(in->worker.clock));
    while (!worker_stopping(&in->worker))
        step(in, group);

    forget_items(group);
    in->inlet->ops->close(in->inlet);
    group->inlet_open = false;
    worker_show(&in->worker, WORKER_STOPPED);
    if (group->target_open)
        report(in, group);
    in->target->ops->close(in->target);
    free(group);
}
