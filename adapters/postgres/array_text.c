#include "adapters/postgres/array_text.h"

#include <strings.h>

static bool read_quoted(char **at, const char *end, struct text *text)
{
    char *from = ++*at, *to = from;
    while (*at < end && **at != '"') {
        if (**at == '\\' && ++*at == end)
            return false;
        *to++ = *(*at)++;
    }
    if (*at == end)
        return false;
    ++*at;
    *text = (struct text){from, (size_t)(to - from)};
    return true;
}

static void read_plain(char **at, const char *end, struct text *text)
{
    char *from = *at;
    while (*at < end && **at != ',')
        ++*at;
    *text = (struct text){from, (size_t)(*at - from)};
    if (text_equal(*text, TEXT_LITERAL("NULL")))
        *text = TEXT_NULL;
}

bool array_text_read(char *array, size_t length, size_t count, struct text *texts)
{
    if (length < 2 || array[0] != '{' || array[length - 1] != '}')
        return false;
    char *at = array + 1, *end = array + length - 1;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && (at == end || *at++ != ','))
            return false;
        if (at == end || *at != '"')
            read_plain(&at, end, &texts[i]);
        else if (!read_quoted(&at, end, &texts[i]))
            return false;
    }
    return at == end;
}

static bool is_quoted(struct text text)
{
    if (text.length == 0 || (text.length == 4 && strncasecmp(text.data, "null", 4) == 0))
        return true;
    for (size_t i = 0; i < text.length; i++)
        if (strchr("\"\\{}, \t\n\r\v\f", text.data[i]) != NULL)
            return true;
    return false;
}

struct text array_text_write(struct arena *arena, const struct text *texts, size_t count)
{
    size_t bytes = 3;
    for (size_t i = 0; i < count; i++)
        bytes += 2 * texts[i].length + 3;
    char *out = arena_take(arena, bytes), *at = out;
    *at++ = '{';
    for (size_t i = 0; i < count; i++) {
        bool quoted = is_quoted(texts[i]);
        if (i > 0)
            *at++ = ',';
        if (quoted)
            *at++ = '"';
        for (size_t j = 0; j < texts[i].length; j++) {
            if (texts[i].data[j] == '"' || texts[i].data[j] == '\\')
                *at++ = '\\';
            *at++ = texts[i].data[j];
        }
        if (quoted)
            *at++ = '"';
    }
    *at++ = '}';
    return (struct text){out, (size_t)(at - out)};
}
