#pragma once
/* The WAL as a source of changes: what the server's logical decoding tells of the mapped tables, through this node's slot and publication.
 *
 * The log also has the rows of bridge.outbox, this node's own word, and the moments from which on it is the log that tells and not the triggers
 * (bridge.capture_switch). So the outbox is read as far as it is older than the slot, then the log alone. The log is given back as it is confirmed: a
 * transaction stays until every message of it is.
 *
 * With `capture: outbox` this is the outbox, once the log that is left from before has been read to its end.
 *
 * The log has one end: changes of what is held (ports.h) are put aside, into the outbox, and it is read on. */
#include "adapters/postgres/capture_outbox.h"

struct pg_wal;

/* config must outlive the source. */
struct pg_wal *pg_wal_new(const struct config *config, struct clock *clock);
struct source *pg_wal_source(struct pg_wal *wal);
/* Of the source's session. */
struct brake *pg_wal_brake(struct pg_wal *wal);
void pg_wal_free(struct pg_wal *wal);
