/* The checked longjmp refuses to go to another stack, which is what this file is about. */
#undef _FORTIFY_SOURCE
#include "tests/sim/coroutine.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif

#ifdef SANITIZED
#include <sanitizer/common_interface_defs.h>
enum { STACK_BYTES = 4 << 20 };
#else
enum { STACK_BYTES = 512 << 10 };
#endif
enum { GUARD_BYTES = 64 << 10 };

/* The one that is handed over to, until it has arrived. */
static struct coroutine *arriving;
static struct coroutine *leaving;

static void arrive(void)
{
#ifdef SANITIZED
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(arriving->fake_stack, &bottom, &bytes);
    /* Nobody else knows where the thread's own stack is. */
    if (leaving->stack == NULL) {
        leaving->stack = (void *)(uintptr_t)bottom;
        leaving->stack_bytes = bytes;
    }
#endif
}

static void begin(void)
{
    struct coroutine *self = arriving;
    arrive();
    self->program(self->context);
    fprintf(stderr, "simulate: a coroutine's program has returned\n");
    abort();
}

void coroutine_adopt(struct coroutine *coroutine)
{
    *coroutine = (struct coroutine){.begun = true};
}

void coroutine_init(struct coroutine *coroutine, void (*program)(void *context), void *context)
{
    *coroutine = (struct coroutine){.program = program, .context = context};
    unsigned char *memory =
        mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, GUARD_BYTES, PROT_NONE) != 0 || getcontext(&coroutine->frame) != 0) {
        perror("simulate: no memory for a coroutine's stack");
        abort();
    }
    coroutine->stack = memory + GUARD_BYTES;
    coroutine->stack_bytes = STACK_BYTES;
    coroutine->frame.uc_stack.ss_sp = coroutine->stack;
    coroutine->frame.uc_stack.ss_size = STACK_BYTES;
    makecontext(&coroutine->frame, begin, 0);
}

void coroutine_hand_over(struct coroutine *from, struct coroutine *to)
{
    assert(from != to);
    leaving = from;
    arriving = to;
#ifdef SANITIZED
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_bytes);
    to->begun = true;
    swapcontext(&from->frame, &to->frame);
    arrive();
#else
    /* swapcontext saves the signal mask with a system call each time: only a beginning is worth that. */
    if (_setjmp(from->place) != 0) {
        arrive();
        return;
    }
    if (to->begun)
        _longjmp(to->place, 1);
    to->begun = true;
    setcontext(&to->frame);
    abort();
#endif
}
