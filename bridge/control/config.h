#pragma once
/* The configuration of one node, as read and checked. Pure data: every string is owned by the config and NUL-terminated;
 * a missing optional string is NULL. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bridge/base/arena.h"
#include "bridge/base/text.h"
#include "bridge/flow/storm.h"

struct policy;

enum capture_mode { CAPTURE_OUTBOX, CAPTURE_WAL };

/* As in the config, and in bridge.node. */
static inline const char *capture_name(enum capture_mode capture)
{
    return capture == CAPTURE_WAL ? "wal" : "outbox";
}
enum trigger_mode { TRIGGERS_SUPPRESS, TRIGGERS_FIRE };
enum truncate_mode { TRUNCATE_CAPTURE, TRUNCATE_REFUSE };
enum log_format { LOG_TEXT, LOG_JSON };

/* "canonical = column". */
struct mapping {
    char *field;  /* canonical name */
    bool counter; /* its value is the sum of what each node has added */
    char *owner;  /* the node whose writes alone change it elsewhere; NULL: anybody's do */
    char *column; /* SQL's name of it: folded to lower case unless it was quoted, quotes removed */
};

/* How often, and how soon, what may succeed later is tried. */
struct retry_rules {
    int base_s;       /* before the second attempt, then times factor each, at most cap_s */
    int factor;
    int cap_s;
    int max_attempts; /* then it waits for a human */
};

struct entity_config {
    char *name;
    char *schema; /* NULL when the config gives none: public */
    char *table;
    size_t key_count;
    size_t field_count;       /* key included */
    struct mapping *fields;   /* the key's first, in config order */
    enum trigger_mode triggers;
    enum truncate_mode truncate;
    bool coalesce;
    int max_changes_per_second;  /* that are published; 0: as many as there are */
    const struct policy *policy; /* bridge/flow/policy.h; never NULL */
    bool update_revives;         /* of merge: a write that a deletion had not seen brings the row back */
    size_t priority_count;
    char **priority;             /* of node-priority: node names, the first goes before the others */
    struct retry_rules retry;    /* the node's, where the entity says nothing else */
    unsigned line; /* where the entity begins in the file */
};

struct broker_config {
    char *url;           /* without password */
    bool tls;
    char *host;
    int port;
    char *user;
    char *password;      /* from password_file or the url; NULL: none given. Never printed */
    char *password_file;
    char *vhost;
    char *exchange;      /* bridge.sync */
    char *queue;         /* <exchange>.<node> */
    char *dead_exchange; /* bridge.dead */
    char *dead_queue;    /* <dead_exchange>.<node> */
    char *ca_file, *cert_file, *key_file;
    int heartbeat_s;
};

struct config {
    char *path;
    char *node;
    char *database;          /* libpq conninfo without password */
    char *database_password; /* from database_password_file; NULL: libpq looks by itself. Never printed */
    char *database_password_file;
    struct broker_config broker;
    size_t peer_count;
    char **peers;
    enum capture_mode capture;
    int64_t max_clock_skew_us; /* a change from further ahead of the clock is held until its time has come */
    int64_t tombstone_retention_us; /* deletions are remembered at least so long */
    int64_t dead_letter_retention_us; /* of letters that have ended; 0: for ever */
    int64_t conflict_retention_us;    /* of conflicts that are resolved; 0: for ever */
    struct retry_rules retry;
    int64_t max_held_changes; /* of an entity that is paused; beyond, all of inbound is */
    struct rally_rule ping_pong;
    struct deletion_rule mass_delete;
    char *http_host; /* NULL: off */
    int http_port;
    enum log_format log;
    size_t wal_keep_max_bytes; /* of capture: wal; beyond it the slot is given up */
    size_t message_bytes;  /* soft bound of a message with more than one row */
    size_t entity_count;
    struct entity_config *entities;
};

void config_free(struct config *config);
const struct entity_config *config_entity(const struct config *config, const char *name);
/* The owner of a field, or NULL. */
const char *config_owner(const struct entity_config *entity, struct text field);
/* How the entity's conflicts are settled, in words: every node that maps it must have the same, or the nodes end unequal. At most 255
 * bytes; null when entity is NULL. */
struct text config_policy(const struct entity_config *entity, struct arena *arena);
