#pragma once
/* The brake port over the table bridge.pause, in the session of a source or target. */
#include "adapters/postgres/session.h"
#include "bridge/control/config.h"
#include "bridge/ports.h"

struct pg_brake {
    struct brake port; /* first */
    const struct config *config;
    struct pg_session *session;
};

/* Both must outlive the brake. */
void pg_brake_init(struct pg_brake *brake, const struct config *config, struct pg_session *session);
