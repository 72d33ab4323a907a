#pragma once
/* PostgreSQL as the target of peers' changes: whole batches in one transaction, set-based, judged by versions.
 *
 * The session runs with session_replication_role = replica: no user trigger and no capture fires, so one save never
 * becomes a storm and nothing applied here is captured. Foreign keys, which that switches off too, are checked at the end
 * of each transaction. */
#include "bridge/control/config.h"
#include "bridge/ports.h"

struct pg_target;

struct pg_target_options {
    const struct pg_target *first; /* of a target whose transactions stand behind that one's; NULL: they do not. It lasts as long, and begins, reports
                                      and is opened only while nothing is done with this one */
    /* for tests that show that each layer of loop prevention holds alone */
    bool apply_is_captured; /* run as origin: triggers fire for what is applied */
    bool write_equal;       /* write also when the content is equal */
    bool never_alone;       /* transactions stand beside others whatever triggers do */
};

/* config must outlive the target; options may be NULL. */
struct pg_target *pg_target_new(const struct config *config, const struct pg_target_options *options);
struct target *pg_target_port(struct pg_target *target);
/* Of the target's session. */
struct brake *pg_target_brake(struct pg_target *target);
void pg_target_free(struct pg_target *target);
