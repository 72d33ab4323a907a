#pragma once
/* What went wrong, and what can be done about it.
 *
 * A function that can fail returns bool and fills a struct error only on failure. The fault names the remedy; the code
 * is the world's own (SQLSTATE, AMQP reply code) or empty; the text is for people: what happened, then DETAIL and HINT
 * after newlines when there is something to add. No row values, no passwords. */
#include <stdbool.h>
#include <stddef.h>

enum fault {
    FAULT_NONE,
    FAULT_CONNECTION, /* the other side is away: reconnect with backoff, nobody's budget is spent */
    FAULT_CONTENTION, /* serialization, deadlock, stale plan: roll back and try again at once */
    FAULT_TRANSIENT,  /* the cause may go away by itself later: a parent row that is missing, a lock held too long */
    FAULT_PERMANENT,  /* will fail again until somebody changes data, schema or mapping */
    FAULT_POISON,     /* the bytes themselves are bad: unreadable, wrong hash, over size */
    FAULT_OPERATOR,   /* configuration, privilege or topology: stop and say what to do */
    FAULT_BUG,        /* cannot happen */
};

struct error {
    enum fault fault;
    char code[8];
    char text[1024];
};

/* Whether a failure is the rows' own: not the connection's, a lock's or a privilege's. */
static inline bool error_is_of_rows(const struct error *error)
{
    return error->fault != FAULT_CONNECTION && error->fault != FAULT_CONTENTION && error->fault != FAULT_OPERATOR;
}

/* "connection", "contention", ...: the word used in log, SQL and metrics. */
const char *fault_name(enum fault fault);

/* Always returns false, so that a failing function can end with `return error_set(...)`. code may be NULL. */
bool error_set(struct error *error, enum fault fault, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts words before the text: where it happened. Returns false. */
bool error_prefix(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds a line after the text: "HINT: ...". Returns false. */
bool error_hint(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
