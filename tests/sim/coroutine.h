#pragma once
/* Coroutines: several straight-line programs in one thread, of which one runs until it hands over to another.
 *
 * A coroutine's program never returns: when it has nothing more to do, it hands over and is simply not chosen again. So
 * stacks are made once and serve all schedules of a process. */
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

struct coroutine {
    void (*program)(void *context);
    void *context;
    bool begun;
    void *stack;
    size_t stack_bytes;
    /* where it stands while another one runs */
    jmp_buf place;
    ucontext_t frame;
    void *fake_stack; /* the address sanitizer's */
};

/* Takes memory for the stack, for good. The program begins when the coroutine is handed over to for the first time. */
void coroutine_init(struct coroutine *coroutine, void (*program)(void *context), void *context);

/* The thread's own stack as a coroutine, to be handed back to. */
void coroutine_adopt(struct coroutine *coroutine);

/* From the one that runs to another; returns when somebody hands over to from again. */
void coroutine_hand_over(struct coroutine *from, struct coroutine *to);
