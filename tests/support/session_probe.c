/* A session's transactions, for tests that let an allocation of libpq fail meanwhile (support/preload): session_probe CONNINFO
 *
 * Each statement must get its own answer, a session that does not know whose it is must be closed, and nobody may wait for one that never
 * comes. The exit code is 0 when that holds, 1 when an answer was another statement's, SIGALRM when something was waited for in vain. Prints how many
 * transactions were committed, of three. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "adapters/postgres/parameters.h"
#include "adapters/postgres/session.h"

enum { TRANSACTIONS = 3, MOST_S = 20 };

/* Not by its value: the server of a session closed before may still hold the lock. */
static bool is_answer_of_lead(const PGresult *result)
{
    return PQntuples(result) == 1 && PQnfields(result) == 1 && PQftype(result, 0) == OID_BOOL;
}

static bool transact(struct pg_session *session, bool *wrong, struct error *error)
{
    if (!pg_begin_durable(session, error) || !pg_send_ahead(session, "claim", 0, NULL, error))
        return false;
    PG_RESULT result = pg_query(session, "lead", 0, NULL, error);
    if (result == NULL)
        return false;
    *wrong = *wrong || !is_answer_of_lead(result);
    return pg_send_ahead(session, "claim", 0, NULL, error) && pg_send_ahead(session, "claim", 0, NULL, error) && pg_commit(session, error);
}

static void nothing(void *context)
{
    (void)context;
}

int main(int count, char **arguments)
{
    struct pg_session session = {.waiting = nothing};
    struct error error;
    bool wrong = false;
    int committed = 0;
    if (count != 2)
        return 64;
    alarm(MOST_S);
    for (int i = 0; i < TRANSACTIONS; i++) {
        if (session.connection == NULL && !pg_session_open(&session, arguments[1], NULL, "session_probe", &error))
            continue;
        if (transact(&session, &wrong, &error))
            committed++;
        else if (!pg_execute(&session, "rollback", &error))
            pg_session_close(&session);
    }
    /* Without stdio, whose buffer might be the allocation that fails. */
    char line[] = "committed 0\n";
    line[sizeof line - 3] += (char)committed;
    if (write(STDOUT_FILENO, line, sizeof line - 1) < 0)
        return 1;
    pg_session_close(&session);
    return wrong ? 1 : 0;
}
