#pragma once
/* What the files of the codec share. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/base/memory.h"
#include "bridge/message/codec.h"

/* json-c stands for "no memory" with the same NULL that means JSON null: unchecked, a value would silently become
 * null. */
static inline void *must(void *object)
{
    if (object == NULL)
        memory_exhausted("json-c");
    return object;
}

/* When an allocation fails in its depth json-c tells nobody: it stops early, or cuts a text off. Only the allocator says so, in errno;
 * now and then also when it has found memory elsewhere. What was done then is sure when it comes out the same once more. What is written
 * is sure by that; of what is read json-c forgets it when it comes to a number, so that there the hash of the rows must tell the rest. */
static inline bool memory_was_short(void)
{
    return errno == ENOMEM;
}

static inline void object_put(struct json_object **object)
{
    json_object_put(*object);
}

#define JSON_OWNED __attribute__((cleanup(object_put))) struct json_object
