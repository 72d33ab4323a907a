#pragma once
/* Rows of a message as parameters of a prepared statement: one binary array per column, built in the transaction's arena. */
#include <libpq-fe.h>

#include "adapters/postgres/statement.h"

enum { OID_BOOL = 16, OID_INT8 = 20, OID_TEXT = 25, OID_BOOL_ARRAY = 1000, OID_TEXT_ARRAY = 1009, OID_INT8_ARRAY = 1016 };

/* Which rows of a message a statement works on. */
struct selection {
    const struct message *message;
    size_t count;
    const size_t *rows;
    const bool *locked; /* count of them */
    bool force;
    const struct version *judged; /* with force, count of them: the row's version that the judge has seen, none when it had none */
    int64_t horizon_us;
};

struct parameters {
    int count;
    Oid *types; /* room for one more in each */
    const char **values;
    int *lengths;
    int *formats;
};

/* What all statements but the lock's want (statement.h). */
struct parameters parameters_make(struct arena *arena, const struct statement *statement,
                                  const struct selection *selection);

/* A binary text[] of these values. */
struct text parameters_texts(struct arena *arena, size_t count, const struct text *values);

/* A text[] literal, for a record. */
const char *parameters_literal(struct arena *arena, const struct text *values, size_t count);

/* "{1,3}", numbers from 1 -> those rows of the selection, of which rows has room for all; of a null none. Returns how many. */
size_t parameters_selected(const PGresult *result, int column, const struct selection *selection, size_t *rows);
