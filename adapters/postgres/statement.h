#pragma once
/* SQL for one entity, operation and column set: with foreign_key_sql.h all that is composed of a mapping at run time, from names and types that
 * the server quoted (catalog.h). Nothing of a message ever becomes SQL: values travel as parameters.
 *
 * Parameters of all but lock, which has the key's arrays alone, in this order:
 *   one text[] per used column, the key's first; bigint[] version timestamps; bigint[] base timestamps; text[] base nodes;
 *   text[] seen, as jsonb; text[] merge states, as jsonb; text[] correlations; boolean[] locked; text source; boolean force; bigint horizon.
 * Row numbers count from 1 and follow the arrays. */
#include "adapters/postgres/catalog.h"
#include "bridge/message/message.h"

enum statement_kind {
    /* -> n: locks the rows that exist: for those that STATEMENT_APPLY left. Must be a statement of its own: only the next
     * one's snapshot shows what was committed while it waited. */
    STATEMENT_LOCK,
    /* -> applied, unchanged, same, duplicate, stale, rest bigint[], ignored, strays: judges and writes set-based, as
     * bridge/flow/judge.c does. rest: rows that were concurrent, or changed while it looked, or hold this content already and
     * were not locked, or met another row on insert; and such as differ in a field that this node owns. ignored: rows of the
     * applied that differed in a field which another node than their writer owns. strays: rows that were inserted after a wait for
     * somebody who inserted and deleted the same: they stand on a deletion that nobody judged, and must be undone. force: the judge has ruled
     * already, about a row whose version is the base given; one that has another by now is among the rest. */
    STATEMENT_APPLY,
    /* -> key, present, deleted, timestamp, node, seen, correlation, equal, fields text[], owned, merge, xmin, own, entry's timestamp and
     * node: what the judge must know of each row. own: an application wrote it and row_version has no entry of that. */
    STATEMENT_FETCH,
    /* -> rows, versions: writes rows, as those of a load are, and their versions, when they are all news: none is here, none is known, none
     * may be forgotten; else none. rows: those that stand under the key of their version; when fewer than versions, a trigger has made others of them,
     * and all must be undone. */
    STATEMENT_CREATE,
    /* -> rest bigint[], strays: writes rows whose last version here is the writer's own and older, with nobody else's in between, and their
     * versions; those that hold this content already are among the rest. strays: rows that were written and whose version was changed
     * by somebody meanwhile: they must be undone. */
    STATEMENT_RENEW,
    /* Inserts without "on conflict", so that a clash is an error which names its constraint. */
    STATEMENT_INSERT,
    /* -> row: deletes the row and returns all of it as text of its row type. */
    STATEMENT_TAKE,
    /* One parameter more, such a row: inserts it again with the message's fields in place of its own. */
    STATEMENT_PUT_BACK,
    STATEMENT_KINDS
};

struct statement {
    struct statement *next;
    const struct catalog_entity *entity;
    bool deletion;
    /* the message's columns that this was made for, and where the used ones stand */
    size_t message_column_count;
    const struct text *message_columns;
    size_t column_count;
    size_t *message_index;      /* position in the message */
    size_t *column_index;       /* position in the entity */
    size_t unknown_count;       /* columns of the message that the entity does not map */
    int pause[STATEMENT_KINDS]; /* so many messages more go without a statement of this kind */
    char name[STATEMENT_KINDS][32];
    bool prepared[STATEMENT_KINDS];
};

struct statement_options {
    bool write_equal; /* tests only: write data also when the content is equal */
    /* Of a node that captures from the WAL: its name, and since when (microseconds since 1970) a commit is a version. What no entry of
     * row_version is about has the version that its commit says: sql/functions/140_note_log.sql says the same to the peers. */
    const char *log_node;
    int64_t versions_since;
};

/* Finds or makes the statement for a message of the entity; lives in the catalog's arena. NULL, with FAULT_PERMANENT,
 * when the message has not all key fields. */
struct statement *statement_for(struct catalog *catalog, struct catalog_entity *entity, const struct message *message,
                                struct error *error);

/* SQL text, to be freed by the caller. */
char *statement_sql(const struct statement *statement, enum statement_kind kind, const struct statement_options *options);
