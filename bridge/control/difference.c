#include "bridge/control/difference.h"

#include <string.h>

static bool same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool config_same_peers(const struct config *a, const struct config *b)
{
    if (a->peer_count != b->peer_count)
        return false;
    for (size_t i = 0; i < a->peer_count; i++)
        if (!same(a->peers[i], b->peers[i]))
            return false;
    return true;
}

bool config_same_broker(const struct broker_config *a, const struct broker_config *b)
{
    return same(a->url, b->url) && same(a->password, b->password) && same(a->exchange, b->exchange) &&
           same(a->queue, b->queue) && same(a->dead_exchange, b->dead_exchange) && same(a->dead_queue, b->dead_queue) &&
           same(a->ca_file, b->ca_file) && same(a->cert_file, b->cert_file) && same(a->key_file, b->key_file) &&
           a->heartbeat_s == b->heartbeat_s;
}

static bool same_mapping(const struct mapping *a, const struct mapping *b)
{
    return same(a->field, b->field) && same(a->column, b->column) && same(a->owner, b->owner) && a->counter == b->counter;
}

static bool same_entity(const struct entity_config *a, const struct entity_config *b)
{
    if (!same(a->name, b->name) || !same(a->schema, b->schema) || !same(a->table, b->table) ||
        a->key_count != b->key_count || a->field_count != b->field_count || a->triggers != b->triggers ||
        a->truncate != b->truncate || a->coalesce != b->coalesce ||
        a->max_changes_per_second != b->max_changes_per_second || a->policy != b->policy || a->update_revives != b->update_revives ||
        a->priority_count != b->priority_count || memcmp(&a->retry, &b->retry, sizeof a->retry) != 0)
        return false;
    for (size_t i = 0; i < a->priority_count; i++)
        if (!same(a->priority[i], b->priority[i]))
            return false;
    for (size_t i = 0; i < a->field_count; i++)
        if (!same_mapping(&a->fields[i], &b->fields[i]))
            return false;
    return true;
}

bool config_same_entities(const struct config *a, const struct config *b)
{
    if (a->entity_count != b->entity_count)
        return false;
    for (size_t i = 0; i < a->entity_count; i++)
        if (!same_entity(&a->entities[i], &b->entities[i]))
            return false;
    return true;
}
