#pragma once
/* The replication slot of this node: what the database says of it, what is lost with it, and its end. */
#include "adapters/postgres/session.h"
#include "adapters/postgres/wal_reader.h"

struct wal_slot {
    struct pg_session *session;
    struct clock *clock;
    char name[LIMIT_NAME_BYTES + 1];
    int answer_ms; /* its reader says at least so often that it is there */
    bool present;
    bool lost;     /* the server has no more of what it kept */
    /* And of this node: */
    bool wanted;   /* it is installed to capture from the log */
    bool drains;   /* the outbox may have rows of which the log does not tell */
    struct wal_place place; /* how far the log was read */
    uint64_t until_lsn;     /* and how far it is durable */
};

bool wal_slot_look(struct wal_slot *slot, struct error *error);
/* What it kept is lost; from now on it is kept again. */
bool wal_slot_make_anew(struct wal_slot *slot, struct error *error);
/* Made so that there is a slot; a loss is noted for repair, and looked at. */
bool wal_slot_mend(struct wal_slot *slot, struct error *error);
/* The log tells no more: with the slot, which may be gone already, goes what the database keeps for it. */
bool wal_slot_note_left(struct wal_slot *slot, struct error *error);
bool wal_slot_leave(struct wal_slot *slot, struct error *error);
