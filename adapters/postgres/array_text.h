#pragma once
/* Arrays of texts as their output function writes them: {a,"b, c",NULL}. Pure. src/backend/utils/adt/arrayfuncs.c, array_out. */
#include "bridge/base/arena.h"

/* The elements of an array of exactly count, unescaped in place: texts are views into the bytes. False when it is anything else. */
bool array_text_read(char *array, size_t length, size_t count, struct text *texts);

/* Writes what array_out would: of two arrays with the same elements the texts are the same. No element is null. */
struct text array_text_write(struct arena *arena, const struct text *texts, size_t count);
