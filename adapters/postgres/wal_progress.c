#include "adapters/postgres/wal_progress.h"

#include <inttypes.h>
#include <stdio.h>

#include "adapters/postgres/wal_notes.h"

enum {
    RECORD_EVERY_MS = 20,
    SAVE_EVERY_MS = 1000,     /* durable, and told to the server: what is after it comes twice after a crash */
    ADVANCE_EVERY_MS = 10000, /* when there is nothing of ours in the log */
};

static int64_t now_ms(const struct wal_progress *progress)
{
    return progress->clock->ops->monotonic_ms(progress->clock);
}

static bool same_place(const struct wal_place *a, const struct wal_place *b)
{
    return a->lsn == b->lsn && a->given_us == b->given_us && a->captures == b->captures;
}

static void count(struct wal_counts *sum, const struct wal_counts *more)
{
    sum->captured += more->captured;
    sum->published += more->published;
    sum->messages += more->messages;
    sum->bytes += more->bytes;
}

void wal_progress_begin(struct wal_progress *progress, struct wal_place place)
{
    progress->released = progress->recorded = progress->saved = place;
    progress->known_lsn = place.lsn;
    progress->parts = progress->due = (struct wal_counts){0};
    progress->unrecorded = false;
}

void wal_progress_pass(struct wal_progress *progress, const struct wal_place *place)
{
    progress->released = *place;
    if (!progress->unrecorded)
        progress->known_lsn = place->lsn;
}

bool wal_progress_is_recorded(const struct wal_progress *progress)
{
    return !progress->unrecorded && same_place(&progress->released, &progress->recorded);
}

void wal_progress_release(struct wal_progress *progress, const struct wal_place *place, const struct receipt *receipt)
{
    count(&progress->parts, &(struct wal_counts){receipt->captured, receipt->tally.applied, receipt->messages, receipt->bytes});
    progress->unrecorded = progress->unrecorded || receipt->messages > 0 || (place != NULL && progress->parts.captured > 0);
    if (place != NULL) {
        wal_progress_pass(progress, place);
        count(&progress->due, &progress->parts);
        progress->parts = (struct wal_counts){0};
    }
    progress->sequence = receipt->sequence;
    snprintf(progress->epoch, sizeof progress->epoch, "%.*s", TEXT_PRINTF(receipt->epoch));
}

int wal_progress_wait_ms(const struct wal_progress *progress, int wait_ms)
{
    int64_t left_ms = progress->unrecorded ? progress->recorded_ms + RECORD_EVERY_MS - now_ms(progress) : wait_ms;
    return left_ms < 0 ? 0 : left_ms < wait_ms ? (int)left_ms : wait_ms;
}

bool wal_progress_wants_record(const struct wal_progress *progress)
{
    return progress->unrecorded && wal_progress_wait_ms(progress, 1) == 0;
}

bool wal_progress_wants_save(const struct wal_progress *progress)
{
    if (wal_progress_is_saved(progress))
        return false;
    bool ours = progress->unrecorded || progress->released.given_us != progress->saved.given_us || progress->released.captures != progress->saved.captures;
    return now_ms(progress) - progress->saved_ms >= (ours ? SAVE_EVERY_MS : ADVANCE_EVERY_MS);
}

bool wal_progress_is_saved(const struct wal_progress *progress)
{
    return !progress->unrecorded && same_place(&progress->released, &progress->saved);
}

bool wal_progress_write(struct wal_progress *progress, const char *txids, const char *seqs, struct error *error)
{
    char lsn[24], given[24], numbers[5][24];
    const int64_t values[5] = {progress->sequence, (int64_t)progress->due.captured, (int64_t)progress->due.published, (int64_t)progress->due.messages,
                               (int64_t)progress->due.bytes};
    for (size_t i = 0; i < 5; i++)
        snprintf(numbers[i], sizeof numbers[i], "%" PRId64, values[i]);
    snprintf(given, sizeof given, "%" PRId64, progress->released.given_us);
    const char *parameters[] = {txids, seqs, progress->epoch, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4],
                                wal_lsn_text(lsn, progress->released.lsn), given, progress->released.captures ? "true" : "false"};
    PG_RESULT result = pg_query(progress->session, "wal_release", 11, parameters, error);
    return result != NULL;
}

void wal_progress_committed(struct wal_progress *progress, bool durably)
{
    progress->recorded = progress->released;
    progress->known_lsn = progress->released.lsn;
    progress->recorded_ms = now_ms(progress);
    progress->due = (struct wal_counts){0};
    progress->unrecorded = false;
    if (durably) {
        progress->saved = progress->released;
        progress->saved_ms = progress->recorded_ms;
    }
}

static bool write_all(struct wal_progress *progress, struct error *error)
{
    if (progress->unrecorded)
        return wal_progress_write(progress, "{}", "{}", error);
    /* Nothing was sent since: only the place is another. */
    char lsn[24], given[24];
    snprintf(given, sizeof given, "%" PRId64, progress->released.given_us);
    const char *parameters[] = {wal_lsn_text(lsn, progress->released.lsn), given, progress->released.captures ? "true" : "false"};
    PG_RESULT result = pg_query(progress->session, "wal_advance", 3, parameters, error);
    return result != NULL;
}

bool wal_progress_record(struct wal_progress *progress, struct error *error)
{
    if (!write_all(progress, error))
        return false;
    wal_progress_committed(progress, false);
    return true;
}

bool wal_progress_save(struct wal_progress *progress, struct error *error)
{
    if (!pg_begin_durable(progress->session, error) || !write_all(progress, error) || !pg_commit(progress->session, error))
        return false;
    wal_progress_committed(progress, true);
    return true;
}
