#pragma once
/* One connection to RabbitMQ with one channel: more channels on one connection lose frames in rabbitmq-c. It is used by
 * one thread; only mq_session_abort and the atomic `blocked` are for others.
 *
 * Frames are read one by one here and nowhere else, so that what may arrive at any time (connection.blocked, a close, a
 * heartbeat) is handled in one place. After any failure the session is closed; only a refusal that the broker answers
 * by closing the channel leaves the connection, see mq_session_reply. The password is never printed. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bridge/base/error.h"
#include "bridge/base/text.h"
#include "bridge/control/config.h"

enum {
    MQ_CHANNEL = 1,
    MQ_FRAME_BYTES = 128 << 10,    /* RabbitMQ's default: the most it grants */
    MQ_CONNECT_TIMEOUT_MS = 10000, /* TCP, TLS and login, each */
    MQ_RPC_TIMEOUT_MS = 30000,     /* a request and its answer: a quorum queue may be electing its leader */
    MQ_CLOSE_TIMEOUT_MS = 3000,
    MQ_HEARTBEAT_S = 30, /* when the config says none: without heartbeats a dead link is never noticed */
};

struct amqp_connection_state_t_;
struct amqp_frame_t_;

struct mq_session {
    struct amqp_connection_state_t_ *connection; /* NULL when closed */
    bool channel_open;
    char where[320]; /* host:port, vhost and user, for error texts */
    /* Why the broker does not read what this connection publishes; NULL when it does. */
    _Atomic(const char *) blocked;
    atomic_bool aborted;
    pthread_mutex_t lock; /* guards descriptor */
    int descriptor;       /* a duplicate of the socket's: rabbitmq-c may close its own at any time; -1 when closed */
};

void mq_session_init(struct mq_session *session);
void mq_session_free(struct mq_session *session);

/* Connects, logs in as `name` ("pgbridge commerce outbound", shown by the broker's tools) and opens the channel. */
bool mq_session_open(struct mq_session *session, const struct broker_config *broker, const char *name,
                     struct error *error);
static inline bool mq_session_is_open(const struct mq_session *session)
{
    return session->connection != NULL;
}

/* Says goodbye when the connection is in order, at most MQ_CLOSE_TIMEOUT_MS long; allowed at any time. */
void mq_session_close(struct mq_session *session);

/* From any thread: cuts the connection, so that a call that is blocked in it fails at once with FAULT_CONNECTION. Does
 * nothing when the session is closed; an attempt to connect ends by its own timeouts. */
void mq_session_abort(struct mq_session *session);

/* From any thread: bytes given to the socket that the broker's host has not taken yet; -1 when the session is closed. */
int mq_session_unsent(struct mq_session *session);

/* Waits at most wait_ms for a frame that concerns the caller; *found tells whether there is one. The frame and what it
 * points to are valid until the next call. Answers heartbeats, so it is to be called at least once per heartbeat
 * interval. A close by the broker is a failure; the session is closed then. */
bool mq_session_frame(struct mq_session *session, int wait_ms, struct amqp_frame_t_ *frame, bool *found,
                      struct error *error);

/* The outcome of the request made last. When the broker refused it by closing the channel, mq_session_channel opens it
 * again; after any other failure the session is closed. doing: "cannot declare queue x". */
bool mq_session_reply(struct mq_session *session, const char *doing, struct error *error);
bool mq_session_channel(struct mq_session *session, struct error *error);

/* Fills error for a library status below zero and closes the session. Returns false. */
bool mq_session_fail(struct mq_session *session, const char *doing, int status, struct error *error);
/* The same for a call on a session that is not open. */
bool mq_session_not_open(const struct mq_session *session, struct error *error);

/* Monotonic milliseconds, for deadlines, and what is left until one (never below 0). */
int64_t mq_now_ms(void);
int mq_left_ms(int64_t deadline_ms);
