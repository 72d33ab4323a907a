#pragma once
/* What target.c shares with the files that it is made of, and nobody else sees: the session in which changes are applied. */
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
    struct arena arena;   /* one transaction */
    struct arena scratch; /* rows that are looked at, until others are */
    struct pending_check *checks;
    struct taken_row *taken;
    const struct message *given; /* that is applied, as it came: who is blamed by it */
    int64_t horizon_us; /* an unknown row whose version is not after it may have been deleted and forgotten */
    int process;         /* the server's, of the session, since a transaction of it stood first */
    char instance[37];   /* of this process */
    bool role_is_origin; /* in this transaction: triggers fire */
    bool from_log;       /* this node captures from the WAL: rows that row_version does not know have the versions of their commits, */
    int64_t versions_since; /* if those are later */
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
    struct text xmin;     /* of a node that captures from the WAL */
    bool own;             /* an application wrote it, and row_version has no entry of that */
    struct version entry; /* which it has; none when it has none */
};

/* Rows [first, first + count) inside the open transaction, whatever the mode says about undoing. */
bool target_apply_rows(struct pg_target *target, const struct message *message, size_t first, size_t count,
                       enum apply_mode mode, struct tally *tally, struct error *error);
/* Puts back what was taken out, and adds every row that breaks a constraint then to *offences, not only those of the first
 * constraint. False: it could not look. */
bool target_find_offences(struct pg_target *target, struct offences *offences, struct error *error);
/* offences may be NULL. */
void target_blame(struct offences *offences, const struct message *message, size_t row);
/* Forgets what was to be checked, and what was taken out, since the transaction began. */
bool target_begin_in(struct pg_target *target, enum standing standing, struct error *error);
void target_forget_checks(struct pg_target *target);

/* NULL after an error. */
PGresult *target_run_statement(struct pg_target *target, struct statement *statement, enum statement_kind kind,
                               const struct parameters *parameters, struct error *error);
/* Judges and writes the selection set-based; *rest and *rest_count become what is left for another way. */
bool target_apply_set(struct pg_target *target, struct statement *statement, const struct selection *selection,
                      struct tally *tally, size_t *rest, size_t *rest_count, struct error *error);
/* Locks those rows of the selection that exist; locked[i] tells which. */
bool target_lock_rows(struct pg_target *target, struct statement *statement, const struct selection *selection,
                      bool *locked, struct error *error);
/* Takes the row out, to be put back at the commit. */
bool target_take_row(struct pg_target *target, struct statement *statement, const struct selection *one,
                     const struct parameters *parameters, struct error *error);
/* One row that is judged already: data is written, not its version. */
bool target_write_forced(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                         const struct local_row *local, struct tally *tally, struct error *error);

/* shortcuts.c: rows that can be written without judging each, or that are written by the node that wrote them last; *rest and *rest_count
 * become those that are to be judged. */
bool shortcuts_take(struct pg_target *target, struct statement *statement, const struct selection *selection, struct tally *tally, size_t *rest,
                    size_t *rest_count, struct error *error);

/* foreign_keys.c: written rows need their parents: checked at commit, by the rows' keys. */
void foreign_keys_note_written(struct pg_target *target, const struct catalog_entity *entity,
                               const struct selection *selection, const struct parameters *parameters);
/* Rows that are about to go, or to change what others refer to: remembers what they are referred by. */
bool foreign_keys_note_referenced(struct pg_target *target, const struct catalog_entity *entity, bool deletion,
                                  const struct selection *selection, const struct parameters *parameters,
                                  struct error *error);
/* All that was noted, now; stops at the first constraint that is broken. */
bool foreign_keys_check(struct pg_target *target, struct offences *offences, struct error *error);
/* The same for every constraint. False: it could not look. */
bool foreign_keys_find_offences(struct pg_target *target, struct offences *offences, struct error *error);

/* settling.c: rows locked, looked at, judged one by one and written together. Tried again for those that came or went between looking
 * and writing; rows is overwritten. put_off: a row that is here is taken out until the commit. */
bool settling_settle(struct pg_target *target, struct statement *statement, const struct message *message, size_t *rows,
                     size_t count, bool put_off, struct tally *tally, struct error *error);
/* Locks and fetches one row of the message. */
bool settling_look(struct pg_target *target, struct statement *statement, const struct message *message, size_t row,
                   struct local_row *local, struct error *error);
/* A row of a message that met another word about it here. */
struct conflicting {
    size_t row;
    const struct local_row *local;
    enum ruling ruling;
};
bool settling_record_conflicts(struct pg_target *target, const struct statement *statement, const struct message *message,
                               const struct conflicting *conflicts, size_t count, struct error *error);
/* This node writes the row once more, as it is, for everybody. */
bool settling_assert(struct pg_target *target, const struct catalog_entity *entity, struct text key, struct error *error);
/* The same, with the version of every field as it is: a row that outlives its deletion (merge.h). */
bool settling_revive(struct pg_target *target, const struct catalog_entity *entity, struct text key, struct error *error);
/* A row that stays, whose version becomes another. */
struct stamp {
    const struct local_row *local;
    struct settlement settlement;
    const struct merge *merge; /* its state from now on; NULL: what it has */
};
/* When this node has to say so to everybody, it does. */
bool settling_stamp(struct pg_target *target, const struct catalog_entity *entity, const struct stamp *stamps, size_t count,
                    struct error *error);

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

/* letters.c: reads id, source and payload of a row of the result; says what became of a letter that waits no more; and whether an error is no
 * letter's, but that of a session that is lost or out of date. */
bool letter_read(struct pg_target *target, const PGresult *letters, int row, struct waiting *waiting, struct error *error);
bool is_of_session(const struct error *error);
bool letter_ended(struct pg_target *target, const struct waiting *waiting, const struct tally *tally, struct error *error);

/* circle.c: in the open transaction, applies those letters together that wait for each other and for nothing else. */
bool circle_retry(struct pg_target *target, struct error *error);

/* letters.c and records.c: calls of the port. */
bool letters_bury(struct target *port, const struct dead_letter *letter, struct error *error);
bool letters_retry(struct target *port, bool hurry, struct retried *left, struct error *error);
bool records_hear(struct target *port, const struct heartbeat *heartbeat, int64_t *offset_us, struct error *error);
bool records_note(struct target *port, const struct sighting *sighting, uint64_t *missing, struct error *error);
bool records_note_confirmed(struct target *port, const struct heartbeat *heartbeat, uint64_t *missing, struct error *error);
bool records_suspect(struct target *port, const struct envelope *envelope, int *deaths, struct error *error);
bool records_acquit(struct target *port, const struct envelope *envelope, struct error *error);

/* Notes, and shows in bridge.health, that the sender settles conflicts of the entity in another way than this node. */
bool records_compare_policy(struct pg_target *target, struct catalog_entity *entity, const struct message *message,
                            struct error *error);
bool records_write_receipt(struct pg_target *target, const struct receipt *receipt, struct error *error);
