#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bridge/base/arena.h"
#include "tests/unit/random.h"

static void test_memory_is_zeroed_and_aligned_also_after_a_reset(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 64 << 20);
    for (int round = 0; round < 3; round++) {
        for (size_t bytes = 1; bytes < 3000; bytes += 7) {
            unsigned char *taken = arena_take(&arena, bytes);
            assert_int_equal((uintptr_t)taken % alignof(max_align_t), 0);
            for (size_t i = 0; i < bytes; i++)
                assert_int_equal(taken[i], 0);
            memset(taken, 0xA5, bytes);
        }
        arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
    }
    arena_free(&arena);
}

static void test_nothing_taken_overlaps(void **state)
{
    (void)state;
    struct random random = random_start("test_nothing_taken_overlaps");
    struct arena arena;
    arena_init(&arena, 256 << 20);
    enum { COUNT = 2000 };
    unsigned char *taken[COUNT];
    size_t sizes[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        sizes[i] = random_below(&random, random_below(&random, 50) == 0 ? 300000 : 300);
        taken[i] = arena_take(&arena, sizes[i]);
        memset(taken[i], (int)(i & 0xFF), sizes[i]);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t at = 0; at < sizes[i]; at++)
            assert_int_equal(taken[i][at], i & 0xFF);
    arena_free(&arena);
}

static void test_a_copy_ends_with_nul_and_null_stays_null(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct text copy = arena_copy(&arena, (struct text){"abcdef", 3});
    assert_string_equal(copy.data, "abc");
    assert_int_equal(copy.length, 3);
    assert_true(text_is_null(arena_copy(&arena, TEXT_NULL)));
    struct text empty = arena_copy(&arena, TEXT_LITERAL(""));
    assert_false(text_is_null(empty));
    assert_int_equal(empty.length, 0);
    assert_string_equal(arena_string(&arena, TEXT_NULL), "");
    struct text printed = arena_printf(&arena, "%s-%d", "x", 42);
    assert_true(text_equal(printed, TEXT_LITERAL("x-42")));
    arena_free(&arena);
}

static void test_room_shrinks_to_the_bound_and_comes_back(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 10000);
    assert_int_equal(arena_room(&arena), 10000);
    arena_take(&arena, 4000);
    assert_true(arena_room(&arena) <= 6000 && arena_room(&arena) > 5900);
    arena_take(&arena, arena_room(&arena));
    assert_true(arena_room(&arena) < 16);
    arena_reset(&arena);
    assert_int_equal(arena_room(&arena), 10000);
    arena_free(&arena);
    arena_free(&arena);
}

/* The child must end by abort, before it can return memory beyond the bound. */
static void assert_aborts(void (*act)(struct arena *))
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct arena arena;
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        arena_init(&arena, 10000);
        act(&arena);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void take_beyond_bound(struct arena *arena)
{
    arena_take(arena, 9000);
    arena_take(arena, 1001);
}

static void take_overflowing_array(struct arena *arena)
{
    volatile size_t count = SIZE_MAX / 4;
    arena_take_array(arena, count, 8);
}

static void test_beyond_its_bound_an_arena_ends_the_process(void **state)
{
    (void)state;
    assert_aborts(take_beyond_bound);
    assert_aborts(take_overflowing_array);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_zeroed_and_aligned_also_after_a_reset),
        cmocka_unit_test(test_nothing_taken_overlaps),
        cmocka_unit_test(test_a_copy_ends_with_nul_and_null_stays_null),
        cmocka_unit_test(test_room_shrinks_to_the_bound_and_comes_back),
        cmocka_unit_test(test_beyond_its_bound_an_arena_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
