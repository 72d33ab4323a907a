#include "bridge/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENT_BYTES = 64,
    PAIRS_BYTES = 2400, /* a whole struct error with every quote escaped, and where it happened */
    LINE_BYTES = 2 * PAIRS_BYTES + 512,
    PAIRS_MAX = 32,    /* members of a JSON line */
    REPEATS_KEPT = 16, /* different lines whose repeats are counted at the same time */
    REPEAT_WINDOW_MS = 10000,
};

/* A line that was printed, and how often it has come again since. */
struct repeat {
    bool in_use;
    enum log_level level;
    uint64_t hash;
    int64_t printed_ms;
    unsigned long count;
    char event[EVENT_BYTES];
    char pairs[PAIRS_BYTES];
};

static atomic_int least_urgent = LOG_LEVEL_INFO;

/* Everything below belongs to the holder of this lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool as_json;
static char node_name[EVENT_BYTES];
static bool to_journal;
static bool looked_for_journal;
static struct repeat repeats[REPEATS_KEPT];

/* ---- one line ------------------------------------------------------------------------------------------------------
 */

/* The variable alone proves nothing: children whose stderr went elsewhere inherit it. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat status;
    if (stream == NULL || fstat(STDERR_FILENO, &status) != 0)
        return false;
    char expected[64];
    snprintf(expected, sizeof expected, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    return strcmp(stream, expected) == 0;
}

static void look_for_journal(void)
{
    to_journal = stderr_is_journal();
    looked_for_journal = true;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARNING:
        return "warning";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_DEBUG:
        return "debug";
    }
    return "info";
}

/* 2026-11-20T22:58:01.123Z */
static void time_text(char *out, size_t size)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t length = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + length, size - length, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads one word up to a blank; a value in double quotes loses them and the backslashes before quotes and backslashes.
 * Works in place. Returns where the next word may start. */
static char *take_value(char *p, struct text *value)
{
    if (*p != '"') {
        size_t length = strcspn(p, " ");
        *value = (struct text){p, length};
        return p + length;
    }
    char *out = p;
    *value = (struct text){out, 0};
    for (p++; *p != '\0' && *p != '"'; p++) {
        if (*p == '\\' && (p[1] == '"' || p[1] == '\\'))
            p++;
        *out++ = *p;
    }
    value->length = (size_t)(out - value->data);
    return *p == '"' ? p + 1 : p;
}

/* Splits pairs, in place, into members: key=value each. What is not a pair goes into "text". */
static size_t split_pairs(char *pairs, struct log_member *members, size_t members_max)
{
    size_t count = 0;
    for (char *p = pairs; count < members_max;) {
        p += strspn(p, " ");
        if (*p == '\0')
            break;
        size_t name_length = strcspn(p, "= ");
        if (p[name_length] != '=' || name_length == 0) {
            members[count++] = (struct log_member){"text", {p, strlen(p)}};
            break;
        }
        members[count].name = p;
        p[name_length] = '\0';
        p = take_value(p + name_length + 1, &members[count].value);
        count++;
    }
    return count;
}

static size_t json_line(char *out, size_t size, enum log_level level, const char *event, const char *pairs)
{
    char when[40];
    char copy[PAIRS_BYTES + 64];
    struct log_member members[PAIRS_MAX];
    size_t count = 0;
    time_text(when, sizeof when);
    snprintf(copy, sizeof copy, "%s", pairs);
    members[count++] = (struct log_member){"time", text_from(when)};
    members[count++] = (struct log_member){"level", text_from(level_name(level))};
    if (node_name[0] != '\0')
        members[count++] = (struct log_member){"node", text_from(node_name)};
    members[count++] = (struct log_member){"event", text_from(event)};
    count += split_pairs(copy, members + count, PAIRS_MAX - count);
    return log_json_line(members, count, out, size);
}

static size_t text_line(char *out, size_t size, const char *event, const char *pairs)
{
    char when[40] = "";
    if (!to_journal) {
        time_text(when, sizeof when - 1);
        strcat(when, " ");
    }
    int length = snprintf(out, size, "%s%s%s%s", when, event, pairs[0] != '\0' ? " " : "", pairs);
    return length < 0 ? 0 : (size_t)length;
}

/* A line is written at once, so that lines of several processes on one terminal stay whole. A log that cannot be
 * written must not stop the bridge. */
static void write_line(enum log_level level, const char *event, const char *pairs)
{
    char line[LINE_BYTES];
    size_t at = 0;
    if (to_journal)
        at = (size_t)snprintf(line, sizeof line, "<%d>", (int)level);
    size_t room = sizeof line - at - 1;
    size_t length =
        as_json ? json_line(line + at, room, level, event, pairs) : text_line(line + at, room, event, pairs);
    at += length < room ? length : room - 1;
    line[at++] = '\n';
    for (size_t written = 0; written < at;) {
        ssize_t count = write(STDERR_FILENO, line + written, at - written);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return;
        written += (size_t)count;
    }
}

/* ---- repeats -------------------------------------------------------------------------------------------------------
 */

static uint64_t line_hash(const char *event, const char *pairs)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325); /* FNV-1a */
    for (const char *p = event; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001B3);
    hash = (hash ^ ' ') * UINT64_C(0x100000001B3);
    for (const char *p = pairs; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001B3);
    return hash;
}

static void report_repeats(struct repeat *repeat)
{
    char pairs[PAIRS_BYTES + 64];
    if (repeat->count == 0)
        return;
    snprintf(pairs, sizeof pairs, "%s%srepeated=%lu", repeat->pairs, repeat->pairs[0] != '\0' ? " " : "",
             repeat->count);
    write_line(repeat->level, repeat->event, pairs);
    repeat->count = 0;
}

static struct repeat *find_repeat(enum log_level level, uint64_t hash, const char *event, const char *pairs)
{
    for (size_t i = 0; i < REPEATS_KEPT; i++) {
        struct repeat *repeat = &repeats[i];
        if (repeat->in_use && repeat->hash == hash && repeat->level == level && strcmp(repeat->event, event) == 0 &&
            strcmp(repeat->pairs, pairs) == 0)
            return repeat;
    }
    return NULL;
}

/* Reports what has been counted for long enough, and frees its place; spares the line that has just come again. */
static void expire_repeats(int64_t now_ms, const struct repeat *spared)
{
    for (size_t i = 0; i < REPEATS_KEPT; i++) {
        struct repeat *repeat = &repeats[i];
        if (!repeat->in_use || repeat == spared || now_ms - repeat->printed_ms < REPEAT_WINDOW_MS)
            continue;
        report_repeats(repeat);
        repeat->in_use = false;
    }
}

/* A free place, or that of the line printed longest ago. */
static struct repeat *place_for_repeat(void)
{
    struct repeat *oldest = &repeats[0];
    for (size_t i = 0; i < REPEATS_KEPT; i++) {
        if (!repeats[i].in_use)
            return &repeats[i];
        if (repeats[i].printed_ms < oldest->printed_ms)
            oldest = &repeats[i];
    }
    report_repeats(oldest);
    return oldest;
}

static void print_or_count(enum log_level level, const char *event, const char *pairs)
{
    int64_t now_ms = monotonic_ms();
    uint64_t hash = line_hash(event, pairs);
    struct repeat *repeat = find_repeat(level, hash, event, pairs);
    expire_repeats(now_ms, repeat);
    if (repeat != NULL) {
        repeat->count++;
        if (now_ms - repeat->printed_ms < REPEAT_WINDOW_MS)
            return;
        report_repeats(repeat);
        repeat->printed_ms = now_ms;
        return;
    }
    write_line(level, event, pairs);
    repeat = place_for_repeat();
    *repeat = (struct repeat){.in_use = true, .level = level, .hash = hash, .printed_ms = now_ms};
    snprintf(repeat->event, sizeof repeat->event, "%s", event);
    snprintf(repeat->pairs, sizeof repeat->pairs, "%s", pairs);
}

/* ---- what log.h promises -------------------------------------------------------------------------------------------
 */

void log_configure(bool json, enum log_level level, const char *node)
{
    static bool flushes_at_exit;
    log_flush();
    pthread_mutex_lock(&lock);
    atomic_store(&least_urgent, (int)level);
    as_json = json;
    snprintf(node_name, sizeof node_name, "%s", node != NULL ? node : "");
    look_for_journal();
    if (!flushes_at_exit)
        flushes_at_exit = atexit(log_flush) == 0;
    pthread_mutex_unlock(&lock);
}

void log_flush(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < REPEATS_KEPT; i++) {
        if (repeats[i].in_use)
            report_repeats(&repeats[i]);
        repeats[i].in_use = false;
    }
    pthread_mutex_unlock(&lock);
}

/* One event stays one line, and a name from outside cannot forge another. */
static void make_one_line(char *pairs)
{
    size_t length = strlen(pairs);
    /* A text cut off at the end may end within a character. */
    if (length == PAIRS_BYTES - 1)
        for (size_t i = 0; i < 4 && length > 0 && !text_is_utf8((struct text){pairs, length}); i++)
            pairs[--length] = '\0';
    bool valid = text_is_utf8((struct text){pairs, length});
    for (char *p = pairs; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < ' ' || c == 0x7F)
            *p = ' ';
        else if (c >= 0x80 && !valid)
            *p = '?';
    }
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&least_urgent, memory_order_relaxed))
        return;
    int saved = errno;
    char pairs[PAIRS_BYTES];
    char short_event[EVENT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(pairs, sizeof pairs, format, arguments);
    va_end(arguments);
    make_one_line(pairs);
    snprintf(short_event, sizeof short_event, "%s", event);
    pthread_mutex_lock(&lock);
    if (!looked_for_journal)
        look_for_journal();
    print_or_count(level, short_event, pairs);
    pthread_mutex_unlock(&lock);
    errno = saved;
}

const char *log_value(struct text value, char *out, size_t size)
{
    bool word = value.length > 0;
    for (size_t i = 0; i < value.length; i++)
        word = word && (unsigned char)value.data[i] > ' ' && value.data[i] != '"';
    size_t at = 0;
    if (!word)
        out[at++] = '"';
    for (size_t i = 0; i < value.length && at + 4 < size; i++) {
        if (!word && (value.data[i] == '"' || value.data[i] == '\\'))
            out[at++] = '\\';
        out[at++] = value.data[i];
    }
    out[at] = '\0';
    text_trim_cut(out);
    if (!word)
        strcat(out, "\"");
    return out;
}

struct pairs {
    char text[PAIRS_BYTES];
    size_t length;
};

static void pairs_add(struct pairs *pairs, char c)
{
    if (pairs->length < sizeof pairs->text - 1)
        pairs->text[pairs->length++] = c;
}

static void pairs_add_string(struct pairs *pairs, const char *string)
{
    while (*string != '\0')
        pairs_add(pairs, *string++);
}

/* "first line\nDETAIL: ...\nHINT: ..." becomes error="..." detail="..." hint="..."; other lines continue theirs. */
static void pairs_add_error(struct pairs *pairs, const char *text)
{
    static const struct {
        const char *label, *pair;
    } parts[] = {{"DETAIL: ", "\" detail=\""}, {"HINT: ", "\" hint=\""}};
    pairs_add_string(pairs, "error=\"");
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\n') {
            const char *pair = " ";
            for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
                if (strncmp(p + 1, parts[i].label, strlen(parts[i].label)) == 0) {
                    pair = parts[i].pair;
                    p += strlen(parts[i].label);
                    break;
                }
            }
            pairs_add_string(pairs, pair);
            continue;
        }
        if (*p == '"' || *p == '\\')
            pairs_add(pairs, '\\');
        pairs_add(pairs, *p);
    }
    pairs_add(pairs, '"');
}

void log_error(enum log_level level, const char *event, const struct error *error)
{
    struct pairs pairs = {.length = 0};
    pairs_add_string(&pairs, "fault=");
    pairs_add_string(&pairs, fault_name(error->fault));
    if (error->code[0] != '\0') {
        pairs_add_string(&pairs, " code=");
        pairs_add_string(&pairs, error->code);
    }
    pairs_add(&pairs, ' ');
    pairs_add_error(&pairs, error->text);
    log_event(level, event, "%s", pairs.text);
}
