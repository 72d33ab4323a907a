#pragma once
/* How the configuration writes columns and tables.
 *
 * Columns and tables follow SQL: folded to lower case (a-z only, as PostgreSQL does in UTF-8) unless in double quotes,
 * a doubled quote inside being one quote; a reserved word needs no quotes. Canonical field names are the words of the
 * message contract, not SQL's: they are taken as written, 1..63 bytes without control characters and `=`. Around a
 * canonical name double quotes are allowed and removed.
 *
 * Pure. All errors are FAULT_OPERATOR; outputs are set only on success and owned by the caller. */
#include <stdbool.h>

#include "bridge/base/error.h"
#include "bridge/base/text.h"
#include "bridge/control/config.h"

/* `canonical = column`, or a column alone, whose SQL name is then the canonical name too: `Email` is email = email. */
bool mapping_parse(struct text source, struct mapping *mapping, struct error *error);

/* `table` or `schema.table`; *schema is NULL when there is none. */
bool mapping_parse_table(struct text source, char **schema, char **table, struct error *error);
