#pragma once
/* The broker's dead letters: what it has delivered to this node too often, because a message ends the process that reads it, or
 * because of an unlucky link with many healthy messages on its way.
 *
 * They are taken one at a time. Each is noted in the database as a suspect before anybody reads it, applied like any other message,
 * and then acquitted. Only one that ended the process again, twice with nothing else in hand, is quarantined unread. */
#include "bridge/flow/application.h"

struct drain {
    struct inlet *inlet; /* of the dead-letter queue, one message at a time; NULL: there is none */
    bool open;
    int64_t due_ms;
    /* Reads a delivery into an item; with a reason, its headers alone: then it is poison. */
    void (*read)(void *context, struct delivery *, const struct error *unread, struct item *);
    void *context;
};

/* Every few seconds: looks whether there are any, and drains some for about a second. A failure of the broker is told and put off, and
 * keeps nobody from anything else. */
void drain_some(struct drain *drain, struct application *application);
