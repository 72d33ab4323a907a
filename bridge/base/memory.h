#pragma once
/* The end of memory. Nothing sensible can follow in this process, and nothing is lost with it: what counts is committed, or comes again. */

/* Says so, and where, and ends the program with EX_TEMPFAIL, for its supervisor to start it again. */
_Noreturn void memory_exhausted(const char *where);
