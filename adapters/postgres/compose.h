#pragma once
/* Pieces of the SQL that is composed at run time. */
#include <stdio.h>

#include "adapters/postgres/catalog.h"

/* Ends with fclose; text is to be freed then. */
FILE *sql_open(char **text, size_t *length);
/* "$1::text[], $2::text[]" */
void sql_put_arrays(FILE *out, size_t count);
/* "t1, t2" */
void sql_put_names(FILE *out, const char *prefix, size_t count);
/* "t.a = i.t1::int and t.b = i.t2::text" over the key: against input as text. */
void sql_put_raw_key_match(FILE *out, const struct catalog_entity *entity, const char *table);
/* A key's text, of the input or of row t: itself, or the text of the array of its parts; bridge.key_expression writes the same. */
void sql_put_key_text(FILE *out, const struct catalog_entity *entity, bool of_row);
