#include "adapters/host/ask.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapters/host/command.h"
#include "adapters/postgres/sql.h"
#include "bridge/base/limits.h"

enum {
    SHOWN_BYTES = 4, /* \x1b */
    NUMBER_DIGITS_MAX = 18,
};

bool ask_not_installed(const struct config *config, struct error *error)
{
    error_set(error, FAULT_OPERATOR, NULL, "the bridge is not installed in the database of node %s", config->node);
    return error_hint(error, "run \"pgbridge install\"");
}

bool ask_open(struct pg_session *session, const struct config *config, const char *application_name,
              struct error *error)
{
    if (!pg_session_open(session, config->database, config->database_password, application_name, error))
        return false;
    PG_RESULT installed = pg_query(session, "status_installed", 0, NULL, error);
    if (installed == NULL)
        return false;
    return (PQntuples(installed) > 0 && pg_boolean(installed, 0, 0)) || ask_not_installed(config, error);
}

int ask_run(const struct options *options, const char *application_name,
            int (*run)(struct pg_session *session, const struct options *options))
{
    struct config config;
    if (!command_config(options, &config))
        return EXIT_BAD_CONFIG;
    struct pg_session session = {0};
    struct error error;
    int code;
    if (ask_open(&session, &config, application_name, &error)) {
        session.shows_words = true;
        code = run(&session, options);
    } else {
        code = command_fail(&error);
    }
    pg_session_close(&session);
    config_free(&config);
    return code;
}

PGresult *ask_query(struct pg_session *session, const char *path, int parameter_count, const char *const *parameters,
                    struct error *error)
{
    return pg_query_text(session, sql_text(path), parameter_count, parameters, error);
}

const char *ask_person(void)
{
    const char *sudo = getenv("SUDO_USER");
    const struct passwd *user = getpwuid(getuid());
    return sudo != NULL && sudo[0] != '\0' ? sudo : user != NULL ? user->pw_name : NULL;
}

int ask_failed(struct error *error, const char *role)
{
    if (strcmp(error->code, "42501") == 0)
        error_hint(error, "\"database\" in the config names a role that may not; %s may", role);
    int code = command_fail(error);
    return error->fault == FAULT_PERMANENT || error->fault == FAULT_TRANSIENT ? EXIT_NO : code;
}

bool ask_is_number(const char *word)
{
    size_t digits = strspn(word, "0123456789");
    return digits > 0 && digits <= NUMBER_DIGITS_MAX && word[digits] == '\0';
}

/* Bytes of a control character at the start of text, C0 or (two bytes of UTF-8) C1; 0: it is none. Line breaks are a
 * table's. */
static size_t control_bytes(const unsigned char *text)
{
    if (text[0] == 0xC2 && text[1] >= 0x80 && text[1] < 0xA0)
        return 2;
    return (text[0] < 0x20 && text[0] != '\n') || text[0] == 0x7F;
}

const char *ask_cell(struct arena *arena, const PGresult *result, int row, int column)
{
    const char *text = PQgetvalue(result, row, column);
    const unsigned char *at = (const unsigned char *)text, *end = at + PQgetlength(result, row, column);
    while (at < end && control_bytes(at) == 0)
        at++;
    if (at == end)
        return text;
    at = (const unsigned char *)text;
    char *shown = arena_take(arena, SHOWN_BYTES * (size_t)(end - at) + 1), *out = shown;
    while (at < end) {
        size_t control = control_bytes(at);
        if (control == 0) {
            *out++ = (char)*at++;
            continue;
        }
        out += snprintf(out, SHOWN_BYTES + 1, "\\x%02x", at[control - 1]);
        at += control;
    }
    return shown;
}

void ask_print(const PGresult *result, size_t column_count, const struct table_column *columns)
{
    size_t rows = (size_t)PQntuples(result);
    if (rows == 0)
        return;
    struct arena arena __attribute__((cleanup(arena_free)));
    arena_init(&arena, LIMIT_ARENA_BYTES);
    const char **cells = arena_take_array(&arena, rows * column_count, sizeof *cells);
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < column_count; column++)
            cells[row * column_count + column] = ask_cell(&arena, result, (int)row, (int)column);
    table_print(stdout, column_count, columns, rows, cells);
}
