#pragma once
/* What the target applies by one call: of the messages of a transaction those of one source, entity, operation and columns become one
 * message of all their rows. A backlog of small transactions is worked off by few statements that way.
 *
 * The bundles of one entity keep the order of the changes of each row, and free unique values before they are taken again: deletions
 * stand before updates, updates before creations, and what comes after a row's second change stands behind all that came before it.
 * Entities need no order among each other within a transaction. The rows of one bundle have none either, so that an update may find a
 * unique value taken which another row of its bundle is to free: then the messages are to be applied one by one. */
#include "bridge/message/message.h"

enum { BUNDLE_ROWS_MAX = 100 }; /* of a message that is joined with others: a larger one is worth a call of its own */

struct bundle {
    const struct message *message; /* one that was given, or a joined one */
    size_t first;                  /* the place of its first message among those given */
};

struct bundles {
    size_t count;
    struct bundle *items; /* in the order in which they are to be applied */
};

/* Of messages that are NULL nothing becomes. A joined message lives in the arena, and its texts where the messages' do; of what is not
 * about rows it has source, entity, op and policy. */
struct bundles bundles_make(const struct message *const *messages, size_t count, struct arena *arena);
