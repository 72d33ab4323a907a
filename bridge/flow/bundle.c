#include "bridge/flow/bundle.h"

#include <stdlib.h>

#include "bridge/base/limits.h"
#include "bridge/flow/row_set.h"

/* An entity's messages go in waves, within which no row occurs in two of them: the first has the first change of every row. */
struct entity_progress {
    struct text name;
    /* waves: that the next message may be in at least, and the next creation; that any message is in */
    size_t lowest, lowest_of_creation, highest;
};

/* A bundle that is being filled. */
struct draft {
    size_t entity, wave;
    int phase; /* within the wave */
    size_t first, last; /* messages; the others by next_of */
    size_t message_count, row_count;
};

struct plan {
    const struct message *const *messages;
    struct arena *arena;
    struct index entity_index, draft_index;
    struct row_set rows; /* each notes its latest wave */
    struct entity_progress *entities;
    struct draft *drafts;
    size_t entity_count, draft_count;
    size_t *next_of; /* per message: the next one of its bundle */
};

/* Worth a call of its own, or more than is to be copied. */
static bool is_large(const struct message *message)
{
    size_t bytes = 0;
    if (message->row_count > BUNDLE_ROWS_MAX || message->row_count * message->column_count > BUNDLE_VALUES_MAX)
        return true;
    for (size_t i = 0; i < message->row_count * message->column_count; i++)
        bytes += message->values[i].length;
    return bytes > BUNDLE_BYTES_MAX;
}

/* ---- entities ---- */

static bool same_entity(const void *entities, size_t place, const void *item)
{
    return text_equal(((const struct entity_progress *)entities + place)->name, ((const struct message *)item)->entity);
}

static size_t entity_of(struct plan *plan, const struct message *message)
{
    uint64_t hash = index_mix_text(0, message->entity);
    struct index_slot *slot = index_find(&plan->entity_index, hash, same_entity, plan->entities, message);
    if (slot->place == 0) {
        plan->entities[plan->entity_count++] = (struct entity_progress){.name = message->entity, .lowest = 1, .lowest_of_creation = 1};
        *slot = (struct index_slot){.hash = hash, .place = plan->entity_count};
    }
    return slot->place - 1;
}

/* ---- waves ---- */

/* A large message has a wave of its own, which nothing passes. */
static size_t wave_alone(struct entity_progress *progress)
{
    size_t wave = progress->highest + 1;
    progress->lowest = progress->lowest_of_creation = wave + 1;
    progress->highest = wave;
    return wave;
}

/* The wave of a message that may be joined. */
static size_t wave_of(struct plan *plan, struct entity_progress *progress, const struct message *message)
{
    size_t wave = message->op == CHANGE_CREATED ? progress->lowest_of_creation : progress->lowest;
    for (size_t row = 0; row < message->row_count; row++) {
        size_t latest = *row_set_note(&plan->rows, message, row);
        wave = latest >= wave ? latest + 1 : wave;
    }
    for (size_t row = 0; row < message->row_count; row++)
        *row_set_note(&plan->rows, message, row) = wave;
    if (wave > progress->highest)
        progress->highest = wave;
    /* What is created later may take what the deleted row had: its unique values, or its key in another form of the same text. */
    if (message->op == CHANGE_DELETED && wave > progress->lowest_of_creation)
        progress->lowest_of_creation = wave;
    return wave;
}

/* ---- drafts ---- */

struct wanted {
    const struct plan *plan;
    const struct message *message;
    size_t entity, wave;
};

static bool same_draft(const void *drafts, size_t place, const void *item)
{
    const struct draft *draft = (const struct draft *)drafts + place;
    const struct wanted *wanted = item;
    const struct message *a = wanted->plan->messages[draft->first], *b = wanted->message;
    bool same = draft->entity == wanted->entity && draft->wave == wanted->wave && a->op == b->op && text_equal(a->source, b->source) &&
                text_equal(a->policy, b->policy) && text_is_null(a->policy) == text_is_null(b->policy) &&
                a->key_count == b->key_count && a->column_count == b->column_count && (a->merges == NULL) == (b->merges == NULL);
    for (size_t i = 0; i < a->column_count && same; i++)
        same = text_equal(a->columns[i], b->columns[i]);
    return same;
}

static int phase_of(enum change_op op)
{
    return op == CHANGE_DELETED ? 0 : op == CHANGE_UPDATED ? 1 : 2;
}

static void add_message(struct plan *plan, size_t number)
{
    const struct message *message = plan->messages[number];
    size_t entity = entity_of(plan, message);
    struct entity_progress *progress = &plan->entities[entity];
    struct wanted wanted = {plan, message, entity, is_large(message) ? wave_alone(progress) : wave_of(plan, progress, message)};
    uint64_t hash = index_mix(index_mix(index_mix(0, entity), wanted.wave), (uint64_t)message->op);
    hash = index_mix_text(hash, message->source);
    for (size_t i = 0; i < message->column_count; i++)
        hash = index_mix_text(hash, message->columns[i]);
    struct index_slot *slot = index_find(&plan->draft_index, hash, same_draft, plan->drafts, &wanted);
    if (slot->place == 0 || plan->drafts[slot->place - 1].row_count + message->row_count > LIMIT_MESSAGE_ROWS) {
        plan->drafts[plan->draft_count++] = (struct draft){
            .entity = entity, .wave = wanted.wave, .phase = phase_of(message->op), .first = number, .last = number};
        *slot = (struct index_slot){.hash = hash, .place = plan->draft_count};
    }
    struct draft *draft = &plan->drafts[slot->place - 1];
    plan->next_of[draft->last] = number;
    draft->last = number;
    draft->message_count++;
    draft->row_count += message->row_count;
}

/* ---- joining ---- */

static const struct message *join(const struct plan *plan, const struct draft *draft)
{
    struct arena *arena = plan->arena;
    const struct message *first = plan->messages[draft->first];
    if (draft->message_count == 1)
        return first;
    size_t columns = first->column_count;
    struct text *values = arena_take_array(arena, draft->row_count * columns, sizeof *values);
    int64_t *versions = arena_take_array(arena, draft->row_count, sizeof *versions);
    struct version *bases = arena_take_array(arena, draft->row_count, sizeof *bases);
    struct merge *merges = first->merges != NULL ? arena_take_array(arena, draft->row_count, sizeof *merges) : NULL;
    struct text *correlations = arena_take_array(arena, draft->row_count, sizeof *correlations);
    struct seen *seen = NULL; /* few rows have any */
    size_t rows = 0;
    for (size_t i = 0, number = draft->first; i < draft->message_count; i++, number = plan->next_of[number]) {
        const struct message *message = plan->messages[number];
        size_t count = message->row_count;
        memcpy(values + rows * columns, message->values, count * columns * sizeof *values);
        for (size_t row = 0; row < count; row++)
            versions[rows + row] = message_version(message, row);
        if (message->bases != NULL)
            memcpy(bases + rows, message->bases, count * sizeof *bases);
        if (message->merges != NULL)
            memcpy(merges + rows, message->merges, count * sizeof *merges);
        if (message->correlations != NULL)
            memcpy(correlations + rows, message->correlations, count * sizeof *correlations);
        if (message->seen != NULL && seen == NULL)
            seen = arena_take_array(arena, draft->row_count, sizeof *seen);
        if (message->seen != NULL)
            memcpy(seen + rows, message->seen, count * sizeof *seen);
        rows += count;
    }
    struct message *joined = arena_take(arena, sizeof *joined);
    *joined = (struct message){
        .source = first->source,
        .policy = first->policy,
        .entity = first->entity,
        .op = first->op,
        .key_count = first->key_count,
        .column_count = columns,
        .columns = first->columns,
        .row_count = rows,
        .values = values,
        .versions = versions,
        .bases = bases,
        .seen = seen,
        .merges = merges,
        .correlations = correlations,
    };
    return joined;
}

static int compare_drafts(const void *left, const void *right)
{
    const struct draft *a = left, *b = right;
    if (a->entity != b->entity)
        return a->entity < b->entity ? -1 : 1;
    if (a->wave != b->wave)
        return a->wave < b->wave ? -1 : 1;
    if (a->phase != b->phase)
        return a->phase < b->phase ? -1 : 1;
    return a->first < b->first ? -1 : a->first > b->first;
}

struct bundles bundles_make(const struct message *const *messages, size_t count, struct arena *arena)
{
    size_t rows = 0;
    for (size_t i = 0; i < count; i++)
        if (messages[i] != NULL && !is_large(messages[i]))
            rows += messages[i]->row_count;
    struct plan plan = {
        .messages = messages,
        .arena = arena,
        .entity_index = index_new(count, arena),
        .draft_index = index_new(count, arena),
        .entities = arena_take_array(arena, count, sizeof *plan.entities),
        .rows = row_set_new(rows, arena),
        .drafts = arena_take_array(arena, count, sizeof *plan.drafts),
        .next_of = arena_take_array(arena, count, sizeof *plan.next_of),
    };
    for (size_t i = 0; i < count; i++)
        if (messages[i] != NULL)
            add_message(&plan, i);

    qsort(plan.drafts, plan.draft_count, sizeof *plan.drafts, compare_drafts);
    struct bundles bundles = {plan.draft_count, arena_take_array(arena, plan.draft_count, sizeof *bundles.items)};
    for (size_t i = 0; i < plan.draft_count; i++)
        bundles.items[i] = (struct bundle){join(&plan, &plan.drafts[i]), plan.drafts[i].first};
    return bundles;
}
