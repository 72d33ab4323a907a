#pragma once
/* Schema bridge: which version of it this program needs, and whether the database has that one. */
#include "adapters/postgres/session.h"

/* The number of the last file in sql/install. */
int schema_version(void);
/* FAULT_OPERATOR when the schema is not there, or of another program's version. */
bool schema_is_ours(struct pg_session *session, struct error *error);
