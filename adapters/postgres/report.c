#include "adapters/postgres/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

bool pg_report(struct pg_session *session, const struct report *report, struct error *error)
{
    char pid[16], depth[24];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    snprintf(depth, sizeof depth, "%" PRIu64, report->queue_depth);
    const char *parameters[] = {report->direction,
                                report->state,
                                pid,
                                "pgbridge/" PGBRIDGE_VERSION,
                                report->queue_depth_known ? depth : NULL,
                                report->error,
                                report->error_code,
                                report->database_circuit,
                                report->broker_circuit};
    PG_RESULT result = pg_query(session, "worker_report", 9, parameters, error);
    return result != NULL;
}
