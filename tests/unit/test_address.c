#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bridge/control/address.h"

struct expected {
    const char *url; /* without password; NULL: as given */
    bool tls;
    const char *host;
    int port;
    const char *user, *password, *vhost;
};

static void assert_same(const char *what, const char *got, const char *wanted)
{
    if (!text_equal(text_from(got), text_from(wanted)))
        fail_msg("%s: got %s, wanted %s", what, got ? got : "null", wanted ? wanted : "null");
}

static void expect(const char *url, struct expected expected)
{
    struct broker_config broker = {0};
    struct error error = {0};
    if (!address_parse_broker(text_from(url), &broker, &error))
        fail_msg("%s: %s", url, error.text);
    assert_same(url, broker.url, expected.url == NULL ? url : expected.url);
    assert_int_equal(broker.tls, expected.tls);
    assert_same(url, broker.host, expected.host);
    assert_int_equal(broker.port, expected.port);
    assert_same(url, broker.user, expected.user);
    assert_same(url, broker.password, expected.password);
    assert_same(url, broker.vhost, expected.vhost);
    struct config config = {.broker = broker};
    config_free(&config);
}

static void refuse(const char *url, const char *text)
{
    struct broker_config broker = {0};
    struct error error = {0};
    assert_false(address_parse_broker(text_from(url), &broker, &error));
    assert_int_equal(error.fault, FAULT_OPERATOR);
    if (strncmp(error.text, text, strlen(text)) != 0)
        fail_msg("%s: %s", url, error.text);
    assert_null(strstr(error.text, "s3cret"));
    assert_null(broker.host);
}

static void test_broker_urls_are_taken_apart(void **state)
{
    (void)state;
    expect("amqp://h", (struct expected){NULL, false, "h", 5672, NULL, NULL, "/"});
    expect("amqp://h/", (struct expected){NULL, false, "h", 5672, NULL, NULL, "/"});
    expect("amqp://h/%2f", (struct expected){NULL, false, "h", 5672, NULL, NULL, "/"});
    expect("amqps://h/v", (struct expected){NULL, true, "h", 5671, NULL, NULL, "v"});
    expect("amqp://commerce@127.0.0.1:5673/bridge",
           (struct expected){NULL, false, "127.0.0.1", 5673, "commerce", NULL, "bridge"});
    expect("amqp://u@[::1]:5673/v", (struct expected){NULL, false, "::1", 5673, "u", NULL, "v"});
    expect("amqps://[2001:db8::7]", (struct expected){NULL, true, "2001:db8::7", 5671, NULL, NULL, "/"});
    expect("amqp://a%40b@h/x%2Fy%20z", (struct expected){NULL, false, "h", 5672, "a@b", NULL, "x/y z"});
}

static void test_a_password_in_the_url_is_masked(void **state)
{
    (void)state;
    expect("amqp://u:s3cret@h:1/v", (struct expected){"amqp://u@h:1/v", false, "h", 1, "u", "s3cret", "v"});
    expect("amqp://u:a%3Ab%40:c@h", (struct expected){"amqp://u@h", false, "h", 5672, "u", "a:b@:c", "/"});
    expect("amqps://u:@h/v", (struct expected){"amqps://u@h/v", true, "h", 5671, "u", "", "v"});
}

static void test_malformed_broker_urls_are_refused(void **state)
{
    (void)state;
    refuse("", "the broker's url does not begin with amqp:// or amqps://");
    refuse("http://u:s3cret@h", "the broker's url does not begin with amqp:// or amqps://");
    refuse("AMQP://h", "the broker's url does not begin with amqp:// or amqps://");
    refuse("amqp://", "the broker's url has no valid host");
    refuse("amqp:///v", "the broker's url has no valid host");
    refuse("amqp://u:s3cret@/v", "the broker's url has no valid host");
    refuse("amqp://:5672", "the broker's url has no valid host");
    refuse("amqp://::1:5672", "the broker's url has no valid host");
    refuse("amqp://[::1", "the broker's url has no valid host");
    refuse("amqp://[::1]x", "the broker's url has no valid host");
    refuse("amqp://[h]", "the broker's url has no valid host");
    refuse("amqp://[]", "the broker's url has no valid host");
    refuse("amqp://a,b", "the broker's url has no valid host");
    refuse("amqp://h%41", "the broker's url has no valid host");
    refuse("amqp://h:", "the port in the broker's url is not a number");
    refuse("amqp://h:0", "the port in the broker's url is not a number");
    refuse("amqp://h:65536", "the port in the broker's url is not a number");
    refuse("amqp://h:123456", "the port in the broker's url is not a number");
    refuse("amqp://h:5672a", "the port in the broker's url is not a number");
    refuse("amqp://h:+5", "the port in the broker's url is not a number");
    refuse("amqp://@h", "the broker's url has an @ but no user");
    refuse("amqp://:s3cret@h", "the broker's url has an @ but no user");
    refuse("amqp://u:s3cret@x@h", "the broker's url has more than one @");
    refuse("amqp://u%4@h", "the user in the broker's url is malformed");
    refuse("amqp://u%zz@h", "the user in the broker's url is malformed");
    refuse("amqp://u:s3cret%00@h", "the password in the broker's url is malformed");
    refuse("amqp://u:s3cret%ff@h", "the password in the broker's url is malformed");
    refuse("amqp://h/a/b", "the virtual host in the broker's url has a slash");
    refuse("amqp://h//", "the virtual host in the broker's url has a slash");
    refuse("amqp://h/a%0a", "the virtual host in the broker's url is malformed");
    refuse("amqp://h/v?heartbeat=5", "the broker's url has a ? or #");
    refuse("amqp://h/v#x", "the broker's url has a ? or #");
    refuse("amqp://h/a b", "the broker's url has a blank");
}

static void expect_listener(const char *address, const char *host, int port)
{
    char *got = NULL;
    int got_port = 0;
    struct error error = {0};
    if (!address_parse_listener(text_from(address), &got, &got_port, &error))
        fail_msg("%s: %s", address, error.text);
    assert_string_equal(got, host);
    assert_int_equal(got_port, port);
    free(got);
}

static void test_addresses_to_listen_on(void **state)
{
    (void)state;
    expect_listener("127.0.0.1:9187", "127.0.0.1", 9187);
    expect_listener("[::1]:9187", "::1", 9187);
    expect_listener(":9187", "127.0.0.1", 9187);
    expect_listener("localhost:1", "localhost", 1);
    static const char *const refused[] = {"",      "9187",      "h:",     ":0", ":65536", "::1:9187",
                                          "[::1]", "[::1]9187", "*:9187", ":a", "a b:1"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char *host = NULL;
        int port = 0;
        struct error error = {0};
        assert_false(address_parse_listener(text_from(refused[i]), &host, &port, &error));
        assert_int_equal(error.fault, FAULT_OPERATOR);
        assert_null(host);
    }
}

static void test_conninfo_without_password_passes(void **state)
{
    (void)state;
    static const char *const passed[] = {
        "host=/run/postgresql dbname=shop user=pgbridge",
        " host = 'a b'  dbname='it\\'s password=x' ",
        "user=password passfile=/x options='-c a=password=b'",
        "dbname=a\\ b",
        "dbname=",
        "service=shop",
        "postgresql://",
        "postgresql://u@h:5432,i:5433/shop?sslmode=require&passfile=%2Fx",
        "postgres://h:5432/shop",
        "postgresql:///shop?host=/run/postgresql",
    };
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) {
        struct error error = {0};
        if (!address_check_conninfo(text_from(passed[i]), &error))
            fail_msg("%s: %s", passed[i], error.text);
    }
}

static void test_conninfo_with_password_is_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "password=s3cret",
        "host=h password = 's3cret'",
        "host='a' \tpassword=s3cret",
        "host=h sslpassword=s3cret",
        "host= password=s3cret",
        "postgresql://u:s3cret@h/shop",
        "postgres://:s3cret@h",
        "postgresql://u:@h",
        "postgresql://h/shop?password=s3cret",
        "postgresql://h/shop?sslmode=require&pass%77ord=s3cret",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        /* libpq, too, takes what follows the blanks after an = as its value. */
        bool value = strncmp(refused[i], "host= ", 6) == 0;
        struct error error = {0};
        bool passed = address_check_conninfo(text_from(refused[i]), &error);
        if (passed != value)
            fail_msg("%s: %s", refused[i], error.text);
        if (passed)
            continue;
        assert_int_equal(error.fault, FAULT_OPERATOR);
        assert_non_null(strstr(error.text, "database_password_file"));
        assert_null(strstr(error.text, "s3cret"));
    }
}

static void test_malformed_conninfo_is_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "shop", "host", "=h", "host=h shop", "dbname='a", "a b=c", "postgresql://h?a%=b"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct error error = {0};
        assert_false(address_check_conninfo(text_from(refused[i]), &error));
        assert_non_null(strstr(error.text, "the database's conninfo is malformed"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broker_urls_are_taken_apart),
        cmocka_unit_test(test_a_password_in_the_url_is_masked),
        cmocka_unit_test(test_malformed_broker_urls_are_refused),
        cmocka_unit_test(test_addresses_to_listen_on),
        cmocka_unit_test(test_conninfo_without_password_passes),
        cmocka_unit_test(test_conninfo_with_password_is_refused),
        cmocka_unit_test(test_malformed_conninfo_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
