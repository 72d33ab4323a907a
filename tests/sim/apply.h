#pragma once
/* Applying on the model database, row by row, inside the transaction of the node's target port. */
#include "tests/sim/world.h"

/* What a message, or a letter, says of a row, and which write that is. */
struct news {
    size_t row;
    int write;
    enum change_op op;
    struct write change;
    const struct written *written;
    struct content content;
    const struct message *message; /* NULL: a letter */
    size_t number;                 /* row of the message */
};

struct news news_read(struct node *node, const struct message *message, size_t row);

/* Judges and writes. put_off: a row that is here gives up its unique value until news_check. False: it clashes with a
 * row that is here, and nothing was written. Ends everything when the verdict is not the truth. */
bool news_apply(struct node *node, const struct news *news, bool put_off, int64_t horizon_us, struct tally *tally,
                struct error *error);

/* The write's node has raised an earlier one above it, and says afterwards once more what the row is, with all that it knows. */
bool news_is_outdone(const struct world *world, size_t row, int write);

/* What can only be checked at the end of the transaction. To blame are those rows of the newest message that breaks
 * anything. */
bool news_check(struct node *node, struct offences *offences, struct error *error);

/* target.c: the port's transaction, also for letters. */
void target_begin_in(struct node *node);
void target_commit_in(struct node *node);
