/* Reads the body of a message on stdin and prints the content hash of each of its rows, as C computes it:
 * "<entity> <key> sha256:...". For tests that compare it with bridge.content_hash. */
#include <stdio.h>
#include <stdlib.h>

#include "bridge/base/limits.h"
#include "bridge/message/codec.h"
#include "bridge/message/digest.h"

int main(void)
{
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    char *body = arena_take(&arena, LIMIT_RECEIVED_BYTES);
    size_t length = fread(body, 1, LIMIT_RECEIVED_BYTES, stdin);
    struct message message = {0};
    struct error error;
    if (!codec_decode((struct text){body, length}, &arena, &message, &error)) {
        fprintf(stderr, "content_hash: %s\n", error.text);
        return EXIT_FAILURE;
    }
    for (size_t row = 0; row < message.row_count; row++) {
        struct digest digest;
        digest_rows(message.column_count, message.columns, 1, message_row(&message, row), &arena, &digest);
        printf("%.*s %.*s %s\n", TEXT_PRINTF(message.entity), TEXT_PRINTF(message_row(&message, row)[0]), digest.text);
    }
    arena_free(&arena);
    return EXIT_SUCCESS;
}
