#pragma once
/* One connection to PostgreSQL, for one thread. Every session pins the settings that the text of a value depends on
 * (DateStyle, IntervalStyle, TimeZone, extra_float_digits, bytea_output, lc_monetary, client_encoding, search_path), and has
 * timeouts for everything that could hang.
 *
 * Whoever waits for this thread is looked after while an answer of the server is waited for, however long that lasts.
 *
 * Error texts carry SQLSTATE, constraint and table, never the DETAIL, which holds row data. After FAULT_CONNECTION the
 * session is closed. */
#include <libpq-fe.h>
#include <stdint.h>

#include "bridge/base/arena.h"
#include "bridge/base/error.h"

struct pg_session {
    PGconn *connection;   /* NULL: closed */
    bool *prepared;       /* per embedded query: already prepared in this connection */
    bool replication;     /* set before it is opened: START_REPLICATION is possible, parameters are not */
    bool shows_words;     /* what functions raise may be shown, with its hint: at install, where no row is at hand */
    /* Called about twice a second while answers are waited for, between short ones too; NULL: never. Stays when the session is closed. */
    void (*waiting)(void *context);
    void *context;
    int64_t waited_ms; /* private: when it was called last */
    size_t ahead;      /* private: statements that were sent ahead and are not answered yet */
};

/* password may be NULL: libpq then looks for one by itself. */
bool pg_session_open(struct pg_session *session, const char *conninfo, const char *password,
                     const char *application_name, struct error *error);
void pg_session_close(struct pg_session *session);

/* Runs one or more statements without parameters. */
bool pg_execute(struct pg_session *session, const char *sql, struct error *error);

/* Prepares the embedded file queries/<name>.sql under its name, once per connection. */
bool pg_prepare(struct pg_session *session, const char *name, int parameter_count, struct error *error);

/* Runs the embedded file queries/<name>.sql with text parameters (NULL for null) and gives its result, to be cleared by
 * the caller with pg_clear. NULL on failure. */
PGresult *pg_query(struct pg_session *session, const char *name, int parameter_count, const char *const *parameters,
                   struct error *error);

/* Runs it, outside of any transaction, and waits for others in it as long as they take, all in all so many seconds: for what must begin anew when
 * it is interrupted. */
bool pg_await(struct pg_session *session, const char *name, int parameter_count, const char *const *parameters, int most_s, struct error *error);

/* Sends the embedded query ahead of the next one, whose caller waits for both answers: one way to the server and back. When it fails the
 * next one is not done, and fails with its error. For what nobody reads the result of. */
bool pg_send_ahead(struct pg_session *session, const char *name, int parameter_count, const char *const *parameters, struct error *error);

/* SQL made at run time: prepared under a name, or run once. */
bool pg_prepare_text(struct pg_session *session, const char *name, const char *sql, int parameter_count, const Oid *types,
                     struct error *error);
PGresult *pg_query_text(struct pg_session *session, const char *sql, int parameter_count, const char *const *parameters,
                        struct error *error);

/* What was sent with libpq directly (sent: its answer to that): the next result, NULL after the last; or the last of them all, as
 * PQexec gives it. */
PGresult *pg_next_result(struct pg_session *session);
PGresult *pg_answer(struct pg_session *session, int sent);

/* Checks a result that came from libpq directly; on failure clears it, fills the error and returns NULL. */
PGresult *pg_checked(struct pg_session *session, PGresult *result, struct error *error);

/* BEGIN, sent ahead; of a transaction whose commit is durable, whatever the session's are. */
bool pg_begin(struct pg_session *session, struct error *error);
bool pg_begin_durable(struct pg_session *session, struct error *error);

/* COMMIT, refusing the ROLLBACK that a failed transaction answers with. */
bool pg_commit(struct pg_session *session, struct error *error);

void pg_clear(PGresult **result);
#define PG_RESULT __attribute__((cleanup(pg_clear))) PGresult *

/* One field of a result as a view. */
struct text pg_value(const PGresult *result, int row, int column);
int64_t pg_integer(const PGresult *result, int row, int column);
bool pg_boolean(const PGresult *result, int row, int column);

/* "'...'" for a conninfo value, in the arena. */
const char *pg_conninfo_quote(struct arena *arena, const char *value);
