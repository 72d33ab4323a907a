#pragma once
/* The SQL by which a config comes into a database, and out of it again. What is returned is the caller's, by free. */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "bridge/control/config.h"

/* Capture from the log takes two transactions, with the slot's making between them, which is none; or else second is empty. Until the second
 * is done no fingerprint says that all is. */
struct install_scripts {
    char *first, *second;
};

/* version: the highest number of sql/install that is there; -1: there is no schema. guarded: what apply writes is not captured. */
struct install_scripts install_scripts_make(const struct config *config, const char *role, int version, bool guarded);
void install_scripts_free(struct install_scripts *scripts);
/* As one script for psql. */
void install_scripts_print(FILE *out, const struct config *config, const struct install_scripts *scripts, const char *fingerprint);

/* Of everything that decides what an installation looks like. */
void install_scripts_fingerprint(const struct config *config, const char *role, bool guarded, char out[static 65]);

/* Locks all mapped tables, beginning with that one, against writers and other installs. */
char *install_script_lock(const struct config *config, size_t first);
char *install_script_removal(const char *role);
