#include "bridge/message/merge.h"

#include <assert.h>
#include <stdlib.h>

#include "bridge/base/limits.h"

static struct version later(struct version a, struct version b)
{
    return version_compare(b, a) > 0 ? b : a;
}

/* ---- lists ---- */

static int total_compare(const struct merge_total *a, const struct merge_total *b)
{
    int order = text_compare(a->field, b->field);
    return order != 0 ? order : text_compare(a->version.node, b->version.node);
}

static bool totals_equal(size_t count, const struct merge_total *a, const struct merge_total *b)
{
    for (size_t i = 0; i < count; i++)
        if (total_compare(&a[i], &b[i]) != 0 || a[i].version.timestamp_us != b[i].version.timestamp_us ||
            !text_equal(a[i].total, b[i].total))
            return false;
    return true;
}

bool merge_equal(const struct merge *a, const struct merge *b)
{
    if (a->present != b->present || !version_equal(a->died, b->died) || !version_equal(a->survived, b->survived) ||
        !version_equal(a->rest, b->rest) || a->group_count != b->group_count || a->total_count != b->total_count)
        return false;
    for (size_t i = 0; i < a->group_count; i++)
        if (!text_equal(a->groups[i].name, b->groups[i].name) ||
            !version_equal(a->groups[i].version, b->groups[i].version))
            return false;
    return totals_equal(a->total_count, a->totals, b->totals);
}

struct version merge_group_version(const struct merge *merge, struct text name)
{
    size_t low = 0, high = merge->group_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = text_compare(merge->groups[middle].name, name);
        if (order == 0)
            return merge->groups[middle].version;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return merge->rest;
}

/* Where the field's totals would begin. */
static size_t totals_of(const struct merge *merge, struct text field)
{
    size_t low = 0, high = merge->total_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (text_compare(merge->totals[middle].field, field) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct merge_terms merge_terms(const struct merge *merge, struct text field)
{
    size_t first = totals_of(merge, field), end = first;
    while (end < merge->total_count && text_equal(merge->totals[end].field, field))
        end++;
    return (struct merge_terms){end - first, end > first ? merge->totals + first : NULL};
}

static bool terms_equal(struct merge_terms a, struct merge_terms b)
{
    return a.count == b.count && totals_equal(a.count, a.totals, b.totals);
}

/* ---- one incarnation ---- */

/* Each group by its later version. What has the version of the rest is not listed. */
static void join_groups(const struct merge *a, const struct merge *b, struct merge *joined, struct arena *arena)
{
    struct merge_group *groups = arena_take_array(arena, a->group_count + b->group_count, sizeof *groups);
    joined->rest = later(a->rest, b->rest);
    joined->groups = groups;
    size_t i = 0, j = 0;
    while (i < a->group_count || j < b->group_count) {
        int order = i == a->group_count   ? 1
                    : j == b->group_count ? -1
                                          : text_compare(a->groups[i].name, b->groups[j].name);
        struct merge_group group = {
            .name = order <= 0 ? a->groups[i].name : b->groups[j].name,
            .version = later(order <= 0 ? a->groups[i].version : a->rest, order >= 0 ? b->groups[j].version : b->rest),
        };
        i += order <= 0;
        j += order >= 0;
        if (!version_equal(group.version, joined->rest))
            groups[joined->group_count++] = group;
    }
}

/* Each node's share by its later version. At one version it is one share; should two nodes have begun with different
 * values, the choice between them is the same everywhere. */
static void join_totals(const struct merge *a, const struct merge *b, struct merge *joined, struct arena *arena)
{
    struct merge_total *totals = arena_take_array(arena, a->total_count + b->total_count, sizeof *totals);
    joined->totals = totals;
    size_t i = 0, j = 0;
    while (i < a->total_count || j < b->total_count) {
        int order = i == a->total_count ? 1 : j == b->total_count ? -1 : total_compare(&a->totals[i], &b->totals[j]);
        const struct merge_total *total = order <= 0 ? &a->totals[i] : &b->totals[j];
        if (order == 0) {
            const struct merge_total *other = &b->totals[j];
            if (other->version.timestamp_us > total->version.timestamp_us ||
                (other->version.timestamp_us == total->version.timestamp_us &&
                 text_compare(other->total, total->total) > 0))
                total = other;
        }
        i += order <= 0;
        j += order >= 0;
        totals[joined->total_count++] = *total;
    }
}

static bool within_limits(const struct merge *merge)
{
    size_t run = 0;
    for (size_t i = 0; i < merge->total_count; i++) {
        run = i > 0 && text_equal(merge->totals[i].field, merge->totals[i - 1].field) ? run + 1 : 1;
        if (run > MERGE_NODES_MAX)
            return false;
    }
    return merge->group_count <= LIMIT_FIELDS;
}

/* ---- rows ---- */

/* The last deletion that the row knows of. */
static struct version deletion(const struct merge *merge)
{
    return later(merge->died, merge->survived);
}

/* < 0, 0, > 0: which row stands as a whole; 0 for two of one incarnation, and for two tombstones of one deletion. */
static int row_compare(const struct merge *a, const struct merge *b)
{
    int order = version_compare(deletion(a), deletion(b));
    if (order == 0)
        order = a->present - b->present;
    return order != 0 ? order : version_compare(a->died, b->died);
}

static enum merge_choice choose(const struct merge_field *field, const struct merge *local, const struct merge *remote,
                                const struct merge *joined)
{
    if (field->counter) {
        struct merge_terms terms = merge_terms(joined, field->name);
        if (terms_equal(terms, merge_terms(local, field->name)))
            return FIELD_LOCAL;
        return terms_equal(terms, merge_terms(remote, field->name)) ? FIELD_REMOTE : FIELD_SUM;
    }
    if (text_is_null(field->group))
        return FIELD_LOCAL;
    return version_compare(merge_group_version(remote, field->group), merge_group_version(local, field->group)) > 0 ? FIELD_REMOTE
                                                                                                        : FIELD_LOCAL;
}

static struct merge join_incarnation(const struct merge *a, const struct merge *b, struct arena *arena)
{
    struct merge joined = {.present = a->present, .died = a->died, .survived = a->survived};
    join_groups(a, b, &joined, arena);
    join_totals(a, b, &joined, arena);
    return joined;
}

bool merge_join(const struct merge *local, const struct merge *remote, bool revive, size_t field_count,
                const struct merge_field *fields, struct arena *arena, struct merge_result *result)
{
    struct merge here = *local;
    if (revive)
        here.survived = deletion(remote);
    int order = row_compare(&here, remote);
    enum merge_choice *choices = arena_take_array(arena, field_count, sizeof *choices);
    *result = (struct merge_result){.merge = order > 0 ? here : *remote, .fields = choices};
    if (order == 0 && here.present)
        result->merge = join_incarnation(&here, remote, arena);
    if (!within_limits(&result->merge))
        return false;
    for (size_t i = 0; i < field_count; i++) {
        choices[i] = order > 0   ? FIELD_LOCAL
                     : order < 0 ? FIELD_REMOTE
                                 : choose(&fields[i], &here, remote, &result->merge);
        result->content_differs |= result->merge.present && choices[i] != FIELD_LOCAL;
    }
    result->content_differs |= result->merge.present != local->present;
    result->state_differs = !merge_equal(&result->merge, local);
    result->assertion = revive && !merge_equal(&result->merge, remote);
    return true;
}

bool merge_replaces(const struct write *change, const struct write *row)
{
    if (!write_covers(change, row->version) || !write_covers(change, row->base))
        return false;
    for (size_t i = 0; i < row->seen.count; i++)
        if (!write_covers(change, row->seen.versions[i]))
            return false;
    return true;
}

bool merge_revives(struct text this_node, const struct merge *local, const struct merge *remote,
                   const struct write *change, const struct write *row)
{
    if (!local->present || version_compare(deletion(remote), deletion(local)) <= 0)
        return false;
    struct version own = {0};
    if (text_equal(row->version.node, this_node))
        own = row->version;
    else if (text_equal(row->base.node, this_node))
        own = row->base;
    for (size_t i = 0; i < row->seen.count; i++)
        if (text_equal(row->seen.versions[i].node, this_node))
            own = later(own, row->seen.versions[i]);
    return !version_is_none(own) && (remote->present || !write_covers(change, own));
}

/* ---- writing ---- */

static int group_order(const void *a, const void *b)
{
    return text_compare(((const struct merge_group *)a)->name, ((const struct merge_group *)b)->name);
}

static int total_order(const void *a, const void *b)
{
    return total_compare(a, b);
}

/* What the write says by itself: a state too, to be joined with what was. */
static struct merge written(const struct merge *before, const struct merge_write *write, struct arena *arena)
{
    struct merge_group *groups = arena_take_array(arena, write->group_count, sizeof *groups);
    struct merge_total *totals = arena_take_array(arena, write->count_count * 2, sizeof *totals);
    struct merge new = {.present = true, .died = before->died, .survived = before->survived};
    new.groups = groups;
    new.totals = totals;
    for (size_t i = 0; i < write->group_count; i++)
        groups[new.group_count++] = (struct merge_group){write->groups[i], write->version};
    for (size_t i = 0; i < write->count_count; i++) {
        const struct merge_count *count = &write->counts[i];
        if (write->op == MERGE_UPDATE && merge_terms(before, count->field).count == 0)
            totals[new.total_count++] = (struct merge_total){count->field, {0, TEXT_LITERAL("")}, count->before};
        totals[new.total_count++] = (struct merge_total){count->field, write->version, count->total};
    }
    qsort(groups, new.group_count, sizeof *groups, group_order);
    qsort(totals, new.total_count, sizeof *totals, total_order);
    return new;
}

struct merge merge_write(const struct merge *before, const struct merge_write *write, struct arena *arena)
{
    assert(version_compare(write->version, deletion(before)) > 0);
    struct merge after = written(before, write, arena);
    switch (write->op) {
    case MERGE_UPDATE:
        assert(before->present);
        return join_incarnation(before, &after, arena);
    case MERGE_INSERT:
        assert(!before->present);
        after.died = deletion(before);
        after.survived = (struct version){0};
        after.rest = write->version;
        return after;
    case MERGE_ASSERT:
        if (before->present) {
            after = *before;
            after.rest = write->version;
            after.group_count = 0;
            return after;
        }
        break;
    case MERGE_DELETE:
        break;
    }
    return (struct merge){.died = write->version};
}
