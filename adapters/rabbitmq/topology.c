#include "adapters/rabbitmq/topology.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "adapters/rabbitmq/compat.h"
#include "adapters/rabbitmq/session.h"

enum {
    DELIVERY_LIMIT = 50,
    /* Dead letters are delivered as often as it takes; but only with a limit do they keep their place in the queue. */
    DEAD_DELIVERY_LIMIT = 1000000,
    UNUSED_WAIT_MS = 3000,
    UNUSED_ANSWERS = 10, /* 50 ms apart */
};

static amqp_table_entry_t text_argument(const char *key, const char *value)
{
    return (amqp_table_entry_t){
        .key = amqp_cstring_bytes(key),
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = amqp_cstring_bytes(value)}},
    };
}

static amqp_table_entry_t number_argument(const char *key, int64_t value)
{
    return (amqp_table_entry_t){
        .key = amqp_cstring_bytes(key),
        .value = {.kind = AMQP_FIELD_KIND_I64, .value = {.i64 = value}},
    };
}

static amqp_table_entry_t true_argument(const char *key)
{
    return (amqp_table_entry_t){
        .key = amqp_cstring_bytes(key),
        .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}},
    };
}

static bool outcome(struct mq_session *session, const char *verb, const char *kind, const char *name,
                    struct error *error)
{
    char doing[160];
    snprintf(doing, sizeof doing, "cannot %s %s \"%.110s\"", verb, kind, name);
    return mq_session_reply(session, doing, error);
}

/* ---- single requests --------------------------------------------------------------------------------------------- */

static bool declare_exchange(struct mq_session *session, const char *name, bool passive, struct error *error)
{
    amqp_exchange_declare(session->connection, MQ_CHANNEL, amqp_cstring_bytes(name), amqp_cstring_bytes("topic"),
                          passive, 1, 0, 0, amqp_empty_table);
    return outcome(session, passive ? "find" : "declare", "exchange", name, error);
}

static bool declare_queue(struct mq_session *session, const char *name, amqp_table_entry_t *arguments, int count,
                          struct error *error)
{
    amqp_table_t table = {.num_entries = count, .entries = arguments};
    amqp_queue_declare(session->connection, MQ_CHANNEL, amqp_cstring_bytes(name), 0, 1, 0, 0, table);
    return outcome(session, "declare", "queue", name, error);
}

static bool find_queue(struct mq_session *session, const char *name, uint32_t *consumers, struct error *error)
{
    const amqp_queue_declare_ok_t *answer =
        amqp_queue_declare(session->connection, MQ_CHANNEL, amqp_cstring_bytes(name), 1, 0, 0, 0, amqp_empty_table);
    if (!outcome(session, "find", "queue", name, error))
        return false;
    *consumers = answer->consumer_count;
    return true;
}

static bool bind_queue(struct mq_session *session, const char *queue, const char *exchange, const char *key,
                       struct error *error)
{
    amqp_queue_bind(session->connection, MQ_CHANNEL, amqp_cstring_bytes(queue), amqp_cstring_bytes(exchange),
                    amqp_cstring_bytes(key), amqp_empty_table);
    return outcome(session, "bind", "queue", queue, error);
}

static void peer_key(const char *peer, char out[static 128])
{
    snprintf(out, 128, "%.100s.#", peer);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static bool connect_as(struct mq_session *session, const struct config *config, const struct broker_config *login,
                       const char *role, struct error *error)
{
    char name[96];
    snprintf(name, sizeof name, "pgbridge %.63s %s", config->node, role);
    return mq_session_open(session, login != NULL ? login : &config->broker, name, error);
}

static bool declare_all(struct mq_session *session, const struct config *config, struct error *error)
{
    const struct broker_config *broker = &config->broker;
    amqp_table_entry_t queue_arguments[] = {
        text_argument("x-queue-type", "quorum"),
        true_argument("x-single-active-consumer"),
        /* at-least-once dead-lettering needs reject-publish: a full queue is then told to the publisher. */
        text_argument("x-overflow", "reject-publish"),
        text_argument("x-dead-letter-exchange", broker->dead_exchange),
        text_argument("x-dead-letter-routing-key", config->node),
        text_argument("x-dead-letter-strategy", "at-least-once"),
        /* Each lost connection counts one delivery for everything that was fetched: high, so that a flapping link does
         * not dead-letter healthy messages soon. */
        number_argument("x-delivery-limit", DELIVERY_LIMIT),
    };
    amqp_table_entry_t dead_arguments[] = {
        text_argument("x-queue-type", "quorum"),
        true_argument("x-single-active-consumer"),
        text_argument("x-overflow", "reject-publish"),
        number_argument("x-delivery-limit", DEAD_DELIVERY_LIMIT),
    };
    /* Where dead letters go exists before what sends them there. */
    if (!declare_exchange(session, broker->dead_exchange, false, error) ||
        !declare_queue(session, broker->dead_queue, dead_arguments, sizeof dead_arguments / sizeof *dead_arguments,
                       error) ||
        !bind_queue(session, broker->dead_queue, broker->dead_exchange, config->node, error) ||
        !declare_exchange(session, broker->exchange, false, error) ||
        !declare_queue(session, broker->queue, queue_arguments, sizeof queue_arguments / sizeof *queue_arguments,
                       error))
        return false;
    for (size_t i = 0; i < config->peer_count; i++) {
        char key[128];
        peer_key(config->peers[i], key);
        if (!bind_queue(session, broker->queue, broker->exchange, key, error))
            return false;
    }
    return true;
}

bool mq_topology_declare(const struct config *config, const struct broker_config *login, struct error *error)
{
    struct mq_session session;
    mq_session_init(&session);
    bool done = connect_as(&session, config, login, "install", error) && declare_all(&session, config, error);
    mq_session_free(&session);
    return done;
}

bool mq_topology_check(const struct config *config, void (*found)(void *context, const char *text), void *context,
                       struct error *error)
{
    const struct broker_config *broker = &config->broker;
    const struct {
        bool is_queue;
        const char *name;
    } objects[] = {
        {false, broker->exchange},
        {true, broker->queue},
        {false, broker->dead_exchange},
        {true, broker->dead_queue},
    };
    struct mq_session session;
    mq_session_init(&session);
    bool looked = connect_as(&session, config, NULL, "check", error);
    for (size_t i = 0; looked && i < sizeof objects / sizeof *objects; i++) {
        uint32_t consumers;
        bool there = objects[i].is_queue ? find_queue(&session, objects[i].name, &consumers, error)
                                         : declare_exchange(&session, objects[i].name, true, error);
        if (there)
            continue;
        /* A refusal is a finding and costs the channel; without the connection nothing can be seen. */
        looked = mq_session_is_open(&session);
        if (looked) {
            found(context, error->text);
            looked = mq_session_channel(&session, error);
        }
    }
    mq_session_free(&session);
    return looked;
}

bool mq_topology_unbind(const struct config *config, const struct broker_config *login, const char *former_peer,
                        struct error *error)
{
    struct mq_session session;
    mq_session_init(&session);
    bool done = connect_as(&session, config, login, "install", error);
    if (done) {
        char key[128];
        peer_key(former_peer, key);
        amqp_queue_unbind(session.connection, MQ_CHANNEL, amqp_cstring_bytes(config->broker.queue),
                          amqp_cstring_bytes(config->broker.exchange), amqp_cstring_bytes(key), amqp_empty_table);
        done = outcome(&session, "unbind", "queue", config->broker.queue, error);
    }
    mq_session_free(&session);
    return done;
}

/* A consumer that has just gone is counted for a moment longer: the queue hears of it through its log. And none is counted for a queue
 * whose leader is too busy to answer: only several such answers are believed. */
static bool wait_until_unused(struct mq_session *session, const char *name, struct error *error)
{
    int64_t deadline_ms = mq_now_ms() + UNUSED_WAIT_MS;
    for (int unused = 0;;) {
        uint32_t consumers = 0;
        if (!find_queue(session, name, &consumers, error))
            return false;
        unused = consumers == 0 ? unused + 1 : 0;
        if (unused == UNUSED_ANSWERS)
            return true;
        if (consumers > 0 && mq_left_ms(deadline_ms) == 0) {
            error_set(error, FAULT_OPERATOR, NULL, "queue \"%s\" has %u consumers (%s)", name, consumers,
                      session->where);
            return error_hint(error, "Stop the adapter of this node first.");
        }
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
}

/* Quorum queues refuse the if-unused flag, so consumers are looked for first. */
static bool delete_queue(struct mq_session *session, const char *name, struct error *error)
{
    if (!wait_until_unused(session, name, error)) {
        bool missing = strcmp(error->code, "404") == 0 && error->fault == FAULT_OPERATOR;
        return missing && mq_session_channel(session, error);
    }
    amqp_queue_delete(session->connection, MQ_CHANNEL, amqp_cstring_bytes(name), 0, 0);
    return outcome(session, "delete", "queue", name, error);
}

static bool delete_exchange(struct mq_session *session, const char *name, struct error *error)
{
    amqp_exchange_delete(session->connection, MQ_CHANNEL, amqp_cstring_bytes(name), 1);
    if (outcome(session, "delete", "exchange", name, error))
        return true;
    bool in_use = strcmp(error->code, "406") == 0;
    return in_use && mq_session_channel(session, error);
}

bool mq_topology_delete(const struct config *config, const struct broker_config *login, struct error *error)
{
    const struct broker_config *broker = &config->broker;
    struct mq_session session;
    mq_session_init(&session);
    bool done = connect_as(&session, config, login, "uninstall", error) &&
                delete_queue(&session, broker->queue, error) && delete_queue(&session, broker->dead_queue, error) &&
                delete_exchange(&session, broker->exchange, error) &&
                delete_exchange(&session, broker->dead_exchange, error);
    mq_session_free(&session);
    return done;
}
