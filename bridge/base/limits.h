#pragma once
/* What can grow has its bound here; what only one file knows of has it there. */

enum {
    LIMIT_NAME_BYTES = 63,      /* node, entity and field names, as PostgreSQL's identifiers */
    LIMIT_ENTITIES = 1000,      /* per node */
    LIMIT_FIELDS = 1600,        /* per entity: PostgreSQL's columns per table */
    LIMIT_KEY_FIELDS = 32,      /* per entity: PostgreSQL's columns per index */
    LIMIT_PEERS = 64,           /* per node */
    LIMIT_INCARNATIONS = 16,    /* of a sender, that its heartbeats tell of */
    LIMIT_BATCH_ROWS = 5000,    /* changes in one captured batch */
    LIMIT_BATCH_BYTES = 4 << 20,     /* values of one captured batch; one larger row makes a batch of its own */
    LIMIT_MESSAGE_BYTES = 256 << 10, /* body of a message with more than one row, unless the config says otherwise */
    LIMIT_RECEIVED_BYTES = 16 << 20, /* body of any message: beyond it is poison */
    LIMIT_ROW_BYTES = 12 << 20, /* values of one captured row: what fits into a body when a third of it is escaped */
    LIMIT_HEARTBEAT_BYTES = 64 << 10,
    LIMIT_MESSAGE_ROWS = 5000,
    LIMIT_MESSAGE_VALUES = 1 << 20,  /* rows times columns on receipt: what the parser may hold at once */
    LIMIT_UNCONFIRMED_BATCHES = 4,   /* published and not yet confirmed */
    LIMIT_PREFETCH_MESSAGES = 1024,  /* delivered and not yet settled; a batch of more parts is not applied at once */
    LIMIT_GROUP_ROWS = 5000,         /* changes applied in one transaction, unless one batch alone has more */
    LIMIT_GROUP_BYTES = 4 << 20,     /* bodies held for one transaction, unless one batch alone has more */
    LIMIT_HELD_CHANGES = 100000,     /* of an entity that is paused, unless the config says otherwise */
    LIMIT_ARENA_BYTES = 512 << 20,
};
