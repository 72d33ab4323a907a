#pragma once
/* A row of bridge.outbox, as queries/outbox_rows.sql and its like give it in binary format. */
#include <libpq-fe.h>

#include "bridge/base/arena.h"
#include "bridge/base/error.h"
#include "bridge/message/change.h"

struct outbox_row {
    int64_t transaction; /* which of those that were asked for, from 1 */
    int64_t seq;
    int32_t layout;
    size_t bytes; /* of its values */
};

struct outbox_row outbox_row_head(const PGresult *row);
/* Copies what the row tells into the arena. node: whose version it is where the row names none. FAULT_BUG for one that does not match its
 * layout. */
bool outbox_row_change(const PGresult *row, const struct layout *layout, struct text node, struct arena *arena, struct change *change,
                       struct error *error);
