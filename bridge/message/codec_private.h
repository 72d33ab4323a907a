#pragma once
/* What the two files of the codec share. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/message/codec.h"

/* json-c stands for "no memory" with the same NULL that means JSON null: unchecked, a value would silently become
 * null. */
static inline void *must(void *object)
{
    if (object == NULL) {
        fprintf(stderr, "pgbridge: out of memory in json-c\n");
        abort();
    }
    return object;
}

static inline void object_put(struct json_object **object)
{
    json_object_put(*object);
}

#define JSON_OWNED __attribute__((cleanup(object_put))) struct json_object
