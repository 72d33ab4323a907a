#pragma once
/* Protection against storms: what operators have paused, and what applications do to themselves. Pure rules over numbers and times;
 * the loops ask them and act. Times are monotonic milliseconds.
 *
 * holds      what is kept back in one direction: by a pause, or because its budget is spent.
 * budget     an entity may send so many changes a second, on average: what is too much stays where it is, and later changes of the same
 *            row join it there. When it is calm one second's worth goes at once, or a hundred; when it is behind some seconds' worth, and is
 *            waited for afterwards.
 * rallies    rows that two nodes rewrite in turns. A change that replaced another node's write is a change of sides; a row that changes
 *            sides too often is held for a while. Only changes back to what the row has been count, whatever the dates in it say: two
 *            nodes that work on one row bring something new each time.
 * deletions  a source that deletes too much of an entity in a short time. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bridge/base/limits.h"
#include "bridge/message/message.h"

/* ---- what is held ------------------------------------------------------------------------------------------------- */

struct holds {
    bool all;           /* the whole direction */
    uint64_t number;    /* another one whenever the rest is another */
    size_t count;
    char entities[LIMIT_ENTITIES][LIMIT_NAME_BYTES + 1];
    /* what does not make them other holds */
    size_t changes_max;              /* of a batch, unless one transaction has more; 0: as many as there are */
    char full[LIMIT_NAME_BYTES + 1]; /* an entity of which more is held than may be; empty: none */
};

/* Twice the same is once; what does not fit holds everything. */
void holds_add(struct holds *holds, struct text entity);
bool holds_entity(const struct holds *holds, struct text entity);
/* Takes over what next holds, with a new number if that is anything else than before; tells whether it is. */
bool holds_take(struct holds *holds, const struct holds *next);

/* ---- budgets ------------------------------------------------------------------------------------------------------ */

struct budget {
    struct text entity;
    double per_second;
    uint64_t captured; /* of the batch at hand, before it is coalesced: set before budget_spend */
    /* private */
    double left; /* may be less than nothing: a transaction is not cut */
    int64_t at_ms;
    bool spent;
    int64_t freed_ms; /* when it was spent no more */
    bool behind; /* it has been spent, and not calm since */
    double joined; /* captured changes that became one, lately */
};

void budget_init(struct budget *budget, struct text entity, double per_second, int64_t now_ms);
/* So many of the captured changes are sent. */
void budget_spend(struct budget *budget, uint64_t sent, int64_t now_ms);
/* From the moment on that nothing is left until half a second's worth is there again. */
bool budget_spent(struct budget *budget, int64_t now_ms);
/* How many captured changes, of whatever entities, may be taken at once. */
size_t budget_portion(const struct budget *budget);

/* ---- rallies ------------------------------------------------------------------------------------------------------ */

struct rally_rule {
    size_t times; /* changes of sides beyond which a row is held; 0: it never is */
    int64_t within_ms;
    int64_t cool_down_ms;
};

struct rallies;

struct rallies *rallies_new(const struct rally_rule *rule, struct text node);
void rallies_free(struct rallies *rallies);
/* Notes a row of a message that has arrived. -> until when it is to be held, 0: not at all; *begins: it is the first. A row that goes
 * on as before after it has cooled down is held again at once. Of many rows at once the oldest are forgotten. */
int64_t rallies_note(struct rallies *rallies, const struct message *message, size_t row, int64_t now_ms, bool *begins);

/* ---- mass deletions ----------------------------------------------------------------------------------------------- */

struct deletion_rule {
    uint64_t rows;    /* 0: any number of rows may be deleted */
    uint64_t percent; /* of the entity's rows; 0: all of them may be */
    int64_t within_ms; /* 0: no rule */
};

enum { DELETIONS_PERCENT_FROM = 10 }; /* of fewer rows no share is a mass */

struct deletions;

struct deletions *deletions_new(const struct deletion_rule *rule);
void deletions_free(struct deletions *deletions);
/* Notes so many deletions, -> how many they are within the rule's time. */
uint64_t deletions_note(struct deletions *deletions, struct text entity, struct text source, uint64_t count, int64_t now_ms);
/* They have been held: the next ones begin anew. */
void deletions_forget(struct deletions *deletions, struct text entity, struct text source);
/* Whether so many are too many for an entity of so many rows (0: not known). */
bool deletions_break(const struct deletion_rule *rule, uint64_t deleted, uint64_t rows);
