#pragma once
/* Outbound: what this node's applications committed goes to the exchange. The law of this loop: confirm before release. */
#include "bridge/flow/worker.h"

struct outbound {
    struct worker worker;
    struct source *source;
    struct outlet *outlet;
    _Atomic size_t message_bytes; /* soft bound of a message's body; may change while it runs */
    size_t budget_count;          /* entities that may send so many changes a second only */
    struct budget *budgets;
};

/* Runs until the worker is told to stop; then waits a few seconds for what is published to be confirmed and released. */
void outbound_run(struct outbound *outbound);
