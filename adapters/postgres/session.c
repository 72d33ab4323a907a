#include "adapters/postgres/session.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "adapters/postgres/fault.h"
#include "adapters/postgres/sql.h"

enum {
    AT_ONCE_MS = 2,   /* an answer that takes longer leaves time for something else */
    WAITING_MS = 500,
    END_MS = 1000,    /* after the last of several answers the server has nothing left to do */
};

#define PATIENCE "set lock_timeout = '10s'; set statement_timeout = '5min';"

static const char pinned_settings[] =
    "set datestyle = 'ISO, MDY';"
    "set intervalstyle = postgres;"
    "set timezone = 'UTC';"
    "set extra_float_digits = 1;"
    "set bytea_output = hex;"
    "set lc_monetary = 'C';"
    "set jit = off;"
    "set search_path = pg_catalog, pg_temp;"
    PATIENCE
    "set idle_in_transaction_session_timeout = '5min';"
    /* A session whose client is cut off holds its locks, the leader's too, until the server notices. */
    "set tcp_keepalives_idle = 20;"
    "set tcp_keepalives_interval = 5;"
    "set tcp_keepalives_count = 4;"
    "set tcp_user_timeout = 30000";

/* Index of an embedded query; asking for one that does not exist is a bug. */
static unsigned sql_index(const char *name)
{
    unsigned low = 0, high = sql_file_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        int order = strcmp(sql_files[middle].name, name);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    fprintf(stderr, "pgbridge: no embedded SQL \"%s\"\n", name);
    abort();
}

const char *sql_text(const char *name)
{
    return sql_files[sql_index(name)].text;
}

static void ignore_notice(void *unused, const PGresult *result)
{
    (void)unused;
    (void)result;
}

/* libpq's message without its trailing newline, as one line. */
static void trimmed_message(const char *message, char *out, size_t size)
{
    snprintf(out, size, "%s", message ? message : "");
    text_trim_cut(out);
    size_t length = strlen(out);
    while (length > 0 && (out[length - 1] == '\n' || out[length - 1] == ' '))
        out[--length] = '\0';
}

static bool connection_failed(PGconn *connection, struct error *error)
{
    char message[640];
    trimmed_message(PQerrorMessage(connection), message, sizeof message);
    /* libpq gives no SQLSTATE for a connection that was refused by the server; its text does tell. */
    bool refused_login = strstr(message, "authentication failed") || strstr(message, "no password supplied") ||
                         strstr(message, "no pg_hba.conf entry") || strstr(message, "does not exist");
    error_set(error, refused_login ? FAULT_OPERATOR : FAULT_CONNECTION, refused_login ? "28000" : "08001",
              "could not connect to the database: %s", message);
    if (refused_login)
        error_hint(error, "check \"database\" and \"database_password_file\" in the config, and pg_hba.conf; "
                          "\"pgbridge install\" makes the role");
    return false;
}

bool pg_session_open(struct pg_session *session, const char *conninfo, const char *password,
                     const char *application_name, struct error *error)
{
    bool replication = session->replication;
    pg_session_close(session);
    const char *keywords[] = {"dbname", "password", "fallback_application_name", "connect_timeout", "keepalives_idle",
                              "keepalives_interval", "keepalives_count", "tcp_user_timeout", "client_encoding", replication ? "replication" : NULL, NULL};
    const char *values[] = {conninfo, password, application_name, "10", "20", "5", "4", "30000", "UTF8", "database", NULL};
    PGconn *connection = PQconnectdbParams(keywords, values, 1);
    if (connection == NULL)
        return error_set(error, FAULT_CONNECTION, "08001", "could not connect to the database: out of memory");
    if (PQstatus(connection) != CONNECTION_OK) {
        connection_failed(connection, error);
        PQfinish(connection);
        return false;
    }
    PQsetNoticeReceiver(connection, ignore_notice, NULL);
    /* Sending must not block, either: a server that is halted reads nothing. */
    if (session->waiting != NULL)
        PQsetnonblocking(connection, 1);
    session->connection = connection;
    session->prepared = calloc(sql_file_count, sizeof *session->prepared);
    if (session->prepared == NULL)
        error_set(error, FAULT_CONNECTION, NULL, "out of memory");
    else if (pg_execute(session, pinned_settings, error))
        return true;
    pg_session_close(session);
    return false;
}

void pg_session_close(struct pg_session *session)
{
    if (session->connection != NULL)
        PQfinish(session->connection);
    free(session->prepared);
    *session = (struct pg_session){.waiting = session->waiting, .context = session->context};
}

void pg_clear(PGresult **result)
{
    PQclear(*result);
    *result = NULL;
}

/* ---- answers ---- */

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void look_after(struct pg_session *session, bool is_idle)
{
    int64_t now_ms = monotonic_ms();
    if (session->waiting == NULL || (!is_idle && now_ms - session->waited_ms < WAITING_MS))
        return;
    session->waiting(session->context);
    session->waited_ms = now_ms;
}

/* Whether there is a next result, or what libpq says of a connection that is lost; most_ms 0: however long it takes. */
static bool await_result(struct pg_session *session, int64_t most_ms)
{
    PGconn *connection = session->connection;
    int64_t began_ms = monotonic_ms();
    for (int wait_ms = AT_ONCE_MS;; wait_ms = WAITING_MS) {
        int unsent = PQflush(connection);
        if (unsent < 0 || PQstatus(connection) != CONNECTION_OK || (unsent == 0 && !PQisBusy(connection)))
            return true;
        if (most_ms > 0 && monotonic_ms() - began_ms > most_ms)
            return false;
        struct pollfd server = {.fd = PQsocket(connection), .events = unsent > 0 ? POLLIN | POLLOUT : POLLIN};
        look_after(session, poll(&server, 1, wait_ms) == 0);
        if ((server.revents & ~POLLOUT) != 0 && !PQconsumeInput(connection))
            return true;
    }
}

PGresult *pg_next_result(struct pg_session *session)
{
    await_result(session, 0);
    return PQgetResult(session->connection);
}

static PGresult *last_result(struct pg_session *session)
{
    PGresult *last = NULL;
    for (PGresult *next; (next = pg_next_result(session)) != NULL; last = next)
        PQclear(last);
    return last;
}

static bool is_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_SINGLE_TUPLE;
}

/* The answer to the last of the statements that were sent in one go (ahead, and count more), or to the first that failed: what follows that is
 * not done. Where libpq has no memory for an answer it takes it for the end of its statement, and one for the end of all it never gives. */
static PGresult *pipeline_answer(struct pg_session *session, size_t count)
{
    PGresult *answer = NULL;
    bool ended = false, synced = PQpipelineSync(session->connection) == 1;
    count += session->ahead;
    session->ahead = 0;
    for (size_t answered = 0; synced && !ended && await_result(session, answered < count ? 0 : END_MS);) {
        PGresult *next = PQgetResult(session->connection);
        ended = PQresultStatus(next) == PGRES_PIPELINE_SYNC;
        answered += next == NULL;
        bool counts = next != NULL && !ended && (answer == NULL || is_good(answer));
        PQclear(counts ? answer : next);
        answer = counts ? next : answer;
        if (PQstatus(session->connection) != CONNECTION_OK || answered > count + 1)
            break;
    }
    if (PQstatus(session->connection) != CONNECTION_OK || (ended && PQexitPipelineMode(session->connection)))
        return answer;
    /* Nobody knows what the next answer would be to. */
    PQclear(answer);
    pg_session_close(session);
    return NULL;
}

PGresult *pg_answer(struct pg_session *session, int sent)
{
    if (session->ahead == 0)
        return sent ? last_result(session) : NULL;
    PGresult *answer = pipeline_answer(session, sent != 0);
    if (sent || !is_good(answer))
        return answer;
    PQclear(answer);
    return NULL;
}

/* What cannot be sent behind others waits for their answers first. */
static bool settle_ahead(struct pg_session *session, struct error *error)
{
    if (session->ahead == 0)
        return true;
    PG_RESULT result = pg_checked(session, pipeline_answer(session, 0), error);
    return result != NULL;
}

PGresult *pg_checked(struct pg_session *session, PGresult *result, struct error *error)
{
    if (is_good(result))
        return result;
    const char *code = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *primary = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *table = result ? PQresultErrorField(result, PG_DIAG_TABLE_NAME) : NULL;
    const char *constraint = result ? PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME) : NULL;
    const char *column = result ? PQresultErrorField(result, PG_DIAG_COLUMN_NAME) : NULL;
    enum fault fault = pg_fault(code);
    /* "cached plan must not change result type" has no code of its own: a new session plans again. */
    const char *function = result ? PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION) : NULL;
    if (function != NULL && strcmp(function, "RevalidateCachedQuery") == 0) {
        fault = FAULT_CONTENTION;
        code = "26000";
    }
    /* Our own SQL names what install found: when that is gone, the schema changed under us, and no row is to blame. */
    static const char *const parsers[] = {"parserOpenTable", "errorMissingColumn", "checkInsertTargets",
                                          "transformUpdateTargetList"};
    for (size_t i = 0; function != NULL && i < sizeof parsers / sizeof parsers[0]; i++)
        if (strcmp(function, parsers[i]) == 0)
            fault = FAULT_OPERATOR;
    char message[768];
    const char *reason = session->connection != NULL ? PQerrorMessage(session->connection) : "the connection was given up";
    trimmed_message(primary ? primary : reason, message, sizeof message);
    /* A data exception quotes the value it dislikes ("invalid input syntax for type integer: ..."): keep what stands
     * before the quotation only. */
    bool is_ours = code != NULL && strncmp(code, "PB00", 4) == 0;
    if (function != NULL && strcmp(function, "exec_stmt_raise") == 0 && !session->shows_words && !is_ours) {
        /* Words of somebody's trigger, which often name the value they refuse. */
        snprintf(message, sizeof message, "a trigger raised an exception; the server's log has its words");
    } else if (code != NULL && (strncmp(code, "22", 2) == 0 || strcmp(code, "42601") == 0)) {
        char *quoted = strstr(message, ": \"");
        if (quoted == NULL)
            quoted = strstr(message, " \"");
        if (quoted != NULL)
            *quoted = '\0';
    }
    if (PQstatus(session->connection) == CONNECTION_BAD)
        fault = FAULT_CONNECTION;
    error_set(error, fault, code ? code : "08006", "%s%s%s%s%s%s%s", message, table ? ", table " : "", table ? table : "",
              column ? ", column " : "", column ? column : "", constraint ? ", constraint " : "",
              constraint ? constraint : "");
    const char *hint = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_HINT) : NULL;
    if (hint != NULL && (session->shows_words || is_ours))
        error_hint(error, "%s", hint);
    PQclear(result);
    if (fault == FAULT_CONNECTION)
        pg_session_close(session);
    return NULL;
}

static bool session_is_open(const struct pg_session *session, struct error *error)
{
    if (session->connection == NULL)
        return error_set(error, FAULT_CONNECTION, "08003", "the database session is closed");
    return true;
}

bool pg_execute(struct pg_session *session, const char *sql, struct error *error)
{
    if (!session_is_open(session, error) || !settle_ahead(session, error))
        return false;
    PG_RESULT result = pg_checked(session, pg_answer(session, PQsendQuery(session->connection, sql)), error);
    return result != NULL;
}

PGresult *pg_query_text(struct pg_session *session, const char *sql, int parameter_count, const char *const *parameters,
                        struct error *error)
{
    if (!session_is_open(session, error))
        return NULL;
    int sent = PQsendQueryParams(session->connection, sql, parameter_count, NULL, parameters, NULL, NULL, 0);
    return pg_checked(session, pg_answer(session, sent), error);
}

bool pg_prepare_text(struct pg_session *session, const char *name, const char *sql, int parameter_count, const Oid *types,
                     struct error *error)
{
    if (!session_is_open(session, error) || !settle_ahead(session, error))
        return false;
    PG_RESULT prepared = pg_checked(session, pg_answer(session, PQsendPrepare(session->connection, name, sql, parameter_count, types)), error);
    return prepared != NULL;
}

bool pg_prepare(struct pg_session *session, const char *name, int parameter_count, struct error *error)
{
    if (!session_is_open(session, error))
        return false;
    char path[64];
    snprintf(path, sizeof path, "queries/%s", name);
    unsigned index = sql_index(path);
    if (session->prepared[index])
        return true;
    if (!pg_prepare_text(session, name, sql_files[index].text, parameter_count, NULL, error))
        return error_prefix(error, "query %s", name);
    session->prepared[index] = true;
    return true;
}

bool pg_send_ahead(struct pg_session *session, const char *name, int parameter_count, const char *const *parameters, struct error *error)
{
    if (!pg_prepare(session, name, parameter_count, error))
        return false;
    if (session->ahead == 0 && !PQenterPipelineMode(session->connection))
        return error_set(error, FAULT_BUG, NULL, "an answer is still unread before query %s", name);
    session->ahead++;
    if (PQsendQueryPrepared(session->connection, name, parameter_count, parameters, NULL, NULL, 0))
        return true;
    pg_checked(session, NULL, error);
    pg_session_close(session);
    return error_prefix(error, "query %s", name);
}

PGresult *pg_query(struct pg_session *session, const char *name, int parameter_count, const char *const *parameters,
                   struct error *error)
{
    if (!pg_prepare(session, name, parameter_count, error))
        return NULL;
    int sent = PQsendQueryPrepared(session->connection, name, parameter_count, parameters, NULL, NULL, 0);
    PGresult *result = pg_checked(session, pg_answer(session, sent), error);
    if (result == NULL)
        error_prefix(error, "query %s", name);
    return result;
}

bool pg_await(struct pg_session *session, const char *name, int parameter_count, const char *const *parameters, int most_s, struct error *error)
{
    char patience[80];
    struct error ignored;
    snprintf(patience, sizeof patience, "set lock_timeout = 0; set statement_timeout = '%ds'", most_s);
    /* When we are gone nobody shall wait for us: where the server can see that. */
    pg_execute(session, "set client_connection_check_interval = '2s'", &ignored);
    if (!pg_execute(session, patience, error))
        return false;
    PG_RESULT result = pg_query(session, name, parameter_count, parameters, error);
    if (result == NULL && strcmp(error->code, "57014") == 0)
        error_hint(error, "a long transaction is at work here, or an install (see pg_stat_activity, and pg_prepared_xacts): it goes on, or is to be run again, when that has ended");
    return pg_execute(session, PATIENCE, result != NULL ? error : &ignored) && result != NULL;
}

bool pg_begin(struct pg_session *session, struct error *error)
{
    return pg_send_ahead(session, "begin", 0, NULL, error);
}

bool pg_begin_durable(struct pg_session *session, struct error *error)
{
    return pg_begin(session, error) && pg_send_ahead(session, "durable", 0, NULL, error);
}

bool pg_commit(struct pg_session *session, struct error *error)
{
    if (!pg_prepare(session, "commit", 0, error))
        return false;
    PG_RESULT result = pg_checked(session, pg_answer(session, PQsendQueryPrepared(session->connection, "commit", 0, NULL, NULL, NULL, 0)), error);
    if (result == NULL)
        return false;
    /* A failed transaction answers COMMIT with success and the tag ROLLBACK. */
    if (strcmp(PQcmdStatus(result), "COMMIT") != 0)
        return error_set(error, FAULT_CONTENTION, "25P02", "the transaction had failed before its commit");
    return true;
}

struct text pg_value(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return TEXT_NULL;
    return (struct text){PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column)};
}

int64_t pg_integer(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) ? 0 : strtoll(PQgetvalue(result, row, column), NULL, 10);
}

bool pg_boolean(const PGresult *result, int row, int column)
{
    return !PQgetisnull(result, row, column) && PQgetvalue(result, row, column)[0] == 't';
}

const char *pg_conninfo_quote(struct arena *arena, const char *value)
{
    char *out = arena_take(arena, 2 * strlen(value) + 3);
    char *at = out;
    *at++ = '\'';
    for (; *value; value++) {
        if (*value == '\'' || *value == '\\')
            *at++ = '\\';
        *at++ = *value;
    }
    *at = '\'';
    return out;
}
