#pragma once
/* What is to be done when a batch of the log is confirmed. It lives in the batch's arena, which has the chunk's memory. */
#include "adapters/postgres/wal_aside.h"

struct wal_ticket {
    bool whole; /* place counts */
    struct wal_place place;
    size_t outbox_rows;          /* to be forgotten */
    const char *txids, *seqs;    /* theirs, as parameters: '{1,2}' */
    struct wal_portion oversize; /* too large to travel */
    struct wal_portion aside;    /* to be put into the outbox */
};

/* Takes out of the chunk what does not travel now: what is too large, what was said as a whole instead, and what is held, which waits in the outbox
 * and is added to aside. holds may be NULL. aside is NULL where triggers write the outbox as well: it would come behind what they write later. */
void wal_ticket_make(struct wal_ticket *ticket, struct wal_chunk *chunk, struct wal_aside *aside, const struct holds *holds, struct arena *arena);

/* Rows that cannot travel stop nobody, and are not forgotten. Inside a transaction, or each row as one. */
bool wal_ticket_bury(const struct wal_ticket *ticket, struct pg_session *session, struct error *error);
