#include "bridge/control/reading.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "bridge/control/name.h"

bool reading_fail(struct reading *reading, struct mark mark, const char *format, ...)
{
    char sentence[sizeof reading->error->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return error_set(reading->error, FAULT_OPERATOR, NULL, "%s:%u:%u: %s", reading->path, mark.line, mark.column,
                     sentence);
}

bool reading_fail_at(struct reading *reading, const struct outline *node)
{
    return reading_fail(reading, node->mark, "%s", reading->error->text);
}

const struct outline *reading_find(const struct outline *mapping, const char *key)
{
    for (const struct outline *node = mapping->first; node != NULL; node = node->next)
        if (strcmp(node->key, key) == 0)
            return node;
    return NULL;
}

const struct outline *reading_require(const struct outline *mapping, const char *key)
{
    const struct outline *node = reading_find(mapping, key);
    assert(node != NULL);
    return node;
}

const struct outline *reading_entry(const struct outline *list, size_t index)
{
    assert(index < list->count);
    const struct outline *node = list->first;
    while (index-- > 0)
        node = node->next;
    return node;
}

struct text reading_shown(const char *string)
{
    struct text text = text_from(string);
    text.length = (size_t)name_shown(text);
    return text;
}
