#pragma once
/* SQLSTATE -> fault: the one place that knows which of PostgreSQL's errors can be retried, and how. */
#include "bridge/base/error.h"

/* sqlstate: five characters, or NULL or "" when the server said none (the connection broke). Classes are matched by
 * their first two characters when the code itself is not listed. Unknown codes are transient, with a budget. */
enum fault pg_fault(const char *sqlstate);
