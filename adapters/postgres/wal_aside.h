#pragma once
/* Changes that the log has told of and that are held: they wait in bridge.outbox, so that the log goes on. They are put there by the transaction that
 * notes how far the log is read, and go out from there once nothing holds them; until then what the log tells of their entities is put behind them. */
#include "adapters/postgres/session.h"
#include "adapters/postgres/wal_reader.h"

struct wal_aside {
    struct holds entities; /* of which changes wait there, or are about to */
};

/* Changes of a batch. rows and changes are views into the batch's chunk. */
struct wal_portion {
    const struct wal_row *rows;
    const struct change *changes;
    size_t count;
};

/* Before the log is read, from lsn on: what was put there of commits from there on comes again, and is forgotten. */
bool wal_aside_open(struct wal_aside *aside, struct pg_session *session, uint64_t lsn, struct error *error);
/* Looks of which entities changes wait there. */
bool wal_aside_look(struct wal_aside *aside, struct pg_session *session, struct error *error);
/* Whether changes of this entity are to be put aside. */
bool wal_aside_takes(const struct wal_aside *aside, const struct holds *held, struct text entity);
/* Whether anything waits that nothing holds any more. */
bool wal_aside_flows(const struct wal_aside *aside, const struct holds *held);
/* Inside a transaction, or as one. */
bool wal_aside_put(struct pg_session *session, struct text node, const struct wal_portion *portion, struct error *error);
