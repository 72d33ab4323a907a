/* pgbridge run: the assembly. A main thread for signals, systemd and HTTP, and two workers, each a straight loop that owns
 * its connections. They share counters and a stop flag. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "adapters/host/clock.h"
#include "adapters/host/command.h"
#include "adapters/host/config_file.h"
#include "adapters/host/hooks.h"
#include "adapters/host/http.h"
#include "adapters/host/systemd.h"
#include "adapters/postgres/capture_wal.h"
#include "adapters/postgres/target.h"
#include "adapters/rabbitmq/inlet.h"
#include "adapters/rabbitmq/outlet.h"
#include "bridge/base/log.h"
#include "bridge/base/memory.h"
#include "bridge/control/difference.h"
#include "bridge/flow/inbound.h"
#include "bridge/flow/outbound.h"

enum {
    STACK_BYTES = 8 << 20,     /* rabbitmq-c decodes nested header tables by recursion */
    TICK_MS = 500,
    STUCK_MS = 330 * 1000,     /* longer than any statement may take */
    STOP_GRACE_MS = 8000,      /* then connections are cut */
    STOP_LIMIT_MS = 15000,     /* then the process leaves: a crash at any point is safe */
};

struct assembly {
    struct config config;
    struct host_clock clock;
    struct counters counters;
    atomic_bool stop;
    struct pg_wal *wal;
    struct pg_target *target, *second;
    struct mq_outlet outlet;
    struct mq_inlet inlet;
    struct mq_inlet dead;
    struct outbound outbound;
    struct inbound inbound;
    struct budget *budgets;
    pthread_t outbound_thread, inbound_thread;
    atomic_int running; /* workers */
};

static void *run_outbound(void *context)
{
    struct assembly *assembly = context;
    outbound_run(&assembly->outbound);
    atomic_fetch_sub(&assembly->running, 1);
    return NULL;
}

static void *run_inbound(void *context)
{
    struct assembly *assembly = context;
    inbound_run(&assembly->inbound);
    atomic_fetch_sub(&assembly->running, 1);
    return NULL;
}

/* As many as there are entities that have one. */
static size_t make_budgets(struct assembly *assembly)
{
    const struct config *config = &assembly->config;
    size_t count = 0;
    assembly->budgets = calloc(config->entity_count, sizeof *assembly->budgets);
    if (assembly->budgets == NULL)
        memory_exhausted(__func__);
    for (size_t i = 0; i < config->entity_count; i++)
        if (config->entities[i].max_changes_per_second > 0)
            budget_init(&assembly->budgets[count++], text_from(config->entities[i].name), config->entities[i].max_changes_per_second,
                        assembly->clock.port.ops->monotonic_ms(&assembly->clock.port));
    return count;
}

static void assemble(struct assembly *assembly)
{
    struct config *config = &assembly->config;
    struct pg_target_options target_options = {.apply_is_captured = hook_disabled("capture-guard"),
                                               .write_equal = hook_disabled("same"),
                                               .never_alone = hook_disabled("alone")};
    bool applies_beside = !target_options.apply_is_captured && !target_options.write_equal;
    assembly->wal = pg_wal_new(config, &assembly->clock.port);
    assembly->target = pg_target_new(config, &target_options);
    assembly->second = pg_target_new(config, &(struct pg_target_options){.first = assembly->target});
    mq_outlet_init(&assembly->outlet, config);
    mq_inlet_init(&assembly->inlet, config);
    mq_inlet_init_dead(&assembly->dead, config);
    assembly->outbound = (struct outbound){.source = pg_wal_source(assembly->wal),
                                           .outlet = &assembly->outlet.port,
                                           .budget_count = make_budgets(assembly),
                                           .budgets = assembly->budgets,
                                           .message_bytes = config->message_bytes};
    assembly->inbound = (struct inbound){.inlet = &assembly->inlet.port,
                                         .dead = &assembly->dead.port,
                                         .max_clock_skew_us = config->max_clock_skew_us,
                                         .waits_for_clock = config->capture == CAPTURE_WAL,
                                         .rally_rule = config->ping_pong,
                                         .deletion_rule = config->mass_delete,
                                         .target = pg_target_port(assembly->target),
                                         .second = applies_beside ? pg_target_port(assembly->second) : NULL,
                                         .peer_count = config->peer_count,
                                         .peers = (const char *const *)config->peers,
                                         .apply_echoes = hook_disabled("echo"),
                                         .parts_wait_ms = (int)hook_number("PGBRIDGE_PARTS_WAIT_MS", 0),
                                         .group_rows = (size_t)hook_number("PGBRIDGE_GROUP_ROWS", 0)};
    struct text node = text_from(config->node);
    worker_init(&assembly->outbound.worker, "out", node, &assembly->clock.port, &assembly->counters, &assembly->stop);
    worker_init(&assembly->inbound.worker, "in", node, &assembly->clock.port, &assembly->counters, &assembly->stop);
    assembly->outbound.worker.brake = pg_wal_brake(assembly->wal);
    assembly->inbound.worker.brake = pg_target_brake(assembly->target);
}

static void disassemble(struct assembly *assembly)
{
    mq_outlet_free(&assembly->outlet);
    mq_inlet_free(&assembly->inlet);
    mq_inlet_free(&assembly->dead);
    pg_wal_free(assembly->wal);
    pg_target_free(assembly->second);
    pg_target_free(assembly->target);
    free(assembly->budgets);
}

static bool start_workers(struct assembly *assembly)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    atomic_store(&assembly->running, 2);
    bool started = pthread_create(&assembly->outbound_thread, &attributes, run_outbound, assembly) == 0 &&
                   pthread_create(&assembly->inbound_thread, &attributes, run_inbound, assembly) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

/* Tells what of a changed config holds at once and what needs a restart. */
static void reload(struct assembly *assembly, const struct options *options)
{
    struct config fresh;
    struct error error;
    systemd_reloading();
    if (!config_read(options->config_path, &fresh, &error)) {
        log_error(LOG_LEVEL_ERROR, "kept", &error);
        systemd_ready();
        return;
    }
    struct config *config = &assembly->config;
    if (fresh.log != config->log) {
        config->log = fresh.log;
        log_configure(config->log == LOG_JSON, options->verbose ? LOG_LEVEL_DEBUG : options->quiet ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
                      config->node);
    }
    atomic_store(&assembly->outbound.message_bytes, fresh.message_bytes);
    config->message_bytes = fresh.message_bytes;
    const struct {
        const char *key;
        bool differs;
    } fixed[] = {
        {"node", strcmp(fresh.node, config->node) != 0},
        {"database", strcmp(fresh.database, config->database) != 0 ||
                         (fresh.database_password == NULL) != (config->database_password == NULL) ||
                         (fresh.database_password && strcmp(fresh.database_password, config->database_password) != 0)},
        {"broker", !config_same_broker(&fresh.broker, &config->broker)},
        {"peers", !config_same_peers(&fresh, config)},
        {"entities (and pgbridge install)", !config_same_entities(&fresh, config)},
        {"capture (and pgbridge install), wal_keep_max",
         fresh.capture != config->capture || fresh.wal_keep_max_bytes != config->wal_keep_max_bytes},
        {"max_clock_skew, tombstone_retention, dead_letter_retention, conflict_retention",
         fresh.max_clock_skew_us != config->max_clock_skew_us || fresh.tombstone_retention_us != config->tombstone_retention_us ||
             fresh.dead_letter_retention_us != config->dead_letter_retention_us ||
             fresh.conflict_retention_us != config->conflict_retention_us},
        {"ping_pong, mass_delete, max_held_changes",
         memcmp(&fresh.ping_pong, &config->ping_pong, sizeof fresh.ping_pong) != 0 ||
             memcmp(&fresh.mass_delete, &config->mass_delete, sizeof fresh.mass_delete) != 0 ||
             fresh.max_held_changes != config->max_held_changes},
        {"http", (fresh.http_host == NULL) != (config->http_host == NULL) ||
                     (fresh.http_host && (strcmp(fresh.http_host, config->http_host) != 0 || fresh.http_port != config->http_port))},
    };
    log_event(LOG_LEVEL_INFO, "reloaded", "applied=\"log, message_bytes\"");
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (fixed[i].differs)
            log_event(LOG_LEVEL_WARNING, "ignored", "key=\"%s\" reason=\"changed in the config, needs a restart\"", fixed[i].key);
    config_free(&fresh);
    systemd_ready();
}

/* A broker with an alarm stops reading, also in the midst of a message. The worker that waits for it is cut loose, and connects
 * anew: then the broker says that it is blocked. Before the socket's own timeout of two heartbeats, which a full window may not
 * count for. */
static void free_hung_publish(struct assembly *assembly)
{
    int64_t limit_ms = (int64_t)assembly->config.broker.heartbeat_s * 1500;
    int64_t hung_ms = mq_outlet_hung_ms(&assembly->outlet);
    if (hung_ms < limit_ms)
        return;
    log_event(LOG_LEVEL_WARNING, "freed", "direction=out reason=\"the broker took nothing of a message\" hung_ms=%lld", (long long)hung_ms);
    mq_outlet_abort(&assembly->outlet);
}

/* A direction that waits for a broker with an alarm, or for a server that is away, shows itself all the same: without a sign of
 * life it hangs. */
static bool workers_alive(struct assembly *assembly)
{
    int64_t now = assembly->clock.port.ops->monotonic_ms(&assembly->clock.port);
    int64_t stuck_ms = hook_number("PGBRIDGE_STUCK_MS", STUCK_MS);
    return now - atomic_load(&assembly->counters.out_alive_ms) < stuck_ms &&
           now - atomic_load(&assembly->counters.in_alive_ms) < stuck_ms;
}

static void tell_systemd(struct assembly *assembly, bool watched)
{
    static int shown_out = -1, shown_in = -1;
    int out = atomic_load(&assembly->counters.out_state), in = atomic_load(&assembly->counters.in_state);
    if (out != shown_out || in != shown_in) {
        char status[128];
        snprintf(status, sizeof status, "outbound: %s, inbound: %s", worker_state_name((enum worker_state)out),
                 worker_state_name((enum worker_state)in));
        systemd_status(status);
        shown_out = out;
        shown_in = in;
    }
    if (watched && workers_alive(assembly))
        systemd_alive();
}

static void wait_for_stop(struct assembly *assembly, const struct options *options, const sigset_t *signals)
{
    bool watched = systemd_watchdog_us() > 0;
    for (;;) {
        struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};
        int signal = sigtimedwait(signals, NULL, &tick);
        if (signal == SIGTERM || signal == SIGINT) {
            log_event(LOG_LEVEL_INFO, "stopping", "signal=%s", signal == SIGTERM ? "SIGTERM" : "SIGINT");
            return;
        }
        if (signal == SIGHUP)
            reload(assembly, options);
        free_hung_publish(assembly);
        tell_systemd(assembly, watched);
    }
}

/* Drains; cuts connections that do not return; leaves in the end whatever happens, which is as safe as a crash. */
static void stop_workers(struct assembly *assembly)
{
    struct clock *clock = &assembly->clock.port;
    int64_t began = clock->ops->monotonic_ms(clock);
    systemd_stopping();
    atomic_store(&assembly->stop, true);
    host_clock_stop(&assembly->clock);
    bool cut = false;
    while (atomic_load(&assembly->running) > 0) {
        int64_t waited = clock->ops->monotonic_ms(clock) - began;
        if (waited > STOP_GRACE_MS && !cut) {
            mq_outlet_abort(&assembly->outlet);
            mq_inlet_abort(&assembly->inlet);
            mq_inlet_abort(&assembly->dead);
            cut = true;
        }
        if (waited > STOP_LIMIT_MS) {
            log_event(LOG_LEVEL_WARNING, "left", "reason=\"a statement did not return in time\"");
            _exit(EXIT_GOOD);
        }
        struct timespec pause = {.tv_nsec = 10 * 1000000L};
        nanosleep(&pause, NULL);
    }
    pthread_join(assembly->outbound_thread, NULL);
    pthread_join(assembly->inbound_thread, NULL);
}

int command_run(const struct options *options)
{
    struct assembly *assembly = calloc(1, sizeof *assembly);
    struct error error;
    if (assembly == NULL || !host_clock_init(&assembly->clock))
        return EXIT_TRY_AGAIN;
    if (!command_config(options, &assembly->config)) {
        free(assembly);
        return EXIT_BAD_CONFIG;
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    struct http *http = NULL;
    int code = EXIT_GOOD;
    struct http_facts facts = {.node = assembly->config.node, .counters = &assembly->counters, .clock = &assembly->clock.port};
    if (assembly->config.http_host != NULL) {
        http = http_start(assembly->config.http_host, assembly->config.http_port, &facts, &error);
        if (http == NULL)
            code = command_fail(&error);
    }
    if (code == EXIT_GOOD) {
        int64_t now = assembly->clock.port.ops->monotonic_ms(&assembly->clock.port);
        atomic_store(&assembly->counters.out_alive_ms, now);
        atomic_store(&assembly->counters.in_alive_ms, now);
        assemble(assembly);
        log_event(LOG_LEVEL_INFO, "started", "version=%s node=%s entities=%zu peers=%zu", PGBRIDGE_VERSION,
                  assembly->config.node, assembly->config.entity_count, assembly->config.peer_count);
        if (!start_workers(assembly)) {
            fputs("pgbridge: could not start a thread\n", stderr);
            _exit(EXIT_TRY_AGAIN);
        }
        /* Ready to work, also while database or broker are still to come: systemd's status and /readyz tell. */
        systemd_ready();
        wait_for_stop(assembly, options, &signals);
        stop_workers(assembly);
        disassemble(assembly);
        log_event(LOG_LEVEL_INFO, "stopped", "node=%s", assembly->config.node);
    }
    http_stop(http);
    host_clock_free(&assembly->clock);
    config_free(&assembly->config);
    free(assembly);
    return code;
}
