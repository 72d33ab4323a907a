#pragma once
/* What applications do: transactions of a few statements on few rows, whatever is there. */
struct node;
struct random;

/* One transaction on this node's database, or nothing when it would have to wait for a lock. random: decides what. */
void workload_transact(struct node *node, struct random *random);
