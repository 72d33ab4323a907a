#pragma once
/* How commands ask the bridge's views and show the answer. What they print came from rows: control characters are made
 * visible, so that no value reaches the terminal as a command. */
#include "adapters/host/table.h"
#include "adapters/postgres/session.h"
#include "bridge/control/config.h"

/* Opens a session with the node's database, in which the bridge must be installed. Close it also on failure. */
bool ask_open(struct pg_session *session, const struct config *config, const char *application_name,
              struct error *error);

/* Returns false. */
bool ask_not_installed(const struct config *config, struct error *error);

struct options;

/* Runs what a command asks of the node's database, in a session that shows the database's own words. Gives the exit code. */
int ask_run(const struct options *options, const char *application_name,
            int (*run)(struct pg_session *session, const struct options *options));

/* As pg_query, without the query's name in an error: what the database says is meant for the one who asked. */
PGresult *ask_query(struct pg_session *session, const char *path, int parameter_count, const char *const *parameters,
                    struct error *error);

/* All use one role of the database: the person is who called. NULL: nobody knows. */
const char *ask_person(void);

/* Prints the error. An answer of the database that is no failure of ours is a clean no: what was asked for is not there, or cannot be
 * done. role says who may ask. Gives the exit code. */
int ask_failed(struct error *error, const char *role);

/* Whether a word is the id of something: digits, and not too many. */
bool ask_is_number(const char *word);

/* One field for a table's cell, in the arena or the result; null is the empty text. */
const char *ask_cell(struct arena *arena, const PGresult *result, int row, int column);

/* A result whose first columns are the table's. Nothing for no rows. */
void ask_print(const PGresult *result, size_t column_count, const struct table_column *columns);
