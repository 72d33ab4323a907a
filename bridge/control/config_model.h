#pragma once
/* From a file's texts to the model: every check that needs no file format and no file. Names, addresses, mappings,
 * defaults, what must be unique, what goes together; each error with its place. */
#include <stdbool.h>

#include "bridge/control/config.h"
#include "bridge/control/reading.h"

/* The texts, as the format's library filled them in. A missing key is zero. */
struct config_raw_broker {
    char *url, *password_file, *exchange, *queue, *dead_exchange, *dead_queue;
    char *ca_file, *cert_file, *key_file, *heartbeat;
};

struct config_raw_retry {
    char *base, *factor, *cap, *max_attempts;
};

/* Zero is what a missing key means. */
enum coalesce { COALESCE_TRUE, COALESCE_FALSE };
enum revives { REVIVES_FALSE, REVIVES_TRUE };

/* Durations as texts, as everywhere. */
struct config_raw_ping_pong {
    char *times, *within, *cool_down;
};

struct config_raw_mass_delete {
    char *rows, *percent, *within;
};

struct config_raw_entity {
    char *name, *table;
    char **key, **fields;
    unsigned key_count, fields_count;
    enum trigger_mode triggers;
    enum truncate_mode truncate;
    enum coalesce coalesce;
    char *policy;
    char **priority;
    char **owners, **counters;
    char *max_changes_per_second;
    unsigned priority_count, owners_count, counters_count;
    enum revives update_revives;
    struct config_raw_retry retry;
};

struct config_raw {
    char *node, *database, *database_password_file, *http, *message_bytes, *wal_keep_max, *max_clock_skew, *tombstone_retention;
    char *dead_letter_retention, *conflict_retention, *max_held_changes;
    struct config_raw_ping_pong *ping_pong;
    struct config_raw_mass_delete *mass_delete;
    struct config_raw_broker broker;
    struct config_raw_retry retry;
    char **peers;
    struct config_raw_entity *entities;
    unsigned peers_count, entities_count;
    enum capture_mode capture;
    enum log_format log;
};

/* reading->root and raw are the same configuration, whose shape is checked: no unknown keys, the needed ones there,
 * texts not empty. *config is set only on success. Passwords stay NULL unless a url has one; `credential:NAME` stays as
 * written, other relative paths begin at the configuration's directory. */
bool config_model_build(struct reading *reading, const struct config_raw *raw, struct config *config);
