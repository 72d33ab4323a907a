#pragma once
/* A broker that says exactly what a test wants, on a loopback port: the AMQP 0-9-1 frames of login, then the test's own
 * script, in a thread. The script calls broker_* in the order of the conversation; broker_wait and test_go let the test
 * decide when it goes on. What does not fit the conversation ends the test program. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bridge/control/config.h"

enum { METHOD = 1, HEADER = 2, BODY = 3, HEARTBEAT = 8, FRAME_MAX = 131072 };

/* class << 16 | method */
enum {
    CONNECTION_START = 10 << 16 | 10,
    CONNECTION_START_OK = 10 << 16 | 11,
    CONNECTION_TUNE = 10 << 16 | 30,
    CONNECTION_TUNE_OK = 10 << 16 | 31,
    CONNECTION_OPEN = 10 << 16 | 40,
    CONNECTION_OPEN_OK = 10 << 16 | 41,
    CONNECTION_CLOSE = 10 << 16 | 50,
    CONNECTION_CLOSE_OK = 10 << 16 | 51,
    CONNECTION_BLOCKED = 10 << 16 | 60,
    CONNECTION_UNBLOCKED = 10 << 16 | 61,
    CHANNEL_OPEN = 20 << 16 | 10,
    CHANNEL_OPEN_OK = 20 << 16 | 11,
    QUEUE_DECLARE = 50 << 16 | 10,
    QUEUE_DECLARE_OK = 50 << 16 | 11,
    BASIC_QOS = 60 << 16 | 10,
    BASIC_QOS_OK = 60 << 16 | 11,
    BASIC_CONSUME = 60 << 16 | 20,
    BASIC_CONSUME_OK = 60 << 16 | 21,
    BASIC_CANCEL = 60 << 16 | 30,
    BASIC_PUBLISH = 60 << 16 | 40,
    BASIC_RETURN = 60 << 16 | 50,
    BASIC_DELIVER = 60 << 16 | 60,
    BASIC_ACK = 60 << 16 | 80,
    BASIC_NACK = 60 << 16 | 120,
    CONFIRM_SELECT = 85 << 16 | 10,
    CONFIRM_SELECT_OK = 85 << 16 | 11,
};

/* Bytes of a frame under construction, or of one that came. */
struct wire {
    size_t length;
    unsigned char bytes[FRAME_MAX];
};

struct broker {
    int listener, socket, port;
    int heartbeat_s;
    void (*script)(struct broker *);
    pthread_t thread;
    sem_t go;
    struct wire out, in;
    struct config config; /* a node's, that leads here */
    char *peer;
};

static inline void broker_need(bool fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "fake broker: %s\n", what);
        abort();
    }
}

/* ---- frames out ---------------------------------------------------------------------------------------------------
 */

static inline void put(struct broker *b, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        b->out.bytes[b->out.length++] = (unsigned char)(number >> (8 * (bytes - 1 - i)));
}

static inline void put_bytes(struct broker *b, const void *data, size_t bytes)
{
    broker_need(b->out.length + bytes <= sizeof b->out.bytes, "frame too long");
    memcpy(b->out.bytes + b->out.length, data, bytes);
    b->out.length += bytes;
}

static inline void put_short_text(struct broker *b, const char *text)
{
    put(b, strlen(text), 1);
    put_bytes(b, text, strlen(text));
}

static inline void put_long_text(struct broker *b, const char *text)
{
    put(b, strlen(text), 4);
    put_bytes(b, text, strlen(text));
}

static inline void begin_method(struct broker *b, uint32_t method)
{
    b->out.length = 0;
    put(b, method, 4);
}

static inline void broker_send_bytes(struct broker *b, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    while (bytes > 0) {
        ssize_t sent = send(b->socket, at, bytes, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* the test closed the connection */
        at += sent;
        bytes -= (size_t)sent;
    }
}

static inline void send_frame(struct broker *b, int type, int channel)
{
    size_t length = b->out.length;
    unsigned char head[7] = {(unsigned char)type,           (unsigned char)(channel >> 8), (unsigned char)channel,
                             (unsigned char)(length >> 24), (unsigned char)(length >> 16), (unsigned char)(length >> 8),
                             (unsigned char)length};
    unsigned char end = 206;
    broker_send_bytes(b, head, sizeof head);
    broker_send_bytes(b, b->out.bytes, length);
    broker_send_bytes(b, &end, 1);
}

static inline void send_empty_method(struct broker *b, uint32_t method, int channel)
{
    begin_method(b, method);
    send_frame(b, METHOD, channel);
}

static inline void send_ack(struct broker *b, uint32_t method, uint64_t tag, bool multiple)
{
    begin_method(b, method);
    put(b, tag, 8);
    put(b, multiple, 1);
    send_frame(b, METHOD, 1);
}

static inline void send_connection_close(struct broker *b, unsigned code, const char *text)
{
    begin_method(b, CONNECTION_CLOSE);
    put(b, code, 2);
    put_short_text(b, text);
    put(b, 0, 4);
    send_frame(b, METHOD, 0);
}

static inline void send_deliver(struct broker *b, uint64_t tag)
{
    begin_method(b, BASIC_DELIVER);
    put_short_text(b, "tag");
    put(b, tag, 8);
    put(b, 0, 1);
    put_short_text(b, "bridge.sync");
    put_short_text(b, "beta.customer.updated");
    send_frame(b, METHOD, 1);
}

/* A content header without properties. */
static inline void send_plain_header(struct broker *b, uint64_t body_bytes)
{
    b->out.length = 0;
    put(b, 60, 2);
    put(b, 0, 2);
    put(b, body_bytes, 8);
    put(b, 0, 2);
    send_frame(b, HEADER, 1);
}

static inline void send_body(struct broker *b, const char *text)
{
    b->out.length = 0;
    put_bytes(b, text, strlen(text));
    send_frame(b, BODY, 1);
}

/* ---- frames in ----------------------------------------------------------------------------------------------------
 */

static inline bool read_bytes(struct broker *b, void *data, size_t bytes)
{
    unsigned char *at = data;
    while (bytes > 0) {
        ssize_t got = recv(b->socket, at, bytes, 0);
        if (got <= 0)
            return false;
        at += got;
        bytes -= (size_t)got;
    }
    return true;
}

static inline uint64_t number_at(const struct broker *b, size_t at, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | b->in.bytes[at + i];
    return number;
}

/* The next frame that is no heartbeat: its type; 0 at the end of the connection. */
static inline int read_frame(struct broker *b)
{
    for (;;) {
        unsigned char head[7], end;
        if (!read_bytes(b, head, sizeof head))
            return 0;
        b->in.length = (size_t)head[3] << 24 | (size_t)head[4] << 16 | (size_t)head[5] << 8 | head[6];
        broker_need(b->in.length <= sizeof b->in.bytes, "frame too long");
        if (!read_bytes(b, b->in.bytes, b->in.length) || !read_bytes(b, &end, 1))
            return 0;
        broker_need(end == 206, "no frame end");
        if (head[0] != HEARTBEAT)
            return head[0];
    }
}

static inline void expect_method(struct broker *b, uint32_t method)
{
    broker_need(read_frame(b) == METHOD && number_at(b, 0, 4) == method, "unexpected method");
}

/* One published message; the length of its body. */
static inline uint64_t expect_publish(struct broker *b)
{
    expect_method(b, BASIC_PUBLISH);
    broker_need(read_frame(b) == HEADER, "content header expected");
    uint64_t bytes = number_at(b, 4, 8), got = 0;
    while (got < bytes) {
        broker_need(read_frame(b) == BODY, "body expected");
        got += b->in.length;
    }
    broker_need(got == bytes, "too much body");
    return bytes;
}

/* True when nothing but heartbeats came within that time. */
static inline bool is_silent(struct broker *b, int wait_ms)
{
    struct pollfd descriptor = {.fd = b->socket, .events = POLLIN};
    while (poll(&descriptor, 1, wait_ms) > 0) {
        unsigned char head[8];
        if (!read_bytes(b, head, sizeof head) || head[0] != HEARTBEAT)
            return false;
    }
    return true;
}

/* ---- conversations ------------------------------------------------------------------------------------------------
 */

static inline void broker_wait(struct broker *b)
{
    while (sem_wait(&b->go) != 0)
        continue;
}

static inline void test_go(struct broker *b)
{
    sem_post(&b->go);
}

static inline void broker_log_in(struct broker *b)
{
    unsigned char protocol[8];
    broker_need(read_bytes(b, protocol, sizeof protocol) && memcmp(protocol, "AMQP", 4) == 0, "no protocol header");
    begin_method(b, CONNECTION_START);
    put(b, 9, 2);
    put(b, 0, 4);
    put_long_text(b, "PLAIN");
    put_long_text(b, "en_US");
    send_frame(b, METHOD, 0);
    expect_method(b, CONNECTION_START_OK);
    begin_method(b, CONNECTION_TUNE);
    put(b, 2047, 2);
    put(b, FRAME_MAX, 4);
    put(b, (uint64_t)b->heartbeat_s, 2);
    send_frame(b, METHOD, 0);
    expect_method(b, CONNECTION_TUNE_OK);
    expect_method(b, CONNECTION_OPEN);
    begin_method(b, CONNECTION_OPEN_OK);
    put_short_text(b, "");
    send_frame(b, METHOD, 0);
    expect_method(b, CHANNEL_OPEN);
    begin_method(b, CHANNEL_OPEN_OK);
    put(b, 0, 4);
    send_frame(b, METHOD, 1);
}

static inline void broker_confirm_select(struct broker *b)
{
    broker_log_in(b);
    expect_method(b, CONFIRM_SELECT);
    send_empty_method(b, CONFIRM_SELECT_OK, 1);
}

static inline void broker_consume(struct broker *b)
{
    broker_log_in(b);
    expect_method(b, BASIC_QOS);
    send_empty_method(b, BASIC_QOS_OK, 1);
    expect_method(b, BASIC_CONSUME);
    begin_method(b, BASIC_CONSUME_OK);
    put_short_text(b, "tag");
    send_frame(b, METHOD, 1);
}

/* Reads until the client says goodbye or goes. */
static inline void broker_until_close(struct broker *b)
{
    int type;
    while ((type = read_frame(b)) != 0) {
        if (type == METHOD && number_at(b, 0, 4) == CONNECTION_CLOSE)
            send_empty_method(b, CONNECTION_CLOSE_OK, 0);
    }
}

static inline void *broker_run(void *argument)
{
    struct broker *b = argument;
    b->socket = accept(b->listener, NULL, NULL);
    broker_need(b->socket >= 0, "no connection");
    int on = 1;
    setsockopt(b->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    b->script(b);
    close(b->socket);
    return NULL;
}

static inline struct broker *broker_start(void (*script)(struct broker *))
{
    struct broker *b = calloc(1, sizeof *b);
    broker_need(b != NULL, "no memory");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    b->listener = socket(AF_INET, SOCK_STREAM, 0);
    broker_need(bind(b->listener, (struct sockaddr *)&address, length) == 0 && listen(b->listener, 1) == 0 &&
                    getsockname(b->listener, (struct sockaddr *)&address, &length) == 0,
                "no port");
    b->script = script;
    b->heartbeat_s = 30;
    sem_init(&b->go, 0, 0);
    static char host[] = "127.0.0.1", user[] = "user", password[] = "password", vhost[] = "/", node[] = "alpha";
    static char exchange[] = "bridge.sync", queue[] = "bridge.sync.alpha";
    static char dead_exchange[] = "bridge.dead", dead_queue[] = "bridge.dead.alpha";
    static char peer[] = "beta";
    b->peer = peer;
    b->config = (struct config){
        .node = node,
        .peer_count = 1,
        .peers = &b->peer,
        .broker = {.host = host,
                   .port = ntohs(address.sin_port),
                   .user = user,
                   .password = password,
                   .vhost = vhost,
                   .exchange = exchange,
                   .queue = queue,
                   .dead_exchange = dead_exchange,
                   .dead_queue = dead_queue,
                   .heartbeat_s = 30},
    };
    broker_need(pthread_create(&b->thread, NULL, broker_run, b) == 0, "no thread");
    return b;
}

static inline void broker_end(struct broker *b)
{
    pthread_join(b->thread, NULL);
    close(b->listener);
    sem_destroy(&b->go);
    free(b);
}
