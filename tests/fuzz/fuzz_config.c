/* Any text at all: the reader accepts or refuses it, never crashes, leaks or reads beyond it; what it accepts is
 * usable, and what it refuses has a reason with a place. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "adapters/host/config_file.h"
#include "bridge/base/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct config *config)
{
    assert(strlen(config->node) <= LIMIT_NAME_BYTES);
    assert(strstr(config->broker.url, "://") != NULL && config->broker.host != NULL && config->broker.vhost != NULL);
    assert(config->broker.port >= 1 && config->broker.port <= 65535);
    assert(config->entity_count >= 1 && config->entity_count <= LIMIT_ENTITIES);
    for (size_t i = 0; i < config->entity_count; i++) {
        const struct entity_config *entity = &config->entities[i];
        assert(config_entity(config, entity->name) == entity);
        assert(entity->key_count >= 1 && entity->key_count <= entity->field_count);
        assert(entity->field_count <= LIMIT_FIELDS);
        for (size_t j = 0; j < entity->field_count; j++) {
            struct text field = text_from(entity->fields[j].field), column = text_from(entity->fields[j].column);
            assert(field.length >= 1 && field.length <= LIMIT_NAME_BYTES && text_is_utf8(field));
            assert(column.length >= 1 && column.length <= LIMIT_NAME_BYTES && text_is_utf8(column));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config;
    struct error error = {0};
    struct text text = {(const char *)data, size};
    if (config_read_text("fuzz.yaml", text, &config, &error)) {
        use(&config);
        config_free(&config);
        return 0;
    }
    assert(error.fault == FAULT_OPERATOR);
    assert(strncmp(error.text, "fuzz.yaml:", strlen("fuzz.yaml:")) == 0);
    assert(text_is_utf8(text_from(error.text)));
    return 0;
}
