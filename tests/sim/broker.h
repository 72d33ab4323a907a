#pragma once
/* The model broker: a topic exchange, one channel per sender, one durable queue per node with a single consumer.
 *
 * A channel's messages reach each queue in their order, but every queue at its own pace; a message is confirmed when
 * all queues have it. When a channel breaks, of what was on its way any beginning arrives, at each queue another; late,
 * perhaps: among the messages of the channel that follows. What is delivered and not settled when a consumer goes is
 * delivered again, before the rest; or, delivered too often, comes into the queue's other one, of the dead. */
#include "tests/sim/history.h"

#include "bridge/message/envelope.h"

enum { PARCEL_ROWS_MAX = 64, QUEUE_MAX = 4096, CHANNEL_MAX = 1024, LATE_MAX = 1024 };

struct world;

/* A message as the broker holds it. */
struct parcel {
    struct envelope envelope;
    int source;
    size_t row_count;
    struct {
        size_t row;
        int write;
    } rows[];
};

struct place {
    struct parcel *parcel;
    bool delivered;    /* at least once */
    size_t deliveries; /* that were not settled */
};

struct queue {
    size_t count;     /* all there ever were */
    size_t settled;   /* the first so many are forgotten */
    size_t acked;     /* of them and of those delivered: acknowledged, but the broker may not know yet */
    size_t delivered; /* on this connection or settled */
    size_t tag_base;  /* delivered when the connection was opened */
    struct place places[QUEUE_MAX];
    /* delivered too often, and not settled since */
    size_t dead_count;
    struct place dead[QUEUE_MAX];
};

/* From one node's outlet. Messages are numbered from 1 since it was opened. */
struct channel {
    size_t sent, confirmed; /* to the client */
    size_t routed[NODES_MAX];
    struct {
        const struct envelope *borrowed;
        struct parcel *parcel; /* once it is routed to anybody */
    } messages[CHANNEL_MAX];
};

/* What broken channels have left, in their order. */
struct late {
    size_t first, count;
    struct {
        struct parcel *parcel;
        int to;
    } messages[LATE_MAX];
};

struct broker {
    struct world *world;
    struct arena arena;
    struct queue queues[NODES_MAX];
    struct channel channels[NODES_MAX];
    struct late late[NODES_MAX]; /* by sender */
    int64_t away_us;             /* nobody can connect until then */
    size_t parcel_count, parcel_capacity;
    struct parcel **parcels;
};

void broker_init(struct broker *broker);
void broker_clear(struct broker *broker, struct world *world);

bool channel_routes(const struct broker *broker, int from, int to);
/* Messages that all queues have. */
size_t channel_arrived(const struct broker *broker, int from);
/* Whether there is anything to route. */
bool channel_busy(const struct broker *broker, int from);
/* Takes some message of the node's channels one queue further. */
void channel_route(struct broker *broker, int from);
/* The sender's connection is gone. */
void channel_break(struct broker *broker, int from);

/* The consumer's connection is gone. */
void queue_break(struct broker *broker, int node);
/* Gives out once more what was given out before. */
void queue_duplicate(struct broker *broker, int node);
