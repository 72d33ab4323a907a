#pragma once
/* What a node needs in the broker, made by `pgbridge install`, looked at by `run` and `check`, removed by `uninstall`:
 *
 *     exchange <broker.exchange>       topic, durable, shared by all nodes
 *     queue    <broker.queue>          quorum, single active consumer, rejects when full, delivery limit 50,
 *                                      bound to the exchange by "<peer>.#" for each peer
 *     exchange <broker.dead_exchange>  topic, durable, shared
 *     queue    <broker.dead_queue>     quorum, bound to the dead exchange by this node's name: what was delivered from
 *                                      this node's queue too often
 *
 * The names are the config's. The login may be another user with more rights than the adapter's. AMQP cannot list
 * bindings, so those of a former peer are removed only when its name is given: mq_topology_unbind. One that is left
 * behind does no harm, since the adapter refuses and counts messages of sources that are not its peers. */
#include "bridge/base/error.h"
#include "bridge/control/config.h"

/* Declares all of it; what is there already stays as it is. FAULT_OPERATOR when something of the name exists with
 * other arguments. login: whom to connect as; NULL for the config's own. */
bool mq_topology_declare(const struct config *config, const struct broker_config *login, struct error *error);

/* Looks, and changes nothing: each finding is a text with its HINT. AMQP shows whether exchanges and queues exist, not
 * their bindings and arguments. False only when it could not look. */
bool mq_topology_check(const struct config *config, void (*found)(void *context, const char *text), void *context,
                       struct error *error);

/* Removes the binding of a node that is no peer any more; none there is no failure. */
bool mq_topology_unbind(const struct config *config, const struct broker_config *login, const char *former_peer,
                        struct error *error);

/* Deletes this node's queues with what is in them, and the exchanges if nothing is bound to them any more. Refuses
 * while a consumer is attached. */
bool mq_topology_delete(const struct config *config, const struct broker_config *login, struct error *error);
