#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "bridge/base/log.h"

/* The log's clock, in the hands of the tests: this definition comes before the library's. */
static int64_t now_ms = 1795215481123; /* 2026-11-20T22:58:01.123Z */

int clock_gettime(clockid_t clock, struct timespec *out)
{
    (void)clock;
    out->tv_sec = now_ms / 1000;
    out->tv_nsec = now_ms % 1000 * 1000000;
    return 0;
}

static int saved_stderr = -1;
static FILE *captured;
static char lines[1 << 20];

/* From here on stderr is a file of ours. */
static int set_up(void **state)
{
    (void)state;
    captured = tmpfile();
    saved_stderr = dup(STDERR_FILENO);
    if (captured == NULL || saved_stderr < 0 || dup2(fileno(captured), STDERR_FILENO) < 0)
        return -1;
    unsetenv("JOURNAL_STREAM");
    log_configure(false, LOG_LEVEL_INFO, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_flush();
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    fclose(captured);
    return 0;
}

/* What was written since the last call. */
static const char *written(void)
{
    ssize_t length = pread(fileno(captured), lines, sizeof lines - 1, 0);
    assert_true(length >= 0);
    lines[length] = '\0';
    assert_int_equal(ftruncate(fileno(captured), 0), 0);
    lseek(fileno(captured), 0, SEEK_SET);
    return lines;
}

static struct json_object *only_object(void)
{
    const char *line = written();
    assert_non_null(strchr(line, '\n'));
    assert_string_equal(strchr(line, '\n'), "\n");
    struct json_object *object = json_tokener_parse(line);
    assert_non_null(object);
    return object;
}

static void assert_member(struct json_object *object, const char *name, const char *expected)
{
    struct json_object *member = NULL;
    if (!json_object_object_get_ex(object, name, &member))
        fail_msg("no member %s", name);
    assert_string_equal(json_object_get_string(member), expected);
}

static void test_a_line_is_time_event_and_pairs(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_INFO, "applied", "rows=%d peer=%s", 3, "operations");
    assert_string_equal(written(), "2026-11-20T22:58:01.123Z applied rows=3 peer=operations\n");
    log_event(LOG_LEVEL_INFO, "stopped", "%s", "");
    assert_string_equal(written(), "2026-11-20T22:58:01.123Z stopped\n");
}

static void test_what_is_less_urgent_than_asked_is_not_printed(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_DEBUG, "polled", "rows=0");
    assert_string_equal(written(), "");
    log_configure(false, LOG_LEVEL_ERROR, NULL);
    log_event(LOG_LEVEL_WARNING, "lost", "peer=x");
    assert_string_equal(written(), "");
    log_event(LOG_LEVEL_ERROR, "lost", "peer=x");
    assert_non_null(strstr(written(), "lost peer=x"));
    log_configure(false, LOG_LEVEL_DEBUG, NULL);
    log_event(LOG_LEVEL_DEBUG, "polled", "rows=0");
    assert_non_null(strstr(written(), "polled rows=0"));
}

static void become_journal(void)
{
    struct stat status;
    char stream[64];
    assert_int_equal(fstat(STDERR_FILENO, &status), 0);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
}

static void test_journald_gets_the_priority_and_no_time(void **state)
{
    (void)state;
    become_journal();
    log_configure(false, LOG_LEVEL_INFO, NULL);
    log_event(LOG_LEVEL_ERROR, "failed", "a=1");
    log_event(LOG_LEVEL_INFO, "applied", "rows=3");
    assert_string_equal(written(), "<3>failed a=1\n<6>applied rows=3\n");
    log_configure(true, LOG_LEVEL_INFO, NULL);
    log_event(LOG_LEVEL_WARNING, "lost", "a=1");
    assert_memory_equal(written(), "<4>{\"time\":", 11);
}

static void test_an_inherited_journal_stream_is_not_believed(void **state)
{
    (void)state;
    setenv("JOURNAL_STREAM", "8:12345", 1);
    log_configure(false, LOG_LEVEL_INFO, NULL);
    log_event(LOG_LEVEL_INFO, "applied", "rows=3");
    assert_string_equal(written(), "2026-11-20T22:58:01.123Z applied rows=3\n");
}

static void test_json_has_a_member_per_pair(void **state)
{
    (void)state;
    log_configure(true, LOG_LEVEL_INFO, "commerce");
    log_event(LOG_LEVEL_WARNING, "lost", "peer=operations  empty= path=/a/b why=\"it \\\"broke\\\" \\\\ é\" rows=3");
    struct json_object *object = only_object();
    assert_member(object, "time", "2026-11-20T22:58:01.123Z");
    assert_member(object, "level", "warning");
    assert_member(object, "node", "commerce");
    assert_member(object, "event", "lost");
    assert_member(object, "peer", "operations");
    assert_member(object, "empty", "");
    assert_member(object, "path", "/a/b");
    assert_member(object, "why", "it \"broke\" \\ é");
    assert_member(object, "rows", "3");
    assert_int_equal(json_object_object_length(object), 9);
    json_object_put(object);
}

static void test_what_is_no_pair_becomes_text(void **state)
{
    (void)state;
    log_configure(true, LOG_LEVEL_INFO, NULL);
    log_event(LOG_LEVEL_INFO, "started", "a=1 just some words");
    struct json_object *object = only_object();
    assert_member(object, "a", "1");
    assert_member(object, "text", "just some words");
    json_object_put(object);
    log_event(LOG_LEVEL_INFO, "started", "why=\"never closed");
    object = only_object();
    assert_member(object, "why", "never closed");
    json_object_put(object);
}

static void test_an_error_names_fault_code_detail_and_hint(void **state)
{
    (void)state;
    struct error error;
    error_set(&error, FAULT_OPERATOR, "42501",
              "permission denied for table \"customer\"\nDETAIL: some\\detail\nmore of it");
    error_hint(&error, "grant it");
    log_error(LOG_LEVEL_ERROR, "refused", &error);
    assert_string_equal(written(),
                        "2026-11-20T22:58:01.123Z refused fault=operator code=42501 "
                        "error=\"permission denied for table \\\"customer\\\"\" detail=\"some\\\\detail more of it\" "
                        "hint=\"grant it\"\n");
    log_configure(true, LOG_LEVEL_INFO, NULL);
    log_error(LOG_LEVEL_ERROR, "refused", &error);
    struct json_object *object = only_object();
    assert_member(object, "fault", "operator");
    assert_member(object, "code", "42501");
    assert_member(object, "error", "permission denied for table \"customer\"");
    assert_member(object, "detail", "some\\detail more of it");
    assert_member(object, "hint", "grant it");
    json_object_put(object);
}

static void test_an_error_without_a_code_has_no_code(void **state)
{
    (void)state;
    struct error error;
    error_set(&error, FAULT_POISON, NULL, "x");
    log_error(LOG_LEVEL_INFO, "refused", &error);
    assert_string_equal(written(), "2026-11-20T22:58:01.123Z refused fault=poison error=\"x\"\n");
}

static void test_an_event_stays_one_line_whatever_is_in_it(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_INFO, "received", "source=%s", "evil\n2026-11-20T22:58:01.123Z applied\r\x1b[2Jrows=1");
    assert_string_equal(written(),
                        "2026-11-20T22:58:01.123Z received source=evil 2026-11-20T22:58:01.123Z applied  [2Jrows=1\n");
    log_event(LOG_LEVEL_INFO, "received", "source=%s", "caf\xE9");
    assert_string_equal(written(), "2026-11-20T22:58:01.123Z received source=caf?\n");
}

static void test_a_very_long_line_is_cut_between_characters(void **state)
{
    (void)state;
    static char value[20000];
    for (size_t shift = 0; shift < 3; shift++) {
        for (int json = 0; json < 2; json++) {
            memset(value, 'x', shift);
            for (size_t i = shift; i + 3 < sizeof value; i += 3)
                memcpy(value + i, "€", 3);
            log_configure(json == 1, LOG_LEVEL_INFO, NULL);
            log_event(LOG_LEVEL_INFO, "received", "a=1 value=\"%s\"", value);
            const char *line = written();
            size_t length = strlen(line);
            assert_true(length > 1000 && length < 10000);
            assert_int_equal(line[length - 1], '\n');
            assert_true(text_is_utf8(text_from(line)));
            assert_null(strchr(line, '?'));
        }
    }
    /* The worst case of JSON: every byte needs an escape. */
    memset(value, '\\', sizeof value - 1);
    log_configure(true, LOG_LEVEL_INFO, "commerce");
    log_event(LOG_LEVEL_INFO, "received", "value=%s", value);
    struct json_object *object = only_object();
    assert_member(object, "event", "received");
    json_object_put(object);
    /* And many pairs. */
    for (size_t i = 0; i + 4 < sizeof value; i += 4)
        memcpy(value + i, "a=1 ", 4);
    log_event(LOG_LEVEL_INFO, "received", "%s", value);
    json_object_put(only_object());
}

static void test_repeats_are_counted_and_told_once(void **state)
{
    (void)state;
    for (int i = 0; i < 58; i++)
        log_event(LOG_LEVEL_INFO, "lost", "peer=x");
    assert_string_equal(written(), "2026-11-20T22:58:01.123Z lost peer=x\n");
    now_ms += 10000;
    log_event(LOG_LEVEL_INFO, "other", "a=1");
    assert_string_equal(written(), "2026-11-20T22:58:11.123Z lost peer=x repeated=57\n"
                                   "2026-11-20T22:58:11.123Z other a=1\n");
    log_event(LOG_LEVEL_INFO, "lost", "peer=x");
    assert_string_equal(written(), "2026-11-20T22:58:11.123Z lost peer=x\n");
    now_ms -= 10000;
}

static void test_a_line_that_goes_on_repeating_is_told_every_ten_seconds(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        log_event(LOG_LEVEL_INFO, "lost", "peer=x");
        now_ms += 250;
    }
    assert_string_equal(written(), "2026-11-20T22:58:01.123Z lost peer=x\n"
                                   "2026-11-20T22:58:11.123Z lost peer=x repeated=40\n"
                                   "2026-11-20T22:58:21.123Z lost peer=x repeated=40\n");
    log_flush();
    assert_string_equal(written(), "2026-11-20T22:58:26.123Z lost peer=x repeated=19\n");
    now_ms -= 25000;
}

static void test_lines_that_differ_are_not_repeats(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_INFO, "lost", "peer=x");
    log_event(LOG_LEVEL_INFO, "lost", "peer=y");
    log_event(LOG_LEVEL_INFO, "found", "peer=x");
    log_event(LOG_LEVEL_ERROR, "lost", "peer=x");
    const char *line = written();
    size_t count = 0;
    for (; *line != '\0'; line++)
        count += *line == '\n';
    assert_int_equal(count, 4);
    log_flush();
    assert_string_equal(written(), "");
}

static void test_many_lines_in_turn_lose_no_count(void **state)
{
    (void)state;
    /* More different lines than are remembered, each four times in a row. */
    for (int i = 0; i < 160; i++)
        log_event(LOG_LEVEL_INFO, "lost", "peer=p%d", i / 4);
    log_flush();
    const char *all = written();
    size_t count = 0;
    for (const char *p = all; (p = strstr(p, "repeated=3\n")) != NULL; p++)
        count++;
    assert_int_equal(count, 40);
}

static void *log_many(void *name)
{
    for (int i = 0; i < 500; i++)
        log_event(LOG_LEVEL_INFO, "applied", "thread=%s number=%d end=yes", (const char *)name, i);
    return NULL;
}

static void test_lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t threads[4];
    static char names[4][2] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    size_t count = 0;
    char *rest = NULL;
    (void)written();
    for (char *line = strtok_r(lines, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest), count++) {
        char thread;
        int number, end = 0;
        assert_int_equal(
            sscanf(line, "2026-11-20T22:58:01.123Z applied thread=%c number=%d end=yes%n", &thread, &number, &end), 2);
        assert_int_equal(end, strlen(line));
    }
    assert_int_equal(count, 2000);
}

static void test_logging_leaves_errno_alone(void **state)
{
    (void)state;
    errno = ENOSPC;
    log_event(LOG_LEVEL_INFO, "applied", "rows=1");
    assert_int_equal(errno, ENOSPC);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_line_is_time_event_and_pairs),
        TEST(test_what_is_less_urgent_than_asked_is_not_printed),
        TEST(test_journald_gets_the_priority_and_no_time),
        TEST(test_an_inherited_journal_stream_is_not_believed),
        TEST(test_json_has_a_member_per_pair),
        TEST(test_what_is_no_pair_becomes_text),
        TEST(test_an_error_names_fault_code_detail_and_hint),
        TEST(test_an_error_without_a_code_has_no_code),
        TEST(test_an_event_stays_one_line_whatever_is_in_it),
        TEST(test_a_very_long_line_is_cut_between_characters),
        TEST(test_repeats_are_counted_and_told_once),
        TEST(test_a_line_that_goes_on_repeating_is_told_every_ten_seconds),
        TEST(test_lines_that_differ_are_not_repeats),
        TEST(test_many_lines_in_turn_lose_no_count),
        TEST(test_lines_of_threads_do_not_mix),
        TEST(test_logging_leaves_errno_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
