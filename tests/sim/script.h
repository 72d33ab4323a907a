#pragma once
/* A script: a schedule that real servers can run as well, and whose end does not depend on timing. In each round the
 * nodes are apart and write one transaction after the other, in one order for all; then some of them are connected,
 * until everything between them is quiet. What happens on the way (crashes, duplicates, batches, who goes first) is as
 * random as ever, and must not matter: every round is tried with many timings, and one that does not end alike is drawn
 * anew. */
#include "tests/sim/world.h"

/* Draws the script of this seed and prints it as lines of JSON: what the nodes are like, what they write, who is
 * connected, and after each connection what every node then holds. node_count 0: the seed decides that, too: 2 or 3. */
void script_print(struct world *world, uint64_t seed, size_t node_count);

/* For the scheduler, when everybody who is connected is quiet: the next step. False: the script is over. */
bool script_go_on(struct world *world);
