#pragma once
/* What the target applies by one call: of the messages of a transaction those of one source, entity, operation and columns become one
 * message of all their rows. A backlog of small transactions is worked off by few statements that way.
 *
 * The bundles of one entity keep the order of the changes of each row: what changes a row again is in a later one. Of what could go at
 * once, deletions stand before updates and updates before creations, which frees unique values before they are taken. There is no other
 * order among rows, and none among entities, so that a change may find a unique value taken which a later bundle, or another row of its
 * own, is to free: then the messages are to be applied one by one. */
#include "bridge/message/message.h"

/* Of a message that is joined with others. */
enum { BUNDLE_ROWS_MAX = 100, BUNDLE_VALUES_MAX = 4096, BUNDLE_BYTES_MAX = 64 << 10 };

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
