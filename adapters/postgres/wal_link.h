#pragma once
/* A replication connection: what START_REPLICATION sends, frame by frame, and the answers that the server wants. For one thread at a time. */
#include <libpq-fe.h>
#include <stdint.h>

#include "bridge/base/error.h"
#include "bridge/base/text.h"
#include "bridge/control/config.h"

struct wal_link {
    PGconn *connection;
    char *frame; /* the latest, libpq's */
};

enum wal_frame_kind {
    WAL_FRAME_NONE, /* nothing has come */
    WAL_FRAME_DATA,
    WAL_FRAME_KEEPALIVE,
};

struct wal_frame {
    enum wal_frame_kind kind;
    uint64_t lsn;      /* keepalive: everything before it has been sent */
    bool reply;        /* keepalive: the server wants to hear of us now */
    struct text bytes; /* data: a message of the output plugin, valid until the next call */
};

/* Values come as text, under the settings that every session has (session.h). */
bool wal_link_open(struct wal_link *link, const struct config *config, struct error *error);

/* Streams what was committed after lsn, from the slot and publication of this name. Code SOURCE_IN_USE: somebody else reads it. */
bool wal_link_start(struct wal_link *link, const char *name, uint64_t lsn, struct error *error);

/* What is there, without waiting; FAULT_CONNECTION when the stream has ended. */
bool wal_link_read(struct wal_link *link, struct wal_frame *frame, struct error *error);

/* Waits until there is something to read, wake is readable, or the time is over. */
bool wal_link_wait(struct wal_link *link, int wake, int wait_ms, struct error *error);

/* Tells the server how far we are (pg_stat_replication shows it as write_lsn), and that everything before flushed may be forgotten. */
bool wal_link_answer(struct wal_link *link, uint64_t written, uint64_t flushed, struct error *error);

void wal_link_close(struct wal_link *link);
