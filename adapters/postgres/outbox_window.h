#pragma once
/* Which transactions of the outbox are to be read next: those visible in this snapshot and not in the one before, in the order in which
 * their last rows were written. Of a backlog only so many at a time, so that its first changes go out at once, and looking does not
 * cost more the more there is. */
#include "adapters/postgres/session.h"

struct window_transaction {
    uint64_t txid;
    int64_t changes;
};

struct outbox_window {
    struct window_transaction *transactions;
    size_t count;
    size_t at; /* those before have been given out */
    bool cut;  /* there is more than fitted: to be read again after all of it is released */
    char *heartbeat; /* of the window's moment, as JSON; NULL: none was asked for, or it has been given out */
    /* for the next one: */
    size_t capacity;
    size_t limit;
    uint64_t read_from; /* while cut: of transactions with lower numbers nothing is to be read any more */
    char *seen;         /* the snapshot in which everything visible has been read; NULL: nothing has */
    char *snapshot;     /* of this window */
};

/* All zero: nothing has been read. After this neither. */
void outbox_window_forget(struct outbox_window *window);
/* Rows of held_layouts ('{1,2}') stay where they are, and with aside all that were not put aside. durable: what is visible is safe. */
bool outbox_window_read(struct outbox_window *window, struct pg_session *session, bool heartbeat_due, const char *held_layouts, bool aside,
                        bool *durable, struct error *error);
/* All of it has been given out: the next one begins behind it. */
void outbox_window_finish(struct outbox_window *window);
void outbox_window_free(struct outbox_window *window);
