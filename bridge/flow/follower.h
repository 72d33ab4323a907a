#pragma once
/* The transaction behind the one under way: a thread of its own prepares it meanwhile, in a target of its own, and it is committed after that
 * one, or undone. Rows that both change wait in it until the first one is committed. Nothing is given to it that does not go smoothly, and what
 * fails all the same is undone, and applied in its turn. */
#include "bridge/flow/transaction.h"

struct follower;

/* Both must outlive it. first: whose transactions it follows, and who is looked after while its own are waited for. group_rows: changes that are
 * applied in one transaction as a rule. */
struct follower *follower_new(const struct application *first, struct target *target, size_t group_rows);
/* NULL is allowed. */
void follower_free(struct follower *follower);

/* Whether the items that stand behind the first count ones, whole batches like these, may be applied beside them. */
bool follower_may(struct follower *follower, const struct item *items, size_t count, size_t behind);

/* All items must last until it is committed or undone. */
void follower_begin(struct follower *follower, const struct item *items, size_t count, size_t behind);
/* The transaction before it is committed: waits until this one is prepared, and commits it, or undoes it. buried: as transact_commit says. */
bool follower_commit(struct follower *follower, bool *buried);
/* Waits, and undoes it; nothing when none is begun. */
void follower_undo(struct follower *follower);
/* The same, and ends the target's session: the next one begins with what is there then. */
void follower_close(struct follower *follower);
