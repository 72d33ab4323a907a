#pragma once
/* One line per event: a past-tense verb, then key=value. To stderr: text on a terminal, with journald's priority prefix
 * under systemd, JSON on demand. No row values, no passwords. Repeats of the same line are counted, not repeated. Safe
 * from any thread. */
#include <stdbool.h>

#include "bridge/base/error.h"
#include "bridge/base/text.h"

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/* node may be NULL. level: the least urgent that is printed. Looks again whether stderr is journald's. */
void log_configure(bool json, enum log_level level, const char *node);

/* event: "applied", "connected"; then pairs as printf text: `log_event(LOG_LEVEL_INFO, "applied", "rows=%zu peer=%s", n, p)`.
 * A value with blanks is to be written in double quotes by the caller. */
void log_event(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A value from outside, as a pair's value: as it is when it is one word, else in double quotes, so that it forges no pair.
 * Cut at size. Returns out. */
const char *log_value(struct text value, char *out, size_t size);

/* An error with where it happened: fault and code become pairs. */
void log_error(enum log_level level, const char *event, const struct error *error);

/* What is still only counted is printed with its count: before the process ends, which log_configure arranges. */
void log_flush(void);

/* How a line becomes JSON: an object of texts, written into out with a NUL. Returns its length, 0 when it has no room.
 * Of two members with one name the later stays. Implemented in message/codec_write.c: the codec alone knows json-c. */
struct log_member {
    const char *name;
    struct text value;
};
size_t log_json_line(const struct log_member *members, size_t count, char *out, size_t size);
