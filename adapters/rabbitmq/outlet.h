#pragma once
/* The outlet port over RabbitMQ: messages go to the topic exchange, persistent, mandatory and confirmed.
 *
 * publish never waits for the broker, except while one message does not fit into the socket's buffer. When the broker
 * has an alarm (connection.blocked) or does not read fast enough, a copy of the message is put by and sent from within
 * confirm, in order: the caller's loop - publish each message of a batch, then confirm(wait) until its last number is
 * confirmed - needs no case of its own for a blocked broker, it sees no progress. The caller bounds what is put by, by
 * bounding what it leaves unconfirmed. One duty follows for it: confirm is called at least once per heartbeat interval,
 * also when nothing is outstanding (wait_ms 0 will do), because it sends and answers heartbeats.
 * What is left of blocking (an alarm raised while a message is half in the socket) ends when the alarm does, by the
 * socket's timeout of two heartbeats, or by mq_outlet_abort.
 *
 * Faults: FAULT_TRANSIENT for a message that the broker refused (nack: a queue is full), FAULT_OPERATOR for one that no
 * queue takes, FAULT_CONNECTION when the connection was lost. After any failure the outlet is closed. */
#include "adapters/rabbitmq/session.h"
#include "bridge/ports.h"

struct mq_slot;

struct mq_outlet {
    struct outlet port; /* first */
    struct mq_session session;
    const struct config *config;
    char name[96];
    /* Message numbers since open: confirmed <= sent <= accepted. */
    uint64_t accepted;  /* taken by publish */
    uint64_t sent;      /* handed to the socket; the broker's delivery tags */
    uint64_t confirmed; /* all up to here */
    struct mq_slot *slots;
    atomic_uint_fast64_t sending; /* counts up on entering and on leaving the library's publish: odd inside */
    /* of mq_outlet_hung_ms alone */
    uint64_t hung_sending;
    int hung_unsent;
    int64_t hung_since_ms;
};

/* The config must outlive the outlet. */
void mq_outlet_init(struct mq_outlet *outlet, const struct config *config);
void mq_outlet_free(struct mq_outlet *outlet);

/* From any thread: why the broker does not take messages ("low on memory"), a text that lives for ever; NULL when it
 * does. */
const char *mq_outlet_blocked(const struct mq_outlet *outlet);

/* From one other thread, every now and then: for how long publish has been inside one call without the broker taking a byte of
 * it; 0 when it is not. */
int64_t mq_outlet_hung_ms(struct mq_outlet *outlet);

/* From any thread: cuts the connection, so that a blocked call fails at once with FAULT_CONNECTION. */
void mq_outlet_abort(struct mq_outlet *outlet);
