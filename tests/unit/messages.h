#pragma once
/* Messages to test with, and when two of them are the same. */
#include "bridge/message/message.h"
#include "tests/unit/random.h"

static inline bool texts_equal(size_t count, const struct text *a, const struct text *b)
{
    if (a == NULL || b == NULL)
        return a == NULL && b == NULL;
    for (size_t i = 0; i < count; i++)
        if (!text_equal(a[i], b[i]))
            return false;
    return true;
}

/* The body alone; how many members were unknown does not count. */
static inline bool bodies_equal(const struct message *a, const struct message *b)
{
    if (!text_equal(a->entity, b->entity) || a->op != b->op || a->key_count != b->key_count ||
        a->column_count != b->column_count || a->row_count != b->row_count ||
        !texts_equal(a->column_count, a->columns, b->columns) ||
        !texts_equal(a->row_count * a->column_count, a->values, b->values) ||
        !texts_equal(a->row_count, a->correlations, b->correlations) || !a->versions != !b->versions ||
        !a->bases != !b->bases || !a->seen != !b->seen)
        return false;
    for (size_t i = 0; a->seen != NULL && i < a->row_count; i++) {
        if (a->seen[i].count != b->seen[i].count)
            return false;
        for (size_t j = 0; j < a->seen[i].count; j++)
            if (!version_equal(a->seen[i].versions[j], b->seen[i].versions[j]))
                return false;
    }
    for (size_t i = 0; a->versions != NULL && i < a->row_count; i++)
        if (a->versions[i] != b->versions[i])
            return false;
    for (size_t i = 0; a->bases != NULL && i < a->row_count; i++)
        if (!version_equal(a->bases[i], b->bases[i]))
            return false;
    return true;
}

static inline struct text *random_names(struct random *random, size_t count, struct arena *arena)
{
    struct text *names = arena_take_array(arena, count, sizeof *names);
    for (size_t i = 0; i < count; i++) {
        struct text tail = random_text(random, 4, arena);
        names[i] = arena_printf(arena, "%zu-%.*s", i, TEXT_PRINTF(tail));
    }
    return names;
}

static inline struct message random_message(struct random *random, struct arena *arena)
{
    struct message message = {.part = 1, .parts = 1};
    message.entity = random_names(random, 1, arena)[0];
    message.op = (enum change_op)random_below(random, 3);
    message.column_count = 1 + random_below(random, 12);
    message.key_count = 1 + random_below(random, message.column_count);
    message.columns = random_names(random, message.column_count, arena);
    message.row_count = 1 + random_below(random, 20);
    size_t value_count = message.row_count * message.column_count;
    struct text *values = arena_take_array(arena, value_count, sizeof *values);
    for (size_t i = 0; i < value_count; i++) {
        bool is_key = i % message.column_count < message.key_count;
        values[i] = !is_key && random_below(random, 4) == 0 ? TEXT_NULL : random_text(random, 30, arena);
    }
    message.values = values;
    int64_t *versions = arena_take_array(arena, message.row_count, sizeof *versions);
    struct version *bases = arena_take_array(arena, message.row_count, sizeof *bases);
    struct text *correlations = arena_take_array(arena, message.row_count, sizeof *correlations);
    for (size_t i = 0; i < message.row_count; i++) {
        versions[i] = 1 + (int64_t)(random_next(random) >> (1 + random_below(random, 60)));
        if (random_below(random, 3) > 0)
            bases[i] = (struct version){1 + (int64_t)(random_next(random) >> 20), random_names(random, 1, arena)[0]};
        if (random_below(random, 3) > 0)
            correlations[i] = random_text(random, 10, arena);
    }
    struct seen *seen = arena_take_array(arena, message.row_count, sizeof *seen);
    for (size_t i = 0; i < message.row_count; i++) {
        size_t count = random_below(random, 4);
        struct text *nodes = random_names(random, count, arena); /* in order: they begin with their number */
        struct version *known = arena_take_array(arena, count, sizeof *known);
        for (size_t j = 0; j < count; j++)
            known[j] = (struct version){1 + (int64_t)(random_next(random) >> 20), nodes[j]};
        seen[i] = (struct seen){count, known};
    }
    message.seen = random_below(random, 4) > 0 ? seen : NULL;
    correlations[0] = random_text(random, 10, arena);
    message.versions = random_below(random, 4) > 0 ? versions : NULL;
    message.bases = random_below(random, 4) > 0 ? bases : NULL;
    message.correlations = random_below(random, 4) > 0 ? correlations : NULL;
    return message;
}
