#pragma once
/* Changes that are to be made beside others: those of rows that the others change, too, must come after them. */
#include "bridge/message/message.h"

struct split {
    /* of each message the rows that the others are not about, and those that they are: the message itself when it is all of it, NULL when it is
     * nothing of it */
    const struct message **free, **shared;
    size_t free_rows, shared_rows;
};

/* Of messages that are NULL, in either list, nothing comes. What is made lives in the arena, and its texts where the messages' do. */
struct split split_make(const struct message *const *others, size_t other_count, const struct message *const *messages, size_t count,
                        struct arena *arena);
