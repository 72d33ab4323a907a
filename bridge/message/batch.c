#include "bridge/message/batch.h"

#include "bridge/base/index.h"
#include "bridge/base/limits.h"

/* ---- coalescing ----------------------------------------------------------------------------------------------------
 */

/* Nobody else wrote the row in between: or else the one before travels too, for who wrote in between has to be told that both
 * wrote. A source that does not know bases tells by what was seen alone, and may say an earlier write after a later one. */
static bool chain_goes_on(const struct change *before, const struct change *change)
{
    return (version_is_none(change->base) || version_equal(change->base, before->version)) &&
           seen_equal(&change->seen, &before->seen) && version_compare(before->version, change->version) <= 0;
}

/* began_created: the key's first change in the batch was its creation. */
static void supersede(const struct change *before, bool began_created, struct change *change)
{
    change->base = before->base;
    if (change->op != CHANGE_DELETED)
        change->op = began_created ? CHANGE_CREATED : CHANGE_UPDATED;
}

void batch_coalesce(struct batch *batch)
{
    struct change *changes = batch->changes;
    size_t count = batch->change_count;
    if (batch->captured_count < count)
        batch->captured_count = count;
    if (count < 2)
        return;
    struct index latest = index_new(count, &batch->arena);
    bool *began_created = arena_take_array(&batch->arena, count, sizeof *began_created);
    bool *superseded = arena_take_array(&batch->arena, count, sizeof *superseded);
    for (size_t i = 0; i < count; i++) {
        struct change *change = &changes[i];
        uint64_t hash = change_row_hash(change);
        struct index_slot *slot = index_find(&latest, hash, change_row_same, changes, change);
        began_created[i] = change->op == CHANGE_CREATED;
        /* Only the key's change just before this one, and of the same layout: one of another layout stands between
         * states that must not be joined across it. */
        size_t before = slot->place - 1;
        if (slot->place > 0 && change->layout->coalesce && changes[before].layout == change->layout &&
            chain_goes_on(&changes[before], change)) {
            supersede(&changes[before], began_created[before], change);
            began_created[i] = began_created[before];
            superseded[before] = true;
        }
        *slot = (struct index_slot){.hash = hash, .place = i + 1};
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!superseded[i])
            changes[kept++] = changes[i];
    batch->change_count = kept;
}

/* ---- grouping ------------------------------------------------------------------------------------------------------
 */

/* Changes that may share messages. */
struct group {
    const struct layout *layout;
    enum change_op op;
    struct text node;
    size_t segment;
    size_t first; /* its members in plan.members */
    size_t count;
};

struct groups {
    size_t count;
    struct group *items;
};

/* Two kinds of groups. Those of coalescing layouts are unordered: within a segment every key occurs once, so a segment
 * can go out by phases, which frees unique values before they are taken again; a key that occurs again (in another
 * layout) starts the next segment. Those of layouts that keep every change are runs in the order of commit. */
struct plan {
    const struct batch *batch;
    struct text sender;
    bool all_in_order;
    struct groups unordered;
    struct groups runs;
    struct group **group_of; /* per change */
    size_t *members;         /* change numbers, group by group */
};

static struct text change_node(const struct plan *plan, const struct change *change)
{
    return text_is_null(change->version.node) ? plan->sender : change->version.node;
}

static bool fits(const struct plan *plan, const struct group *group, const struct change *change)
{
    return group->layout == change->layout && group->op == change->op &&
           text_equal(group->node, change_node(plan, change));
}

static struct group *add_group(const struct plan *plan, struct groups *groups, size_t segment,
                               const struct change *change)
{
    struct group *group = &groups->items[groups->count++];
    *group = (struct group){
        .layout = change->layout, .op = change->op, .node = change_node(plan, change), .segment = segment};
    return group;
}

static bool same_entity(const void *changes, size_t place, const void *item)
{
    const struct change *a = (const struct change *)changes + place;
    return text_equal(a->layout->entity, ((const struct change *)item)->layout->entity);
}

static bool same_rules(const struct layout *a, const struct layout *b)
{
    if (a->coalesce != b->coalesce || a->key_count != b->key_count)
        return false;
    for (size_t i = 0; i < a->key_count; i++)
        if (!text_equal(a->fields[i], b->fields[i]))
            return false;
    return true;
}

/* True when an entity was mapped anew within the batch, with another key or other coalescing: keys of the two mappings
 * cannot be compared, so everything has to keep the order of commit. */
static bool has_new_mapping(const struct batch *batch, struct arena *arena)
{
    struct index entities = {0};
    for (size_t i = 1; i < batch->change_count; i++) {
        const struct change *change = &batch->changes[i];
        if (change->layout == batch->changes[i - 1].layout)
            continue;
        if (entities.slots == NULL) {
            entities = index_new(batch->change_count, arena);
            uint64_t hash = index_mix_text(0, batch->changes[0].layout->entity);
            entities.slots[hash & entities.mask] = (struct index_slot){.hash = hash, .place = 1};
        }
        uint64_t hash = index_mix_text(0, change->layout->entity);
        struct index_slot *slot = index_find(&entities, hash, same_entity, batch->changes, change);
        if (slot->place == 0)
            *slot = (struct index_slot){.hash = hash, .place = i + 1};
        else if (!same_rules(batch->changes[slot->place - 1].layout, change->layout))
            return true;
    }
    return false;
}

struct wanted {
    const struct plan *plan;
    const struct change *change;
    size_t segment;
};

static bool same_group(const void *groups, size_t place, const void *item)
{
    const struct group *group = (const struct group *)groups + place;
    const struct wanted *wanted = item;
    return group->segment == wanted->segment && fits(wanted->plan, group, wanted->change);
}

static struct group *find_group(struct plan *plan, const struct index *index, size_t segment,
                                const struct change *change)
{
    const struct layout *layout = change->layout;
    uint64_t hash = index_mix(index_mix(segment, (uint64_t)(uintptr_t)layout), (uint64_t)change->op);
    hash = index_mix_text(hash, change_node(plan, change));
    struct wanted wanted = {plan, change, segment};
    struct index_slot *slot = index_find(index, hash, same_group, plan->unordered.items, &wanted);
    if (slot->place == 0) {
        *slot = (struct index_slot){.hash = hash, .place = plan->unordered.count + 1};
        return add_group(plan, &plan->unordered, segment, change);
    }
    return &plan->unordered.items[slot->place - 1];
}

static void assign_groups(struct plan *plan, struct arena *arena)
{
    const struct batch *batch = plan->batch;
    struct index rows = index_new(batch->change_count, arena);
    struct index groups = index_new(batch->change_count, arena);
    struct group *last = NULL, *run = NULL;
    size_t segment = 1, run_number = 0;
    for (size_t i = 0; i < batch->change_count; i++) {
        const struct change *change = &batch->changes[i];
        uint64_t hash = change_row_hash(change);
        struct index_slot *row = index_find(&rows, hash, change_row_same, batch->changes, change);
        size_t seen_in = row->place > 0 ? row->stamp : 0;
        if (plan->all_in_order || !change->layout->coalesce) {
            if (run == NULL || seen_in == run_number || !fits(plan, run, change))
                run = add_group(plan, &plan->runs, ++run_number, change);
            plan->group_of[i] = run;
        } else {
            segment += seen_in == segment;
            if (last == NULL || last->segment != segment || !fits(plan, last, change))
                last = find_group(plan, &groups, segment, change);
            plan->group_of[i] = last;
        }
        plan->group_of[i]->count++;
        *row = (struct index_slot){.hash = hash, .place = i + 1, .stamp = plan->group_of[i]->segment};
    }
}

static void gather_members(struct plan *plan)
{
    size_t next = 0;
    struct groups *both[] = {&plan->unordered, &plan->runs};
    for (size_t kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < both[kind]->count; i++) {
            struct group *group = &both[kind]->items[i];
            group->first = next;
            next += group->count;
            group->count = 0;
        }
    }
    for (size_t i = 0; i < plan->batch->change_count; i++) {
        struct group *group = plan->group_of[i];
        plan->members[group->first + group->count++] = i;
    }
}

static void plan_batch(struct plan *plan, struct arena *arena)
{
    size_t count = plan->batch->change_count;
    plan->all_in_order = has_new_mapping(plan->batch, arena);
    plan->unordered.items = arena_take_array(arena, count, sizeof(struct group));
    plan->runs.items = arena_take_array(arena, count, sizeof(struct group));
    plan->group_of = arena_take_array(arena, count, sizeof *plan->group_of);
    plan->members = arena_take_array(arena, count, sizeof *plan->members);
    assign_groups(plan, arena);
    gather_members(plan);
}

/* ---- cutting -------------------------------------------------------------------------------------------------------
 */

/* The rows of one message: members [first, first + count) of the plan. */
struct piece {
    const struct group *group;
    size_t first;
    size_t count;
};

struct pieces {
    size_t count;
    struct piece *items;
};

/* What a text takes in JSON, with its quotes and a comma; escapes are not counted. */
static size_t text_cost(struct text text)
{
    return text_is_null(text) ? 5 : text.length + 3;
}

static size_t row_cost(const struct change *change)
{
    enum { BRACKETS = 3, TIMESTAMP = 17 };
    size_t cost = BRACKETS + TIMESTAMP + text_cost(change->correlation);
    cost += change->base.timestamp_us == 0 ? 5 : BRACKETS + TIMESTAMP + text_cost(change->base.node);
    for (size_t i = 0; i < change->seen.count; i++)
        cost += TIMESTAMP + text_cost(change->seen.versions[i].node);
    if (change->merge != NULL)
        cost += 64 * (1 + change->merge->group_count + change->merge->total_count);
    for (size_t i = 0; i < change_value_count(change); i++)
        cost += text_cost(change->values[i]);
    return cost;
}

static size_t head_cost(const struct group *group)
{
    enum { MEMBER_NAMES = 128 };
    size_t cost = MEMBER_NAMES + group->layout->entity.length;
    for (size_t i = 0; i < group->layout->field_count; i++)
        cost += text_cost(group->layout->fields[i]);
    return cost;
}

static void cut_group(const struct plan *plan, const struct group *group, size_t message_bytes, struct pieces *pieces)
{
    struct piece *piece = NULL;
    size_t bytes = 0, head = head_cost(group);
    for (size_t i = group->first; i < group->first + group->count; i++) {
        size_t cost = row_cost(&plan->batch->changes[plan->members[i]]);
        if (piece == NULL || piece->count == LIMIT_MESSAGE_ROWS || bytes + cost > message_bytes) {
            piece = &pieces->items[pieces->count++];
            *piece = (struct piece){.group = group, .first = i};
            bytes = head;
        }
        piece->count++;
        bytes += cost;
    }
}

static void cut_batch(const struct plan *plan, size_t message_bytes, struct pieces *pieces)
{
    static const enum change_op phases[] = {CHANGE_DELETED, CHANGE_UPDATED, CHANGE_CREATED};
    const struct groups *unordered = &plan->unordered;
    for (size_t start = 0, end; start < unordered->count; start = end) {
        end = start;
        while (end < unordered->count && unordered->items[end].segment == unordered->items[start].segment)
            end++;
        for (size_t phase = 0; phase < sizeof phases / sizeof phases[0]; phase++)
            for (size_t i = start; i < end; i++)
                if (unordered->items[i].op == phases[phase])
                    cut_group(plan, &unordered->items[i], message_bytes, pieces);
    }
    for (size_t i = 0; i < plan->runs.count; i++)
        cut_group(plan, &plan->runs.items[i], message_bytes, pieces);
}

/* ---- sealing -------------------------------------------------------------------------------------------------------
 */

/* Keeps *single while there is only one value; several make it null for good. */
static void note_single(struct text value, struct text *single, bool *several)
{
    if (*several || text_is_null(value) || text_equal(value, *single))
        return;
    *several = !text_is_null(*single);
    *single = *several ? TEXT_NULL : value;
}

/* The body of the message, and the traceparent that all its rows share. */
static void fill_message(const struct plan *plan, const struct piece *piece, struct arena *arena,
                         struct message *message)
{
    const struct layout *layout = piece->group->layout;
    size_t columns = piece->group->op == CHANGE_DELETED ? layout->key_count : layout->field_count;
    struct text *values = arena_take_array(arena, piece->count * columns, sizeof *values);
    int64_t *versions = arena_take_array(arena, piece->count, sizeof *versions);
    struct version *bases = arena_take_array(arena, piece->count, sizeof *bases);
    /* Few rows have these. */
    struct seen *seen = NULL;
    struct merge *merges = NULL;
    struct text *correlations = arena_take_array(arena, piece->count, sizeof *correlations);
    bool any_base = false, any_correlation = false, several_traces = false;
    for (size_t row = 0; row < piece->count; row++) {
        const struct change *change = &plan->batch->changes[plan->members[piece->first + row]];
        memcpy(values + row * columns, change->values, columns * sizeof *values);
        versions[row] = change->version.timestamp_us;
        bases[row] = change->base;
        if (change->seen.count > 0) {
            if (seen == NULL)
                seen = arena_take_array(arena, piece->count, sizeof *seen);
            seen[row] = change->seen;
        }
        if (change->merge != NULL) {
            if (merges == NULL)
                merges = arena_take_array(arena, piece->count, sizeof *merges);
            merges[row] = *change->merge;
        }
        correlations[row] = change->correlation;
        any_base = any_base || change->base.timestamp_us != 0;
        any_correlation = any_correlation || !text_is_null(change->correlation);
        note_single(change->traceparent, &message->traceparent, &several_traces);
    }
    message->entity = layout->entity;
    message->op = piece->group->op;
    message->key_count = layout->key_count;
    message->column_count = columns;
    message->columns = layout->fields;
    message->row_count = piece->count;
    message->values = values;
    message->versions = versions;
    message->bases = any_base ? bases : NULL;
    message->seen = seen;
    message->merges = merges;
    message->correlations = any_correlation ? correlations : NULL;
}

void batch_seal(struct batch *batch, struct sender *sender, int64_t now_us, size_t message_bytes,
                struct envelope **envelopes, size_t *envelope_count)
{
    *envelopes = NULL;
    *envelope_count = 0;
    struct arena *arena = &batch->arena;
    bool has_heartbeat = batch->heartbeat != NULL;
    if (batch->change_count == 0 && !has_heartbeat)
        return;
    struct plan plan = {.batch = batch, .sender = sender->node};
    plan_batch(&plan, arena);
    struct pieces pieces = {.items = arena_take_array(arena, batch->change_count, sizeof(struct piece))};
    cut_batch(&plan, message_bytes, &pieces);

    char uuid[37];
    digest_uuid(uuid);
    struct text epoch = arena_copy(arena, text_from(sender->epoch));
    struct text batch_id = arena_copy(arena, text_from(uuid));
    *envelopes = arena_take_array(arena, pieces.count + has_heartbeat, sizeof **envelopes);
    *envelope_count = pieces.count + has_heartbeat;
    for (size_t i = 0; i < pieces.count; i++) {
        struct text source = pieces.items[i].group->node;
        struct message message = {
            .source = source,
            .epoch = epoch,
            /* The numbers are those of this node's own word. */
            .sequence = text_equal(source, sender->node) ? ++sender->sequence : 0,
            .batch = batch_id,
            .part = (int64_t)i + 1,
            .parts = (int64_t)pieces.count,
            .schema = pieces.items[i].group->layout->schema,
            .policy = pieces.items[i].group->layout->policy,
        };
        fill_message(&plan, &pieces.items[i], arena, &message);
        envelope_seal(&message, now_us, arena, &(*envelopes)[i]);
    }
    if (has_heartbeat) {
        struct heartbeat heartbeat = *batch->heartbeat;
        heartbeat.epoch = epoch;
        heartbeat.sequence = sender->sequence;
        heartbeat_seal(&heartbeat, now_us, arena, &(*envelopes)[pieces.count]);
    }
}
