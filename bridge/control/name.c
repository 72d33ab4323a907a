#include "bridge/control/name.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/base/limits.h"
#include "bridge/base/memory.h"

enum { NAME_SHOWN_BYTES = 80, NAME_COMPARED_BYTES = 32 };

static bool is_name_byte(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

bool name_check(const char *what, struct text name, struct error *error)
{
    if (name.length == 0)
        return error_set(error, FAULT_OPERATOR, NULL, "the name of the %s is empty", what);
    if (name.length > LIMIT_NAME_BYTES)
        return error_set(error, FAULT_OPERATOR, NULL, "the name of the %s has %zu bytes, more than %d", what,
                         name.length, LIMIT_NAME_BYTES);
    for (size_t i = 0; i < name.length; i++)
        if (!is_name_byte(name.data[i])) {
            error_set(error, FAULT_OPERATOR, NULL, "\"%.*s\" cannot be the name of a%s %s", name_shown(name), name.data,
                      what[0] == 'e' ? "n" : "", what);
            return error_hint(error, "It becomes part of routing keys: use letters of a-z, A-Z, digits, _ and -");
        }
    if (text_equal(name, TEXT_LITERAL("control"))) {
        error_set(error, FAULT_OPERATOR, NULL, "\"control\" cannot be the name of a%s %s", what[0] == 'e' ? "n" : "",
                  what);
        return error_hint(error, "Routing keys of control messages have this word in the entity's place");
    }
    return true;
}

/* Levenshtein distance; both at most NAME_COMPARED_BYTES. */
static size_t edits_between(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t row[NAME_COMPARED_BYTES + 1];
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            size_t fewest = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = replaced < fewest ? replaced : fewest;
        }
    }
    return row[b_length];
}

const char *name_nearest(const char *name, const char *const *candidates, size_t count)
{
    size_t length = strlen(name);
    if (length > NAME_COMPARED_BYTES)
        return NULL;
    const char *nearest = NULL;
    size_t fewest = length / 3 + 2; /* beyond that it is another word, not a misspelt one */
    for (size_t i = 0; i < count; i++) {
        size_t candidate_length = strlen(candidates[i]);
        if (candidate_length > NAME_COMPARED_BYTES)
            continue;
        size_t edits = edits_between(name, length, candidates[i], candidate_length);
        if (edits < fewest && edits < candidate_length) {
            fewest = edits;
            nearest = candidates[i];
        }
    }
    return nearest;
}

int name_shown(struct text text)
{
    if (text.length <= NAME_SHOWN_BYTES)
        return (int)text.length;
    size_t length = NAME_SHOWN_BYTES;
    while (length > 0 && ((unsigned char)text.data[length] & 0xC0) == 0x80)
        length--;
    return (int)length;
}

char *name_copy(struct text text)
{
    assert(text.data != NULL);
    char *copy = malloc(text.length + 1);
    if (copy == NULL)
        memory_exhausted(__func__);
    memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    return copy;
}
