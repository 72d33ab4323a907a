/* A hand on the RabbitMQ adapters, for tests: one command per line on stdin, one answer per line on stdout.
 *
 *     declare | check | delete | unbind PEER          -> ok | findings N: first | error FAULT CODE text
 *     outlet open|close, inlet open|close, dead open|close
 *     publish COUNT BYTES [KEY]                       -> published COUNT (numbers run on until the outlet is opened)
 *     confirm NUMBER MS                               -> confirmed N, once it is NUMBER or the time is over
 *     burst COUNT BYTES MS                            -> publish with at most 200 outstanding, until all are confirmed
 *     blocked                                         -> blocked low on memory | not blocked
 *     abort MS                                        -> ok; cuts the outlet's connection after that time
 *     receive COUNT MS                                -> received N first A last B redelivered R bad X
 *     consume COUNT MS                                -> the same, settling
 *     settle                                          -> settled TAG: everything received up to now
 *     depth | load COUNT                              -> depth N | load: receive while asking for the depth
 *     roundtrip                                       -> ok: every property and header comes back as it was sent
 *     latency COUNT | bench COUNT BYTES               -> figures
 *
 * Where to: MQ_HOST MQ_PORT MQ_USER MQ_PASSWORD MQ_VHOST MQ_CA MQ_CERT MQ_KEY MQ_TLS=1 MQ_HEARTBEAT MQ_NODE MQ_PEER. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "adapters/rabbitmq/inlet.h"
#include "adapters/rabbitmq/outlet.h"
#include "adapters/rabbitmq/topology.h"
#include "bridge/base/limits.h"

enum { MESSAGES_MAX = 20000, COMMAND_BYTES = 256 };

struct probe {
    struct config config;
    struct mq_outlet outlet;
    struct mq_inlet inlet, dead, *current;
    struct arena arena; /* of what is published and unconfirmed */
    struct envelope *envelopes;
    uint64_t published; /* on this connection */
    int64_t sequence;   /* of all messages of this run */
    uint64_t tag;
    pthread_t aborter;
    bool aborting;
    int abort_ms;
};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void answer_error(const struct error *error)
{
    char text[sizeof error->text];
    snprintf(text, sizeof text, "%s", error->text);
    for (char *at = text; *at != '\0'; at++) {
        if (*at == '\n')
            *at = '|';
    }
    printf("error %s %s %s\n", fault_name(error->fault), error->code[0] != '\0' ? error->code : "-", text);
}

static void answer(bool fine, const char *text, const struct error *error)
{
    if (fine)
        printf("%s\n", text);
    else
        answer_error(error);
}

/* ---- messages: number, length and filling tell whether one came through unharmed ----------------------------------
 */

static char filling(int64_t sequence, size_t at)
{
    return (char)('a' + ((size_t)sequence + at) % 26);
}

static void make_message(struct probe *probe, size_t bytes, const char *key, struct envelope *out)
{
    int64_t sequence = ++probe->sequence;
    char *body = arena_take(&probe->arena, bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        body[i] = filling(sequence, i);
    *out = (struct envelope){
        .routing_key = arena_copy(&probe->arena, text_from(key)),
        .body = {body, bytes},
        .content_type = TEXT_LITERAL("application/json"),
        .message_id = TEXT_LITERAL("00000000-0000-4000-8000-000000000000"),
        .type = TEXT_LITERAL("customer.updated"),
        .app_id = TEXT_LITERAL("pgbridge/test"),
        .timestamp_s = 1763675000,
        .header_count = 3,
        .headers = {{.name = TEXT_LITERAL("x-source"), .text = TEXT_LITERAL("beta")},
                    {.name = TEXT_LITERAL("x-seq"), .is_number = true, .number = sequence},
                    {.name = TEXT_LITERAL("x-bytes"), .is_number = true, .number = (int64_t)bytes}},
    };
}

static int64_t number_header(const struct envelope *envelope, const char *name)
{
    for (size_t i = 0; i < envelope->header_count; i++) {
        if (text_equal(envelope->headers[i].name, text_from(name)) && envelope->headers[i].is_number)
            return envelope->headers[i].number;
    }
    return -1;
}

/* White space at the end is allowed: the outlet pads bodies that end with a frame. */
static bool message_unharmed(const struct envelope *envelope)
{
    int64_t sequence = number_header(envelope, "x-seq");
    int64_t bytes = number_header(envelope, "x-bytes");
    if (sequence < 1 || bytes < 0)
        return false;
    if (bytes > LIMIT_RECEIVED_BYTES)
        return envelope->oversize_bytes >= (uint64_t)bytes && envelope->body.length == 0;
    if (envelope->body.length != (size_t)bytes &&
        !(envelope->body.length == (size_t)bytes + 1 && envelope->body.data[bytes] == ' '))
        return false;
    for (size_t i = 0; i < (size_t)bytes; i++) {
        if (envelope->body.data[i] != filling(sequence, i))
            return false;
    }
    return envelope->oversize_bytes == 0;
}

/* ---- outlet -------------------------------------------------------------------------------------------------------
 */

static void publish(struct probe *probe, size_t count, size_t bytes, const char *key)
{
    struct error error;
    for (size_t i = 0; i < count; i++) {
        struct envelope *envelope = &probe->envelopes[probe->published % MESSAGES_MAX];
        make_message(probe, bytes, key, envelope);
        if (!probe->outlet.port.ops->publish(&probe->outlet.port, envelope, &error)) {
            answer_error(&error);
            return;
        }
        probe->published++;
    }
    printf("published %zu\n", count);
}

static bool confirm_until(struct probe *probe, uint64_t number, int wait_ms, uint64_t *confirmed, struct error *error)
{
    int64_t deadline_ms = mq_now_ms() + wait_ms;
    do {
        if (!probe->outlet.port.ops->confirm(&probe->outlet.port, mq_left_ms(deadline_ms), confirmed, error))
            return false;
    } while (*confirmed < number && mq_left_ms(deadline_ms) > 0);
    if (*confirmed == probe->published)
        arena_reset(&probe->arena);
    return true;
}

static bool burst(struct probe *probe, size_t count, size_t bytes, int wait_ms, struct error *error)
{
    int64_t deadline_ms = mq_now_ms() + wait_ms;
    uint64_t confirmed = probe->published, first = probe->published;
    /* Bodies of a ring of envelopes: all made before, so that the figures are the outlet's. */
    struct envelope *ring = probe->envelopes;
    for (size_t i = 0; i < 256; i++)
        make_message(probe, bytes, "beta.customer.updated", &ring[i]);
    while (confirmed < first + count) {
        if (mq_left_ms(deadline_ms) == 0)
            return error_set(error, FAULT_TRANSIENT, NULL, "not confirmed in time");
        while (probe->published < first + count && probe->published - confirmed < 200) {
            struct envelope *envelope = &ring[probe->published % 256];
            if (!probe->outlet.port.ops->publish(&probe->outlet.port, envelope, error))
                return false;
            probe->published++;
        }
        if (!probe->outlet.port.ops->confirm(&probe->outlet.port, 1000, &confirmed, error))
            return false;
    }
    arena_reset(&probe->arena);
    return true;
}

static void *abort_later(void *argument)
{
    struct probe *probe = argument;
    usleep((useconds_t)probe->abort_ms * 1000);
    mq_outlet_abort(&probe->outlet);
    return NULL;
}

/* ---- inlet --------------------------------------------------------------------------------------------------------
 */

static void receive(struct probe *probe, size_t count, int wait_ms, bool settles)
{
    struct inlet *inlet = &probe->current->port;
    struct error error;
    int64_t deadline_ms = mq_now_ms() + wait_ms;
    size_t received = 0, redelivered = 0, bad = 0;
    int64_t first = 0, last = 0;
    do {
        struct delivery *delivery;
        if (!inlet->ops->receive(inlet, mq_left_ms(deadline_ms), &delivery, &error)) {
            answer_error(&error);
            return;
        }
        if (delivery == NULL)
            continue;
        received++;
        last = number_header(&delivery->envelope, "x-seq");
        first = received == 1 ? last : first;
        redelivered += delivery->envelope.redelivered;
        bad += !message_unharmed(&delivery->envelope);
        probe->tag = delivery->tag;
        delivery_free(delivery);
        if (settles && (received % 50 == 0 || received == count) && !inlet->ops->settle(inlet, probe->tag, &error)) {
            answer_error(&error);
            return;
        }
    } while (received < count && mq_left_ms(deadline_ms) > 0);
    printf("received %zu first %" PRId64 " last %" PRId64 " redelivered %zu bad %zu\n", received, first, last,
           redelivered, bad);
}

static void settle(struct probe *probe)
{
    struct error error;
    char text[64];
    snprintf(text, sizeof text, "settled %" PRIu64, probe->tag);
    answer(probe->current->port.ops->settle(&probe->current->port, probe->tag, &error), text, &error);
}

static void depth(struct probe *probe)
{
    struct error error;
    uint64_t messages = 0;
    bool fine = probe->current->port.ops->depth(&probe->current->port, &messages, &error);
    char text[64];
    snprintf(text, sizeof text, "depth %" PRIu64, messages);
    answer(fine, text, &error);
}

/* Each message exactly once and in order, although the depth is asked for between any two of them. */
static void load(struct probe *probe, size_t count)
{
    struct inlet *inlet = &probe->current->port;
    struct error error;
    int64_t before = 0;
    for (size_t i = 0; i < count;) {
        struct delivery *delivery;
        uint64_t messages;
        if (!inlet->ops->depth(inlet, &messages, &error) || !inlet->ops->receive(inlet, 30000, &delivery, &error)) {
            answer_error(&error);
            return;
        }
        if (delivery == NULL) {
            printf("lost: nothing after %zu messages\n", i);
            return;
        }
        int64_t sequence = number_header(&delivery->envelope, "x-seq");
        bool fine = message_unharmed(&delivery->envelope) && (before == 0 || sequence == before + 1);
        probe->tag = delivery->tag;
        delivery_free(delivery);
        if (!fine) {
            printf("bad: %" PRId64 " after %" PRId64 "\n", sequence, before);
            return;
        }
        before = sequence;
        i++;
        if (i % 50 == 0 && !inlet->ops->settle(inlet, probe->tag, &error)) {
            answer_error(&error);
            return;
        }
    }
    answer(inlet->ops->settle(inlet, probe->tag, &error), "ok", &error);
}

/* ---- everything once ----------------------------------------------------------------------------------------------
 */

static const struct header *find_header(const struct envelope *envelope, struct text name)
{
    for (size_t i = 0; i < envelope->header_count; i++) {
        if (text_equal(envelope->headers[i].name, name))
            return &envelope->headers[i];
    }
    return NULL;
}

static const char *difference(const struct envelope *sent, const struct envelope *got)
{
    if (!text_equal(sent->routing_key, got->routing_key))
        return "routing key";
    if (!text_equal(sent->body, got->body))
        return "body";
    if (!text_equal(sent->content_type, got->content_type) || !text_equal(sent->message_id, got->message_id) ||
        !text_equal(sent->correlation_id, got->correlation_id) || !text_equal(sent->type, got->type) ||
        !text_equal(sent->app_id, got->app_id) || sent->timestamp_s != got->timestamp_s)
        return "property";
    if (sent->header_count != got->header_count)
        return "number of headers";
    for (size_t i = 0; i < sent->header_count; i++) {
        const struct header *header = find_header(got, sent->headers[i].name);
        if (header == NULL || header->is_number != sent->headers[i].is_number ||
            header->number != sent->headers[i].number || !text_equal(header->text, sent->headers[i].text))
            return "header";
    }
    return NULL;
}

static void roundtrip(struct probe *probe)
{
    struct envelope sent = {
        .routing_key = TEXT_LITERAL("beta.customer.updated"),
        .body = TEXT_LITERAL("{\"entity\":\"customer\",\"umlaut\":\"\xc3\xa4\"}"),
        .content_type = TEXT_LITERAL("application/json"),
        .message_id = TEXT_LITERAL("3e1c7f7e-4a4e-4d5c-9a33-000000000001"),
        .correlation_id = TEXT_LITERAL("req-7f3a"),
        .type = TEXT_LITERAL("customer.updated"),
        .app_id = TEXT_LITERAL("pgbridge/0.1.0"),
        .timestamp_s = 1763675000,
        .header_count = ENVELOPE_HEADERS_MAX,
    };
    static const char *const names[ENVELOPE_HEADERS_MAX] = {
        "x-source", "x-content-hash", "x-protocol", "x-epoch", "x-seq",   "x-batch", "x-part",    "x-parts",
        "x-schema", "traceparent",    "empty",      "unknown", "minimum", "maximum", "x-another", "zero",
        "x-policy", "x-17",           "x-18",       "x-19",    "x-20",    "x-21",    "x-22",      "x-23",
    };
    for (size_t i = 0; i < ENVELOPE_HEADERS_MAX; i++) {
        sent.headers[i] = (struct header){.name = text_from(names[i]), .text = TEXT_LITERAL("sha256:00ff")};
        if (i == 2 || i == 4 || i == 6 || i == 7 || i >= 12)
            sent.headers[i] = (struct header){.name = text_from(names[i]), .is_number = true, .number = (int64_t)i};
    }
    sent.headers[10].text = TEXT_LITERAL("");
    sent.headers[12].number = INT64_MIN;
    sent.headers[13].number = INT64_MAX;
    sent.headers[15].number = 0;
    struct error error;
    uint64_t confirmed;
    struct delivery *delivery;
    probe->published++;
    if (!probe->outlet.port.ops->publish(&probe->outlet.port, &sent, &error) ||
        !confirm_until(probe, probe->published, 30000, &confirmed, &error) ||
        !probe->inlet.port.ops->receive(&probe->inlet.port, 30000, &delivery, &error)) {
        answer_error(&error);
        return;
    }
    if (confirmed != probe->published || delivery == NULL) {
        printf("lost\n");
        return;
    }
    const char *differs = difference(&sent, &delivery->envelope);
    if (!text_equal(delivery->envelope.exchange, text_from(probe->config.broker.exchange)))
        differs = "exchange";
    probe->tag = delivery->tag;
    delivery_free(delivery);
    if (differs != NULL)
        printf("differs: %s\n", differs);
    else
        answer(probe->inlet.port.ops->settle(&probe->inlet.port, probe->tag, &error), "ok", &error);
}

/* ---- figures ------------------------------------------------------------------------------------------------------
 */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void latency(struct probe *probe, size_t count)
{
    double *times = calloc(count, sizeof *times);
    if (times == NULL)
        abort();
    struct error error;
    for (size_t i = 0; i < count; i++) {
        struct envelope envelope;
        uint64_t confirmed;
        make_message(probe, 400, "beta.customer.updated", &envelope);
        double begun = seconds();
        if (!probe->outlet.port.ops->publish(&probe->outlet.port, &envelope, &error) ||
            !confirm_until(probe, ++probe->published, 30000, &confirmed, &error)) {
            answer_error(&error);
            free(times);
            return;
        }
        times[i] = seconds() - begun;
        usleep(5000);
    }
    qsort(times, count, sizeof *times, compare_doubles);
    printf("latency p50 %.2f ms p95 %.2f ms max %.2f ms\n", times[count / 2] * 1e3, times[count * 95 / 100] * 1e3,
           times[count - 1] * 1e3);
    free(times);
}

static void bench(struct probe *probe, size_t count, size_t bytes)
{
    struct error error;
    double begun = seconds();
    if (!burst(probe, count, bytes, 600000, &error)) {
        answer_error(&error);
        return;
    }
    double published = seconds() - begun;
    struct inlet *inlet = &probe->inlet.port;
    begun = seconds();
    if (!inlet->ops->open(inlet, &error)) {
        answer_error(&error);
        return;
    }
    for (size_t i = 1; i <= count; i++) {
        struct delivery *delivery;
        if (!inlet->ops->receive(inlet, 30000, &delivery, &error)) {
            answer_error(&error);
            return;
        }
        if (delivery == NULL) {
            printf("lost: nothing after %zu messages\n", i - 1);
            return;
        }
        uint64_t tag = delivery->tag;
        delivery_free(delivery);
        if ((i % 50 == 0 || i == count) && !inlet->ops->settle(inlet, tag, &error)) {
            answer_error(&error);
            return;
        }
    }
    double received = seconds() - begun;
    inlet->ops->close(inlet);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double total = (double)count, megabytes = (double)count * (double)bytes / 1e6;
    printf("bench %zu x %zu bytes: publish+confirm %.0f/s %.1f MB/s, receive+settle %.0f/s %.1f MB/s, rss %ld MB\n",
           count, bytes, total / published, megabytes / published, total / received, megabytes / received,
           usage.ru_maxrss / 1024);
}

/* ---- commands -----------------------------------------------------------------------------------------------------
 */

struct findings {
    unsigned count;
    char first[256];
};

static void note_finding(void *context, const char *text)
{
    struct findings *findings = context;
    if (findings->count++ == 0)
        snprintf(findings->first, sizeof findings->first, "%s", text);
    for (char *at = findings->first; *at != '\0'; at++) {
        if (*at == '\n')
            *at = '|';
    }
}

static void check(struct probe *probe)
{
    struct error error;
    struct findings findings = {0};
    if (!mq_topology_check(&probe->config, note_finding, &findings, &error))
        answer_error(&error);
    else
        printf("findings %u%s%s\n", findings.count, findings.count > 0 ? ": " : "", findings.first);
}

static void open_or_close(struct probe *probe, const char *what, const char *verb)
{
    struct error error;
    bool open = strcmp(verb, "open") == 0;
    bool fine = true;
    if (strcmp(what, "outlet") == 0) {
        struct outlet *outlet = &probe->outlet.port;
        probe->published = 0;
        if (open)
            fine = outlet->ops->open(outlet, &error);
        else
            outlet->ops->close(outlet);
        arena_reset(&probe->arena);
    } else {
        probe->current = strcmp(what, "dead") == 0 ? &probe->dead : &probe->inlet;
        probe->tag = 0;
        struct inlet *inlet = &probe->current->port;
        if (open)
            fine = inlet->ops->open(inlet, &error);
        else
            inlet->ops->close(inlet);
    }
    answer(fine, "ok", &error);
}

static void run(struct probe *probe, const char *verb, char *const words[4])
{
    struct error error;
    size_t first = words[0] != NULL ? strtoul(words[0], NULL, 10) : 0;
    size_t second = words[1] != NULL ? strtoul(words[1], NULL, 10) : 0;
    uint64_t confirmed;
    char text[64];
    if (strcmp(verb, "declare") == 0) {
        answer(mq_topology_declare(&probe->config, NULL, &error), "ok", &error);
    } else if (strcmp(verb, "delete") == 0) {
        answer(mq_topology_delete(&probe->config, NULL, &error), "ok", &error);
    } else if (strcmp(verb, "unbind") == 0) {
        answer(mq_topology_unbind(&probe->config, NULL, words[0], &error), "ok", &error);
    } else if (strcmp(verb, "check") == 0) {
        check(probe);
    } else if (strcmp(verb, "outlet") == 0 || strcmp(verb, "inlet") == 0 || strcmp(verb, "dead") == 0) {
        open_or_close(probe, verb, words[0]);
    } else if (strcmp(verb, "publish") == 0) {
        publish(probe, first, second, words[2] != NULL ? words[2] : "beta.customer.updated");
    } else if (strcmp(verb, "confirm") == 0) {
        bool fine = confirm_until(probe, first, (int)second, &confirmed, &error);
        snprintf(text, sizeof text, "confirmed %" PRIu64, fine ? confirmed : 0);
        answer(fine, text, &error);
    } else if (strcmp(verb, "burst") == 0) {
        answer(burst(probe, first, second, words[2] != NULL ? atoi(words[2]) : 60000, &error), "ok", &error);
    } else if (strcmp(verb, "blocked") == 0) {
        const char *reason = mq_outlet_blocked(&probe->outlet);
        printf("%s%s\n", reason != NULL ? "blocked " : "not blocked", reason != NULL ? reason : "");
    } else if (strcmp(verb, "abort") == 0) {
        if (probe->aborting)
            pthread_join(probe->aborter, NULL);
        probe->abort_ms = (int)first;
        probe->aborting = pthread_create(&probe->aborter, NULL, abort_later, probe) == 0;
        printf("ok\n");
    } else if (strcmp(verb, "receive") == 0) {
        receive(probe, first, (int)second, false);
    } else if (strcmp(verb, "consume") == 0) {
        receive(probe, first, (int)second, true);
    } else if (strcmp(verb, "settle") == 0) {
        settle(probe);
    } else if (strcmp(verb, "depth") == 0) {
        depth(probe);
    } else if (strcmp(verb, "load") == 0) {
        load(probe, first);
    } else if (strcmp(verb, "roundtrip") == 0) {
        roundtrip(probe);
    } else if (strcmp(verb, "latency") == 0) {
        latency(probe, first);
    } else if (strcmp(verb, "bench") == 0) {
        bench(probe, first, second);
    } else {
        printf("unknown command %s\n", verb);
    }
}

static char *environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    char *copy = value != NULL ? strdup(value) : otherwise != NULL ? strdup(otherwise) : NULL;
    if (copy == NULL && (value != NULL || otherwise != NULL))
        abort();
    return copy;
}

static int environment_number(const char *name, int otherwise)
{
    const char *value = getenv(name);
    return value != NULL ? atoi(value) : otherwise;
}

static char *joined(const char *prefix, const char *name)
{
    char text[200];
    snprintf(text, sizeof text, "%s.%s", prefix, name);
    return strdup(text);
}

int main(void)
{
    static struct probe probe;
    static char *peer;
    peer = environment("MQ_PEER", "beta");
    probe.config = (struct config){
        .node = environment("MQ_NODE", "alpha"),
        .peer_count = 1,
        .peers = &peer,
        .broker = {.host = environment("MQ_HOST", "127.0.0.1"),
                   .port = environment_number("MQ_PORT", 5672),
                   .tls = getenv("MQ_TLS") != NULL,
                   .user = environment("MQ_USER", "guest"),
                   .password = environment("MQ_PASSWORD", NULL),
                   .vhost = environment("MQ_VHOST", "/"),
                   .ca_file = environment("MQ_CA", NULL),
                   .cert_file = environment("MQ_CERT", NULL),
                   .key_file = environment("MQ_KEY", NULL),
                   .exchange = environment("MQ_EXCHANGE", "bridge.sync"),
                   .dead_exchange = environment("MQ_DEAD_EXCHANGE", "bridge.dead"),
                   .heartbeat_s = environment_number("MQ_HEARTBEAT", 30)},
    };
    probe.config.broker.queue = joined(probe.config.broker.exchange, probe.config.node);
    probe.config.broker.dead_queue = joined(probe.config.broker.dead_exchange, probe.config.node);
    mq_outlet_init(&probe.outlet, &probe.config);
    mq_inlet_init(&probe.inlet, &probe.config);
    mq_inlet_init_dead(&probe.dead, &probe.config);
    probe.current = &probe.inlet;
    arena_init(&probe.arena, (size_t)1 << 30);
    probe.envelopes = calloc(MESSAGES_MAX, sizeof *probe.envelopes);
    if (probe.envelopes == NULL)
        abort();

    char line[COMMAND_BYTES];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *rest = NULL;
        const char *verb = strtok_r(line, " \n", &rest);
        char *words[4] = {0};
        for (size_t i = 0; i < 4; i++)
            words[i] = strtok_r(NULL, " \n", &rest);
        if (verb != NULL)
            run(&probe, verb, words);
        fflush(stdout);
    }
    if (probe.aborting)
        pthread_join(probe.aborter, NULL);
    mq_outlet_free(&probe.outlet);
    mq_inlet_free(&probe.inlet);
    mq_inlet_free(&probe.dead);
    arena_free(&probe.arena);
    free(probe.envelopes);
    return 0;
}
