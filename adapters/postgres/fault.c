#include "adapters/postgres/fault.h"

#include <string.h>

static const struct {
    const char *code; /* five characters, or two for a whole class */
    enum fault fault;
} faults[] = {
    /* the exact codes first */
    {"40001", FAULT_CONTENTION}, /* serialization_failure */
    {"40P01", FAULT_CONTENTION}, /* deadlock_detected */
    {"55P03", FAULT_CONTENTION}, /* lock_not_available: lock_timeout */
    {"0A000", FAULT_PERMANENT},  /* feature_not_supported; of a stale plan see session.c */
    {"26000", FAULT_CONTENTION}, /* invalid_sql_statement_name: the statement was deallocated */
    {"57014", FAULT_CONTENTION}, /* query_canceled: statement_timeout or an operator */
    {"25P02", FAULT_CONTENTION}, /* in_failed_sql_transaction */
    {"25006", FAULT_CONNECTION}, /* read_only_sql_transaction: we reached a standby */
    {"23503", FAULT_TRANSIENT},  /* foreign_key_violation: the parent may still come */
    {"23505", FAULT_TRANSIENT},  /* unique_violation: the value may become free */
    {"23P01", FAULT_TRANSIENT},  /* exclusion_violation: as above */
    {"3D000", FAULT_OPERATOR},   /* invalid_catalog_name: no such database */
    {"42501", FAULT_OPERATOR},   /* insufficient_privilege */
    {"3F000", FAULT_OPERATOR},   /* invalid_schema_name */
    {"53300", FAULT_CONNECTION}, /* too_many_connections */
    {"53400", FAULT_TRANSIENT},  /* configuration_limit_exceeded */
    {"P0001", FAULT_PERMANENT},  /* raise_exception by a user trigger */
    /* then the classes */
    {"08", FAULT_CONNECTION}, /* connection exceptions */
    {"57", FAULT_CONNECTION}, /* operator intervention: shutdown, crash, cannot connect now */
    {"58", FAULT_CONNECTION}, /* system errors: I/O */
    {"53", FAULT_CONNECTION}, /* insufficient resources: disk full, memory */
    {"XX", FAULT_TRANSIENT},  /* internal errors, corruption */
    {"28", FAULT_OPERATOR},   /* invalid authorization */
    {"22", FAULT_PERMANENT},  /* data exceptions: type, length, range */
    {"23", FAULT_PERMANENT},  /* integrity constraints */
    {"42", FAULT_PERMANENT},  /* names that do not exist: the schema changed under us */
    {"44", FAULT_PERMANENT},  /* with check option */
    {"21", FAULT_PERMANENT},  /* cardinality violation: one key twice in a message */
    {"54", FAULT_PERMANENT},  /* program limit exceeded: index row too large */
    {"55", FAULT_TRANSIENT},
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
