#pragma once
/* A configuration while it is being read: the outline, which remembers where every key and value stands, and errors
 * that say so. Pure: the file format is the adapter's. Everything lives in the reading's arena. */
#include <stdbool.h>
#include <stddef.h>

#include "bridge/base/arena.h"
#include "bridge/base/error.h"
#include "bridge/base/text.h"

enum outline_kind { OUTLINE_TEXT, OUTLINE_LIST, OUTLINE_MAPPING };

struct mark {
    unsigned line, column; /* from 1, the column in characters */
};

struct outline {
    enum outline_kind kind;
    bool plain;         /* a text without the format's quotes */
    bool double_quoted; /* a text in the format's double quotes */
    struct mark mark, key_mark;
    const char *key;   /* within a mapping, else NULL */
    const char *value; /* of a text */
    struct outline *next, *first, *last;
    size_t count; /* of entries or keys */
};

struct reading {
    const char *path; /* for messages, and where relative paths begin */
    struct arena arena;
    struct outline *root;
    struct error *error;
};

/* "path:line:column: sentence", FAULT_OPERATOR. Returns false. */
bool reading_fail(struct reading *reading, struct mark mark, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Gives the error that a pure function has just set its place: the node's. Returns false. */
bool reading_fail_at(struct reading *reading, const struct outline *node);

/* The value of a key of this mapping, or NULL. */
const struct outline *reading_find(const struct outline *mapping, const char *key);

/* The same for a key that is known to be there. */
const struct outline *reading_require(const struct outline *mapping, const char *key) __attribute__((returns_nonnull));

/* An entry of a list that has more than index. */
const struct outline *reading_entry(const struct outline *list, size_t index);

/* For "%.*s" in an error: not too much of it. */
struct text reading_shown(const char *string);
