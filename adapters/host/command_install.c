#include <stdio.h>
#include <stdlib.h>

#include "adapters/host/command.h"
#include "adapters/postgres/install.h"
#include "adapters/rabbitmq/topology.h"
#include "bridge/control/address.h"

#ifdef PGBRIDGE_TEST_HOOKS
#include "adapters/host/hooks.h"
#endif

/* The broker login to declare with: the admin's URL over the config's address and TLS files. */
static bool broker_login(const struct options *options, const struct config *config, struct broker_config *login,
                         struct error *error)
{
    *login = config->broker;
    if (options->broker_admin == NULL)
        return true;
    struct broker_config admin = {0};
    if (!address_parse_broker(text_from(options->broker_admin), &admin, error))
        return error_prefix(error, "--broker-admin");
    login->url = admin.url;
    login->tls = admin.tls;
    login->host = admin.host;
    login->port = admin.port;
    login->user = admin.user;
    login->password = admin.password;
    login->vhost = admin.vhost;
    return true;
}

static struct install_options install_options(const struct options *options)
{
    struct install_options install = {.admin = options->admin, .print = options->print ? stdout : NULL};
#ifdef PGBRIDGE_TEST_HOOKS
    install.unguarded = hook_disabled("capture-guard");
#endif
    return install;
}

/* A role that was there before keeps its password, which may not be the config's. */
static bool adapter_can_log_in(const struct config *config, struct error *error)
{
    struct pg_session session = {0};
    bool good = pg_session_open(&session, config->database, config->database_password, "pgbridge install", error);
    pg_session_close(&session);
    if (!good)
        error_hint(error, "the bridge is installed, but its role cannot log in: a role that exists keeps its password");
    return good;
}

static bool install(const struct options *options, const struct config *config, struct error *error)
{
    struct install_options install = install_options(options);
    struct broker_config login;
    bool changed = false;
    if (!pg_install(config, &install, &changed, error))
        return false;
    if (options->print) {
        if (!changed)
            puts("-- nothing to do: the database is up to date");
        return true;
    }
    printf("database: %s\n", changed ? "installed" : "up to date, nothing changed");
    if (!adapter_can_log_in(config, error) || !broker_login(options, config, &login, error) ||
        !mq_topology_declare(config, &login, error))
        return false;
    printf("broker: exchange %s, queue %s, dead letters %s are in place\n", config->broker.exchange,
           config->broker.queue, config->broker.dead_queue);
    return true;
}

static bool uninstall(const struct options *options, const struct config *config, struct error *error)
{
    struct install_options install = install_options(options);
    struct broker_config login;
    if (!pg_uninstall(config, &install, error))
        return false;
    if (options->print)
        return true;
    puts("database: the bridge's schema, triggers and roles are removed");
    if (!broker_login(options, config, &login, error) || !mq_topology_delete(config, &login, error))
        return false;
    printf("broker: queue %s and dead letters %s are removed\n", config->broker.queue, config->broker.dead_queue);
    return true;
}

static int with_config(const struct options *options,
                       bool (*work)(const struct options *, const struct config *, struct error *))
{
    struct config config;
    struct error error;
    if (!command_config(options, &config))
        return EXIT_BAD_CONFIG;
    int code = work(options, &config, &error) ? EXIT_GOOD : command_fail(&error);
    config_free(&config);
    return code;
}

int command_install(const struct options *options)
{
    return with_config(options, install);
}

int command_uninstall(const struct options *options)
{
    return with_config(options, uninstall);
}
