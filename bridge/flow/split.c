#include "bridge/flow/split.h"

#include "bridge/flow/row_set.h"

/* Those rows of the message of which shared says so. */
static const struct message *take(const struct message *message, const bool *shared, bool wanted, size_t count, struct arena *arena)
{
    size_t columns = message->column_count, taken = 0;
    if (count == 0 || count == message->row_count)
        return count == 0 ? NULL : message;
    struct text *values = arena_take_array(arena, count * columns, sizeof *values);
    int64_t *versions = arena_take_array(arena, count, sizeof *versions);
    struct version *bases = message->bases != NULL ? arena_take_array(arena, count, sizeof *bases) : NULL;
    struct seen *seen = message->seen != NULL ? arena_take_array(arena, count, sizeof *seen) : NULL;
    struct merge *merges = message->merges != NULL ? arena_take_array(arena, count, sizeof *merges) : NULL;
    struct text *correlations = message->correlations != NULL ? arena_take_array(arena, count, sizeof *correlations) : NULL;
    for (size_t row = 0; row < message->row_count; row++) {
        if (shared[row] != wanted)
            continue;
        memcpy(values + taken * columns, message_row(message, row), columns * sizeof *values);
        versions[taken] = message_version(message, row);
        if (bases != NULL)
            bases[taken] = message->bases[row];
        if (seen != NULL)
            seen[taken] = message->seen[row];
        if (merges != NULL)
            merges[taken] = message->merges[row];
        if (correlations != NULL)
            correlations[taken] = message->correlations[row];
        taken++;
    }
    struct message *part = arena_take(arena, sizeof *part);
    *part = *message;
    part->row_count = count;
    part->values = values;
    part->versions = versions;
    part->bases = bases;
    part->seen = seen;
    part->merges = merges;
    part->correlations = correlations;
    return part;
}

static size_t count_rows(const struct message *const *messages, size_t count)
{
    size_t rows = 0;
    for (size_t i = 0; i < count; i++)
        rows += messages[i] != NULL ? messages[i]->row_count : 0;
    return rows;
}

struct split split_make(const struct message *const *others, size_t other_count, const struct message *const *messages, size_t count,
                        struct arena *arena)
{
    struct split split = {arena_take_array(arena, count, sizeof *split.free), arena_take_array(arena, count, sizeof *split.shared), 0, 0};
    struct row_set set = row_set_new(count_rows(others, other_count), arena);
    bool *shared = arena_take_array(arena, count_rows(messages, count), sizeof *shared);
    for (size_t i = 0; i < other_count; i++)
        for (size_t row = 0; others[i] != NULL && row < others[i]->row_count; row++)
            row_set_note(&set, others[i], row);
    for (size_t i = 0; i < count; i++) {
        const struct message *message = messages[i];
        size_t met = 0;
        if (message == NULL)
            continue;
        for (size_t row = 0; row < message->row_count; row++) {
            shared[row] = row_set_has(&set, message, row);
            met += shared[row];
        }
        split.free[i] = take(message, shared, false, message->row_count - met, arena);
        split.shared[i] = take(message, shared, true, met, arena);
        split.free_rows += message->row_count - met;
        split.shared_rows += met;
    }
    return split;
}
