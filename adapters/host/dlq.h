#pragma once
/* What the files of `pgbridge dlq` share: command_dlq.c looks at dead letters, dlq_mend.c does something about them. */
#include "adapters/host/ask.h"
#include "adapters/host/command.h"

enum { DLQ_FILTERS = 8 };

/* Which letters the options ask for, as every query that takes a filter has it in its first parameters. ids lives in
 * arena. */
void dlq_filters(const struct options *options, struct arena *arena, const char *filters[static DLQ_FILTERS]);

/* Prints the error, and gives the exit code: of the command line's when a duration could not be read. */
int dlq_failed(const struct options *options, struct error *error);

/* The subcommands that change something; each gives the exit code. */
int dlq_replay(struct pg_session *session, const struct options *options);
int dlq_discard(struct pg_session *session, const struct options *options);
int dlq_edit(struct pg_session *session, const struct options *options);
