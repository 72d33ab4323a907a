#pragma once
/* Inbound: what the peers publish is judged and applied here. The law of this loop: commit before settle. */
#include "bridge/flow/worker.h"

struct inbound {
    struct worker worker;
    struct inlet *inlet;
    struct inlet *dead; /* the broker's dead letters for this node; NULL: nobody looks at them */
    struct target *target;
    struct target *second; /* another session of it, for transactions beside others; NULL: they come one after another */
    size_t peer_count;
    const char *const *peers;
    int64_t max_clock_skew_us; /* a change from further ahead of the clock is held until its time has come; 0: none is */
    bool waits_for_clock;      /* and one that is a little ahead is waited for: whatever this node writes upon it is later by the clock */
    struct rally_rule rally_rule;
    struct deletion_rule deletion_rule;
    bool apply_echoes; /* tests only: do not drop messages of this node's own */
    int parts_wait_ms; /* tests only: how long the rest of a batch is waited for; 0: as long as usual */
    size_t group_rows; /* tests only: changes applied in one transaction; 0: LIMIT_GROUP_ROWS */
    struct group *group; /* private */
    size_t at_once;      /* private: how many transactions may be under way */
};

/* Runs until the worker is told to stop. A transaction under way is finished first. */
void inbound_run(struct inbound *inbound);
