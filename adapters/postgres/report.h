#pragma once
/* What a worker says of itself, for the views: sql/queries/worker_report.sql. */
#include "adapters/postgres/session.h"
#include "bridge/flow/judge.h"

bool pg_report(struct pg_session *session, const struct report *report, struct error *error);
