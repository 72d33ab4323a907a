#pragma once
/* A node that captures from the WAL: no trigger stamps what its applications write. The version of such a row is read from
 * its commit: (commit time, this node), unless row_version has an entry about this very state of the row. What capture says of a
 * change, and what apply takes the row for, must be the same: both go by the entry that the write replaced.
 *
 * What adapters/postgres/statement_sql.c and sql/functions/140_note_log.sql do. */
#include "tests/sim/database.h"

struct node;

/* The row's version, base and seen become what apply takes it for. */
void wal_view(const struct database *database, size_t at, struct row *row);
/* The row has been judged and written: its version, base and seen become an entry. data: its content was written, too. */
void wal_enter(struct database *database, struct transaction *transaction, const struct row *before, struct row *after, bool data);
/* An application writes. */
void wal_write(struct database *database, struct transaction *transaction, size_t at, enum change_op op, const struct content *content);
/* What the judge takes the row for: later than any write of this node's that the change's writer had seen of it. */
struct write wal_local(const struct database *database, const struct row *row, const struct write *change, struct arena *arena);

/* An application wrote it, and row_version does not speak of that. */
bool wal_is_own(const struct row *row);
/* Which write that is: of a row that is not here, the last that is noted. */
int wal_write_of(const struct row *row);

/* Of the changes of the outbox [from, to) those that are not to travel are marked: updates of a row that another one follows, when nobody else
 * has written the row in between. */
void wal_join(struct node *node, size_t from, size_t to, int64_t newest_us);
/* Whether capture may note the changes of the outbox [from, to) beside a transaction of apply: it only reads. */
bool wal_only_reads(struct node *node, size_t from, size_t to, int64_t newest_us);
/* Gives them their versions, notes tombstones and what their commits do not say. *newest_us: the newest version given to any
 * transaction so far. */
void wal_note(struct node *node, size_t from, size_t to, int64_t *newest_us);
