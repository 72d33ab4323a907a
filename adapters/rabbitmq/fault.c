#include "adapters/rabbitmq/fault.h"

#include <stdio.h>
#include <string.h>

#include "adapters/rabbitmq/compat.h"

#define HINT_INSTALL "Run \"pgbridge install\" on this node, and on its peers."
#define HINT_NETWORK "Check that the broker runs and that broker.url names its host and port."
#define HINT_REPORT "This should not happen: please report it with the broker's log."

/* The first row that fits counts, so rows with words stand before the plain one of their code. */
static const struct mq_fault faults[] = {
    /* ---- the broker's reply codes ---- */
    {AMQP_CONTENT_TOO_LARGE, NULL, FAULT_PERMANENT, "the broker found the message too large",
     "Raise max_message_size in the broker's configuration, or leave the largest column out of the entity."},
    {AMQP_NO_ROUTE, NULL, FAULT_OPERATOR, "no queue takes the message",
     "Run \"pgbridge install\" on the peers of this node: their queues must be bound to the exchange. The outbox keeps everything "
     "meanwhile."},
    {AMQP_NO_CONSUMERS, NULL, FAULT_OPERATOR, "no consumer takes the message", HINT_INSTALL},
    {AMQP_CONNECTION_FORCED, NULL, FAULT_CONNECTION, "the broker closed the connection",
     "It is shutting down, or an administrator closed it: see the broker's log."},
    {AMQP_INVALID_PATH, NULL, FAULT_OPERATOR, "the broker does not know the virtual host",
     "Create it with \"rabbitmqctl add_vhost\", or correct broker.url."},
    {AMQP_ACCESS_REFUSED, "Login was refused", FAULT_OPERATOR, "the broker refused user or password",
     "Check broker.url and broker.password_file; \"rabbitmqctl authenticate_user\" tells whether they fit."},
    {AMQP_ACCESS_REFUSED, NULL, FAULT_OPERATOR, "the broker user lacks a permission",
     "Grant it with \"rabbitmqctl set_permissions\": a running adapter needs write on its exchange and read on its "
     "queues; \"pgbridge install\" also needs configure on all of them."},
    /* A quorum queue without its leader answers 404; it exists and comes back. */
    {AMQP_NOT_FOUND, "due to timeout", FAULT_CONNECTION, "the queue does not answer",
     "Its quorum may be lost: see \"rabbitmq-queues quorum_status\"."},
    {AMQP_NOT_FOUND, "down or inaccessible", FAULT_CONNECTION, "the queue's broker node is down",
     "Start the missing nodes of the cluster."},
    {AMQP_NOT_FOUND, "process is stopped", FAULT_CONNECTION, "the queue is stopped", "See the broker's log."},
    {AMQP_NOT_FOUND, "no queue", FAULT_OPERATOR, "the queue is missing",
     "Run \"pgbridge install\" on this node: it declares and binds it. If somebody has deleted it, bridge.gaps then tells what was lost "
     "with it."},
    {AMQP_NOT_FOUND, "no exchange", FAULT_OPERATOR, "the exchange is missing",
     "Run \"pgbridge install\" on this node, and on its peers: their bindings are gone with it. The outbox keeps everything meanwhile."},
    {AMQP_NOT_FOUND, NULL, FAULT_OPERATOR, "a queue or exchange is missing", HINT_INSTALL},
    {AMQP_RESOURCE_LOCKED, NULL, FAULT_OPERATOR, "the queue belongs to another connection alone",
     "Delete the exclusive queue of that name, then run \"pgbridge install\"."},
    {AMQP_PRECONDITION_FAILED, "inequivalent arg", FAULT_OPERATOR, "it exists already with other arguments",
     "Arguments cannot be changed: wait until the queue is empty, delete it with \"rabbitmqctl delete_queue\", and run "
     "\"pgbridge install\" again; or choose another name in the configuration. Limits belong into a policy."},
    {AMQP_PRECONDITION_FAILED, "delivery acknowledgement on channel", FAULT_CONNECTION,
     "a message was held without acknowledgement for too long",
     "Applying it took longer than the broker's consumer_timeout: look for a lock in the database."},
    {AMQP_PRECONDITION_FAILED, "unknown delivery tag", FAULT_BUG, "a message was acknowledged twice", HINT_REPORT},
    {AMQP_PRECONDITION_FAILED, "message size", FAULT_PERMANENT, "the broker found the message too large",
     "Raise max_message_size in the broker's configuration, or leave the largest column out of the entity."},
    {AMQP_PRECONDITION_FAILED, "user_id", FAULT_OPERATOR, "the broker knows the connection under another user name",
     "Log in with the user's own name, without an authentication backend that renames it."},
    {AMQP_PRECONDITION_FAILED, "in use", FAULT_OPERATOR, "it is still in use", "Stop what uses it first."},
    {AMQP_PRECONDITION_FAILED, NULL, FAULT_OPERATOR, "the broker refused the request",
     "See DETAIL and the broker's log."},
    {AMQP_FRAME_ERROR, NULL, FAULT_CONNECTION, "the broker could not read a frame",
     "Something between this host and the broker damaged the stream, or the port speaks another protocol."},
    {AMQP_SYNTAX_ERROR, NULL, FAULT_BUG, "the broker could not read a request", HINT_REPORT},
    {AMQP_COMMAND_INVALID, NULL, FAULT_BUG, "the broker found a request out of order", HINT_REPORT},
    {AMQP_CHANNEL_ERROR, NULL, FAULT_BUG, "the broker found a request on a closed channel", HINT_REPORT},
    {AMQP_UNEXPECTED_FRAME, NULL, FAULT_BUG, "the broker did not expect a frame", HINT_REPORT},
    {AMQP_RESOURCE_ERROR, NULL, FAULT_CONNECTION, "the broker is short of a resource", "See the broker's log."},
    {AMQP_NOT_ALLOWED, "not found", FAULT_OPERATOR, "the broker does not know the virtual host",
     "Create it with \"rabbitmqctl add_vhost\", or correct broker.url."},
    {AMQP_NOT_ALLOWED, "limit", FAULT_CONNECTION, "the broker has too many connections",
     "Raise the connection limit of the virtual host or of the user."},
    {AMQP_NOT_ALLOWED, "access to vhost", FAULT_OPERATOR, "the broker user may not enter the virtual host",
     "Grant it with \"rabbitmqctl set_permissions -p <vhost> <user> ...\"."},
    {AMQP_NOT_ALLOWED, NULL, FAULT_OPERATOR, "the broker does not allow this", "See DETAIL and the broker's log."},
    {AMQP_NOT_IMPLEMENTED, NULL, FAULT_OPERATOR, "the broker cannot do this",
     "pgbridge needs RabbitMQ 3.10 or newer, with quorum queues."},
    {AMQP_INTERNAL_ERROR, NULL, FAULT_CONNECTION, "the broker failed inside",
     "See the broker's log. If a queue stays without a leader (\"rabbitmq-queues quorum_status\"), delete it, run "
     "\"pgbridge install\" and compare the data."},

    /* ---- what the broker says without a reply code ---- */
    {MQ_NACKED, NULL, FAULT_TRANSIENT, "the broker refused a message",
     "A queue bound to the exchange is full (\"rabbitmqctl list_queues name messages policy\") or has lost its quorum. The outbox keeps "
     "everything, and publishing goes on by itself when there is room: is a peer away, and its queue's limit too low?"},
    /* The queue was deleted, or its leader is moving: opening again tells which. */
    {MQ_CANCELLED, NULL, FAULT_CONNECTION, "the broker cancelled the consumer",
     "If the queue was deleted, run \"pgbridge install\"; bridge.gaps then tells which messages were lost."},

    /* ---- rabbitmq-c ---- */
    {AMQP_STATUS_NO_MEMORY, NULL, FAULT_CONNECTION, "out of memory", NULL},
    {AMQP_STATUS_BAD_AMQP_DATA, NULL, FAULT_CONNECTION, "the broker's answer cannot be read",
     "Check that the port of broker.url is the broker's AMQP port."},
    {AMQP_STATUS_UNKNOWN_CLASS, NULL, FAULT_CONNECTION, "the broker's answer cannot be read", HINT_REPORT},
    {AMQP_STATUS_UNKNOWN_METHOD, NULL, FAULT_CONNECTION, "the broker's answer cannot be read", HINT_REPORT},
    {AMQP_STATUS_HOSTNAME_RESOLUTION_FAILED, NULL, FAULT_CONNECTION, "the broker's host name cannot be resolved",
     "Check the host in broker.url and this machine's name service."},
    {AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION, NULL, FAULT_OPERATOR, "the broker does not speak AMQP 0-9-1",
     "Check that broker.url leads to RabbitMQ."},
    {AMQP_STATUS_CONNECTION_CLOSED, NULL, FAULT_CONNECTION, "the connection to the broker was lost", HINT_NETWORK},
    {AMQP_STATUS_BAD_URL, NULL, FAULT_OPERATOR, "broker.url cannot be read", NULL},
    {AMQP_STATUS_SOCKET_ERROR, NULL, FAULT_CONNECTION, "the broker cannot be reached", HINT_NETWORK},
    {AMQP_STATUS_INVALID_PARAMETER, NULL, FAULT_BUG, "the library refused an argument", HINT_REPORT},
    {AMQP_STATUS_TABLE_TOO_BIG, NULL, FAULT_PERMANENT, "the headers of a message do not fit into one frame", NULL},
    {AMQP_STATUS_WRONG_METHOD, NULL, FAULT_CONNECTION, "the broker's answer was not the expected one", NULL},
    {AMQP_STATUS_TIMEOUT, NULL, FAULT_CONNECTION, "the broker did not answer in time", HINT_NETWORK},
    {AMQP_STATUS_TIMER_FAILURE, NULL, FAULT_CONNECTION, "the system's clock failed", NULL},
    {AMQP_STATUS_HEARTBEAT_TIMEOUT, NULL, FAULT_CONNECTION, "nothing was heard of the broker for two heartbeats",
     HINT_NETWORK},
    {AMQP_STATUS_UNEXPECTED_STATE, NULL, FAULT_CONNECTION, "the connection to the broker is out of step", NULL},
    {AMQP_STATUS_SOCKET_CLOSED, NULL, FAULT_CONNECTION, "the connection to the broker is closed", HINT_NETWORK},
    {AMQP_STATUS_SOCKET_INUSE, NULL, FAULT_BUG, "the socket is in use already", HINT_REPORT},
    {AMQP_STATUS_BROKER_UNSUPPORTED_SASL_METHOD, NULL, FAULT_OPERATOR, "the broker does not offer password login",
     "Add PLAIN to auth_mechanisms in the broker's configuration."},
    {AMQP_STATUS_UNSUPPORTED, NULL, FAULT_BUG, "the library cannot do this", HINT_REPORT},
    {AMQP_STATUS_TCP_ERROR, NULL, FAULT_CONNECTION, "the connection to the broker failed", HINT_NETWORK},
    {AMQP_STATUS_TCP_SOCKETLIB_INIT_ERROR, NULL, FAULT_CONNECTION, "the network cannot be used", NULL},
    {AMQP_STATUS_SSL_ERROR, "alert certificate required", FAULT_OPERATOR, "the broker asks for a client certificate",
     "Set broker.cert_file and broker.key_file."},
    {AMQP_STATUS_SSL_ERROR, "certificate", FAULT_OPERATOR, "the broker refused this client's certificate",
     "Check broker.cert_file: its validity, and whether the broker trusts the authority that signed it."},
    {AMQP_STATUS_SSL_ERROR, "unknown ca", FAULT_OPERATOR, "the broker does not trust this client's certificate",
     "broker.cert_file must be signed by an authority in the broker's ssl_options.cacertfile."},
    {AMQP_STATUS_SSL_ERROR, NULL, FAULT_CONNECTION, "the TLS connection to the broker failed",
     "If it fails from the start, see the broker's log: it may ask for a client certificate."},
    {AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED, NULL, FAULT_OPERATOR,
     "the broker's certificate was made for another host name",
     "Use the name in the certificate as host of broker.url, or give the broker a certificate for this name."},
    {AMQP_STATUS_SSL_PEER_VERIFY_FAILED, NULL, FAULT_OPERATOR, "the broker's certificate cannot be trusted",
     "broker.ca_file must hold the certificate of the authority that signed the broker's."},
    {AMQP_STATUS_SSL_CONNECTION_FAILED, NULL, FAULT_CONNECTION, "the TLS handshake with the broker failed",
     "Check that the port of broker.url is the broker's TLS port."},
    {AMQP_STATUS_SSL_SET_ENGINE_FAILED, NULL, FAULT_OPERATOR, "OpenSSL's engine cannot be used", NULL},
};

static const struct mq_fault fault_unknown = {0, NULL, FAULT_CONNECTION, "the broker reported an unknown failure",
                                              "See DETAIL and the broker's log."};

const struct mq_fault *mq_fault_table(size_t *count)
{
    *count = sizeof faults / sizeof *faults;
    return faults;
}

const struct mq_fault *mq_fault_find(int code, const char *said)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (faults[i].code != code)
            continue;
        if (faults[i].words == NULL || (said != NULL && strstr(said, faults[i].words) != NULL))
            return &faults[i];
    }
    return &fault_unknown;
}

bool mq_fault_set(struct error *error, const char *where, int code, const char *said)
{
    const struct mq_fault *row = mq_fault_find(code, said);
    char number[sizeof error->code] = "";
    if (code == MQ_NACKED)
        snprintf(number, sizeof number, "nack");
    else if (code == MQ_CANCELLED)
        snprintf(number, sizeof number, "cancel");
    else if (code > 0 && code < 10000)
        snprintf(number, sizeof number, "%d", code);
    char detail[320] = "";
    if (said != NULL && said[0] != '\0') {
        snprintf(detail, sizeof detail, "\nDETAIL: %.300s", said);
        for (char *at = detail + 1; *at != '\0'; at++) {
            if ((unsigned char)*at < ' ')
                *at = ' ';
        }
    } else if (row == &fault_unknown) {
        snprintf(detail, sizeof detail, "\nDETAIL: code %d", code);
    }
    error_set(error, row->fault, number, "%s: %s%s", where, row->sentence, detail);
    if (row->hint != NULL)
        error_hint(error, "%s", row->hint);
    return false;
}
