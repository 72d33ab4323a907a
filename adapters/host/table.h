#pragma once
/* A table for people: columns aligned, widths counted in characters, nothing cut off. */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table_column {
    const char *title;
    bool right; /* numbers */
};

/* rows times columns cells, row by row; NULL is an empty cell. A line break in a cell continues below, in its column.
 */
void table_print(FILE *out, size_t column_count, const struct table_column *columns, size_t row_count,
                 const char *const *cells);
