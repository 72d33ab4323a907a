#pragma once
/* The messages of PostgreSQL's output plugin pgoutput, protocol 1: bytes in, a typed message out. Pure: no connection, no clock, nothing
 * allocated; every text is a view into the bytes. Whatever is not exactly such a message is refused, with FAULT_BUG: a server that
 * sends something else is one that this program does not know.
 *
 * PostgreSQL's manual, "Logical Replication Message Formats"; src/backend/replication/logical/proto.c. */
#include <stdint.h>

#include "bridge/base/error.h"
#include "bridge/base/text.h"

enum { PGOUTPUT_COLUMNS_MAX = 1664 }; /* PostgreSQL's MaxTupleAttributeNumber */

enum pgoutput_kind {
    PGOUTPUT_BEGIN,
    PGOUTPUT_COMMIT,
    PGOUTPUT_ORIGIN,   /* of the transaction: somebody else's, who has sent it here */
    PGOUTPUT_RELATION, /* before the first row of a table, and when it has changed */
    PGOUTPUT_TYPE,
    PGOUTPUT_INSERT,
    PGOUTPUT_UPDATE,
    PGOUTPUT_DELETE,
    PGOUTPUT_TRUNCATE,
    PGOUTPUT_MESSAGE,  /* what pg_logical_emit_message has said */
};

enum pgoutput_presence {
    PGOUTPUT_NULL,
    PGOUTPUT_UNCHANGED, /* of a value stored out of line that the update has left alone: the log does not have it */
    PGOUTPUT_TEXT,
};

struct pgoutput_value {
    enum pgoutput_presence presence;
    struct text text; /* null unless presence is PGOUTPUT_TEXT */
};

struct pgoutput_tuple {
    size_t count; /* 0: there is none */
    const struct pgoutput_value *values;
};

struct pgoutput_column {
    bool identity; /* part of the replica identity */
    struct text name;
    uint32_t type;
    int32_t modifier;
};

struct pgoutput_message {
    enum pgoutput_kind kind;
    uint32_t xid;         /* begin */
    uint64_t lsn;         /* begin: of the commit; commit: the end of the transaction; origin: there; message: its own */
    int64_t committed_us; /* begin, commit: since 1970 */
    struct text schema;   /* relation, type; null of pg_catalog is "pg_catalog" */
    struct text name;     /* relation, type, origin; of a message its prefix */
    uint32_t relation;    /* relation, insert, update, delete */
    char identity;        /* relation: 'd' primary key, 'i' index, 'f' full, 'n' nothing */
    size_t column_count;
    const struct pgoutput_column *columns; /* relation */
    bool old_is_whole;         /* update, delete: the old row has all columns, not only those of the replica identity */
    struct pgoutput_tuple old; /* update: none when the replica identity did not change; delete */
    struct pgoutput_tuple row; /* insert, update */
    bool transactional;        /* message */
    struct text content;       /* message */
    size_t truncated_count;    /* truncate */
    struct text truncated;     /* the relations' numbers, see pgoutput_truncated */
};

/* What a message points to, besides its bytes. */
struct pgoutput {
    struct pgoutput_value old[PGOUTPUT_COLUMNS_MAX];
    struct pgoutput_value row[PGOUTPUT_COLUMNS_MAX];
    struct pgoutput_column columns[PGOUTPUT_COLUMNS_MAX];
};

/* *message is valid until the next call and as long as the bytes. */
bool pgoutput_decode(struct pgoutput *decoder, struct text bytes, struct pgoutput_message *message, struct error *error);

/* The i-th of a truncate's relations. */
uint32_t pgoutput_truncated(const struct pgoutput_message *message, size_t i);
