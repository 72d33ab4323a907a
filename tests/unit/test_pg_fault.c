/* links: postgres */
/* The table of PostgreSQL's failures (design: failures): which of them can be retried, and how. Every row of it, by the codes that it
 * is there for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <string.h>

#include "adapters/postgres/fault.h"

static void expect_faults(enum fault fault, const char *const *codes)
{
    for (; *codes != NULL; codes++)
        if (pg_fault(*codes) != fault)
            fail_msg("SQLSTATE %s is %s, not %s", *codes, fault_name(pg_fault(*codes)), fault_name(fault));
}

/* The circuit opens, and no message spends its budget. */
static void test_a_database_that_is_away_is_a_connection_fault(void **state)
{
    (void)state;
    expect_faults(FAULT_CONNECTION, (const char *const[]){
        "08000", "08001", "08003", "08004", "08006", "08007", "08P01", /* connection exceptions */
        "57000", "57P01", "57P02", "57P03", "57P04", "57P05",          /* shutdown, crash, cannot connect now, dropped, idle */
        "25006",                                                        /* a standby */
        "25P03",                                                        /* a session that was idle too long */
        "53000", "53100", "53200", "53300",                             /* disk full, out of memory, too many connections */
        "58000", "58030", "58P01", NULL});                              /* I/O */
    assert_int_equal(pg_fault(NULL), FAULT_CONNECTION);
    assert_int_equal(pg_fault(""), FAULT_CONNECTION);
}

static void test_what_others_do_at_the_same_time_is_contention(void **state)
{
    (void)state;
    expect_faults(FAULT_CONTENTION, (const char *const[]){
        "40001", "40P01", "40000", "40003", /* serialization, deadlock, rollback for other reasons */
        "55P03",                            /* lock_timeout */
        "57014",                            /* statement_timeout */
        "26000",                            /* a prepared statement that is gone */
        "25P02", "72000", NULL});
}

static void test_what_may_succeed_later_is_transient(void **state)
{
    (void)state;
    expect_faults(FAULT_TRANSIENT, (const char *const[]){
        "23503",                            /* the parent is missing */
        "23505", "23P01",                   /* a unique value is taken */
        "53400", "55000", "55006", "XX000", "XX001", "XX002", NULL});
}

static void test_unknown_errors_are_transient(void **state)
{
    (void)state;
    expect_faults(FAULT_TRANSIENT, (const char *const[]){"ZZ999", "99999", "HV000", "01000", "2D000", "34000", "x", NULL});
}

static void test_what_the_data_or_the_schema_forbids_is_permanent(void **state)
{
    (void)state;
    expect_faults(FAULT_PERMANENT, (const char *const[]){
        "23000", "23001", "23502", "23514",          /* not null, check */
        "22001", "22003", "22007", "22P02", "22021", /* length, range, syntax, encoding */
        "21000", "44000", "54000", "54023",          /* a key twice, with check option, too large */
        "42P01", "42703", "42804", "42883", "42601", /* tables, columns, types, functions that are not there */
        "0A000",
        "P0001", "P0002", "P0004", "09000", "20000", "27000", "2F005", "38000", "39004", NULL}); /* triggers that say no */
}

static void test_what_a_person_must_repair_is_an_operator_fault(void **state)
{
    (void)state;
    expect_faults(FAULT_OPERATOR, (const char *const[]){"28000", "28P01", "3D000", "3F000", "42501", "0LP01", "0P000", "F0000", "PB001", "PB002", "PB003", NULL});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_database_that_is_away_is_a_connection_fault),
        cmocka_unit_test(test_what_others_do_at_the_same_time_is_contention),
        cmocka_unit_test(test_what_may_succeed_later_is_transient),
        cmocka_unit_test(test_unknown_errors_are_transient),
        cmocka_unit_test(test_what_the_data_or_the_schema_forbids_is_permanent),
        cmocka_unit_test(test_what_a_person_must_repair_is_an_operator_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
