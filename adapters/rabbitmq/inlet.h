#pragma once
/* The inlet port over RabbitMQ: takes messages from this node's queue with manual acknowledgement.
 *
 * receive never waits longer than it is told, not even for the rest of a message that has begun to arrive: that is kept
 * until the next call. It sends and answers heartbeats, so that some call is to be made at least once per heartbeat
 * interval. Tags belong to one connection: after open the numbers begin anew and earlier deliveries come again.
 *
 * A body above LIMIT_RECEIVED_BYTES is thrown away as it arrives; envelope.oversize_bytes then tells its length, which
 * makes the message poison. Nested tables and arrays among the headers are skipped, and of more headers than
 * ENVELOPE_HEADERS_MAX those of the message contract are kept first.
 *
 * The library decodes nested header tables recursively: the thread that uses an inlet needs a stack of 8 MB. */
#include "adapters/rabbitmq/session.h"
#include "bridge/ports.h"

struct mq_inlet {
    struct inlet port; /* first */
    struct mq_session session;
    struct mq_session probe; /* asks for the queue's length */
    const struct config *config;
    const char *queue;
    uint16_t prefetch_messages;
    char name[96];            /* of the connection, and the consumer's tag */
    struct delivery *partial; /* began to arrive */
    bool partial_has_header;
    uint64_t partial_body_bytes; /* of the body, as announced */
    uint64_t partial_read_bytes;
    char *partial_body;   /* in the delivery's arena; NULL when oversize */
    uint64_t last_tag;    /* delivered on this connection */
    uint64_t settled_tag; /* acknowledged up to here: the broker closes the channel upon a second time */
};

/* The config must outlive the inlet. The second takes the node's dead-letter queue, one message at a time. */
void mq_inlet_init(struct mq_inlet *inlet, const struct config *config);
void mq_inlet_init_dead(struct mq_inlet *inlet, const struct config *config);
void mq_inlet_free(struct mq_inlet *inlet);

/* From any thread: cuts the connection, so that a blocked call fails at once with FAULT_CONNECTION. */
void mq_inlet_abort(struct mq_inlet *inlet);
