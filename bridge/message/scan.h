#pragma once
/* A look at a JSON text before a parser sees it: whether it is one that the bridge may have to read, and not larger inside than it
 * looks. Knows brackets, commas and strings, the rest of the grammar is the parser's. Pure. */
#include "bridge/base/error.h"
#include "bridge/base/text.h"

/* The object, "merge", a row's state, "c", a counter, a node's total. */
enum { SCAN_DEPTH_MAX = 6 };

/* *member_count is how many members the outermost object has, doubled ones included. FAULT_POISON when it is nested too deep, has too
 * many brackets, values, members of one object or odd bytes, or a string with a character that no text of PostgreSQL holds. */
bool scan_body(struct text body, size_t *member_count, struct error *error);

/* FAULT_POISON; returns false. */
bool scan_refuse(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
