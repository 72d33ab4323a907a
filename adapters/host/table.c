#include "adapters/host/table.h"

#include <stdlib.h>
#include <string.h>

enum { GAP = 2, COLUMNS_MAX = 32 };

/* Characters up to the end of the line: bytes that do not continue a UTF-8 sequence. */
static size_t line_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0' && *text != '\n'; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static size_t cell_width(const char *cell)
{
    size_t width = 0;
    while (cell != NULL) {
        size_t line = line_width(cell);
        if (line > width)
            width = line;
        cell = strchr(cell, '\n');
        if (cell != NULL)
            cell++;
    }
    return width;
}

/* Prints the first line of each cell and leaves the cells at their next ones. True while there are any. */
static bool print_line(FILE *out, size_t count, const struct table_column *columns, const size_t *widths,
                       const char **cells)
{
    size_t owed = 0; /* blanks not yet printed: none at the end of a line */
    bool more = false;
    for (size_t i = 0; i < count; i++) {
        const char *cell = cells[i] != NULL ? cells[i] : "";
        size_t width = line_width(cell), bytes = strcspn(cell, "\n");
        size_t pad = widths[i] - width;
        if (bytes > 0) {
            owed += columns[i].right ? pad : 0;
            fprintf(out, "%*s%.*s", (int)owed, "", (int)bytes, cell);
            owed = columns[i].right ? 0 : pad;
        } else {
            owed += widths[i];
        }
        owed += GAP;
        cells[i] = cell[bytes] == '\n' ? cell + bytes + 1 : NULL;
        more = more || cells[i] != NULL;
    }
    fputc('\n', out);
    return more;
}

static void print_row(FILE *out, size_t count, const struct table_column *columns, const size_t *widths,
                      const char *const *row)
{
    const char *cells[COLUMNS_MAX];
    memcpy(cells, row, count * sizeof *cells);
    while (print_line(out, count, columns, widths, cells))
        ;
}

void table_print(FILE *out, size_t column_count, const struct table_column *columns, size_t row_count,
                 const char *const *cells)
{
    const char *titles[COLUMNS_MAX];
    size_t widths[COLUMNS_MAX];
    if (column_count > COLUMNS_MAX)
        abort();
    for (size_t i = 0; i < column_count; i++) {
        titles[i] = columns[i].title;
        widths[i] = cell_width(titles[i]);
        for (size_t row = 0; row < row_count; row++) {
            size_t width = cell_width(cells[row * column_count + i]);
            if (width > widths[i])
                widths[i] = width;
        }
    }
    if (titles[0] != NULL)
        print_row(out, column_count, columns, widths, titles);
    for (size_t row = 0; row < row_count; row++)
        print_row(out, column_count, columns, widths, cells + row * column_count);
}
