#pragma once
/* What target.c and letters.c share, and nobody else sees: the session in which changes are applied. */
#include "adapters/postgres/brake.h"
#include "adapters/postgres/parameters.h"
#include "adapters/postgres/target.h"
#include "bridge/ports.h"

struct pending_check;
struct taken_row;

struct pg_target {
    struct target port;
    const struct config *config;
    struct pg_target_options options;
    struct pg_session session;
    struct pg_brake brake;
    struct catalog catalog;
    struct arena arena; /* one transaction */
    struct pending_check *checks;
    struct taken_row *taken;
    const struct message *given; /* that is applied, as it came: who is blamed by it */
    int64_t horizon_us; /* an unknown row whose version is not after it may have been deleted and forgotten */
    char instance[37];   /* of this process */
    bool role_is_origin; /* in this transaction: triggers fire */
};

/* A row as it is here. */
struct local_row {
    struct text key;
    bool present, deleted, equal;
    bool owned; /* the change differs in a field that its writer does not own */
    struct write write;
    struct merge merge;
    struct text correlation;
    struct text fields; /* text[] literal of the entity's fields, null when not present */
};

/* Rows [first, first + count) inside the open transaction, whatever the mode says about undoing. */
bool target_apply_rows(struct pg_target *target, const struct message *message, size_t first, size_t count,
                       enum apply_mode mode, struct tally *tally, struct error *error);
/* What can only be checked at the end, now. */
bool target_check(struct pg_target *target, struct offences *offences, struct error *error);
/* Puts back what was taken out, and adds every row that breaks a constraint then to *offences, not only those of the first
 * constraint. False: it could not look. */
bool target_find_offences(struct pg_target *target, struct offences *offences, struct error *error);
/* Forgets what was to be checked, and what was taken out, since the transaction began. */
bool target_begin_in(struct pg_target *target, struct error *error);
void target_forget_checks(struct pg_target *target);

/* Locks and fetches one row of the message. */
bool target_look(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                 struct local_row *local, struct error *error);
bool target_record_conflict(struct pg_target *target, const struct statement *statement, const struct message *message,
                            size_t row, const struct local_row *local, enum ruling ruling, struct error *error);
/* This node writes the row once more, as it is, for everybody. */
bool target_assert(struct pg_target *target, const struct catalog_entity *entity, struct text key, struct error *error);
/* The same, with the version of every field as it is: a row that outlives its deletion (merge.h). */
bool target_revive(struct pg_target *target, const struct catalog_entity *entity, struct text key, struct error *error);
/* The row stays, its version becomes another; and when this node has to say so to everybody, it does. */
bool target_stamp(struct pg_target *target, const struct catalog_entity *entity, const struct local_row *local,
                  const struct settlement *settlement, const struct merge *merge, struct error *error);

/* Rows [first, first + count) of a merged entity's message, and judged one: data is written, not its version. */
bool target_write_forced(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                         const struct local_row *local, struct tally *tally, struct error *error);

/* merging.c: a row whose conflicts are settled field by field; locked and fetched. */
bool merging_settle(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                    const struct local_row *local, struct tally *tally, struct error *error);
/* Refuses a message that cannot be merged here, and gives one of a foreign source a state. */
bool merging_prepare(struct pg_target *target, const struct catalog_entity *entity, const struct message **message,
                     struct error *error);

/* A dead letter that is tried again. */
struct waiting {
    const char *id;
    struct message message; /* of one row */
};

/* letters.c: reads id, source and payload of a row of the result; says what became of a letter that waits no more. */
bool letter_read(struct pg_target *target, const PGresult *letters, int row, struct waiting *waiting, struct error *error);
bool letter_ended(struct pg_target *target, const struct waiting *waiting, const struct tally *tally, struct error *error);

/* circle.c: in the open transaction, applies those letters together that wait for each other and for nothing else. */
bool circle_retry(struct pg_target *target, struct error *error);

/* letters.c: two calls of the port. */
bool letters_bury(struct target *port, const struct dead_letter *letter, struct error *error);
bool letters_retry(struct target *port, bool hurry, int *next_ms, struct error *error);
