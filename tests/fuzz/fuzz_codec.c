/* Any bytes as a body: read or refused, never more memory than promised; what was read is written and read again the
 * same. */
#include <assert.h>

#include "bridge/base/limits.h"
#include "bridge/message/codec.h"
#include "tests/unit/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text body = {(const char *)data, size};
    struct arena arena;
    struct message message = {0}, again = {0};
    struct error error = {0};
    arena_init(&arena, 20 * size + 1024);
    if (codec_decode(body, &arena, &message, &error)) {
        struct arena other;
        arena_init(&other, LIMIT_ARENA_BYTES);
        struct text written = codec_encode(&message, &other);
        assert(codec_decode(written, &other, &again, &error));
        assert(bodies_equal(&message, &again));
        assert(again.unknown_members == 0);
        arena_free(&other);
    } else {
        assert(error.fault == FAULT_POISON && error.text[0] != '\0');
    }
    arena_free(&arena);
    return 0;
}
