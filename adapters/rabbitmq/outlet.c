#include "adapters/rabbitmq/outlet.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/rabbitmq/compat.h"
#include "adapters/rabbitmq/fault.h"
#include "bridge/base/limits.h"
#include "bridge/base/memory.h"

enum {
    WINDOW = 1 << 15,          /* messages accepted and not confirmed; a power of two */
    SHORT_TEXT_BYTES_MAX = 255 /* AMQP's short strings: routing key and properties */
};
_Static_assert(WINDOW >= LIMIT_UNCONFIRMED_BATCHES * LIMIT_BATCH_ROWS * 3 / 2,
               "every change of every unconfirmed batch may travel alone");

/* One message of the window, at number % WINDOW. */
struct mq_slot {
    struct envelope *waiting; /* a copy, when it is accepted and not yet sent */
    bool acked;               /* ahead of an earlier one */
};

static struct mq_outlet *outlet_of(struct outlet *port)
{
    return (struct mq_outlet *)port;
}

static struct mq_slot *slot(struct mq_outlet *outlet, uint64_t number)
{
    return &outlet->slots[number % WINDOW];
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static void forget_waiting(struct mq_outlet *outlet)
{
    for (; outlet->sent < outlet->accepted; outlet->accepted--) {
        free(slot(outlet, outlet->accepted)->waiting);
        *slot(outlet, outlet->accepted) = (struct mq_slot){0};
    }
}

static bool closed(struct mq_outlet *outlet)
{
    forget_waiting(outlet);
    mq_session_close(&outlet->session);
    return false;
}

static void outlet_close(struct outlet *port)
{
    closed(outlet_of(port));
}

static bool outlet_open(struct outlet *port, struct error *error)
{
    struct mq_outlet *outlet = outlet_of(port);
    forget_waiting(outlet);
    outlet->accepted = outlet->sent = outlet->confirmed = 0;
    if (!mq_session_open(&outlet->session, &outlet->config->broker, outlet->name, error))
        return false;
    amqp_confirm_select(outlet->session.connection, MQ_CHANNEL);
    if (!mq_session_reply(&outlet->session, "cannot ask for confirmations", error))
        return closed(outlet);
    return true;
}

/* ---- what the broker says ---------------------------------------------------------------------------------------- */

static bool take_ack(struct mq_outlet *outlet, uint64_t tag, bool multiple, struct error *error)
{
    uint64_t upto = tag == 0 ? outlet->sent : tag;
    if (upto > outlet->sent)
        return mq_session_fail(&outlet->session, "the broker confirmed what was not sent", AMQP_STATUS_UNEXPECTED_STATE,
                               error);
    if (multiple && upto > outlet->confirmed)
        outlet->confirmed = upto;
    else if (!multiple && upto > outlet->confirmed)
        slot(outlet, upto)->acked = true;
    while (outlet->confirmed < outlet->sent && slot(outlet, outlet->confirmed + 1)->acked)
        outlet->confirmed++;
    return true;
}

static bool take_nack(struct mq_outlet *outlet, uint64_t tag, struct error *error)
{
    char where[512];
    snprintf(where, sizeof where, "message %llu since connecting (exchange \"%.100s\", %s)", (unsigned long long)tag,
             outlet->config->broker.exchange, outlet->session.where);
    mq_fault_set(error, where, MQ_NACKED, NULL);
    return closed(outlet);
}

static bool take_return(struct mq_outlet *outlet, const amqp_basic_return_t *returned, struct error *error)
{
    char where[512];
    snprintf(where, sizeof where, "the broker returned a message with routing key \"%.*s\" (exchange \"%s\", %s)",
             (int)returned->routing_key.len, (const char *)returned->routing_key.bytes, outlet->config->broker.exchange,
             outlet->session.where);
    char said[256];
    snprintf(said, sizeof said, "%.*s", (int)returned->reply_text.len, (const char *)returned->reply_text.bytes);
    mq_fault_set(error, where, returned->reply_code, said);
    /* Its content and its confirmation are still to come; closing throws both away. */
    return closed(outlet);
}

static bool take_frame(struct mq_outlet *outlet, const amqp_frame_t *frame, struct error *error)
{
    if (frame->frame_type != AMQP_FRAME_METHOD)
        return mq_session_fail(&outlet->session, "unexpected content", AMQP_STATUS_UNEXPECTED_STATE, error);
    const amqp_method_t *method = &frame->payload.method;
    if (method->id == AMQP_BASIC_ACK_METHOD) {
        const amqp_basic_ack_t *ack = method->decoded;
        return take_ack(outlet, ack->delivery_tag, ack->multiple, error);
    }
    if (method->id == AMQP_BASIC_NACK_METHOD) {
        const amqp_basic_nack_t *nack = method->decoded;
        return take_nack(outlet, nack->delivery_tag, error);
    }
    if (method->id == AMQP_BASIC_RETURN_METHOD)
        return take_return(outlet, method->decoded, error);
    return mq_session_fail(&outlet->session, "unexpected method", AMQP_STATUS_WRONG_METHOD, error);
}

/* Takes every frame that is here, after waiting at most wait_ms for the first. */
static bool take_frames(struct mq_outlet *outlet, int wait_ms, struct error *error)
{
    for (;;) {
        amqp_frame_t frame;
        bool found;
        if (!mq_session_frame(&outlet->session, wait_ms, &frame, &found, error))
            return false;
        if (!found)
            return true;
        if (!take_frame(outlet, &frame, error))
            return false;
        wait_ms = 0;
    }
}

/* ---- publishing -------------------------------------------------------------------------------------------------- */

static amqp_bytes_t bytes_of(struct text text)
{
    /* The library declares bytes it only reads as writable. */
    union {
        const char *constant;
        void *plain;
    } data = {.constant = text.data};
    return (amqp_bytes_t){.len = text.length, .bytes = data.plain};
}

static bool property(amqp_basic_properties_t *properties, amqp_flags_t flag, amqp_bytes_t *out, struct text text)
{
    if (text_is_null(text))
        return true;
    if (text.length > SHORT_TEXT_BYTES_MAX)
        return false;
    properties->_flags |= flag;
    *out = bytes_of(text);
    return true;
}

static bool fill_properties(const struct mq_outlet *outlet, const struct envelope *envelope,
                            amqp_table_entry_t entries[ENVELOPE_HEADERS_MAX], amqp_basic_properties_t *out)
{
    *out = (amqp_basic_properties_t){
        ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_HEADERS_FLAG,
        .delivery_mode = AMQP_DELIVERY_PERSISTENT,
    };
    if (envelope->timestamp_s > 0) {
        out->_flags |= AMQP_BASIC_TIMESTAMP_FLAG;
        out->timestamp = (uint64_t)envelope->timestamp_s;
    }
    for (size_t i = 0; i < envelope->header_count; i++) {
        const struct header *header = &envelope->headers[i];
        if (header->name.length > SHORT_TEXT_BYTES_MAX)
            return false;
        entries[i] = (amqp_table_entry_t){.key = bytes_of(header->name)};
        if (header->is_number) {
            entries[i].value.kind = AMQP_FIELD_KIND_I64;
            entries[i].value.value.i64 = header->number;
        } else {
            entries[i].value.kind = AMQP_FIELD_KIND_UTF8;
            entries[i].value.value.bytes = bytes_of(header->text);
        }
    }
    out->headers = (amqp_table_t){.num_entries = (int)envelope->header_count, .entries = entries};
    return envelope->routing_key.length <= SHORT_TEXT_BYTES_MAX &&
           property(out, AMQP_BASIC_CONTENT_TYPE_FLAG, &out->content_type, envelope->content_type) &&
           property(out, AMQP_BASIC_MESSAGE_ID_FLAG, &out->message_id, envelope->message_id) &&
           property(out, AMQP_BASIC_CORRELATION_ID_FLAG, &out->correlation_id, envelope->correlation_id) &&
           property(out, AMQP_BASIC_TYPE_FLAG, &out->type, envelope->type) &&
           property(out, AMQP_BASIC_APP_ID_FLAG, &out->app_id, envelope->app_id) &&
           property(out, AMQP_BASIC_USER_ID_FLAG, &out->user_id, text_from(outlet->config->broker.user));
}

/* The library marks every full body frame as "more follows", the last one too when the body ends with it: its tail then
 * waits in the kernel for up to 200 ms. White space at the end of JSON is no content. NULL: the body needs none; else
 * the caller frees it. */
static char *padded_body(const struct mq_outlet *outlet, struct text body)
{
    size_t payload_bytes = (size_t)amqp_get_frame_max(outlet->session.connection) - 8;
    if (body.length % payload_bytes != 0)
        return NULL;
    char *padded = malloc(body.length + 1);
    if (padded == NULL)
        memory_exhausted(__func__);
    if (body.length > 0)
        memcpy(padded, body.data, body.length);
    padded[body.length] = ' ';
    return padded;
}

/* Hands message number sent + 1 to the socket. */
static bool send_next(struct mq_outlet *outlet, const struct envelope *envelope, struct error *error)
{
    amqp_table_entry_t entries[ENVELOPE_HEADERS_MAX];
    amqp_basic_properties_t properties;
    if (!fill_properties(outlet, envelope, entries, &properties)) {
        error_set(error, FAULT_BUG, NULL, "a property of message %.*s is longer than %d bytes",
                  TEXT_PRINTF(envelope->message_id), SHORT_TEXT_BYTES_MAX);
        return closed(outlet);
    }
    char *padded = padded_body(outlet, envelope->body);
    amqp_bytes_t body = bytes_of(envelope->body);
    if (padded != NULL)
        body = (amqp_bytes_t){.len = envelope->body.length + 1, .bytes = padded};
    atomic_fetch_add(&outlet->sending, 1);
    int status =
        amqp_basic_publish(outlet->session.connection, MQ_CHANNEL, amqp_cstring_bytes(outlet->config->broker.exchange),
                           bytes_of(envelope->routing_key), 1, 0, &properties, body);
    atomic_fetch_add(&outlet->sending, 1);
    free(padded);
    if (status != AMQP_STATUS_OK)
        return mq_session_fail(&outlet->session, "cannot publish", status, error);
    outlet->sent++;
    *slot(outlet, outlet->sent) = (struct mq_slot){0};
    return true;
}

/* Waits at most wait_ms until the socket takes or has something; frames that are here already must have been taken. */
static bool socket_ready(struct mq_outlet *outlet, int wait_ms, bool *readable, bool *writable, struct error *error)
{
    struct pollfd descriptor = {.fd = amqp_get_sockfd(outlet->session.connection), .events = POLLIN | POLLOUT};
    if (poll(&descriptor, 1, wait_ms) < 0 && errno != EINTR)
        return mq_session_fail(&outlet->session, "cannot wait for the socket", AMQP_STATUS_SOCKET_ERROR, error);
    /* An error or hang-up shows when reading. */
    *readable = (descriptor.revents & ~POLLOUT) != 0;
    *writable = (descriptor.revents & POLLOUT) != 0;
    return true;
}

/* Takes what the broker says, and tells whether it takes the next message. */
static bool may_send(struct mq_outlet *outlet, bool *may, struct error *error)
{
    bool readable = false, writable = false;
    *may = false;
    if (atomic_load(&outlet->session.blocked) != NULL)
        return true;
    if (!socket_ready(outlet, 0, &readable, &writable, error))
        return false;
    if (readable && !take_frames(outlet, 0, error))
        return false;
    *may = writable && atomic_load(&outlet->session.blocked) == NULL;
    return true;
}

/* Sends what was put by, in its order, for as long as the broker takes it. */
static bool send_waiting(struct mq_outlet *outlet, struct error *error)
{
    while (outlet->sent < outlet->accepted) {
        bool may;
        if (!may_send(outlet, &may, error))
            return false;
        if (!may)
            return true;
        struct envelope *envelope = slot(outlet, outlet->sent + 1)->waiting;
        if (!send_next(outlet, envelope, error))
            return false;
        free(envelope);
    }
    return true;
}

/* ---- putting by -------------------------------------------------------------------------------------------------- */

static size_t texts_of(struct envelope *envelope, struct text *texts[static 7 + 2 * ENVELOPE_HEADERS_MAX])
{
    size_t count = 0;
    texts[count++] = &envelope->routing_key;
    texts[count++] = &envelope->body;
    texts[count++] = &envelope->content_type;
    texts[count++] = &envelope->message_id;
    texts[count++] = &envelope->correlation_id;
    texts[count++] = &envelope->type;
    texts[count++] = &envelope->app_id;
    for (size_t i = 0; i < envelope->header_count; i++) {
        texts[count++] = &envelope->headers[i].name;
        texts[count++] = &envelope->headers[i].text;
    }
    return count;
}

/* The caller's memory may be gone before the broker takes messages again. One block, for one free(). */
static struct envelope *copy_envelope(const struct envelope *envelope)
{
    struct envelope copy = *envelope;
    struct text *texts[7 + 2 * ENVELOPE_HEADERS_MAX];
    size_t count = texts_of(&copy, texts), bytes = sizeof copy;
    for (size_t i = 0; i < count; i++)
        bytes += texts[i]->length;
    struct envelope *block = malloc(bytes);
    if (block == NULL)
        memory_exhausted(__func__);
    char *at = (char *)(block + 1);
    for (size_t i = 0; i < count; i++) {
        if (text_is_null(*texts[i]))
            continue;
        memcpy(at, texts[i]->data, texts[i]->length);
        texts[i]->data = at;
        at += texts[i]->length;
    }
    *block = copy;
    return block;
}

/* ---- the port ---------------------------------------------------------------------------------------------------- */

static bool outlet_publish(struct outlet *port, const struct envelope *envelope, struct error *error)
{
    struct mq_outlet *outlet = outlet_of(port);
    assert(envelope->header_count <= ENVELOPE_HEADERS_MAX);
    if (!mq_session_is_open(&outlet->session))
        return mq_session_not_open(&outlet->session, error);
    if (outlet->accepted - outlet->confirmed >= WINDOW) {
        error_set(error, FAULT_BUG, NULL, "more than %d messages wait for their confirmation", WINDOW);
        return closed(outlet);
    }
    if (!send_waiting(outlet, error))
        return false;
    bool may = false;
    if (outlet->sent == outlet->accepted && !may_send(outlet, &may, error))
        return false;
    outlet->accepted++;
    if (may)
        return send_next(outlet, envelope, error);
    *slot(outlet, outlet->accepted) = (struct mq_slot){.waiting = copy_envelope(envelope)};
    return true;
}

static bool outlet_confirm(struct outlet *port, int wait_ms, uint64_t *confirmed, struct error *error)
{
    struct mq_outlet *outlet = outlet_of(port);
    uint64_t before = outlet->confirmed;
    int64_t deadline_ms = mq_now_ms() + wait_ms;
    if (!take_frames(outlet, 0, error))
        return false;
    for (;;) {
        if (!send_waiting(outlet, error))
            return false;
        int left_ms = mq_left_ms(deadline_ms);
        if (outlet->confirmed > before || outlet->confirmed == outlet->accepted || left_ms == 0)
            break;
        bool congested = outlet->sent < outlet->accepted && atomic_load(&outlet->session.blocked) == NULL;
        bool readable = true, writable;
        if (congested && !socket_ready(outlet, left_ms < 1000 ? left_ms : 1000, &readable, &writable, error))
            return false;
        if (!take_frames(outlet, congested ? 0 : left_ms, error))
            return false;
    }
    *confirmed = outlet->confirmed;
    return true;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static const char *outlet_blocked(struct outlet *port)
{
    return atomic_load(&outlet_of(port)->session.blocked);
}

static const struct outlet_ops outlet_ops = {
    .open = outlet_open,
    .publish = outlet_publish,
    .confirm = outlet_confirm,
    .blocked = outlet_blocked,
    .close = outlet_close,
};

void mq_outlet_init(struct mq_outlet *outlet, const struct config *config)
{
    *outlet = (struct mq_outlet){.port = {.ops = &outlet_ops}, .config = config};
    mq_session_init(&outlet->session);
    snprintf(outlet->name, sizeof outlet->name, "pgbridge %s outbound", config->node);
    outlet->slots = calloc(WINDOW, sizeof *outlet->slots);
    if (outlet->slots == NULL)
        memory_exhausted(__func__);
}

void mq_outlet_free(struct mq_outlet *outlet)
{
    forget_waiting(outlet);
    mq_session_free(&outlet->session);
    free(outlet->slots);
    outlet->slots = NULL;
}

const char *mq_outlet_blocked(const struct mq_outlet *outlet)
{
    return atomic_load(&outlet->session.blocked);
}

int64_t mq_outlet_hung_ms(struct mq_outlet *outlet)
{
    uint64_t sending = atomic_load(&outlet->sending);
    int unsent = mq_session_unsent(&outlet->session);
    int64_t now_ms = mq_now_ms();
    if (sending % 2 == 0 || sending != outlet->hung_sending || unsent != outlet->hung_unsent)
        outlet->hung_since_ms = now_ms;
    outlet->hung_sending = sending;
    outlet->hung_unsent = unsent;
    return now_ms - outlet->hung_since_ms;
}

void mq_outlet_abort(struct mq_outlet *outlet)
{
    mq_session_abort(&outlet->session);
}
