#include "bridge/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

void memory_exhausted(const char *where)
{
    fprintf(stderr, "pgbridge: out of memory in %s\n", where);
    /* No handlers: they might want some. */
    _Exit(EX_TEMPFAIL);
}
