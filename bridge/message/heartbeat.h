#pragma once
/* A heartbeat: what a node says every few seconds in its stream of changes: the time of its clock, and how far it has come in the
 * streams of the others. Nobody hears it before he has committed everything that its node had committed when it was made.
 *
 * It travels as the control message `<node>.control.heartbeat`, with headers x-source, x-protocol, x-epoch, x-seq (of the message
 * before it: it has no number of its own) and x-content-hash, which is the SHA-256 of the body:
 *     {"control":"heartbeat","time":<us>,"heard":[["<node>",<sent us>,<received us>],...],"confirmed":[["<epoch>",<number>],...]}
 *
 * A node that holds changes back cannot say this of now. It says its latest one again, as a sign of life: with that one's time, nobody
 * heard, and "again":true. Who does not know that member has heard of the time before, and ignores it. */
#include "bridge/message/envelope.h"

/* An incarnation of the sender, and the number up to which the broker has confirmed all its messages: they are not sent again. Whoever
 * has not had them when he hears of it has lost them, also when the incarnation ended before it could say so itself. */
struct confirmed {
    struct text epoch;
    int64_t sequence;
};

/* The newest heartbeat of another node that has been heard. */
struct heard {
    struct text node;
    int64_t sent_us;     /* its time, by that node's clock */
    int64_t received_us; /* when it was committed here, by this node's clock */
};

struct heartbeat {
    struct text source;
    /* Filled when it is sealed. */
    struct text epoch; /* null when not given */
    int64_t sequence;  /* the number of the last message before it; 0: there was none */
    int64_t time_us; /* since 1970, by the database's clock: the one that stamps versions */
    bool again;      /* it says only that its node lives */
    size_t heard_count;
    const struct heard *heard;
    size_t confirmed_count;
    const struct confirmed *confirmed; /* of the latest incarnations, oldest first */
};

void heartbeat_seal(const struct heartbeat *heartbeat, int64_t now_us, struct arena *arena, struct envelope *out);

/* Whether the envelope says that it is one. */
bool heartbeat_is(const struct envelope *envelope);
/* FAULT_POISON with the reason when anything is wrong. */
bool heartbeat_unseal(const struct envelope *envelope, struct arena *arena, struct heartbeat *out, struct error *error);
