#include "bridge/flow/inbound.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/base/log.h"
#include "bridge/base/memory.h"
#include "bridge/flow/application.h"
#include "bridge/flow/drain.h"
#include "bridge/flow/follower.h"

enum {
    IDLE_WAIT_MS = 200,
    PARTS_WAIT_MS = 10000, /* for the rest of a batch whose sender is gone */
    ALIVE_MS = 1000,       /* the broker hears of us so often, whatever is in hand */
};

/* Where a source's numbering and its latest batch stand. */
struct source_progress {
    char name[LIMIT_NAME_BYTES + 1];
    char epoch[64];
    int64_t sequence;
    char committed_epoch[64];
    int64_t committed_sequence;
    char batch[64];
    int64_t parts_missing;
};

struct group {
    struct item *items; /* LIMIT_PREFETCH_MESSAGES */
    size_t count;
    size_t whole; /* of them, from the front: messages that are whole batches */
    size_t rows, bytes;
    struct source_progress sources[LIMIT_PEERS];
    size_t source_count;
    bool inlet_open;
    int64_t alive_ms; /* when it was last read from */
    struct holds holds; /* what is paused */
    struct rallies *rallies;
    struct deletions *deletions;
    struct application application;
    struct drain drain;
};

static void forget_items(struct group *group)
{
    for (size_t i = 0; i < group->count; i++)
        delivery_free(group->items[i].delivery);
    group->count = group->whole = group->rows = group->bytes = 0;
    for (size_t i = 0; i < group->source_count; i++) {
        struct source_progress *progress = &group->sources[i];
        progress->parts_missing = 0;
        progress->sequence = progress->committed_sequence;
        memcpy(progress->epoch, progress->committed_epoch, sizeof progress->epoch);
    }
}

/* The broker will deliver again what is not settled. */
static void inlet_failed(struct inbound *in, struct group *group, const struct error *error)
{
    in->inlet->ops->close(in->inlet);
    group->inlet_open = false;
    forget_items(group);
    worker_show(&in->worker, WORKER_BROKER_AWAY);
    worker_fail(&in->worker, BACKEND_BROKER, error);
}

/* Of an entity more is held than may be: the disk is not to fill up. */
static bool stop_holding(struct inbound *in, struct group *group, struct error *error)
{
    char reason[256];
    snprintf(reason, sizeof reason, "too many changes of entity %s are held: resume that first, then this", group->holds.full);
    if (!in->worker.brake->ops->pull(in->worker.brake, "in", TEXT_NULL, reason, error))
        return false;
    log_event(LOG_LEVEL_ERROR, "paused", "direction=in reason=\"%s\"", reason);
    group->holds.all = true;
    worker_look_at_once(&in->worker);
    return true;
}

/* What is paused. An inlet that has taken messages which are not to be applied now gives them back, by being opened anew. */
static bool look(struct inbound *in, struct group *group)
{
    struct error error;
    bool changed, was_dry = in->inlet->dry;
    bool good = worker_look(&in->worker, &group->holds, &changed, &error);
    if (good && group->holds.full[0] != '\0' && !group->holds.all)
        good = stop_holding(in, group, &error);
    if (!good) {
        application_failed(&group->application, &error);
        return false;
    }
    atomic_store(&in->worker.counters->in_held, group->holds.count);
    if (group->inlet_open && group->holds.all != was_dry) {
        in->inlet->ops->close(in->inlet);
        group->inlet_open = false;
        forget_items(group);
    }
    return true;
}

static bool open_database(struct inbound *in, struct group *group)
{
    bool was_open = group->application.open;
    if (!application_open(&group->application))
        return false;
    if (!was_open)
        worker_look_at_once(&in->worker);
    return look(in, group);
}

static bool open_inlet(struct inbound *in, struct group *group)
{
    struct error error;
    if (!group->inlet_open) {
        if (!worker_try(&in->worker, BACKEND_BROKER))
            return false;
        in->inlet->dry = group->holds.all;
        if (!in->inlet->ops->open(in->inlet, &error)) {
            inlet_failed(in, group, &error);
            return false;
        }
        group->inlet_open = true;
        /* What an earlier connection delivered comes again; its tags mean other messages now. */
        forget_items(group);
    }
    worker_show(&in->worker, group->holds.all ? WORKER_PAUSED : WORKER_RUNNING);
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

/* A batch is whole when its last part has come. */
static void note_progress(struct group *group, const struct item *item)
{
    const struct message *message = &item->message;
    struct source_progress *progress = progress_of(group, message->source);
    if (progress == NULL)
        return;
    bool same_epoch = same_text(progress->epoch, message->epoch);
    bool again = message->sequence > 0 && same_epoch && message->sequence <= progress->sequence;
    if (message->sequence > 0 && !again) {
        progress->sequence = message->sequence;
        keep_text(progress->epoch, sizeof progress->epoch, message->epoch);
    }
    /* What comes again in the midst of a batch is not part of it. */
    if (again)
        return;
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

static struct text header_text(const struct envelope *envelope, const char *name)
{
    const struct header *header = envelope_header(envelope, name);
    return header != NULL && !header->is_number ? header->text : TEXT_NULL;
}

static int64_t header_number(const struct envelope *envelope, const char *name, int64_t otherwise)
{
    const struct header *header = envelope_header(envelope, name);
    return header != NULL && header->is_number ? header->number : otherwise;
}

/* One that cannot be read has come all the same. */
static void read_headers(struct inbound *in, struct item *item)
{
    const struct envelope *envelope = &item->delivery->envelope;
    item->message = (struct message){0};
    if (is_peer(in, header_text(envelope, "x-source")))
        item->message = (struct message){.source = header_text(envelope, "x-source"),
                                         .epoch = header_text(envelope, "x-epoch"),
                                         .sequence = header_number(envelope, "x-seq", 0),
                                         .batch = header_text(envelope, "x-batch"),
                                         .part = header_number(envelope, "x-part", 1),
                                         .parts = header_number(envelope, "x-parts", 1)};
}

/* False: it cannot be read, and is poison like any other message. */
static bool unseal_heartbeat(struct inbound *in, struct item *item)
{
    struct delivery *delivery = item->delivery;
    if (!heartbeat_unseal(&delivery->envelope, &delivery->arena, &item->heartbeat, &item->error))
        return false;
    /* Our own says nothing new, and does no harm. */
    bool own = text_equal(item->heartbeat.source, in->worker.node);
    item->fate = own || is_peer(in, item->heartbeat.source) ? FATE_HEARD : FATE_REFUSED;
    return true;
}

/* Marks the rows that two nodes rewrite in turns. */
static void note_rallies(struct inbound *in, struct group *group, struct item *item)
{
    struct clock *clock = in->worker.clock;
    int64_t now_ms = clock->ops->monotonic_ms(clock);
    for (size_t row = 0; group->rallies != NULL && row < item->message.row_count; row++) {
        bool begins;
        int64_t until_ms = rallies_note(group->rallies, &item->message, row, now_ms, &begins);
        if (until_ms == 0)
            continue;
        if (item->held_until_us == NULL)
            item->held_until_us = arena_take_array(&item->delivery->arena, item->message.row_count, sizeof *item->held_until_us);
        item->held_until_us[row] = clock->ops->now_us(clock) + (until_ms - now_ms) * 1000;
        atomic_fetch_add(&in->worker.counters->rallies, begins);
        if (begins)
            log_event(LOG_LEVEL_ERROR, "held", "source=%.*s entity=%.*s for_s=%lld reason=\"nodes rewrite one row in turns\"",
                      TEXT_PRINTF(item->message.source), TEXT_PRINTF(item->message.entity), (long long)(until_ms - now_ms) / 1000);
    }
}

/* unread: why its body is not even looked at; NULL: it is. */
static void read_item(void *context, struct delivery *delivery, const struct error *unread, struct item *item)
{
    struct inbound *in = context;
    *item = (struct item){.delivery = delivery};
    if (unread == NULL && heartbeat_is(&delivery->envelope) && unseal_heartbeat(in, item))
        return;
    if (unread != NULL)
        item->error = *unread;
    if (unread != NULL || !envelope_unseal(&delivery->envelope, &delivery->arena, &item->message, &item->error)) {
        item->fate = FATE_POISON;
        read_headers(in, item);
        atomic_fetch_add(&in->worker.counters->poison, 1);
        log_error(LOG_LEVEL_ERROR, "quarantined", &item->error);
        return;
    }
    if (item->message.unknown_members > 0)
        atomic_fetch_add(&in->worker.counters->unknown_members, item->message.unknown_members);
    if (text_equal(item->message.source, in->worker.node)) {
        item->fate = in->apply_echoes ? FATE_APPLY : FATE_ECHO;
    } else if (!is_peer(in, item->message.source)) {
        item->fate = FATE_REFUSED;
        char source[160], entity[160];
        log_event(LOG_LEVEL_WARNING, "refused", "source=%s entity=%s reason=\"not among peers\"",
                  log_value(item->message.source, source, sizeof source), log_value(item->message.entity, entity, sizeof entity));
    }
}

static void add_item(struct inbound *in, struct group *group, struct delivery *delivery)
{
    struct item *item = &group->items[group->count++];
    read_item(in, delivery, NULL, item);
    group->bytes += delivery->envelope.body.length;
    group->rows += item->message.row_count;
    if ((item->fate == FATE_APPLY || item->fate == FATE_POISON) && is_peer(in, item->message.source)) {
        note_progress(group, item);
        note_rallies(in, group, item);
    }
    item->ends_batch = group_complete(group);
    if (item->ends_batch)
        group->whole = group->count;
}

/* Nobody waits for them once more. */
static void forget_missing_parts(struct group *group)
{
    for (size_t i = 0; i < group->source_count; i++)
        group->sources[i].parts_missing = 0;
    group->whole = group->count;
}

/* How many are applied together, from the first one given on. What has begun and is not complete waits for its rest: a transaction becomes visible at once. Only a batch
 * of more messages than we may hold, or one whose rest does not come, is applied in pieces. What was read ahead may be the next group. */
static size_t count_together(const struct inbound *in, const struct group *group, size_t first)
{
    size_t rows = 0, bytes = 0, end = group->whole > 0 ? group->whole : group->count;
    for (size_t i = first; i < end; i++) {
        const struct item *item = &group->items[i];
        rows += item->message.row_count;
        bytes += item->delivery->envelope.body.length;
        if (item->ends_batch && (rows >= in->group_rows || bytes >= LIMIT_GROUP_BYTES))
            return i + 1 - first;
    }
    return end - first;
}

/* There is what may be under way at once. */
static bool is_full(const struct inbound *in, const struct group *group)
{
    size_t most = in->at_once * in->group_rows;
    bool much = group->rows >= most || group->bytes >= in->at_once * LIMIT_GROUP_BYTES;
    bool too_much = group->rows >= 2 * most || group->bytes >= 2 * in->at_once * LIMIT_GROUP_BYTES;
    return too_much || (much && (in->at_once == 1 || group->whole > count_together(in, group, 0)));
}

/* Takes what is there, without a timer, up to the bounds; if that is not one whole batch, waits for its rest. */
static bool receive_group(struct inbound *in, struct group *group)
{
    struct clock *clock = in->worker.clock;
    struct error error;
    int parts_wait_ms = in->parts_wait_ms > 0 ? in->parts_wait_ms : PARTS_WAIT_MS;
    int64_t deadline = clock->ops->monotonic_ms(clock) + parts_wait_ms;
    int wait_ms = group->whole > 0 ? 0 : application_retry_wait_ms(&group->application, IDLE_WAIT_MS);
    while (group->count < LIMIT_PREFETCH_MESSAGES && !worker_stopping(&in->worker)) {
        if (group->whole > 0 && is_full(in, group))
            break;
        struct delivery *delivery = NULL;
        if (!in->inlet->ops->receive(in->inlet, wait_ms, &delivery, &error)) {
            inlet_failed(in, group, &error);
            return false;
        }
        worker_works(&in->worker, BACKEND_BROKER);
        if (delivery != NULL) {
            /* However long nothing came before. */
            if (group->count == 0)
                deadline = clock->ops->monotonic_ms(clock) + parts_wait_ms;
            add_item(in, group, delivery);
            wait_ms = 0;
            continue;
        }
        if (group->count == 0 || group->whole > 0)
            break;
        if (clock->ops->monotonic_ms(clock) >= deadline) {
            log_event(LOG_LEVEL_WARNING, "waited", "reason=\"the rest of a batch did not come\" wait_ms=%d", parts_wait_ms);
            forget_missing_parts(group);
            break;
        }
        wait_ms = IDLE_WAIT_MS;
    }
    return true;
}

/* ---- 6. settle ---- */

/* As much waits behind what is under way. */
static bool is_far_ahead(const struct inbound *in)
{
    return in->group->rows >= 2 * in->at_once * in->group_rows || in->group->bytes >= 2 * in->at_once * LIMIT_GROUP_BYTES;
}

/* While the database works: the next group is read behind the items under way, which stay valid when the inlet fails. The broker expects
 * a sign of life also when the database is away, and there is more than a group. */
static void read_ahead(void *context)
{
    struct inbound *in = context;
    struct group *group = in->group;
    struct clock *clock = in->worker.clock;
    struct error error;
    struct delivery *delivery = NULL;
    int64_t now_ms = clock->ops->monotonic_ms(clock);
    if (is_far_ahead(in) && now_ms - group->alive_ms < ALIVE_MS)
        return;
    group->alive_ms = now_ms;
    /* The prefetch bounds how many there can be. Beyond so many bytes the link may rather be lost: once per outage. */
    while (group->inlet_open && group->bytes < 4 * in->at_once * LIMIT_GROUP_BYTES) {
        if (!in->inlet->ops->receive(in->inlet, 0, &delivery, &error)) {
            in->inlet->ops->close(in->inlet);
            group->inlet_open = false;
            log_error(LOG_LEVEL_WARNING, "disconnected", &error);
        }
        if (delivery == NULL)
            return;
        add_item(in, group, delivery);
        delivery = NULL;
        if (is_far_ahead(in))
            return;
    }
}

/* Where the sources' numbers stand in the database. What was sent again after a lost connection comes with a lower
 * number: that is no step back. */
static void note_committed(struct group *group, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct message *message = &group->items[i].message;
        struct source_progress *progress = group->items[i].fate == FATE_APPLY ? progress_of(group, message->source) : NULL;
        if (progress == NULL || message->sequence == 0 ||
            (same_text(progress->committed_epoch, message->epoch) && message->sequence < progress->committed_sequence))
            continue;
        keep_text(progress->committed_epoch, sizeof progress->committed_epoch, message->epoch);
        progress->committed_sequence = message->sequence;
    }
}

static void settle_items(struct inbound *in, struct group *group, size_t count)
{
    struct error error;
    /* Before the settling: of one whose reply is lost nothing comes again. */
    note_committed(group, count);
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
    group->whole -= group->whole < count ? group->whole : count;
    memmove(group->items, group->items + count, group->count * sizeof *group->items);
}

/* ---- mass deletions ---- */

/* Deletes too much at once: its entity is paused before anything of that is applied. */
static bool hold_deletions(struct inbound *in, struct group *group, const struct message *message, uint64_t deleted, struct error *error)
{
    char reason[256];
    snprintf(reason, sizeof reason, "mass delete by %.*s, %llu rows within %lld s", TEXT_PRINTF(message->source),
             (unsigned long long)deleted, (long long)in->deletion_rule.within_ms / 1000);
    if (!in->worker.brake->ops->pull(in->worker.brake, "in", message->entity, reason, error))
        return false;
    log_event(LOG_LEVEL_ERROR, "paused", "direction=in entity=%.*s reason=\"%s\"", TEXT_PRINTF(message->entity), reason);
    holds_add(&group->holds, message->entity);
    deletions_forget(group->deletions, message->entity, message->source);
    return true;
}

static bool watch_deletions(struct inbound *in, struct group *group, struct item *item, struct error *error)
{
    const struct message *message = &item->message;
    struct clock *clock = in->worker.clock;
    if (item->watched || item->fate != FATE_APPLY || message->op != CHANGE_DELETED || holds_entity(&group->holds, message->entity))
        return true;
    uint64_t deleted = deletions_note(group->deletions, message->entity, message->source, message->row_count,
                                      clock->ops->monotonic_ms(clock));
    uint64_t rows = 0;
    item->watched = true;
    if (in->deletion_rule.percent > 0 && deleted >= DELETIONS_PERCENT_FROM &&
        !in->worker.brake->ops->size(in->worker.brake, message->entity, &rows, error))
        return false;
    /* Those before this message are gone by now. */
    if (rows > 0)
        rows += deleted - message->row_count;
    return !deletions_break(&in->deletion_rule, deleted, rows) || hold_deletions(in, group, message, deleted, error);
}

static bool watch(struct inbound *in, struct group *group, size_t count)
{
    struct error error;
    for (size_t i = 0; i < count && group->deletions != NULL; i++) {
        if (watch_deletions(in, group, &group->items[i], &error))
            continue;
        application_failed(&group->application, &error);
        return false;
    }
    return true;
}

/* They are watched when those before them are gone. */
static bool any_deletes(const struct item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (items[i].fate == FATE_APPLY && items[i].message.op == CHANGE_DELETED)
            return true;
    return false;
}

static void report(struct inbound *in, struct group *group)
{
    struct error error;
    struct report report;
    /* The leading adapter of the node speaks for both directions. */
    if (atomic_load(&in->worker.counters->out_state) == WORKER_STANDBY || !worker_report_due(&in->worker, &report))
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
        application_failed(&group->application, &error);
    else {
        worker_works(&in->worker, BACKEND_DATABASE);
        worker_reported(&in->worker);
    }
}

/* While all is paused: the broker is answered, and sends nothing. */
static void stay_connected(struct inbound *in, struct group *group)
{
    struct error error;
    struct delivery *delivery = NULL;
    if (!group->inlet_open)
        return;
    if (!in->inlet->ops->receive(in->inlet, IDLE_WAIT_MS, &delivery, &error))
        inlet_failed(in, group, &error);
    assert(delivery == NULL);
}

static void step(struct inbound *in, struct group *group)
{
    if (!open_database(in, group))
        return;
    /* Also of a broker that is away. */
    report(in, group);
    if (group->holds.all) {
        if (open_inlet(in, group))
            stay_connected(in, group);
        return;
    }
    if (!application_retry(&group->application) || !group->application.open)
        return;
    drain_some(&group->drain, &group->application);
    if (!open_inlet(in, group))
        return;
    if (!receive_group(in, group) || group->count == 0)
        return;
    if (worker_stopping(&in->worker) && group->whole == 0)
        return;
    worker_show(&in->worker, WORKER_RUNNING);
    size_t count = count_together(in, group, 0);
    size_t behind = in->second != NULL && group->whole > count ? count_together(in, group, count) : 0;
    if (!watch(in, group, count))
        return;
    if (group->deletions != NULL && any_deletes(group->items + count, behind))
        behind = 0;
    size_t committed = application_apply(&group->application, group->items, count, behind);
    if (committed > 0)
        settle_items(in, group, committed);
}

void inbound_run(struct inbound *in)
{
    struct group *group = calloc(1, sizeof *group);
    /* A megabyte of which little is used: not worth clearing. */
    struct item *items = malloc(LIMIT_PREFETCH_MESSAGES * sizeof *items);
    if (group == NULL || items == NULL)
        memory_exhausted(__func__);
    group->items = items;
    in->group = group;
    application_init(&group->application, &in->worker, in->target, read_ahead, in);
    group->application.max_clock_skew_us = in->max_clock_skew_us;
    group->application.waits_for_clock = in->waits_for_clock;
    group->application.holds = &group->holds;
    if (in->group_rows == 0)
        in->group_rows = LIMIT_GROUP_ROWS;
    in->at_once = in->second != NULL ? 2 : 1;
    if (in->second != NULL)
        group->application.follower = follower_new(&group->application, in->second, in->group_rows);
    if (in->rally_rule.times > 0)
        group->rallies = rallies_new(&in->rally_rule, in->worker.node);
    if (in->deletion_rule.within_ms > 0 && in->worker.brake != NULL)
        group->deletions = deletions_new(&in->deletion_rule);
    group->drain = (struct drain){.inlet = in->dead, .read = read_item, .context = in};
    while (!worker_stopping(&in->worker))
        step(in, group);

    forget_items(group);
    in->inlet->ops->close(in->inlet);
    if (in->dead != NULL)
        in->dead->ops->close(in->dead);
    group->inlet_open = false;
    worker_show(&in->worker, WORKER_STOPPED);
    if (group->application.open)
        report(in, group);
    in->target->ops->close(in->target);
    application_free(&group->application);
    rallies_free(group->rallies);
    deletions_free(group->deletions);
    in->group = NULL;
    free(items);
    free(group);
}
