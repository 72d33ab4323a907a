#pragma once
/* A schedule: everything that the seed decides before anything happens. What happens then is decided by the same
 * sequence of random numbers, so that a seed names a whole history. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/unit/random.h"

enum {
    NODES_MAX = 4,
    ENTITIES = 2,
    KEYS_MAX = 8, /* per entity: few, so that writers collide */
    ROWS_MAX = ENTITIES * KEYS_MAX,
    CODES_EACH = 5, /* unique values that belong to one node */
};

/* Entity 0 has a unique field "code"; entity 1 has "parent", a row of entity 0. */
enum entity { ENTITY_PARENT, ENTITY_CHILD };

struct schedule {
    uint64_t seed;
    size_t node_count;
    size_t writes;              /* that applications make, about */
    size_t transaction_rows;    /* most statements of one transaction */
    size_t keys;                /* per entity */
    size_t values;              /* different values of a field: few, so that different writers write the same */
    size_t policies[ENTITIES];  /* by number */
    size_t priority[NODES_MAX]; /* nodes, the first goes before the others */
    size_t priority_count;
    bool coalesce[ENTITIES];
    size_t message_bytes;      /* small: batches of many parts */
    size_t batch_transactions; /* most in one batch */
    /* the database's constraints are checked, and applications write what can be right on every node: see workload.c */
    bool constraints;
    /* time */
    int64_t call_us; /* what a call takes */
    int64_t tick_us; /* clocks show multiples of it */
    int64_t skew_us; /* how far a clock is away from the truth, at most */
    bool clocks_jump;
    /* what goes wrong */
    size_t faults;      /* how many things at most */
    size_t fault_every; /* one in so many calls */
    bool outages_last;  /* some longer than anybody waits for the rest of a batch */
    size_t duplicates;  /* messages that the broker gives out once more, some time later */
    bool stragglers;    /* what a broken connection has sent may come after what the next one sends */
    bool shuffles;      /* what is redelivered comes in any order */
    bool echoes;        /* the queue of a node also gets the node's own messages */
    /* who gets how much of the processor: relative weights */
    unsigned application_weight[NODES_MAX], worker_weight[2 * NODES_MAX], routing_weight[NODES_MAX];
};

/* node_count 0: the seed decides that, too. Leaves random where the schedule's history begins. */
void schedule_draw(struct schedule *schedule, uint64_t seed, size_t node_count, struct random *random);

static inline bool random_chance(struct random *random, size_t one_in)
{
    return random_below(random, one_in) == 0;
}
