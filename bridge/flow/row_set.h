#pragma once
/* The rows that messages are about, each once: by entity and by the texts of its key, whatever the order of a sender's key fields. */
#include "bridge/base/index.h"
#include "bridge/message/message.h"

struct row_place {
    const struct message *message;
    size_t row;
};

struct row_set {
    struct index index;
    struct row_place *rows;
    size_t count;
};

/* Room for so many rows and no more. */
struct row_set row_set_new(size_t rows_max, struct arena *arena);

/* The caller's own note at the row; 0 at one that was not in the set, and is now. The message must last as long as the set. */
size_t *row_set_note(struct row_set *set, const struct message *message, size_t row);
bool row_set_has(const struct row_set *set, const struct message *message, size_t row);
