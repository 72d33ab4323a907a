/* A TCP proxy for tests: stands between two programs and spoils their link on demand.
 *
 *     tcp_proxy LISTEN_PORT TARGET_HOST TARGET_PORT CONTROL
 *
 * Listens on 127.0.0.1 alone and prints "listening PORT"; port 0 picks a free one. CONTROL is a FIFO, made when it is
 * not there. Each line written to it is a command, printed once it is in force, so that a script can wait for it:
 *
 *     cut        resets every connection and refuses new ones; what was on its way is gone
 *     drop       resets every connection once, and takes new ones
 *     tear N     resets every connection once, after so many bytes more have gone through: in the midst of something
 *     flap MS    drops again and again, after so many milliseconds each
 *     freeze     forwards nothing, not even an end: a half-open link. New connections seem to be made
 *     mute       forwards nothing from the client to the server; deaf: nothing from the server to the client
 *     delay MS   forwards everything so much later
 *     rate N     forwards so many bytes a second, per connection and direction; 0: as fast as it can
 *     heal       undoes all of these; what a freeze held back goes on
 *
 * Single-threaded; it holds at most QUEUE_BYTES per direction and then reads no more, as a real link would. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINKS_MAX = 64, CHUNK_BYTES = 16 << 10, QUEUE_BYTES = 256 << 10, SLICE_MS = 20, COMMAND_BYTES = 128 };

struct chunk {
    struct chunk *next;
    int64_t read_ms;
    size_t sent, length;
    char bytes[CHUNK_BYTES];
};

/* One direction of a link. */
struct stream {
    int from, to;
    struct chunk *first, **last;
    size_t queued;
    bool up;         /* from the client to the server */
    int64_t open_ms; /* by the rate, nothing goes before */
    bool ended;      /* the sender has said all */
    bool closed;     /* and the receiver knows */
};

struct link {
    bool used, connecting;
    int client, server;
    struct stream up, down;
};

enum state { LINK_OPEN, LINK_FROZEN, LINK_CUT };

static struct {
    enum state state;
    int64_t delay_ms, rate;
    int64_t tear_bytes; /* 0: none */
    int64_t flap_ms, flapped_ms;
    bool mute, deaf, torn;
    int listener, control;
    struct sockaddr_in address;
    struct addrinfo *target;
    struct link links[LINKS_MAX];
} proxy;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void die(const char *what)
{
    fprintf(stderr, "tcp_proxy: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* The port is bound, and listened to only after a listen(). */
static void listener_renew(void)
{
    int on = 1;
    socklen_t size = sizeof proxy.address;
    struct sockaddr *address = (struct sockaddr *)&proxy.address;
    if (proxy.listener > 0)
        close(proxy.listener);
    proxy.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(proxy.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(proxy.listener, address, size) != 0 || getsockname(proxy.listener, address, &size) != 0)
        die("bind");
}

/* ---- links ---- */

static void stream_init(struct stream *stream, int from, int to, bool up)
{
    *stream = (struct stream){.from = from, .to = to, .up = up};
    stream->last = &stream->first;
}

static void drop_first(struct stream *stream)
{
    struct chunk *chunk = stream->first;
    stream->first = chunk->next;
    if (stream->first == NULL)
        stream->last = &stream->first;
    free(chunk);
}

static void link_close(struct link *link, bool reset)
{
    struct linger at_once = {.l_onoff = 1};
    int ends[] = {link->client, link->server};
    for (size_t i = 0; i < 2; i++) {
        if (reset)
            setsockopt(ends[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(ends[i]);
    }
    while (link->up.first != NULL)
        drop_first(&link->up);
    while (link->down.first != NULL)
        drop_first(&link->down);
    link->used = false;
}

static struct link *free_link(void)
{
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (!proxy.links[i].used)
            return &proxy.links[i];
    return NULL;
}

static void link_accept(struct link *link)
{
    int on = 1;
    int client = accept4(proxy.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0)
        return;
    int server = socket(proxy.target->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server < 0)
        die("socket");
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *link = (struct link){.used = true, .connecting = true, .client = client, .server = server};
    stream_init(&link->up, client, server, true);
    stream_init(&link->down, server, client, false);
    if (connect(server, proxy.target->ai_addr, proxy.target->ai_addrlen) != 0 && errno != EINPROGRESS)
        link_close(link, true);
}

/* False when the link is broken. */
static bool link_connected(struct link *link)
{
    int error = 0;
    socklen_t size = sizeof error;
    link->connecting = false;
    return getsockopt(link->server, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

/* ---- streams ---- */

static bool is_held(const struct stream *stream)
{
    return stream->up ? proxy.mute : proxy.deaf;
}

static bool wants_read(const struct stream *stream)
{
    return !is_held(stream) && !stream->ended && stream->queued < QUEUE_BYTES;
}

/* When the stream has something to forward; INT64_MAX: nothing. */
static int64_t due_ms(const struct stream *stream)
{
    if (is_held(stream))
        return INT64_MAX;
    if (stream->first == NULL)
        return stream->ended && !stream->closed ? 0 : INT64_MAX;
    int64_t due = stream->first->read_ms + proxy.delay_ms;
    return proxy.rate > 0 && stream->open_ms > due ? stream->open_ms : due;
}

static bool stream_read(struct stream *stream, int64_t now)
{
    struct chunk *chunk = malloc(sizeof *chunk);
    if (chunk == NULL)
        die("malloc");
    ssize_t length = recv(stream->from, chunk->bytes, sizeof chunk->bytes, 0);
    if (length <= 0) {
        free(chunk);
        stream->ended = length == 0;
        return length == 0 || errno == EAGAIN || errno == EINTR;
    }
    chunk->next = NULL;
    chunk->read_ms = now;
    chunk->sent = 0;
    chunk->length = (size_t)length;
    *stream->last = chunk;
    stream->last = &chunk->next;
    stream->queued += chunk->length;
    return true;
}

/* Forwards a piece, or the end. */
static bool stream_write(struct stream *stream, int64_t now)
{
    struct chunk *chunk = stream->first;
    if (chunk == NULL) {
        stream->closed = true;
        return shutdown(stream->to, SHUT_WR) == 0;
    }
    size_t length = chunk->length - chunk->sent;
    if (proxy.rate > 0) {
        size_t slice = (size_t)(proxy.rate * SLICE_MS / 1000 + 1);
        length = length < slice ? length : slice;
    }
    if (proxy.tear_bytes > 0 && length > (size_t)proxy.tear_bytes)
        length = (size_t)proxy.tear_bytes;
    ssize_t sent = send(stream->to, chunk->bytes + chunk->sent, length, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    if (proxy.rate > 0)
        stream->open_ms = now + (int64_t)sent * 1000 / proxy.rate;
    stream->queued -= (size_t)sent;
    chunk->sent += (size_t)sent;
    if (chunk->sent == chunk->length)
        drop_first(stream);
    if (proxy.tear_bytes > 0 && (proxy.tear_bytes -= sent) == 0)
        proxy.torn = true;
    return true;
}

/* ---- commands ---- */

static void reset_links(void)
{
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (proxy.links[i].used)
            link_close(&proxy.links[i], true);
}

static void command_run(const char *command)
{
    if (strcmp(command, "cut") == 0) {
        reset_links();
        /* Bound and not listening: refuses, and nobody else gets the port. */
        listener_renew();
        proxy.state = LINK_CUT;
    } else if (strcmp(command, "freeze") == 0 && proxy.state != LINK_CUT) {
        proxy.state = LINK_FROZEN;
    } else if (strcmp(command, "heal") == 0) {
        if (proxy.state == LINK_CUT && listen(proxy.listener, LINKS_MAX) != 0)
            die("listen");
        proxy.state = LINK_OPEN;
        proxy.delay_ms = proxy.rate = proxy.tear_bytes = proxy.flap_ms = 0;
        proxy.mute = proxy.deaf = false;
    } else if (strcmp(command, "drop") == 0) {
        reset_links();
    } else if (strcmp(command, "mute") == 0) {
        proxy.mute = true;
    } else if (strcmp(command, "deaf") == 0) {
        proxy.deaf = true;
    } else if (sscanf(command, "tear %" SCNd64, &proxy.tear_bytes) == 1) {
        proxy.torn = false;
    } else if (sscanf(command, "flap %" SCNd64, &proxy.flap_ms) == 1) {
        proxy.flapped_ms = now_ms();
    } else if (sscanf(command, "delay %" SCNd64, &proxy.delay_ms) != 1 &&
               sscanf(command, "rate %" SCNd64, &proxy.rate) != 1) {
        fprintf(stderr, "tcp_proxy: unknown or impossible now: %s\n", command);
        return;
    }
    printf("%s\n", command);
}

static void commands_read(void)
{
    static char line[COMMAND_BYTES];
    static size_t length;
    ssize_t got = read(proxy.control, line + length, sizeof line - 1 - length);
    if (got <= 0)
        return;
    length += (size_t)got;
    line[length] = '\0';
    for (char *end; (end = strchr(line, '\n')) != NULL;) {
        *end = '\0';
        command_run(line);
        length -= (size_t)(end + 1 - line);
        memmove(line, end + 1, length + 1);
    }
    if (length == sizeof line - 1)
        length = 0;
}

/* ---- the loop ---- */

/* What to wait for at an end of a link: to is the stream that flows to it. A descriptor with nothing to wait for is
 * left out: a hang-up would be reported for ever. */
static struct pollfd end_events(int end, const struct stream *from, const struct stream *to, int64_t now,
                                int64_t *wake_ms)
{
    struct pollfd wanted = {.fd = -1};
    int64_t due = due_ms(to);
    if (due > now && due < *wake_ms)
        *wake_ms = due;
    wanted.events = (short)((wants_read(from) ? POLLIN : 0) | (due <= now ? POLLOUT : 0));
    if (wanted.events != 0)
        wanted.fd = end;
    return wanted;
}

static bool link_serve(struct link *link, const struct pollfd *ends, int64_t now)
{
    if (link->connecting)
        return (ends[1].revents == 0 || link_connected(link));
    bool good = true;
    short failed = POLLERR | POLLHUP;
    if (ends[0].revents & (POLLIN | failed) && wants_read(&link->up))
        good = stream_read(&link->up, now);
    if (good && ends[1].revents & (POLLIN | failed) && wants_read(&link->down))
        good = stream_read(&link->down, now);
    if (good && ends[1].revents & (POLLOUT | failed) && due_ms(&link->up) <= now)
        good = stream_write(&link->up, now);
    if (good && ends[0].revents & (POLLOUT | failed) && due_ms(&link->down) <= now)
        good = stream_write(&link->down, now);
    return good;
}

static void step(void)
{
    struct pollfd polled[2 + 2 * LINKS_MAX];
    int64_t now = now_ms(), wake_ms = now + 60000;
    struct link *spare = free_link();
    polled[0] = (struct pollfd){.fd = proxy.control, .events = POLLIN};
    polled[1] =
        (struct pollfd){.fd = proxy.state == LINK_OPEN && spare != NULL ? proxy.listener : -1, .events = POLLIN};
    for (size_t i = 0; i < LINKS_MAX; i++) {
        const struct link *link = &proxy.links[i];
        struct pollfd *ends = &polled[2 + 2 * i];
        ends[0] = ends[1] = (struct pollfd){.fd = -1};
        if (!link->used || proxy.state != LINK_OPEN)
            continue;
        if (link->connecting) {
            ends[1] = (struct pollfd){.fd = link->server, .events = POLLOUT};
            continue;
        }
        ends[0] = end_events(link->client, &link->up, &link->down, now, &wake_ms);
        ends[1] = end_events(link->server, &link->down, &link->up, now, &wake_ms);
    }
    if (proxy.flap_ms > 0 && proxy.flapped_ms + proxy.flap_ms < wake_ms)
        wake_ms = proxy.flapped_ms + proxy.flap_ms;
    if (poll(polled, sizeof polled / sizeof polled[0], wake_ms > now ? (int)(wake_ms - now) : 0) < 0 && errno != EINTR)
        die("poll");
    now = now_ms();
    for (size_t i = 0; i < LINKS_MAX; i++) {
        struct link *link = &proxy.links[i];
        if (!link->used || proxy.state != LINK_OPEN)
            continue;
        if (!link_serve(link, &polled[2 + 2 * i], now))
            link_close(link, true);
        else if (link->up.closed && link->down.closed)
            link_close(link, false);
    }
    if (proxy.torn || (proxy.flap_ms > 0 && now >= proxy.flapped_ms + proxy.flap_ms)) {
        reset_links();
        proxy.torn = false;
        proxy.flapped_ms = now;
    }
    if (polled[1].revents & POLLIN)
        link_accept(spare);
    if (polled[0].revents & POLLIN)
        commands_read();
}

int main(int count, char **arguments)
{
    if (count != 5) {
        fputs("usage: tcp_proxy LISTEN_PORT TARGET_HOST TARGET_PORT CONTROL\n", stderr);
        return 64;
    }
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getaddrinfo(arguments[2], arguments[3], &hints, &proxy.target) != 0)
        die(arguments[2]);
    if (mkfifo(arguments[4], 0600) != 0 && errno != EEXIST)
        die(arguments[4]);
    /* Open for writing as well, so that it never ends. */
    proxy.control = open(arguments[4], O_RDWR | O_NONBLOCK | O_CLOEXEC);
    proxy.address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    listener_renew();
    if (proxy.control < 0 || listen(proxy.listener, LINKS_MAX) != 0)
        die("listen");
    printf("listening %d\n", ntohs(proxy.address.sin_port));
    for (;;)
        step();
}
