#pragma once
/* How far the log is confirmed, and how much of that the database knows: bridge.outbound has the place and the counters, together. What a crash forgets of
 * it comes again.
 *
 * What is confirmed is recorded now and then, because each record is a transaction, and now and then durably, because that is a write to the disk. */
#include "adapters/postgres/session.h"
#include "adapters/postgres/wal_reader.h"

struct wal_counts {
    uint64_t captured, published, messages, bytes;
};

struct wal_progress {
    struct pg_session *session;
    struct clock *clock;
    struct wal_place released; /* everything before it is confirmed */
    struct wal_place recorded; /* in the database */
    struct wal_place saved;    /* as the database has it durably */
    uint64_t known_lsn;        /* everything of ours before it is recorded */
    int64_t recorded_ms, saved_ms;
    /* Of a transaction whose end is not confirmed yet. They count with its end, because after a crash all its parts come again. */
    struct wal_counts parts;
    bool unrecorded; /* something is confirmed and not recorded, beside the place: */
    struct wal_counts due;
    int64_t sequence;
    char epoch[40];
};

/* As the database has it. */
void wal_progress_begin(struct wal_progress *progress, struct wal_place place);
/* What is before the place was not ours to send. */
void wal_progress_pass(struct wal_progress *progress, const struct wal_place *place);
/* A batch is confirmed; place: where its transaction ends, or NULL. */
void wal_progress_release(struct wal_progress *progress, const struct wal_place *place, const struct receipt *receipt);
/* Whether the database has all of it. */
bool wal_progress_is_recorded(const struct wal_progress *progress);
/* Whether it is time to record, or to save; the latter also of a place without anything of ours before it. */
bool wal_progress_wants_record(const struct wal_progress *progress);
/* Until then, and no longer than that. */
int wal_progress_wait_ms(const struct wal_progress *progress, int wait_ms);
bool wal_progress_wants_save(const struct wal_progress *progress);
/* Whether the database has all of it, durably. */
bool wal_progress_is_saved(const struct wal_progress *progress);

/* Records, in the open transaction or as one, and forgets these rows of the outbox: '{1,2}' each. Then recorded, or saved, once that is committed. */
bool wal_progress_write(struct wal_progress *progress, const char *txids, const char *seqs, struct error *error);
void wal_progress_committed(struct wal_progress *progress, bool durably);
/* Both in a transaction of its own. */
bool wal_progress_record(struct wal_progress *progress, struct error *error);
bool wal_progress_save(struct wal_progress *progress, struct error *error);
