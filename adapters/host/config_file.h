#pragma once
/* Reads the configuration: one YAML file per node.
 *
 * Strict: an unknown, doubled, empty or missing key, a wrong type, an alias or a second document is an error, and every
 * error says where it stands: `/etc/pgbridge/commerce.yaml:12:5: unknown key "tabel" in an entity`, with a HINT when
 * one can be given. All are FAULT_OPERATOR. Nothing is connected to; no error repeats a password.
 *
 * Paths in the file: relative ones begin at the directory of the configuration file; `credential:NAME` is a file of
 * systemd's LoadCredential=, in $CREDENTIALS_DIRECTORY. A password is the first line of its file, which must be closed
 * to all other users. */
#include <stdbool.h>
#include <stddef.h>

#include "bridge/base/error.h"
#include "bridge/base/text.h"
#include "bridge/control/config.h"

/* Reads the file, at most 1 MiB, and the password files it names. *config is set only on success; release it with
 * config_free. */
bool config_read(const char *path, struct config *config, struct error *error);

/* The same for a text, without touching file system or environment: passwords from files stay NULL and
 * `credential:NAME` stays as written. path is for messages and relative paths. */
bool config_read_text(const char *path, struct text text, struct config *config, struct error *error);

/* The keys there are, for the test that each is documented: the index-th one and its section ("", "broker" or
 * "entities"). False after the last. */
bool config_key(size_t index, const char **section, const char **key);
