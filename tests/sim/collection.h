#pragma once
/* What nodes say of themselves in between, and what that is for: deletions are forgotten when everybody knows them.
 * What adapters/postgres does with sql/queries/{outbox_window,hear}.sql and sql/functions/100_collect_tombstones.sql.
 */
#include "tests/sim/world.h"

/* What this node has to say now. The heartbeat and what it has heard live in the node's source port. */
void collection_say(struct node *node);
/* The latest again, as a sign of life, while changes are held back. */
void collection_say_again(struct node *node);
/* Notes what another node says, inside the target's transaction. */
void collection_hear(struct node *node, const struct heartbeat *heartbeat);

/* A step of mark and sweep, in a transaction of its own: sets a mark, or, when every peer has heard what every other
 * node has said after it, forgets deletions. Returns the horizon: an unknown row that is not after it is old news. */
int64_t collection_collect(struct node *node);
