#include "adapters/host/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

enum {
    CONNECTIONS_MAX = 32,
    CONNECTION_BYTES = 16 << 10, /* request line and headers */
    TIMEOUT_S = 10,              /* of silence on a connection */
    BACKLOG = 16,
};

struct http {
    struct MHD_Daemon *daemon;
    const struct http_facts *facts;
    int port;
};

/* ---- answers ---- */

static bool write_metrics(const struct http_facts *facts, FILE *out)
{
    metrics_write(facts, out);
    return true;
}

static const struct {
    const char *path;
    const char *content_type;
    bool (*write)(const struct http_facts *facts, FILE *out); /* false: 503 */
} pages[] = {
    {"/healthz", "text/plain; charset=utf-8", metrics_write_health},
    {"/readyz", "text/plain; charset=utf-8", metrics_write_readiness},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", write_metrics},
};

/* Takes over the body, which came from malloc. */
static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *content_type, char *body,
                              size_t length)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(length, body, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(body);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_plain(struct MHD_Connection *connection, unsigned status, const char *line)
{
    char *body = strdup(line);
    return body == NULL ? MHD_NO : answer(connection, status, "text/plain; charset=utf-8", body, strlen(body));
}

static enum MHD_Result answer_page(struct MHD_Connection *connection, const struct http_facts *facts, size_t page)
{
    char *body = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&body, &length);
    if (out == NULL)
        return MHD_NO;
    bool good = pages[page].write(facts, out);
    bool whole = !ferror(out);
    if (fclose(out) != 0 || !whole) {
        free(body);
        return MHD_NO;
    }
    return answer(connection, good ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, pages[page].content_type, body,
                  length);
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path, const char *method,
                              const char *version, const char *upload, size_t *upload_bytes, void **request)
{
    (void)version;
    (void)upload;
    static char begun;
    const struct http *http = context;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_plain(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    /* The library calls first with the headers, then with each piece of a body, then without one: only then a reply
     * leaves the connection open for the next request. */
    if (*request == NULL) {
        *request = &begun;
        return MHD_YES;
    }
    if (*upload_bytes > 0) {
        *upload_bytes = 0;
        return MHD_YES;
    }
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (strcmp(path, pages[i].path) == 0)
            return answer_page(connection, http->facts, i);
    return answer_plain(connection, MHD_HTTP_NOT_FOUND, "there are /healthz, /readyz and /metrics\n");
}

/* ---- listening ---- */

static void cannot_listen(const char *host, int port, const char *why, struct error *error)
{
    error_set(error, FAULT_OPERATOR, NULL, "cannot listen for HTTP on %s port %d: %s", host, port, why);
    error_hint(error, "change \"http\" in the config, or end the process that uses the port");
}

static int listen_on(const struct addrinfo *address)
{
    int one = 1;
    int descriptor = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        return -1;
    /* A restart must not wait for the old connections' TIME_WAIT. */
    if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(descriptor, address->ai_addr, address->ai_addrlen) == 0 && listen(descriptor, BACKLOG) == 0)
        return descriptor;
    int saved = errno;
    close(descriptor);
    errno = saved;
    return -1;
}

/* A socket of our own, because the library does not say why it could not make one. Below 0 on failure. */
static int open_listener(const char *host, int port, struct error *error)
{
    char service[16];
    int descriptor = -1;
    snprintf(service, sizeof service, "%d", port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    int failure = getaddrinfo(host, service, &hints, &addresses);
    if (failure != 0) {
        cannot_listen(host, port, gai_strerror(failure), error);
        return -1;
    }
    for (const struct addrinfo *address = addresses; address != NULL && descriptor < 0; address = address->ai_next)
        descriptor = listen_on(address);
    int saved = errno;
    freeaddrinfo(addresses);
    if (descriptor < 0)
        cannot_listen(host, port, strerror(saved), error);
    return descriptor;
}

static int bound_port(int descriptor)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (getsockname(descriptor, (struct sockaddr *)&address, &length) != 0)
        return 0;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, &address, sizeof v4);
    memcpy(&v6, &address, sizeof v6);
    return ntohs(address.ss_family == AF_INET6 ? v6.sin6_port : v4.sin_port);
}

/* The library's thread inherits the signal mask: signals are for the main thread. */
static struct MHD_Daemon *start_daemon(struct http *http, int descriptor)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD, 0, NULL, NULL, handle, http, MHD_OPTION_LISTEN_SOCKET, descriptor,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return daemon;
}

struct http *http_start(const char *host, int port, const struct http_facts *facts, struct error *error)
{
    int descriptor = open_listener(host, port, error);
    if (descriptor < 0)
        return NULL;
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL) {
        close(descriptor);
        error_set(error, FAULT_TRANSIENT, NULL, "cannot listen for HTTP: out of memory");
        return NULL;
    }
    http->facts = facts;
    http->port = bound_port(descriptor);
    http->daemon = start_daemon(http, descriptor);
    if (http->daemon == NULL) {
        /* The socket stays open: some of the library's failures close it, and closing it again might hit another file.
         */
        error_set(error, FAULT_TRANSIENT, NULL, "cannot start the HTTP server on %s port %d", host, port);
        free(http);
        return NULL;
    }
    return http;
}

int http_port(const struct http *http)
{
    return http->port;
}

void http_stop(struct http *http)
{
    if (http == NULL)
        return;
    MHD_stop_daemon(http->daemon);
    free(http);
}
