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
};

/* Entity 0 has a unique field "code"; entity 1 has "parent", a row of entity 0. */
enum entity { ENTITY_PARENT, ENTITY_CHILD };

struct schedule {
    uint64_t seed;
    size_t node_count;
    size_t writes;              /* that applications make, about */
    size_t transaction_rows;    /* most statements of one transaction */
    size_t keys;                /* per entity */
    size_t codes;               /* unique values, for all nodes: few, so that they collide */
    size_t deletes_one_in;      /* of the writes of a row that is there, one in so many is its end */
    size_t values;              /* different values of a field: few, so that different writers write the same */
    size_t policies[ENTITIES];  /* by number */
    size_t priority[NODES_MAX]; /* nodes, the first goes before the others */
    size_t priority_count;
    bool coalesce[ENTITIES];
    bool wal[NODES_MAX];       /* the node captures from the WAL, not by triggers */
    size_t message_bytes;      /* small: batches of many parts */
    size_t batch_transactions; /* most in one batch */
    bool constraints;          /* unique values and references are checked, on every node for itself: see workload.c */
    /* time */
    int64_t call_us; /* what a call takes */
    int64_t tick_us; /* clocks show multiples of it */
    int64_t skew_us; /* how far a clock is away from the truth, at most */
    bool clocks_jump;
    int64_t max_clock_skew_us; /* what is stamped farther ahead is held; 0: nothing is */
    int64_t retention_us;      /* deletions are remembered so long at least */
    size_t pauses;             /* how often time passes in which nobody does anything: heartbeats become due */
    int64_t pause_us;          /* so long at most */
    size_t replays;            /* messages that come once more when everything was quiet */
    /* what goes wrong */
    size_t faults;      /* how many things at most */
    size_t fault_every; /* one in so many calls */
    bool outages_last;  /* some longer than anybody waits for the rest of a batch */
    size_t duplicates;  /* messages that the broker gives out once more, some time later */
    bool stragglers;    /* what a broken connection has sent may come after what the next one sends */
    bool shuffles;      /* what is redelivered comes in any order */
    bool echoes;        /* the queue of a node also gets the node's own messages */
    size_t holds;       /* how often somebody pauses or resumes an entity or a direction of a node */
    size_t deliveries;  /* of one message, at most: then it is among the dead of its queue; 0: any number */
    /* who gets how much of the processor: relative weights */
    unsigned application_weight[NODES_MAX], worker_weight[2 * NODES_MAX], routing_weight[NODES_MAX];
};

/* node_count 0: the seed decides that, too; forgets: it is one of those in which deletions are forgotten. Leaves random
 * where the schedule's history begins. */
void schedule_draw(struct schedule *schedule, uint64_t seed, size_t node_count, bool forgets, struct random *random);

enum capture { CAPTURE_MIXED, CAPTURE_OUTBOX, CAPTURE_WAL };
/* Which nodes capture from the WAL; the rest of the schedule is the same, but that no clock goes back then without jumps: what that does to
 * commits that are not read yet is not always told apart. Mixed: a third of the schedules has none, a third all. */
void schedule_draw_capture(struct schedule *schedule, enum capture capture, bool jumps);

/* For people. */
void schedule_print(const struct schedule *schedule);

static inline bool random_chance(struct random *random, size_t one_in)
{
    return random_below(random, one_in) == 0;
}
