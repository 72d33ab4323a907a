#include "adapters/postgres/schema.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/sql.h"

int schema_version(void)
{
    static const char directory[] = "install/";
    int newest = 0;
    for (unsigned i = 0; i < sql_file_count; i++) {
        if (strncmp(sql_files[i].name, directory, sizeof directory - 1) != 0)
            continue;
        int number = (int)strtol(sql_files[i].name + sizeof directory - 1, NULL, 10);
        newest = number > newest ? number : newest;
    }
    return newest;
}

/* The schema or the table is not there: 3F000, 42P01. */
static bool is_absent(const struct error *error)
{
    return text_equal(text_from(error->code), TEXT_LITERAL("3F000")) || text_equal(text_from(error->code), TEXT_LITERAL("42P01"));
}

bool schema_is_ours(struct pg_session *session, struct error *error)
{
    PG_RESULT result = pg_query(session, "schema_version", 0, NULL, error);
    if (result == NULL) {
        if (is_absent(error)) {
            error_set(error, FAULT_OPERATOR, NULL, "the bridge is not installed in this database");
            error_hint(error, "run \"pgbridge install\"");
        }
        return false;
    }
    int64_t number = pg_integer(result, 0, 0);
    if (number == schema_version())
        return true;
    error_set(error, FAULT_OPERATOR, NULL, "schema bridge is at version %" PRId64 ", this program needs %d", number, schema_version());
    return error_hint(error, number < schema_version() ? "run \"pgbridge install\"" : "a newer pgbridge has installed it: run that program");
}
