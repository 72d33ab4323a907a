#pragma once
/* Why a node may lack the latest state of a row, when everything is quiet: a change of it waits, and what is in its way
 * is there by right. For a unique value that is another row that has it, everywhere or for a reason of its own; for a
 * parent or a child, that its row waits itself. In the end all reasons are unique values that two nodes have given, or
 * conflicts that are left to a human. */
#include "tests/sim/letters.h"

/* The latest of all writes ever made of the row; NOBODY: there was none. */
int latest_write(const struct world *world, size_t row);
bool is_manual(const struct world *world, size_t row);
/* Some node has a conflict of this row that nobody has decided. */
bool is_open(const struct world *world, size_t row);

/* A letter that waits for this row; NULL: there is none. */
const struct letter *letter_of(const struct world *world, size_t node, size_t row);
/* Whether the node lacks the latest state of the row by right. */
bool explanation_of(struct world *world, size_t node, size_t row);

/* No letter waits whose cause is gone, and none without such a reason. */
void explanation_check(struct world *world);
