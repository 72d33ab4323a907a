#include "adapters/rabbitmq/session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "adapters/rabbitmq/compat.h"
#include "adapters/rabbitmq/fault.h"

int64_t mq_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int mq_left_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - mq_now_ms();
    return left > 0 ? (int)left : 0;
}

static struct timeval milliseconds(int ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

void mq_session_init(struct mq_session *session)
{
    *session = (struct mq_session){.descriptor = -1};
    pthread_mutex_init(&session->lock, NULL);
}

void mq_session_free(struct mq_session *session)
{
    mq_session_close(session);
    pthread_mutex_destroy(&session->lock);
}

/* ---- closing ----------------------------------------------------------------------------------------------------- */

static void drop(struct mq_session *session)
{
    pthread_mutex_lock(&session->lock);
    if (session->descriptor >= 0)
        close(session->descriptor);
    session->descriptor = -1;
    pthread_mutex_unlock(&session->lock);
    if (session->connection != NULL)
        amqp_destroy_connection(session->connection);
    session->connection = NULL;
    session->channel_open = false;
    atomic_store(&session->blocked, NULL);
}

void mq_session_close(struct mq_session *session)
{
    /* A blocked connection is not read by the broker: no goodbye would be answered. Waiting for the answer matters: it
     * shows that the acknowledgements sent before have arrived. */
    if (session->connection != NULL && atomic_load(&session->blocked) == NULL && !atomic_load(&session->aborted)) {
        struct timeval timeout = milliseconds(MQ_CLOSE_TIMEOUT_MS);
        amqp_set_rpc_timeout(session->connection, &timeout);
        amqp_connection_close(session->connection, AMQP_REPLY_SUCCESS);
    }
    drop(session);
}

void mq_session_abort(struct mq_session *session)
{
    pthread_mutex_lock(&session->lock);
    if (session->descriptor >= 0) {
        atomic_store(&session->aborted, true);
        shutdown(session->descriptor, SHUT_RDWR);
    }
    pthread_mutex_unlock(&session->lock);
}

int mq_session_unsent(struct mq_session *session)
{
    int unsent = -1;
    pthread_mutex_lock(&session->lock);
    if (session->descriptor >= 0 && ioctl(session->descriptor, SIOCOUTQ, &unsent) != 0)
        unsent = -1;
    pthread_mutex_unlock(&session->lock);
    return unsent;
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static bool fail(struct mq_session *session, const char *doing, int code, const char *said, struct error *error)
{
    char where[512];
    snprintf(where, sizeof where, "%.160s (%s)", doing, session->where);
    mq_fault_set(error, where, code, said);
    if (atomic_load(&session->aborted))
        error_set(error, FAULT_CONNECTION, NULL, "%s: the connection was cut on purpose", where);
    return false;
}

bool mq_session_fail(struct mq_session *session, const char *doing, int status, struct error *error)
{
    /* OpenSSL's queue says why a TLS connection broke, the system's error number why any other did. */
    char said[256] = "";
    unsigned long tls = ERR_peek_last_error();
    if (status <= AMQP_STATUS_SSL_ERROR && tls != 0 && ERR_reason_error_string(tls) != NULL)
        snprintf(said, sizeof said, "%s", ERR_reason_error_string(tls));
    ERR_clear_error();
    fail(session, doing, status, said, error);
    drop(session);
    return false;
}

bool mq_session_not_open(const struct mq_session *session, struct error *error)
{
    return error_set(error, FAULT_CONNECTION, NULL, "not connected to RabbitMQ (%s)",
                     session->where[0] != '\0' ? session->where : "never opened");
}

static void copy_bytes(char *out, size_t out_bytes, amqp_bytes_t bytes)
{
    snprintf(out, out_bytes, "%.*s", (int)bytes.len, bytes.len > 0 ? (const char *)bytes.bytes : "");
}

/* The broker closes channel or connection. */
static bool fail_closed(struct mq_session *session, const char *doing, const amqp_method_t *method, struct error *error)
{
    char said[256] = "";
    if (method->id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *closed = method->decoded;
        copy_bytes(said, sizeof said, closed->reply_text);
        fail(session, doing, closed->reply_code, said, error);
        amqp_channel_close_ok_t ok = {0};
        session->channel_open = false;
        if (amqp_send_method(session->connection, MQ_CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok) < 0)
            drop(session);
        return false;
    }
    if (method->id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *closed = method->decoded;
        copy_bytes(said, sizeof said, closed->reply_text);
        fail(session, doing, closed->reply_code, said, error);
        amqp_connection_close_ok_t ok = {0};
        amqp_send_method(session->connection, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
        drop(session);
        return false;
    }
    return mq_session_fail(session, doing, AMQP_STATUS_WRONG_METHOD, error);
}

static bool check_reply(struct mq_session *session, const char *doing, const amqp_rpc_reply_t *reply,
                        struct error *error)
{
    switch (reply->reply_type) {
    case AMQP_RESPONSE_NORMAL:
        return true;
    case AMQP_RESPONSE_SERVER_EXCEPTION:
        return fail_closed(session, doing, &reply->reply, error);
    case AMQP_RESPONSE_LIBRARY_EXCEPTION:
        return mq_session_fail(session, doing, reply->library_error, error);
    case AMQP_RESPONSE_NONE:
        break;
    }
    return mq_session_fail(session, doing, AMQP_STATUS_CONNECTION_CLOSED, error);
}

bool mq_session_reply(struct mq_session *session, const char *doing, struct error *error)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(session->connection);
    return check_reply(session, doing, &reply, error);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Why verification failed in this thread's handshake: the library reports a failed handshake only. */
static _Thread_local int verify_failure;

static int note_verify_failure(int fine, X509_STORE_CTX *context)
{
    if (!fine)
        verify_failure = X509_STORE_CTX_get_error(context);
    return fine;
}

static bool is_address(const char *host)
{
    return strchr(host, ':') != NULL || strspn(host, "0123456789.") == strlen(host);
}

/* A TLS socket that verifies chain and host name during the handshake: the library would verify afterwards, cannot
 * match IP addresses, and would take TLS 1.0. */
static bool make_tls_socket(struct mq_session *session, const struct broker_config *broker, amqp_socket_t **out,
                            struct error *error)
{
    if (broker->ca_file == NULL) {
        error_set(error, FAULT_OPERATOR, NULL, "cannot use TLS without broker.ca_file (%s)", session->where);
        return error_hint(error, "Name the file with the certificate of the authority that signed the broker's.");
    }
    amqp_socket_t *socket = amqp_ssl_socket_new(session->connection);
    SSL_CTX *context = socket != NULL ? amqp_ssl_socket_get_context(socket) : NULL;
    if (context == NULL)
        return error_set(error, FAULT_BUG, NULL, "cannot make a TLS socket (%s)", session->where);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, note_verify_failure);
    X509_VERIFY_PARAM *wanted = SSL_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    int named = is_address(broker->host) ? X509_VERIFY_PARAM_set1_ip_asc(wanted, broker->host)
                                         : X509_VERIFY_PARAM_set1_host(wanted, broker->host, 0);
    if (named != 1)
        return error_set(error, FAULT_OPERATOR, NULL, "broker.url: not a host name or address: \"%s\"", broker->host);
    amqp_ssl_socket_set_verify_peer(socket, 1);
    amqp_ssl_socket_set_verify_hostname(socket, 0);
    if (amqp_ssl_socket_set_cacert(socket, broker->ca_file) != AMQP_STATUS_OK) {
        ERR_clear_error();
        error_set(error, FAULT_OPERATOR, NULL, "cannot read a certificate from broker.ca_file \"%s\"", broker->ca_file);
        return error_hint(error, "It must be a PEM file that this user may read.");
    }
    if (broker->cert_file != NULL &&
        amqp_ssl_socket_set_key(socket, broker->cert_file,
                                broker->key_file != NULL ? broker->key_file : broker->cert_file) != AMQP_STATUS_OK) {
        ERR_clear_error();
        error_set(error, FAULT_OPERATOR, NULL, "cannot use broker.cert_file \"%s\" with its key", broker->cert_file);
        return error_hint(error, "Both must be PEM files that this user may read, the key without a passphrase.");
    }
    *out = socket;
    return true;
}

/* A dead link must be noticed by whoever sends as well: heartbeats alone watch only the receiving side. */
static void tune_socket(int descriptor, int heartbeat_s)
{
    int on = 1, probes = 3;
    int interval_s = heartbeat_s / 3 > 0 ? heartbeat_s / 3 : 1;
    unsigned int unanswered_ms = (unsigned int)heartbeat_s * 2000;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &heartbeat_s, sizeof heartbeat_s);
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof unanswered_ms);
}

static amqp_table_entry_t text_entry(const char *key, const char *value)
{
    return (amqp_table_entry_t){
        .key = amqp_cstring_bytes(key),
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = amqp_cstring_bytes(value)}},
    };
}

static amqp_table_entry_t true_entry(const char *key)
{
    return (amqp_table_entry_t){
        .key = amqp_cstring_bytes(key),
        .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}},
    };
}

static bool log_in(struct mq_session *session, const struct broker_config *broker, const char *name, int heartbeat_s,
                   struct error *error)
{
    /* Without these a deleted queue leaves its consumer waiting for ever, and an alarm goes unseen. */
    amqp_table_entry_t capabilities[] = {
        true_entry("consumer_cancel_notify"),
        true_entry("connection.blocked"),
        true_entry("basic.nack"),
        true_entry("publisher_confirms"),
    };
    amqp_table_entry_t properties[] = {
        text_entry("product", "pgbridge"),
        text_entry("version", PGBRIDGE_VERSION),
        text_entry("connection_name", name),
        {.key = amqp_cstring_bytes("capabilities"),
         .value = {.kind = AMQP_FIELD_KIND_TABLE,
                   .value = {.table = {.num_entries = sizeof capabilities / sizeof *capabilities,
                                       .entries = capabilities}}}},
    };
    amqp_table_t table = {.num_entries = sizeof properties / sizeof *properties, .entries = properties};
    amqp_rpc_reply_t reply = amqp_login_with_properties(session->connection, broker->vhost, MQ_CHANNEL, MQ_FRAME_BYTES,
                                                        heartbeat_s, &table, AMQP_SASL_METHOD_PLAIN, broker->user,
                                                        broker->password != NULL ? broker->password : "");
    return check_reply(session, "cannot log in", &reply, error);
}

bool mq_session_channel(struct mq_session *session, struct error *error)
{
    if (!mq_session_is_open(session))
        return mq_session_not_open(session, error);
    if (session->channel_open)
        return true;
    amqp_channel_open(session->connection, MQ_CHANNEL);
    session->channel_open = mq_session_reply(session, "cannot open a channel", error);
    return session->channel_open;
}

static bool connect_socket(struct mq_session *session, const struct broker_config *broker, struct error *error)
{
    amqp_socket_t *socket = NULL;
    if (broker->tls && !make_tls_socket(session, broker, &socket, error)) {
        drop(session);
        return false;
    }
    if (!broker->tls)
        socket = amqp_tcp_socket_new(session->connection);
    if (socket == NULL)
        return mq_session_fail(session, "cannot make a socket", AMQP_STATUS_NO_MEMORY, error);
    struct timeval timeout = milliseconds(MQ_CONNECT_TIMEOUT_MS);
    ERR_clear_error();
    verify_failure = X509_V_OK;
    errno = 0;
    int status = amqp_socket_open_noblock(socket, broker->host, broker->port, &timeout);
    if (status == AMQP_STATUS_OK)
        return true;
    if (broker->tls && verify_failure != X509_V_OK) {
        bool name = verify_failure == X509_V_ERR_HOSTNAME_MISMATCH || verify_failure == X509_V_ERR_IP_ADDRESS_MISMATCH;
        ERR_clear_error();
        fail(session, "cannot connect",
             name ? AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED : AMQP_STATUS_SSL_PEER_VERIFY_FAILED,
             X509_verify_cert_error_string(verify_failure), error);
        drop(session);
        return false;
    }
    return mq_session_fail(session, "cannot connect", status, error);
}

bool mq_session_open(struct mq_session *session, const struct broker_config *broker, const char *name,
                     struct error *error)
{
    mq_session_close(session);
    atomic_store(&session->aborted, false);
    snprintf(session->where, sizeof session->where, "RabbitMQ %.120s:%d, vhost \"%.80s\", user \"%.80s\"%s",
             broker->host, broker->port, broker->vhost, broker->user, broker->tls ? ", TLS" : "");
    session->connection = amqp_new_connection();
    if (session->connection == NULL)
        return mq_session_fail(session, "cannot connect", AMQP_STATUS_NO_MEMORY, error);
    struct timeval connect_timeout = milliseconds(MQ_CONNECT_TIMEOUT_MS);
    struct timeval rpc_timeout = milliseconds(MQ_RPC_TIMEOUT_MS);
    amqp_set_handshake_timeout(session->connection, &connect_timeout);
    amqp_set_rpc_timeout(session->connection, &rpc_timeout);
    if (!connect_socket(session, broker, error))
        return false;

    int heartbeat_s = broker->heartbeat_s > 0 ? broker->heartbeat_s : MQ_HEARTBEAT_S;
    int descriptor = amqp_get_sockfd(session->connection);
    tune_socket(descriptor, heartbeat_s);
    pthread_mutex_lock(&session->lock);
    session->descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    pthread_mutex_unlock(&session->lock);
    if (session->descriptor < 0) {
        error_set(error, FAULT_CONNECTION, NULL, "cannot connect (%s): %s", session->where, strerror(errno));
        drop(session);
        return false;
    }
    if (!log_in(session, broker, name, heartbeat_s, error))
        return false;
    if (!mq_session_channel(session, error)) {
        drop(session);
        return false;
    }
    return true;
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

/* A text that lives for ever, so that other threads may read it without a lock. */
static const char *blocked_reason(amqp_bytes_t said)
{
    static const char *const known[] = {"low on memory & disk", "low on memory", "low on disk"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (said.len == strlen(known[i]) && memcmp(said.bytes, known[i], said.len) == 0)
            return known[i];
    }
    return "an alarm of the broker";
}

/* Handles what concerns the connection as a whole. *mine: it did. */
static bool handle_control(struct mq_session *session, const amqp_frame_t *frame, bool *mine, struct error *error)
{
    *mine = false;
    if (frame->frame_type != AMQP_FRAME_METHOD)
        return true;
    const amqp_method_t *method = &frame->payload.method;
    if (method->id == AMQP_CONNECTION_BLOCKED_METHOD) {
        const amqp_connection_blocked_t *blocked = method->decoded;
        atomic_store(&session->blocked, blocked_reason(blocked->reason));
        *mine = true;
    } else if (method->id == AMQP_CONNECTION_UNBLOCKED_METHOD) {
        atomic_store(&session->blocked, NULL);
        *mine = true;
    } else if (method->id == AMQP_CHANNEL_CLOSE_METHOD) {
        fail_closed(session, "the broker closed the channel", method, error);
        mq_session_close(session);
        return false;
    } else if (method->id == AMQP_CONNECTION_CLOSE_METHOD) {
        return fail_closed(session, "the broker closed the connection", method, error);
    }
    return true;
}

bool mq_session_frame(struct mq_session *session, int wait_ms, struct amqp_frame_t_ *frame, bool *found,
                      struct error *error)
{
    if (!mq_session_is_open(session))
        return mq_session_not_open(session, error);
    int64_t deadline_ms = wait_ms > 0 ? mq_now_ms() + wait_ms : 0;
    bool mine = false;
    int left_ms = wait_ms;
    do {
        /* Pools never shrink by themselves; this keeps what a queued or half-read frame still needs. */
        amqp_maybe_release_buffers_on_channel(session->connection, 0);
        amqp_maybe_release_buffers_on_channel(session->connection, MQ_CHANNEL);
        struct timeval timeout = milliseconds(left_ms);
        int status = amqp_simple_wait_frame_noblock(session->connection, frame, &timeout);
        if (status == AMQP_STATUS_TIMEOUT) {
            *found = false;
            return true;
        }
        if (status != AMQP_STATUS_OK)
            return mq_session_fail(session, "lost the connection", status, error);
        if (!handle_control(session, frame, &mine, error))
            return false;
        left_ms = wait_ms > 0 ? mq_left_ms(deadline_ms) : 0;
    } while (mine);
    *found = true;
    return true;
}
