/* For LD_PRELOAD, in tests: one call of a program fails.
 *
 *     FAIL_CALL=send|recv FAIL_AT=N     the N-th says ECONNRESET, and the connection is gone
 *     FAIL_CALL=malloc FAIL_AT=N        the N-th of malloc, calloc and realloc has no memory
 *
 * Writes "failed CALL N" to stderr when it does, and at the end of the program "counted N"; at a segmentation fault who was called
 * by whom. */
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum call { CALL_NONE, CALL_SEND, CALL_RECV, CALL_MALLOC };

static enum call failing;
static long at;
static atomic_long passed;

/* glibc's own, so that nothing has to be looked up before the first allocation. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);

static void tell(const char *what, long number)
{
    char line[64];
    int length = snprintf(line, sizeof line, "%s %ld\n", what, number);
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        _exit(1);
}

static void show_fault(int number)
{
    void *frames[16];
    backtrace_symbols_fd(frames, backtrace(frames, 16), STDERR_FILENO);
    signal(number, SIG_DFL);
    raise(number);
}

__attribute__((constructor)) static void begin(void)
{
    const char *call = getenv("FAIL_CALL"), *number = getenv("FAIL_AT");
    if (call == NULL || number == NULL)
        return;
    /* Loads what it needs now. */
    void *frame;
    backtrace(&frame, 1);
    signal(SIGSEGV, show_fault);
    at = strtol(number, NULL, 10);
    failing = strcmp(call, "send") == 0 ? CALL_SEND : strcmp(call, "recv") == 0 ? CALL_RECV : CALL_MALLOC;
}

__attribute__((destructor)) static void end(void)
{
    if (failing != CALL_NONE)
        tell("counted", atomic_load(&passed));
}

static bool fails(enum call call)
{
    if (call != failing || atomic_fetch_add(&passed, 1) + 1 != at)
        return false;
    tell(call == CALL_SEND ? "failed send" : call == CALL_RECV ? "failed recv" : "failed malloc", at);
    errno = ENOMEM;
    return true;
}

/* A reset says so once, and afterwards there is nothing more: libpq, which could not send, waits for what the server may have said. */
static ssize_t reset(int socket)
{
    shutdown(socket, SHUT_RDWR);
    errno = ECONNRESET;
    return -1;
}

ssize_t send(int socket, const void *bytes, size_t length, int flags)
{
    return fails(CALL_SEND) ? reset(socket) : sendto(socket, bytes, length, flags, NULL, 0);
}

ssize_t recv(int socket, void *bytes, size_t length, int flags)
{
    return fails(CALL_RECV) ? reset(socket) : recvfrom(socket, bytes, length, flags, NULL, NULL);
}

void *malloc(size_t bytes)
{
    return fails(CALL_MALLOC) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return fails(CALL_MALLOC) ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
    return fails(CALL_MALLOC) ? NULL : __libc_realloc(old, bytes);
}
