#pragma once
/* The outbox as a source of changes: what the capture triggers wrote.
 *
 * Reads windows: the transactions visible in this snapshot and not in the one before, which is kept in memory. After a
 * crash everything still in the table is read again; versions make that harmless. One leader per node holds an advisory
 * lock; the others stand by. */
#include "bridge/control/config.h"
#include "bridge/ports.h"

struct pg_outbox;

/* config must outlive the source. */
struct pg_outbox *pg_outbox_new(const struct config *config, struct clock *clock);
struct source *pg_outbox_source(struct pg_outbox *outbox);
struct pg_session *pg_outbox_session(struct pg_outbox *outbox);
/* Whether only what was put aside is read, since of the rest the log tells. Nothing is to be under way. */
void pg_outbox_read_aside(struct pg_outbox *outbox, bool only);
/* Of the source's session. */
struct brake *pg_outbox_brake(struct pg_outbox *outbox);
void pg_outbox_free(struct pg_outbox *outbox);
