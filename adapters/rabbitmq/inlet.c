#include "adapters/rabbitmq/inlet.h"

#include <stdio.h>
#include <stdlib.h>

#include "adapters/rabbitmq/compat.h"
#include "adapters/rabbitmq/fault.h"
#include "bridge/base/limits.h"

enum { DEATHS_SHOWN = 4 };

static struct mq_inlet *inlet_of(struct inlet *port)
{
    return (struct mq_inlet *)port;
}

static void forget_partial(struct mq_inlet *inlet)
{
    delivery_free(inlet->partial);
    inlet->partial = NULL;
}

static bool closed(struct mq_inlet *inlet)
{
    forget_partial(inlet);
    mq_session_close(&inlet->session);
    mq_session_close(&inlet->probe);
    return false;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static void inlet_close(struct inlet *port)
{
    closed(inlet_of(port));
}

static bool inlet_open(struct inlet *port, struct error *error)
{
    struct mq_inlet *inlet = inlet_of(port);
    closed(inlet);
    inlet->last_tag = inlet->settled_tag = 0;
    if (!mq_session_open(&inlet->session, &inlet->config->broker, inlet->name, error))
        return false;
    if (port->dry)
        return true;
    amqp_basic_qos(inlet->session.connection, MQ_CHANNEL, 0, inlet->prefetch_messages, 0);
    if (!mq_session_reply(&inlet->session, "cannot set the prefetch", error))
        return closed(inlet);
    char doing[160];
    snprintf(doing, sizeof doing, "cannot consume queue \"%.120s\"", inlet->queue);
    amqp_basic_consume(inlet->session.connection, MQ_CHANNEL, amqp_cstring_bytes(inlet->queue),
                       amqp_cstring_bytes(inlet->name), 0, 0, 0, amqp_empty_table);
    if (!mq_session_reply(&inlet->session, doing, error))
        return closed(inlet);
    return true;
}

/* ---- a delivery, frame by frame ---------------------------------------------------------------------------------- */

static struct text text_of(amqp_bytes_t bytes)
{
    return (struct text){bytes.bytes != NULL ? bytes.bytes : "", bytes.len};
}

static struct text copy(struct arena *arena, amqp_bytes_t bytes)
{
    return arena_copy(arena, text_of(bytes));
}

static int64_t at_most_int64(uint64_t number)
{
    return number > INT64_MAX ? INT64_MAX : (int64_t)number;
}

static struct text death_text(const amqp_table_t *death, const char *key)
{
    for (int i = 0; i < death->num_entries; i++)
        if (text_equal(text_of(death->entries[i].key), text_from(key)) && death->entries[i].value.kind == AMQP_FIELD_KIND_UTF8)
            return text_of(death->entries[i].value.value.bytes);
    return TEXT_LITERAL("?");
}

static int64_t death_count(const amqp_table_t *death)
{
    for (int i = 0; i < death->num_entries; i++)
        if (text_equal(text_of(death->entries[i].key), TEXT_LITERAL("count")) && death->entries[i].value.kind == AMQP_FIELD_KIND_I64)
            return death->entries[i].value.value.i64;
    return 0;
}

/* What the broker says of where a message died, in one line: "1 x delivery_limit in queue bridge.sync.ops (exchange bridge.sync)". */
static struct text death_history(struct arena *arena, const amqp_array_t *deaths)
{
    struct text history = TEXT_LITERAL("");
    for (int i = 0; i < deaths->num_entries && i < DEATHS_SHOWN; i++) {
        if (deaths->entries[i].kind != AMQP_FIELD_KIND_TABLE)
            continue;
        const amqp_table_t *death = &deaths->entries[i].value.table;
        history = arena_printf(arena, "%.*s%s%lld x %.*s in queue %.*s (exchange %.*s)", TEXT_PRINTF(history), history.length > 0 ? "; " : "",
                               (long long)death_count(death), TEXT_PRINTF(death_text(death, "reason")),
                               TEXT_PRINTF(death_text(death, "queue")), TEXT_PRINTF(death_text(death, "exchange")));
    }
    return history;
}

/* Texts, integers and where a message died; false for what the contract has no use for: floats, decimals, tables, arrays. */
static bool copy_header(struct arena *arena, const amqp_table_entry_t *entry, struct header *out)
{
    struct header header = {.is_number = true};
    const amqp_field_value_t *value = &entry->value;
    switch (value->kind) {
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES:
        header.is_number = false;
        header.text = copy(arena, value->value.bytes);
        break;
    case AMQP_FIELD_KIND_BOOLEAN:
        header.number = value->value.boolean ? 1 : 0;
        break;
    case AMQP_FIELD_KIND_I8:
        header.number = value->value.i8;
        break;
    case AMQP_FIELD_KIND_U8:
        header.number = value->value.u8;
        break;
    case AMQP_FIELD_KIND_I16:
        header.number = value->value.i16;
        break;
    case AMQP_FIELD_KIND_U16:
        header.number = value->value.u16;
        break;
    case AMQP_FIELD_KIND_I32:
        header.number = value->value.i32;
        break;
    case AMQP_FIELD_KIND_U32:
        header.number = value->value.u32;
        break;
    case AMQP_FIELD_KIND_I64:
        header.number = value->value.i64;
        break;
    case AMQP_FIELD_KIND_U64:
    case AMQP_FIELD_KIND_TIMESTAMP:
        header.number = at_most_int64(value->value.u64);
        break;
    case AMQP_FIELD_KIND_ARRAY:
        if (!text_equal(text_of(entry->key), TEXT_LITERAL("x-death")))
            return false;
        header.is_number = false;
        header.text = death_history(arena, &value->value.array);
        break;
    default:
        return false;
    }
    header.name = copy(arena, entry->key);
    *out = header;
    return true;
}

static bool of_contract(amqp_bytes_t key)
{
    static const char *const names[] = {
        "x-source", "x-content-hash", "x-protocol",  "x-epoch",          "x-seq", "x-batch", "x-part",
        "x-parts",  "x-schema",       "traceparent", "x-delivery-count", "x-death",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (text_equal(text_of(key), text_from(names[i])))
            return true;
    }
    return false;
}

/* A foreign message may have any number of headers: those of the contract must not be crowded out. */
static void copy_headers(struct arena *arena, const amqp_table_t *table, struct envelope *out)
{
    for (int contract = 1; contract >= 0; contract--) {
        for (int i = 0; i < table->num_entries && out->header_count < ENVELOPE_HEADERS_MAX; i++) {
            const amqp_table_entry_t *entry = &table->entries[i];
            if (of_contract(entry->key) == (contract == 1) &&
                copy_header(arena, entry, &out->headers[out->header_count]))
                out->header_count++;
        }
    }
}

static void copy_properties(struct arena *arena, const amqp_basic_properties_t *properties, struct envelope *out)
{
    amqp_flags_t flags = properties->_flags;
    if (flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
        out->content_type = copy(arena, properties->content_type);
    if (flags & AMQP_BASIC_MESSAGE_ID_FLAG)
        out->message_id = copy(arena, properties->message_id);
    if (flags & AMQP_BASIC_CORRELATION_ID_FLAG)
        out->correlation_id = copy(arena, properties->correlation_id);
    if (flags & AMQP_BASIC_TYPE_FLAG)
        out->type = copy(arena, properties->type);
    if (flags & AMQP_BASIC_APP_ID_FLAG)
        out->app_id = copy(arena, properties->app_id);
    if (flags & AMQP_BASIC_TIMESTAMP_FLAG)
        out->timestamp_s = at_most_int64(properties->timestamp);
    if (flags & AMQP_BASIC_HEADERS_FLAG)
        copy_headers(arena, &properties->headers, out);
}

static void begin_delivery(struct mq_inlet *inlet, const amqp_basic_deliver_t *deliver)
{
    struct delivery *delivery = delivery_new();
    delivery->tag = deliver->delivery_tag;
    delivery->envelope.redelivered = deliver->redelivered;
    delivery->envelope.exchange = copy(&delivery->arena, deliver->exchange);
    delivery->envelope.routing_key = copy(&delivery->arena, deliver->routing_key);
    inlet->partial = delivery;
    inlet->partial_has_header = false;
    inlet->partial_read_bytes = 0;
    inlet->partial_body = NULL;
}

static void take_content_header(struct mq_inlet *inlet, const amqp_frame_t *frame)
{
    struct delivery *delivery = inlet->partial;
    uint64_t bytes = frame->payload.properties.body_size;
    inlet->partial_has_header = true;
    inlet->partial_body_bytes = bytes;
    copy_properties(&delivery->arena, frame->payload.properties.decoded, &delivery->envelope);
    if (bytes > LIMIT_RECEIVED_BYTES) {
        delivery->envelope.oversize_bytes = bytes;
        delivery->envelope.body = TEXT_LITERAL("");
        return;
    }
    inlet->partial_body = arena_take(&delivery->arena, (size_t)bytes + 1);
    delivery->envelope.body = (struct text){inlet->partial_body, (size_t)bytes};
}

static bool take_body(struct mq_inlet *inlet, amqp_bytes_t fragment)
{
    if (fragment.len > inlet->partial_body_bytes - inlet->partial_read_bytes)
        return false;
    if (inlet->partial_body != NULL && fragment.len > 0)
        memcpy(inlet->partial_body + inlet->partial_read_bytes, fragment.bytes, fragment.len);
    inlet->partial_read_bytes += fragment.len;
    return true;
}

static bool queue_gone(struct mq_inlet *inlet, struct error *error)
{
    char where[512];
    snprintf(where, sizeof where, "queue \"%.120s\" (%s)", inlet->queue, inlet->session.where);
    mq_fault_set(error, where, MQ_CANCELLED, NULL);
    return closed(inlet);
}

static bool out_of_step(struct mq_inlet *inlet, struct error *error)
{
    forget_partial(inlet);
    return mq_session_fail(&inlet->session, "cannot receive", AMQP_STATUS_UNEXPECTED_STATE, error);
}

static bool take_frame(struct mq_inlet *inlet, const amqp_frame_t *frame, struct error *error)
{
    if (frame->frame_type == AMQP_FRAME_METHOD && frame->payload.method.id == AMQP_BASIC_CANCEL_METHOD)
        return queue_gone(inlet, error);
    bool begun = inlet->partial != NULL;
    bool has_header = begun && inlet->partial_has_header;
    if (frame->frame_type == AMQP_FRAME_METHOD && frame->payload.method.id == AMQP_BASIC_DELIVER_METHOD && !begun)
        begin_delivery(inlet, frame->payload.method.decoded);
    else if (frame->frame_type == AMQP_FRAME_HEADER && begun && !has_header)
        take_content_header(inlet, frame);
    else if (frame->frame_type != AMQP_FRAME_BODY || !has_header || !take_body(inlet, frame->payload.body_fragment))
        return out_of_step(inlet, error);
    return true;
}

static bool is_complete(const struct mq_inlet *inlet)
{
    return inlet->partial != NULL && inlet->partial_has_header &&
           inlet->partial_read_bytes == inlet->partial_body_bytes;
}

/* ---- the port ---------------------------------------------------------------------------------------------------- */

static bool inlet_receive(struct inlet *port, int wait_ms, struct delivery **delivery, struct error *error)
{
    struct mq_inlet *inlet = inlet_of(port);
    int64_t deadline_ms = wait_ms > 0 ? mq_now_ms() + wait_ms : 0;
    int left_ms = wait_ms;
    while (!is_complete(inlet)) {
        amqp_frame_t frame;
        bool found;
        if (!mq_session_frame(&inlet->session, left_ms, &frame, &found, error)) {
            forget_partial(inlet);
            return false;
        }
        if (!found) {
            *delivery = NULL;
            return true;
        }
        if (!take_frame(inlet, &frame, error))
            return false;
        left_ms = wait_ms > 0 ? mq_left_ms(deadline_ms) : 0;
    }
    inlet->last_tag = inlet->partial->tag;
    *delivery = inlet->partial;
    inlet->partial = NULL;
    return true;
}

static bool inlet_settle(struct inlet *port, uint64_t tag, struct error *error)
{
    struct mq_inlet *inlet = inlet_of(port);
    if (!mq_session_is_open(&inlet->session))
        return mq_session_not_open(&inlet->session, error);
    if (tag <= inlet->settled_tag)
        return true;
    if (tag > inlet->last_tag) {
        error_set(error, FAULT_BUG, NULL, "message %llu was not delivered on this connection (%s)",
                  (unsigned long long)tag, inlet->session.where);
        return closed(inlet);
    }
    int status = amqp_basic_ack(inlet->session.connection, MQ_CHANNEL, tag, 1);
    if (status == AMQP_STATUS_OK) {
        inlet->settled_tag = tag;
        return true;
    }
    forget_partial(inlet);
    return mq_session_fail(&inlet->session, "cannot acknowledge", status, error);
}

/* On a connection of its own: in the consumer's, everything that the broker has on its way, up to the whole prefetch, would
 * come before the answer, and the library would keep it in memory. */
static bool ask_depth(struct mq_inlet *inlet, uint64_t *messages, struct error *error)
{
    if (!mq_session_is_open(&inlet->probe) &&
        !mq_session_open(&inlet->probe, &inlet->config->broker, inlet->name, error))
        return false;
    const amqp_queue_declare_ok_t *answer = amqp_queue_declare(
        inlet->probe.connection, MQ_CHANNEL, amqp_cstring_bytes(inlet->queue), 1, 0, 0, 0, amqp_empty_table);
    if (!mq_session_reply(&inlet->probe, "cannot ask for the queue's length", error)) {
        mq_session_close(&inlet->probe);
        return false;
    }
    *messages = answer->message_count;
    amqp_maybe_release_buffers_on_channel(inlet->probe.connection, MQ_CHANNEL);
    return true;
}

static bool inlet_depth(struct inlet *port, uint64_t *messages, struct error *error)
{
    struct mq_inlet *inlet = inlet_of(port);
    /* One that was silent for long, because nobody asked, has been closed by the broker: that is no failure yet. */
    bool silent = mq_session_is_open(&inlet->probe);
    if (ask_depth(inlet, messages, error) || (silent && ask_depth(inlet, messages, error)))
        return true;
    return closed(inlet);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static const struct inlet_ops inlet_ops = {
    .open = inlet_open,
    .receive = inlet_receive,
    .settle = inlet_settle,
    .depth = inlet_depth,
    .close = inlet_close,
};

static void init(struct mq_inlet *inlet, const struct config *config, const char *queue, uint16_t prefetch_messages,
                 const char *role)
{
    *inlet = (struct mq_inlet){
        .port = {.ops = &inlet_ops},
        .config = config,
        .queue = queue,
        .prefetch_messages = prefetch_messages,
    };
    mq_session_init(&inlet->session);
    mq_session_init(&inlet->probe);
    snprintf(inlet->name, sizeof inlet->name, "pgbridge %s %s", config->node, role);
}

void mq_inlet_init(struct mq_inlet *inlet, const struct config *config)
{
    init(inlet, config, config->broker.queue, LIMIT_PREFETCH_MESSAGES, "inbound");
}

void mq_inlet_init_dead(struct mq_inlet *inlet, const struct config *config)
{
    init(inlet, config, config->broker.dead_queue, 1, "dead letters");
}

void mq_inlet_free(struct mq_inlet *inlet)
{
    forget_partial(inlet);
    mq_session_free(&inlet->session);
    mq_session_free(&inlet->probe);
}

void mq_inlet_abort(struct mq_inlet *inlet)
{
    mq_session_abort(&inlet->session);
    mq_session_abort(&inlet->probe);
}
