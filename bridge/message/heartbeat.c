#include "bridge/message/heartbeat.h"

#include "bridge/base/limits.h"
#include "bridge/message/codec.h"

#define TYPE TEXT_LITERAL("control.heartbeat")

static struct text body_hash(struct text body, struct arena *arena)
{
    char hex[65];
    digest_bytes(body, hex);
    return arena_printf(arena, "sha256:%s", hex);
}

void heartbeat_seal(const struct heartbeat *heartbeat, int64_t now_us, struct arena *arena, struct envelope *out)
{
    char message_id[37];
    digest_uuid(message_id);
    *out = (struct envelope){
        .routing_key = arena_printf(arena, "%.*s.control.heartbeat", TEXT_PRINTF(heartbeat->source)),
        .body = codec_encode_heartbeat(heartbeat, arena),
        .content_type = TEXT_LITERAL("application/json"),
        .message_id = arena_copy(arena, text_from(message_id)),
        .type = TYPE,
        .app_id = TEXT_LITERAL("pgbridge/" PGBRIDGE_VERSION),
        .timestamp_s = now_us / 1000000,
        .header_count = text_is_null(heartbeat->epoch) ? 3 : 5,
    };
    out->headers[0] = (struct header){.name = TEXT_LITERAL("x-source"), .text = heartbeat->source};
    out->headers[1] = (struct header){.name = TEXT_LITERAL("x-content-hash"), .text = body_hash(out->body, arena)};
    out->headers[2] = (struct header){.name = TEXT_LITERAL("x-protocol"), .is_number = true, .number = 1};
    out->headers[3] = (struct header){.name = TEXT_LITERAL("x-epoch"), .text = heartbeat->epoch};
    out->headers[4] = (struct header){.name = TEXT_LITERAL("x-seq"), .is_number = true, .number = heartbeat->sequence};
}

bool heartbeat_is(const struct envelope *envelope)
{
    return text_equal(envelope->type, TYPE);
}

static struct text text_header(const struct envelope *envelope, const char *name)
{
    const struct header *header = envelope_header(envelope, name);
    return header != NULL && !header->is_number ? header->text : TEXT_NULL;
}

bool heartbeat_unseal(const struct envelope *envelope, struct arena *arena, struct heartbeat *out, struct error *error)
{
    struct text source = text_header(envelope, "x-source"), hash = text_header(envelope, "x-content-hash");
    if (envelope->oversize_bytes > 0 || source.length == 0 || source.length > LIMIT_NAME_BYTES)
        return error_set(error, FAULT_POISON, NULL, "a heartbeat without a node's name, or too large");
    if (!text_equal(hash, body_hash(envelope->body, arena)))
        return error_set(error, FAULT_POISON, NULL, "x-content-hash is not that of the heartbeat's body");
    if (!codec_decode_heartbeat(envelope->body, arena, out, error))
        return false;
    const struct header *sequence = envelope_header(envelope, "x-seq");
    out->source = source;
    out->epoch = sequence != NULL && sequence->is_number && sequence->number >= 0 ? text_header(envelope, "x-epoch") : TEXT_NULL;
    out->sequence = text_is_null(out->epoch) ? 0 : sequence->number;
    return true;
}
