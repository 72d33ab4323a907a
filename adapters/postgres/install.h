#pragma once
/* Puts the bridge into a database, and takes it out again: schema, roles, functions, views, capture triggers. One
 * transaction; run again with nothing new it changes nothing; migrations go forward by number. */
#include <stdio.h>

#include "adapters/postgres/session.h"
#include "bridge/control/config.h"

struct install_options {
    const char *admin; /* conninfo whose settings win over the config's; NULL: the config's own */
    FILE *print;       /* write the SQL here instead of running it */
    bool unguarded;    /* tests only: capture what apply writes, too */
};

/* *changed: whether there was anything to do. */
bool pg_install(const struct config *config, const struct install_options *options, bool *changed, struct error *error);
bool pg_uninstall(const struct config *config, const struct install_options *options, struct error *error);

/* The role the config connects as. */
const char *pg_config_role(const struct config *config, struct arena *arena);
