#include "bridge/flow/policy.h"

static enum ruling rule_last_write_wins(const struct rules *rules, struct version local, struct version remote)
{
    (void)rules;
    return version_compare(remote, local) > 0 ? RULING_REMOTE : RULING_LOCAL;
}

static size_t rank(const struct rules *rules, struct text node)
{
    size_t at = 0;
    while (at < rules->priority_count && !text_equal(rules->priority[at], node))
        at++;
    return at;
}

static enum ruling rule_node_priority(const struct rules *rules, struct version local, struct version remote)
{
    size_t here = rank(rules, local.node), there = rank(rules, remote.node);
    if (here == there)
        return rule_last_write_wins(rules, local, remote);
    return there < here ? RULING_REMOTE : RULING_LOCAL;
}

static enum ruling rule_manual(const struct rules *rules, struct version local, struct version remote)
{
    (void)rules, (void)local, (void)remote;
    return RULING_OPEN;
}

static const struct policy policies[] = {
    {"last-write-wins", "The later version wins; of two at the same microsecond the one of the node whose name sorts last.",
     rule_last_write_wins},
    {"node-priority", "The write of the node that \"priority\" names first wins, whatever the clocks say.", rule_node_priority},
    {"merge", "Field by field: of each field the later write wins; a deletion wins over a write that had not seen it.",
     rule_last_write_wins},
    {"manual", "Each node keeps its own row, and the conflict stays open until somebody resolves it.", rule_manual},
};

const struct policy *policy_default(void)
{
    return &policies[0];
}

const struct policy *policy_number(size_t number)
{
    return number < sizeof policies / sizeof *policies ? &policies[number] : NULL;
}

const struct policy *policy_find(struct text name)
{
    for (size_t i = 0; policy_number(i) != NULL; i++)
        if (text_equal(name, text_from(policies[i].name)))
            return &policies[i];
    return NULL;
}

const char *ruling_name(enum ruling ruling)
{
    static const char *const names[] = {"local", "remote", "open"};
    return names[ruling];
}

struct settlement policy_settle(const struct rules *rules, struct text this_node, const struct write *change,
                                const struct write *row, bool content_equal, struct arena *arena)
{
    struct settlement settlement = {.verdict = judge_change(this_node, change, row, content_equal)};
    const struct write *stands = change;
    switch (settlement.verdict) {
    case VERDICT_ECHO:
    case VERDICT_DUPLICATE:
    case VERDICT_STALE:
        return settlement;
    case VERDICT_FRESH:
        settlement.action = ACTION_WRITE;
        break;
    case VERDICT_SAME:
        settlement.action = ACTION_STAMP;
        if (version_compare(row->version, change->version) > 0)
            stands = row;
        break;
    case VERDICT_CONCURRENT:
        settlement.ruling = rules->policy->rule(rules, row->version, change->version);
        if (settlement.ruling == RULING_OPEN)
            return settlement;
        settlement.action = ACTION_WRITE;
        if (version_compare(row->version, change->version) > 0) {
            settlement.action = ACTION_STAMP;
            stands = row;
        } else if (settlement.ruling == RULING_LOCAL && text_equal(row->version.node, this_node)) {
            /* The later one loses, and to us: we say so to everybody. */
            settlement.action = ACTION_STAMP;
            settlement.assertion = true;
        }
        break;
    }
    settlement.write = (struct write){
        .version = stands->version,
        .base = row->version,
        .seen = write_join(change, row, stands->version.node, arena),
    };
    return settlement;
}

const char *conflict_kind(enum change_op op, bool row_present, bool deleted_here)
{
    if (op == CHANGE_DELETED)
        return row_present ? "delete_origin_differs" : "delete_missing";
    if (row_present)
        return op == CHANGE_CREATED ? "insert_exists" : "update_origin_differs";
    return deleted_here ? "update_deleted" : "update_missing";
}
