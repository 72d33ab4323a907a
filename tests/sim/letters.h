#pragma once
/* Letters: changes that could not be applied wait in the database and are tried again, as adapters/postgres/letters.c
 * does it: each under a savepoint of its own, and then together those that may wait for each other. */
#include "tests/sim/apply.h"

/* Keeps it, inside the target's transaction. */
void letters_bury(struct node *node, const struct dead_letter *letter);
/* The target port's call. */
bool letters_retry(struct node *node, bool hurry, struct retried *left, struct error *error);

/* Those that were put aside, perhaps after their entity was resumed, are due once it is not paused. */
void letters_let_go(struct node *node);

/* Whether a deletion of the source's is put aside: it must be remembered for this node. */
bool letters_hide_deletion(const struct node *node, int source);

/* Whether every letter was tried since the node's database changed: then none waits whose time could come earlier. */
bool letters_rest(const struct node *node);
/* When the first of the others is to be tried, by the world's time; INT64_MAX: there is none. */
int64_t letters_due_us(const struct node *node);

/* One letter, tried for the checker's sake: NULL when it could be applied now, otherwise the code of what is in its
 * way. */
const char *letter_obstacle(struct node *node, const struct letter *letter);
