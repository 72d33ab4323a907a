#pragma once
/* What one transaction has received, by source: counted, with the numbers of the messages, of which none may be missing unnoticed. */
#include "bridge/flow/application.h"

struct receipts {
    size_t count;
    struct receipt of[LIMIT_PEERS + 2]; /* peers, ourselves, others */
};

/* What came of the item. */
void receipts_add(struct receipts *receipts, const struct item *item, const struct tally *tally);

/* Notes in the open transaction which numbers have come to this node, and of those that heartbeats tell of which have not; what is
 * missing is logged, and counted. */
bool receipts_note_numbers(struct receipts *receipts, const struct item *items, size_t count, struct target *target, struct text node,
                           struct error *error);

/* Once they are committed. */
void receipts_count(const struct receipts *receipts, struct counters *counters);
