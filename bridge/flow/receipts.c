#include "bridge/flow/receipts.h"

#include <assert.h>

#include "bridge/base/log.h"

enum { EPOCH_BYTES = 64 };

/* Sources that are no peers share one line, so that nobody can fill the table with names. */
static struct text counted_source(const struct item *item)
{
    if (item->fate == FATE_APPLY || item->fate == FATE_ECHO)
        return item->message.source;
    return TEXT_LITERAL("(other)");
}

static struct receipt *receipt_of(struct receipts *receipts, struct text source)
{
    for (size_t i = 0; i < receipts->count; i++)
        if (text_equal(receipts->of[i].source, source))
            return &receipts->of[i];
    assert(receipts->count < sizeof receipts->of / sizeof receipts->of[0]);
    receipts->of[receipts->count] = (struct receipt){.source = source};
    return &receipts->of[receipts->count++];
}

void receipts_add(struct receipts *receipts, const struct item *item, const struct tally *tally)
{
    if (item->fate == FATE_HEARD)
        return;
    struct receipt *receipt = receipt_of(receipts, counted_source(item));
    assert(tally_conserves(tally));
    tally_add(&receipt->tally, tally);
    receipt->messages++;
    receipt->bytes += item->delivery->envelope.body.length;
    receipt->refused += item->fate == FATE_REFUSED;
    if (item->fate != FATE_APPLY)
        return;
    /* A sender that begins anew counts from 1. */
    if (!text_equal(receipt->epoch, item->message.epoch) || item->message.sequence > receipt->sequence)
        receipt->sequence = item->message.sequence;
    receipt->epoch = item->message.epoch;
    for (size_t row = 0; row < item->message.row_count; row++)
        if (message_version(&item->message, row) > receipt->newest_us)
            receipt->newest_us = message_version(&item->message, row);
}

void receipts_count(const struct receipts *receipts, struct counters *counters)
{
    atomic_fetch_add(&counters->transactions_in, 1);
    for (size_t i = 0; i < receipts->count; i++) {
        const struct receipt *receipt = &receipts->of[i];
        const struct tally *tally = &receipt->tally;
        atomic_fetch_add(&counters->messages_in, receipt->messages);
        atomic_fetch_add(&counters->bytes_in, receipt->bytes);
        atomic_fetch_add(&counters->refused, receipt->refused);
        atomic_fetch_add(&counters->received, tally->received);
        atomic_fetch_add(&counters->applied, tally->applied);
        atomic_fetch_add(&counters->unchanged, tally->unchanged);
        atomic_fetch_add(&counters->ignored, tally->ignored);
        atomic_fetch_add(&counters->same, tally->same);
        atomic_fetch_add(&counters->duplicate, tally->duplicate);
        atomic_fetch_add(&counters->stale, tally->stale);
        atomic_fetch_add(&counters->echo, tally->echo);
        atomic_fetch_add(&counters->kept, tally->kept);
        atomic_fetch_add(&counters->conflicts, tally->conflicts);
        atomic_fetch_add(&counters->dead_letters, tally->dead_letters - tally->held);
        atomic_fetch_add(&counters->held, tally->held);
        atomic_fetch_add(&counters->gaps, receipt->gaps);
        if (receipt->newest_us > atomic_load(&counters->newest_us))
            atomic_store(&counters->newest_us, receipt->newest_us);
    }
}

/* ---- numbers ---- */

/* Of a heartbeat: all up to its number. False: it is not numbered, or speaks of this node itself, whose messages are no news. */
static bool sighting_of(const struct item *item, struct text node, struct sighting *sighting)
{
    const struct message *message = &item->message;
    const struct heartbeat *heartbeat = &item->heartbeat;
    bool heard = item->fate == FATE_HEARD;
    struct text epoch = heard ? heartbeat->epoch : message->epoch;
    *sighting = heard ? (struct sighting){heartbeat->source, epoch, heartbeat->sequence + 1, heartbeat->sequence}
                      : (struct sighting){message->source, epoch, message->sequence, message->sequence};
    return (heard || ((item->fate == FATE_APPLY || item->fate == FATE_POISON) && message->sequence > 0)) && epoch.length > 0 &&
           epoch.length < EPOCH_BYTES && text_is_utf8(epoch) && sighting->last < INT64_MAX - 1 &&
           !text_equal(sighting->source, node);
}

static bool note(struct receipts *receipts, struct target *target, const struct sighting *sighting, struct error *error)
{
    uint64_t missing = 0;
    if (!target->ops->note(target, sighting, &missing, error))
        return false;
    if (missing == 0)
        return true;
    log_event(LOG_LEVEL_ERROR, "missed", "source=%.*s messages=%llu before_x_seq=%lld", TEXT_PRINTF(sighting->source),
              (unsigned long long)missing, (long long)sighting->first);
    receipt_of(receipts, sighting->source)->gaps += missing;
    return true;
}

static bool note_confirmed(struct receipts *receipts, struct target *target, const struct heartbeat *heartbeat, struct error *error)
{
    uint64_t missing = 0;
    if (!target->ops->note_confirmed(target, heartbeat, &missing, error))
        return false;
    if (missing == 0)
        return true;
    log_event(LOG_LEVEL_ERROR, "missed", "source=%.*s messages=%llu reason=\"an earlier incarnation had sent them\"",
              TEXT_PRINTF(heartbeat->source), (unsigned long long)missing);
    receipt_of(receipts, heartbeat->source)->gaps += missing;
    return true;
}

/* As few notes as there are runs of numbers: one, as a rule. */
bool receipts_note_numbers(struct receipts *receipts, const struct item *items, size_t count, struct target *target, struct text node,
                           struct error *error)
{
    struct sighting runs[LIMIT_PEERS], next;
    size_t run_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!sighting_of(&items[i], node, &next))
            continue;
        size_t at = 0;
        while (at < run_count && !(text_equal(runs[at].source, next.source) && text_equal(runs[at].epoch, next.epoch)))
            at++;
        if (at < run_count && next.first == runs[at].last + 1) {
            runs[at].last = next.last;
            continue;
        }
        /* Of one incarnation the runs are noted in their order. */
        if (at == LIMIT_PEERS)
            at = 0;
        if (at < run_count && !note(receipts, target, &runs[at], error))
            return false;
        runs[at] = next;
        run_count += at == run_count;
    }
    for (size_t i = 0; i < run_count; i++)
        if (!note(receipts, target, &runs[i], error))
            return false;
    for (size_t i = 0; i < count; i++) {
        const struct heartbeat *heartbeat = &items[i].heartbeat;
        bool tells = items[i].fate == FATE_HEARD && heartbeat->confirmed_count > 0 && !text_equal(heartbeat->source, node);
        if (tells && !note_confirmed(receipts, target, heartbeat, error))
            return false;
    }
    return true;
}
