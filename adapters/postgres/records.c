/* What is recorded beside the rows: receipts, heartbeats, numbers, and the messages that may have ended a process. */
#include <inttypes.h>

#include "adapters/postgres/target_private.h"
#include "bridge/message/codec.h"

bool records_write_receipt(struct pg_target *target, const struct receipt *receipt, struct error *error)
{
    struct arena *arena = &target->arena;
    const struct tally *tally = &receipt->tally;
    const uint64_t numbers[] = {receipt->messages, receipt->bytes,   receipt->gaps, receipt->refused, tally->received,
                                tally->applied,    tally->same,      tally->duplicate, tally->stale,  tally->echo,
                                tally->kept,       tally->dead_letters, tally->conflicts, tally->unchanged, tally->ignored};
    const char *parameters[20];
    parameters[0] = arena_string(arena, receipt->source);
    parameters[1] = arena_copy(arena, receipt->epoch).data;
    parameters[2] = receipt->sequence ? arena_printf(arena, "%" PRId64, receipt->sequence).data : NULL;
    for (size_t i = 0; i < 15; i++)
        parameters[3 + i] = arena_printf(arena, "%" PRIu64, numbers[i]).data;
    parameters[18] = arena_printf(arena, "%" PRId64, receipt->newest_us).data;
    parameters[19] = arena_printf(arena, "%" PRIu64, tally->held).data;
    return pg_send_ahead(&target->session, "inbound_receipt", 20, parameters, error);
}

bool records_compare_policy(struct pg_target *target, struct catalog_entity *entity, const struct message *message,
                            struct error *error)
{
    bool same = text_equal(message->policy, entity->policy_text);
    if (text_is_null(message->policy) || (same && !entity->is_disputed))
        return true;
    struct arena *arena = &target->arena;
    const char *parameters[] = {
        arena_string(arena, message->source),
        arena_string(arena, entity->name),
        arena_string(arena, message->policy),
        arena_string(arena, entity->policy_text),
    };
    PG_RESULT result = pg_query(&target->session, "note_policy", 4, parameters, error);
    if (result == NULL)
        return false;
    entity->is_disputed = pg_boolean(result, 0, 0);
    return true;
}

bool records_hear(struct target *port, const struct heartbeat *heartbeat, int64_t *offset_us, struct error *error)
{
    struct pg_target *target = (struct pg_target *)port;
    struct arena *arena = &target->arena;
    struct version *heard = arena_take_array(arena, heartbeat->heard_count, sizeof *heard);
    const char *echo_sent = NULL, *echo_received = NULL;
    for (size_t i = 0; i < heartbeat->heard_count; i++) {
        heard[i] = (struct version){heartbeat->heard[i].sent_us, heartbeat->heard[i].node};
        if (text_equal(heard[i].node, text_from(target->config->node))) {
            echo_sent = arena_printf(arena, "%" PRId64, heartbeat->heard[i].sent_us).data;
            echo_received = arena_printf(arena, "%" PRId64, heartbeat->heard[i].received_us).data;
        }
    }
    const char *parameters[] = {
        arena_string(arena, heartbeat->source),
        arena_printf(arena, "%" PRId64, heartbeat->time_us).data,
        heartbeat->heard_count > 0 ? codec_encode_seen((struct seen){heartbeat->heard_count, heard}, arena).data : "{}",
        echo_sent,
        echo_received,
        heartbeat->again ? "true" : "false",
    };
    PG_RESULT result = pg_query(&target->session, "hear", 6, parameters, error);
    if (result == NULL)
        return false;
    *offset_us = PQntuples(result) == 1 ? pg_integer(result, 0, 0) : 0;
    return true;
}

bool records_note(struct target *port, const struct sighting *sighting, uint64_t *missing, struct error *error)
{
    struct pg_target *target = (struct pg_target *)port;
    struct arena *arena = &target->arena;
    const char *parameters[] = {
        arena_string(arena, sighting->source),
        arena_string(arena, sighting->epoch),
        arena_printf(arena, "%" PRId64, sighting->first).data,
        arena_printf(arena, "%" PRId64, sighting->last).data,
    };
    PG_RESULT result = pg_query(&target->session, "note_numbers", 4, parameters, error);
    if (result == NULL)
        return false;
    *missing = (uint64_t)pg_integer(result, 0, 0);
    return true;
}

bool records_note_confirmed(struct target *port, const struct heartbeat *heartbeat, uint64_t *missing, struct error *error)
{
    struct pg_target *target = (struct pg_target *)port;
    struct arena *arena = &target->arena;
    struct text *epochs = arena_take_array(arena, heartbeat->confirmed_count, sizeof *epochs);
    struct text *numbers = arena_take_array(arena, heartbeat->confirmed_count, sizeof *numbers);
    for (size_t i = 0; i < heartbeat->confirmed_count; i++) {
        epochs[i] = heartbeat->confirmed[i].epoch;
        numbers[i] = arena_printf(arena, "%" PRId64, heartbeat->confirmed[i].sequence);
    }
    const char *parameters[] = {
        arena_string(arena, heartbeat->source),
        parameters_literal(arena, epochs, heartbeat->confirmed_count),
        parameters_literal(arena, numbers, heartbeat->confirmed_count),
    };
    PG_RESULT result = pg_query(&target->session, "note_confirmed", 3, parameters, error);
    if (result == NULL)
        return false;
    *missing = (uint64_t)pg_integer(result, 0, 0);
    return true;
}

/* The same for every delivery of a message; without reading it. */
static const char *identity_of(struct arena *arena, const struct envelope *envelope)
{
    char hex[65];
    digest_bytes(envelope->body, hex);
    bool named = text_is_utf8(envelope->message_id) && envelope->message_id.length <= 255;
    return arena_printf(arena, "%.*s:%s", named ? (int)envelope->message_id.length : 0, named ? envelope->message_id.data : "", hex).data;
}

bool records_suspect(struct target *port, const struct envelope *envelope, int *deaths, struct error *error)
{
    struct pg_target *target = (struct pg_target *)port;
    struct arena *arena = &target->arena;
    arena_reset(arena);
    const struct header *history = envelope_header(envelope, "x-death");
    const char *parameters[] = {
        identity_of(arena, envelope),
        text_is_utf8(envelope->message_id) ? arena_copy(arena, envelope->message_id).data : NULL,
        history != NULL && !history->is_number && text_is_utf8(history->text) ? arena_copy(arena, history->text).data : NULL,
        target->instance,
    };
    PG_RESULT result = pg_query(&target->session, "suspect", 4, parameters, error);
    if (result == NULL)
        return false;
    *deaths = (int)pg_integer(result, 0, 0);
    return true;
}

bool records_acquit(struct target *port, const struct envelope *envelope, struct error *error)
{
    struct pg_target *target = (struct pg_target *)port;
    arena_reset(&target->arena);
    const char *parameters[] = {identity_of(&target->arena, envelope)};
    PG_RESULT result = pg_query(&target->session, "acquit", 1, parameters, error);
    return result != NULL;
}
