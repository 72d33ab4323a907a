#include "bridge/control/config.h"

#include <stdlib.h>
#include <string.h>

#include "bridge/flow/policy.h"
#include "bridge/message/digest.h"

enum { POLICY_BYTES_MAX = 255 }; /* a short string of AMQP */

/* A core file must not show a password that nobody uses any more. */
static void free_secret(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static void free_broker(struct broker_config *broker)
{
    free(broker->url);
    free(broker->host);
    free(broker->user);
    free_secret(broker->password);
    free(broker->password_file);
    free(broker->vhost);
    free(broker->exchange);
    free(broker->queue);
    free(broker->dead_exchange);
    free(broker->dead_queue);
    free(broker->ca_file);
    free(broker->cert_file);
    free(broker->key_file);
}

static void free_entity(struct entity_config *entity)
{
    free(entity->name);
    free(entity->schema);
    free(entity->table);
    for (size_t i = 0; i < entity->field_count; i++) {
        free(entity->fields[i].field);
        free(entity->fields[i].column);
        free(entity->fields[i].owner);
    }
    free(entity->fields);
    for (size_t i = 0; i < entity->priority_count; i++)
        free(entity->priority[i]);
    free(entity->priority);
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    free(config->path);
    free(config->node);
    free(config->database);
    free_secret(config->database_password);
    free(config->database_password_file);
    free_broker(&config->broker);
    for (size_t i = 0; i < config->peer_count; i++)
        free(config->peers[i]);
    free(config->peers);
    free(config->http_host);
    for (size_t i = 0; i < config->entity_count; i++)
        free_entity(&config->entities[i]);
    free(config->entities);
    *config = (struct config){0};
}

const struct entity_config *config_entity(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->entity_count; i++)
        if (strcmp(config->entities[i].name, name) == 0)
            return &config->entities[i];
    return NULL;
}

const char *config_owner(const struct entity_config *entity, struct text field)
{
    for (size_t i = 0; i < entity->field_count; i++)
        if (text_equal(text_from(entity->fields[i].field), field))
            return entity->fields[i].owner;
    return NULL;
}

static int field_order(const void *a, const void *b)
{
    const struct mapping *const *left = a, *const *right = b;
    return strcmp((*left)->field, (*right)->field);
}

struct text config_policy(const struct entity_config *entity, struct arena *arena)
{
    if (entity == NULL)
        return TEXT_NULL;
    struct text text = arena_printf(arena, "%s%s", entity->policy->name, entity->update_revives ? ", update_revives" : "");
    for (size_t i = 0; i < entity->priority_count; i++)
        text = arena_printf(arena, "%s%s %s", text.data, i == 0 ? ":" : "", entity->priority[i]);
    /* The order of fields is each node's own. */
    const struct mapping **fields = arena_take_array(arena, entity->field_count, sizeof *fields);
    for (size_t i = 0; i < entity->field_count; i++)
        fields[i] = &entity->fields[i];
    qsort(fields, entity->field_count, sizeof *fields, field_order);
    for (size_t i = 0; i < entity->field_count; i++) {
        if (fields[i]->owner != NULL)
            text = arena_printf(arena, "%s, %s is %s's", text.data, fields[i]->field, fields[i]->owner);
        if (fields[i]->counter)
            text = arena_printf(arena, "%s, %s is added", text.data, fields[i]->field);
    }
    if (text.length <= POLICY_BYTES_MAX)
        return text;
    char hex[65];
    digest_bytes(text, hex);
    return arena_printf(arena, "%s, sha256:%s", entity->policy->name, hex);
}
