/* Any headers and body: lines of "name=text" or "name:number" up to an empty line, then the body. A wanted hash is
 * given where the body can be read and the input names none, so that what comes after the hash is reached too. What was
 * unsealed is sealed and unsealed again the same. */
#include <assert.h>
#include <stdlib.h>

#include "bridge/base/limits.h"
#include "bridge/message/codec.h"
#include "bridge/message/envelope.h"
#include "tests/unit/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct text take_line(struct text *rest)
{
    const char *end = rest->length > 0 ? memchr(rest->data, '\n', rest->length) : NULL;
    struct text line = {rest->data, end != NULL ? (size_t)(end - rest->data) : rest->length};
    size_t taken = line.length + (end != NULL);
    rest->data += taken;
    rest->length -= taken;
    return line;
}

static struct header parse_header(struct text line, struct arena *arena)
{
    for (size_t i = 0; i < line.length; i++) {
        struct text value = {line.data + i + 1, line.length - i - 1};
        if (line.data[i] == '=')
            return (struct header){.name = {line.data, i}, .text = value};
        if (line.data[i] == ':')
            return (struct header){
                .name = {line.data, i}, .is_number = true, .number = atoll(arena_string(arena, value))};
    }
    return (struct header){.name = line};
}

static struct header hash_header(struct text body, struct arena *arena)
{
    struct message message = {0};
    struct error error;
    struct digest digest = {"sha256:"};
    if (codec_decode(body, arena, &message, &error))
        digest_rows(message.column_count, message.columns, message.row_count, message.values, arena, &digest);
    return (struct header){.name = TEXT_LITERAL("x-content-hash"), .text = arena_copy(arena, text_from(digest.text))};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    struct text rest = {(const char *)data, size};
    struct envelope envelope = {0}, sealed;
    while (rest.length > 0 && envelope.header_count < ENVELOPE_HEADERS_MAX - 1) {
        struct text line = take_line(&rest);
        if (line.length == 0)
            break;
        struct header header = parse_header(line, &arena);
        if (text_equal(header.name, TEXT_LITERAL("timestamp")))
            envelope.timestamp_s = header.number;
        else if (text_equal(header.name, TEXT_LITERAL("correlation")))
            envelope.correlation_id = header.text;
        else
            envelope.headers[envelope.header_count++] = header;
    }
    envelope.body = rest;
    if (envelope_header(&envelope, "x-content-hash") == NULL)
        envelope.headers[envelope.header_count++] = hash_header(rest, &arena);

    struct message message, again;
    struct error error = {0};
    if (envelope_unseal(&envelope, &arena, &message, &error)) {
        envelope_seal(&message, message.timestamp_us, &arena, &sealed);
        assert(envelope_unseal(&sealed, &arena, &again, &error));
        assert(bodies_equal(&message, &again));
        assert(text_equal(message.source, again.source) && text_equal(message.epoch, again.epoch));
        assert(text_equal(message.traceparent, again.traceparent) && text_equal(message.schema, again.schema));
        assert(message.sequence == again.sequence && message.timestamp_us == again.timestamp_us);
    } else {
        assert(error.fault == FAULT_POISON && error.text[0] != '\0');
    }
    arena_free(&arena);
    return 0;
}
