#pragma once
/* A batch: whole transactions taken together by capture; published as one or more messages, applied in one
 * transaction. */
#include "bridge/message/heartbeat.h"

struct batch {
    struct arena arena;       /* owns everything below */
    size_t change_count;
    struct change *changes;   /* in the order of commit */
    size_t captured_count;    /* changes before coalescing */
    bool heartbeat_due;       /* the source is to say how far this node has come, as soon as it can */
    const struct heartbeat *heartbeat; /* NULL: not with this batch. Comes after its changes */
    void *ticket;             /* the source's own note of what to forget on release; lives in the arena */
};

/* Coalesces each unbroken chain of changes of one key to its last state, where the layout allows it, at the place of the last, with
 * the base of the first. A chain is broken by another node's write in between, which shows in a base that is not the change before or
 * in what was seen, and by a change of another layout. One that ends in a deletion is a deletion, one that began with a creation a
 * creation. */
void batch_coalesce(struct batch *batch);

/* Who sends, and where its numbering stands. */
struct sender {
    struct text node;
    char epoch[37];
    int64_t sequence; /* of the last message sealed */
};

/* Cuts the batch into messages within the limits and seals them. Deletions go before updates before creations, each in
 * order of first appearance, so that unique values are free before they are taken again; where a key occurs in two
 * layouts, all that before its second change goes first. Changes of layouts that do not coalesce follow, in the order of
 * commit: in one message only neighbours with equal operation and different keys. A version of another node makes that
 * node the message's source. message_bytes is kept by estimate, without escapes, and one row may exceed it. Envelopes
 * live in the batch's arena, the heartbeat's last; sender->sequence moves on to the last of them. */
void batch_seal(struct batch *batch, struct sender *sender, int64_t now_us, size_t message_bytes,
                struct envelope **envelopes, size_t *envelope_count);
