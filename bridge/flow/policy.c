#include "bridge/flow/policy.h"

static enum ruling rule_last_write_wins(struct version local, struct version remote)
{
    return version_compare(remote, local) > 0 ? RULING_REMOTE : RULING_LOCAL;
}

static const struct policy policies[] = {
    {"last-write-wins", "The later version wins; of two at the same microsecond the one of the node whose name sorts last.",
     rule_last_write_wins},
};

const struct policy *policy_default(void)
{
    return &policies[0];
}

const char *ruling_name(enum ruling ruling)
{
    return ruling == RULING_LOCAL ? "local" : "remote";
}

const char *conflict_kind(enum change_op op, bool row_present, bool deleted_here)
{
    if (op == CHANGE_DELETED)
        return row_present ? "delete_origin_differs" : "delete_missing";
    if (row_present)
        return op == CHANGE_CREATED ? "insert_exists" : "update_origin_differs";
    return deleted_here ? "update_deleted" : "update_missing";
}
