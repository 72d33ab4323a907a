#pragma once
/* Addresses in the configuration: the broker's URL, the address to listen on, libpq's conninfo.
 *
 * Pure; nothing is resolved. All errors are FAULT_OPERATOR and never repeat what they refuse, because a URL or conninfo
 * may carry a password. Outputs are set only on success and owned by the caller. */
#include <stdbool.h>

#include "bridge/base/error.h"
#include "bridge/base/text.h"
#include "bridge/control/config.h"

/* amqp[s]://[user[:password]@]host[:port][/vhost], percent-encoded, as rabbitmq.com/uri-spec has it, but without query
 * and with "/" for an empty vhost: what people mean who write amqp://host/. Fills url (password removed), tls, host,
 * port, user (NULL: none given), password (NULL: none given) and vhost of broker, and nothing else. */
bool address_parse_broker(struct text url, struct broker_config *broker, struct error *error);

/* host:port, [::1]:port, or :port for 127.0.0.1. */
bool address_parse_listener(struct text address, char **host, int *port, struct error *error);

/* True when libpq could read this conninfo (keywords or URI) and it carries no password. Keywords themselves are
 * libpq's to judge. */
bool address_check_conninfo(struct text conninfo, struct error *error);
