#pragma once
/* One attempt to apply items: one transaction of the target. Rows that cannot be applied become dead letters in it, or make it fail, as the manner
 * says. */
#include "bridge/flow/application.h"

enum manner {
    MANNER_BUNDLED,    /* as fast as it goes */
    MANNER_ONE_BY_ONE, /* in their order */
    MANNER_ISOLATING,  /* in parts, down to the rows that cannot be applied */
};

/* What is to be applied together. */
struct work {
    const struct item *items;
    size_t count;
    enum manner manner;
    struct tally *tallies; /* one per item, for what becomes of it */
    const struct message *const *messages; /* with MANNER_BUNDLED, what of each item is applied, NULL: nothing; or NULL: what the items say */
};

/* All that comes before the commit, and the commit. When it is committed, buried says whether letters have come of it that are not held on purpose,
 * and application->held has the rows that were buried after they had failed. When either fails, all is to be rolled back; with MANNER_ISOLATING
 * application->condemned has the rows then that are to blame, if any are, for the next attempt. */
bool transact_prepare(struct application *application, const struct work *work, enum standing standing, struct error *error);
/* Before the commit, with MANNER_BUNDLED: applies what work->messages are now. */
bool transact_more(struct application *application, const struct work *work, struct error *error);
bool transact_commit(struct application *application, const struct work *work, bool *buried, struct error *error);

/* The row is not even tried. */
void condemned_add(struct condemned_list *list, const struct item *item, size_t row, const struct error *error);
