#include "adapters/postgres/fault.h"

#include <string.h>

#include "bridge/ports.h"

static const struct {
    const char *code; /* five characters, or two for a whole class */
    enum fault fault;
} faults[] = {
    /* the exact codes first */
    {"40001", FAULT_CONTENTION}, /* serialization_failure */
    {"40P01", FAULT_CONTENTION}, /* deadlock_detected */
    {"55P03", FAULT_CONTENTION}, /* lock_not_available: lock_timeout */
    {"26000", FAULT_CONTENTION}, /* invalid_sql_statement_name: the statement was deallocated */
    {"57014", FAULT_CONTENTION}, /* query_canceled: statement_timeout or an operator */
    {"25P02", FAULT_CONTENTION}, /* in_failed_sql_transaction */
    {"72000", FAULT_CONTENTION}, /* snapshot_too_old */
    {"25006", FAULT_CONNECTION}, /* read_only_sql_transaction: we reached a standby */
    {"25P03", FAULT_CONNECTION}, /* idle_in_transaction_session_timeout: the session has ended */
    {"23503", FAULT_TRANSIENT},  /* foreign_key_violation: the parent may still come */
    {"23505", FAULT_TRANSIENT},  /* unique_violation: the value may become free */
    {"23P01", FAULT_TRANSIENT},  /* exclusion_violation: as above */
    {"3D000", FAULT_OPERATOR},   /* invalid_catalog_name: no such database */
    {"42501", FAULT_OPERATOR},   /* insufficient_privilege */
    {"3F000", FAULT_OPERATOR},   /* invalid_schema_name */
    {"53400", FAULT_TRANSIENT},  /* configuration_limit_exceeded */
    {"PB001", FAULT_OPERATOR},   /* what the bridge's own functions raise: capture was switched */
    {"PB002", FAULT_OPERATOR},   /* install has no slot */
    {"PB003", FAULT_OPERATOR},   /* a mapped column is gone */
    {TARGET_LATE, FAULT_CONTENTION},
    /* then the classes */
    {"08", FAULT_CONNECTION}, /* connection exceptions */
    {"57", FAULT_CONNECTION}, /* operator intervention: shutdown, crash, cannot connect now */
    {"58", FAULT_CONNECTION}, /* system errors: I/O */
    {"53", FAULT_CONNECTION}, /* insufficient resources: disk full, memory, too many connections */
    {"40", FAULT_CONTENTION}, /* transaction rollback */
    {"28", FAULT_OPERATOR},   /* invalid authorization */
    {"0L", FAULT_OPERATOR},   /* invalid grantor */
    {"0P", FAULT_OPERATOR},   /* invalid role */
    {"F0", FAULT_OPERATOR},   /* configuration file */
    {"22", FAULT_PERMANENT},  /* data exceptions: type, length, range */
    {"23", FAULT_PERMANENT},  /* integrity constraints: check, not null */
    {"42", FAULT_PERMANENT},  /* names that do not exist: the schema changed under us */
    {"44", FAULT_PERMANENT},  /* with check option */
    {"21", FAULT_PERMANENT},  /* cardinality violation: one key twice in a message */
    {"54", FAULT_PERMANENT},  /* program limit exceeded: index row too large */
    {"0A", FAULT_PERMANENT},  /* feature not supported; of a stale plan see session.c */
    {"P0", FAULT_PERMANENT},  /* PL/pgSQL: what a user's trigger raises */
    {"09", FAULT_PERMANENT},  /* the other words that triggers and functions of users have for no: */
    {"20", FAULT_PERMANENT},  /* no case of a CASE */
    {"27", FAULT_PERMANENT},  /* a trigger changed the row that it fires for */
    {"2F", FAULT_PERMANENT},  /* SQL routine */
    {"38", FAULT_PERMANENT},  /* external routine */
    {"39", FAULT_PERMANENT},  /* external routine, called wrongly */
    {"55", FAULT_TRANSIENT},  /* an object is not in the state it should be in */
    {"XX", FAULT_TRANSIENT},  /* internal errors, corruption */
};

enum fault pg_fault(const char *sqlstate)
{
    if (sqlstate == NULL || sqlstate[0] == '\0')
        return FAULT_CONNECTION;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (strncmp(faults[i].code, sqlstate, strlen(faults[i].code)) == 0)
            return faults[i].fault;
    return FAULT_TRANSIENT;
}
