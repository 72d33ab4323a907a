#pragma once
/* A text is a view: a pointer and a length, never owned, never NUL-terminated by promise.
 * data == NULL means SQL null, which is not the empty text. */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct text {
    const char *data;
    size_t length;
};

#define TEXT_NULL ((struct text){NULL, 0})
#define TEXT_LITERAL(literal) ((struct text){"" literal, sizeof(literal) - 1})
/* For printf("%.*s", TEXT_PRINTF(t)). */
#define TEXT_PRINTF(t) (int)(t).length, ((t).data ? (t).data : "")

static inline struct text text_from(const char *string)
{
    return (struct text){string, string ? strlen(string) : 0};
}

static inline bool text_is_null(struct text t)
{
    return t.data == NULL;
}

/* Two nulls are equal; a null never equals the empty text. */
static inline bool text_equal(struct text a, struct text b)
{
    if (text_is_null(a) || text_is_null(b))
        return text_is_null(a) && text_is_null(b);
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

/* Byte order ("C" collation); a prefix sorts first, null before everything. */
int text_compare(struct text a, struct text b);

/* True when all of it is valid UTF-8 without NUL bytes. */
bool text_is_utf8(struct text t);

/* Takes away what is left of a character that was cut at the end of a NUL-terminated string. */
void text_trim_cut(char *string);
