#include "adapters/host/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bridge/flow/worker.h"

/* ---- workers ---- */

struct worker_view {
    const char *name;      /* in sentences */
    const char *direction; /* as a label */
    enum worker_state state;
    int64_t silent_ms;
};

enum { WORKERS = 2 };

static int64_t silent_ms(const struct http_facts *facts, int64_t alive_ms)
{
    if (alive_ms == 0)
        return 0;
    int64_t silent = facts->clock->ops->monotonic_ms(facts->clock) - alive_ms;
    return silent > 0 ? silent : 0; /* it may have shown itself since the clock was read */
}

static void look_at_workers(const struct http_facts *facts, struct worker_view workers[static WORKERS])
{
    const struct counters *counters = facts->counters;
    workers[0] = (struct worker_view){"outbound", "out", (enum worker_state)atomic_load(&counters->out_state),
                                      silent_ms(facts, atomic_load(&counters->out_alive_ms))};
    workers[1] = (struct worker_view){"inbound", "in", (enum worker_state)atomic_load(&counters->in_state),
                                      silent_ms(facts, atomic_load(&counters->in_alive_ms))};
}

bool metrics_write_health(const struct http_facts *facts, FILE *out)
{
    struct worker_view workers[WORKERS];
    bool healthy = true;
    look_at_workers(facts, workers);
    for (size_t i = 0; i < WORKERS; i++) {
        if (workers[i].silent_ms <= METRICS_SILENCE_MS_MAX)
            continue;
        healthy = false;
        fprintf(out, "%s: no sign of life for %" PRId64 " s, %s\n", workers[i].name, workers[i].silent_ms / 1000,
                worker_state_name(workers[i].state));
    }
    if (healthy)
        fputs("ok\n", out);
    return healthy;
}

/* ": low on memory", or nothing. */
static const char *why_blocked(const struct http_facts *facts, const struct worker_view *worker)
{
    static _Thread_local char text[64];
    const char *blocked = atomic_load(&facts->counters->blocked);
    if (worker->state != WORKER_BROKER_BLOCKED || blocked == NULL)
        return "";
    snprintf(text, sizeof text, ": %s", blocked);
    return text;
}

bool metrics_write_readiness(const struct http_facts *facts, FILE *out)
{
    struct worker_view workers[WORKERS];
    bool ready = true;
    look_at_workers(facts, workers);
    for (size_t i = 0; i < WORKERS; i++) {
        if (workers[i].state == WORKER_RUNNING)
            continue;
        /* What was paused on purpose is ready: it does what it was told. */
        ready = ready && workers[i].state == WORKER_PAUSED;
        fprintf(out, "%s: %s%s%s\n", workers[i].name, worker_state_name(workers[i].state),
                workers[i].state == WORKER_STANDBY ? ", another adapter of this node leads" : "", why_blocked(facts, &workers[i]));
    }
    if (ready)
        fputs("ready\n", out);
    return ready;
}

/* ---- the format ---- */

struct page {
    FILE *out;
    const char *node;
};

static void begin(const struct page *page, const char *name, const char *type, const char *help)
{
    fprintf(page->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* label may be NULL. Names of nodes, versions and states need no escapes. */
static void put(const struct page *page, const char *name, const char *label, const char *value, uint64_t number)
{
    if (label == NULL)
        fprintf(page->out, "%s{node=\"%s\"} %" PRIu64 "\n", name, page->node, number);
    else
        fprintf(page->out, "%s{node=\"%s\",%s=\"%s\"} %" PRIu64 "\n", name, page->node, label, value, number);
}

static void put_counter(const struct page *page, const char *name, const char *help, const _Atomic uint64_t *counter)
{
    begin(page, name, "counter", help);
    put(page, name, NULL, NULL, atomic_load(counter));
}

static void put_gauge(const struct page *page, const char *name, const char *help, uint64_t number)
{
    begin(page, name, "gauge", help);
    put(page, name, NULL, NULL, number);
}

struct labelled {
    const char *value;
    const _Atomic uint64_t *counter;
};

static void put_labelled(const struct page *page, const char *name, const char *help, const char *label, size_t count,
                         const struct labelled *labelled)
{
    begin(page, name, "counter", help);
    for (size_t i = 0; i < count; i++)
        put(page, name, label, labelled[i].value, atomic_load(labelled[i].counter));
}

/* Microseconds, shown as seconds without losing digits. */
static void put_seconds(const struct page *page, const char *name, const char *type, const char *help, int64_t us)
{
    begin(page, name, type, help);
    fprintf(page->out, "%s{node=\"%s\"} %" PRId64 ".%06d\n", name, page->node, us / 1000000, (int)(us % 1000000));
}

/* ---- the pages ---- */

static void write_workers(const struct page *page, const struct http_facts *facts)
{
    struct worker_view workers[WORKERS];
    look_at_workers(facts, workers);
    begin(page, "pgbridge_up", "gauge", "Whether the direction is running, or paused on purpose.");
    for (size_t i = 0; i < WORKERS; i++)
        put(page, "pgbridge_up", "direction", workers[i].direction,
            workers[i].state == WORKER_RUNNING || workers[i].state == WORKER_PAUSED);
    begin(page, "pgbridge_worker_state", "gauge", "1 for the state that the direction is in, 0 for the others.");
    for (size_t i = 0; i < WORKERS; i++)
        for (enum worker_state state = WORKER_STARTING; state <= WORKER_STOPPED; state++)
            fprintf(page->out, "pgbridge_worker_state{node=\"%s\",direction=\"%s\",state=\"%s\"} %d\n", page->node,
                    workers[i].direction, worker_state_name(state), state == workers[i].state);
    begin(page, "pgbridge_worker_silence_seconds", "gauge", "Time since the direction's last sign of life.");
    for (size_t i = 0; i < WORKERS; i++)
        fprintf(page->out, "pgbridge_worker_silence_seconds{node=\"%s\",direction=\"%s\"} %" PRId64 ".%03d\n",
                page->node, workers[i].direction, workers[i].silent_ms / 1000, (int)(workers[i].silent_ms % 1000));
}

static void write_circuits(const struct page *page, const struct counters *counters)
{
    static const char *const sides[BACKENDS] = {"database", "broker"};
    const struct {
        const char *direction;
        const _Atomic int *circuits;
        const _Atomic uint64_t *openings;
    } directions[WORKERS] = {{"out", counters->out_circuits, counters->out_openings},
                             {"in", counters->in_circuits, counters->in_openings}};
    begin(page, "pgbridge_circuit_state", "gauge", "1 for the state that the circuit to a side is in, 0 for the others.");
    for (size_t i = 0; i < WORKERS * BACKENDS; i++)
        for (enum circuit circuit = CIRCUIT_CLOSED; circuit <= CIRCUIT_HALF_OPEN; circuit++)
            fprintf(page->out, "pgbridge_circuit_state{node=\"%s\",direction=\"%s\",side=\"%s\",state=\"%s\"} %d\n", page->node,
                    directions[i / BACKENDS].direction, sides[i % BACKENDS], circuit_name(circuit),
                    atomic_load(&directions[i / BACKENDS].circuits[i % BACKENDS]) == (int)circuit);
    begin(page, "pgbridge_circuit_openings_total", "counter", "How often a side that worked has failed.");
    for (size_t i = 0; i < WORKERS * BACKENDS; i++)
        fprintf(page->out, "pgbridge_circuit_openings_total{node=\"%s\",direction=\"%s\",side=\"%s\"} %" PRIu64 "\n", page->node,
                directions[i / BACKENDS].direction, sides[i % BACKENDS],
                atomic_load(&directions[i / BACKENDS].openings[i % BACKENDS]));
    put_gauge(page, "pgbridge_broker_blocked", "1 while the broker has an alarm and takes no messages.",
              atomic_load(&counters->blocked) != NULL);
}

static void write_outbound(const struct page *page, const struct counters *counters)
{
    put_counter(page, "pgbridge_changes_captured_total", "Changes taken from this node's database.",
                &counters->captured);
    put_counter(page, "pgbridge_changes_published_total", "Changes that the broker has confirmed, after coalescing.",
                &counters->published);
    put_counter(page, "pgbridge_batches_published_total", "Batches that the broker has confirmed.",
                &counters->batches_out);
    put_counter(page, "pgbridge_publish_failures_total", "Batches that have to be sent again.",
                &counters->publish_failures);
    put_gauge(page, "pgbridge_in_flight_batches", "Batches published and not confirmed yet.",
              atomic_load(&counters->in_flight));
    put_seconds(page, "pgbridge_confirm_seconds_total", "counter",
                "Time from publish to confirm, summed over the batches.", atomic_load(&counters->confirm_us_sum));
}

static void write_inbound(const struct page *page, const struct counters *counters)
{
    const struct labelled verdicts[] = {
        {"applied", &counters->applied},
        {"same", &counters->same},
        {"duplicate", &counters->duplicate},
        {"stale", &counters->stale},
        {"echo", &counters->echo},
        {"kept", &counters->kept},
        {"dead_letter", &counters->dead_letters},
        {"held", &counters->held},
    };
    put_labelled(page, "pgbridge_changes_received_total", "Changes of peers, by what became of them.", "verdict",
                 sizeof verdicts / sizeof *verdicts, verdicts);
    put_counter(page, "pgbridge_changes_delivered_total",
                "Changes of peers, whatever became of them: the sum of pgbridge_changes_received_total.",
                &counters->received);
    put_counter(page, "pgbridge_changes_unchanged_total",
                "Changes applied to a row that held this content already, so that no data was written.",
                &counters->unchanged);
    put_counter(page, "pgbridge_changes_ignored_total",
                "Changes applied but for a field that another node than their writer owns.", &counters->ignored);
    put_counter(page, "pgbridge_conflicts_total", "Changes made on both sides at once, whoever won.",
                &counters->conflicts);
    put_counter(page, "pgbridge_transactions_applied_total", "Transactions that applied changes of peers.",
                &counters->transactions_in);
    put_counter(page, "pgbridge_transactions_beside_total", "Those of them that were prepared while the one before them was under way.",
                &counters->transactions_beside);
    put_counter(page, "pgbridge_apply_retries_total", "Transactions tried again after a failure.",
                &counters->apply_retries);
    put_counter(page, "pgbridge_messages_refused_total", "Messages of a source that is no peer.", &counters->refused);
    put_counter(page, "pgbridge_messages_poison_total", "Messages that could not be read.", &counters->poison);
    put_counter(page, "pgbridge_message_gaps_total", "Numbered messages of peers that never arrived.", &counters->gaps);
    put_counter(page, "pgbridge_unknown_members_total", "Members of messages that this version does not know.",
                &counters->unknown_members);
    put_counter(page, "pgbridge_ping_pong_total", "Rows held because nodes rewrote them in turns.", &counters->rallies);
    put_gauge(page, "pgbridge_queue_depth", "Messages that wait in this node's queue.",
              atomic_load(&counters->queue_depth));
    put_gauge(page, "pgbridge_dead_queue_depth", "Messages that wait in this node's dead-letter queue in the broker.",
              atomic_load(&counters->dead_queue_depth));
    put_counter(page, "pgbridge_messages_drained_total", "Messages taken from there.", &counters->drained);
    put_seconds(page, "pgbridge_last_applied_version_timestamp_seconds", "gauge",
                "When the newest change applied here was made, by its writer's clock; 0: none since the start.",
                atomic_load(&counters->newest_us));
}

static void write_both(const struct page *page, const struct counters *counters)
{
    const struct labelled messages[] = {{"out", &counters->messages_out}, {"in", &counters->messages_in}};
    const struct labelled bytes[] = {{"out", &counters->bytes_out}, {"in", &counters->bytes_in}};
    const struct labelled failures[] = {{"database", &counters->database_failures},
                                        {"broker", &counters->broker_failures}};
    begin(page, "pgbridge_held_entities", "gauge", "Entities that are paused in the direction, or have spent their budget.");
    put(page, "pgbridge_held_entities", "direction", "out", atomic_load(&counters->out_held));
    put(page, "pgbridge_held_entities", "direction", "in", atomic_load(&counters->in_held));
    put_labelled(page, "pgbridge_messages_total", "Messages confirmed by the broker, and messages received.",
                 "direction", 2, messages);
    put_labelled(page, "pgbridge_message_bytes_total", "Bytes in the bodies of these messages.", "direction", 2, bytes);
    put_labelled(page, "pgbridge_failures_total", "Failures of a direction, by the side that failed.", "side", 2,
                 failures);
}

/* ---- the process, by the names that every dashboard knows ---- */

/* Memory in pages, and the start in clock ticks since boot. */
static bool read_process(uint64_t *virtual_bytes, uint64_t *resident_bytes, double *start_s)
{
    char line[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL)
        return false;
    size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = '\0';
    /* The name may hold anything, also blanks and brackets: the fields begin behind its last one. Field 3 comes first.
     */
    const char *fields = strrchr(line, ')');
    uint64_t start_ticks, pages;
    if (fields == NULL || sscanf(fields + 1,
                                 " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64
                                 " %" SCNu64 " %" SCNu64,
                                 &start_ticks, virtual_bytes, &pages) != 3)
        return false;
    struct timespec now, boot;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    *resident_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    *start_s = (double)(now.tv_sec - boot.tv_sec) + (double)(now.tv_nsec - boot.tv_nsec) / 1e9 +
               (double)start_ticks / (double)sysconf(_SC_CLK_TCK);
    return true;
}

/* Without the one that counts. 0: unknown. */
static uint64_t open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL)
        return 0;
    uint64_t count = 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count > 3 ? count - 3 : 0;
}

static void write_process(const struct page *page)
{
    uint64_t virtual_bytes, resident_bytes;
    double start_s;
    if (read_process(&virtual_bytes, &resident_bytes, &start_s)) {
        put_gauge(page, "process_resident_memory_bytes", "Resident memory size in bytes.", resident_bytes);
        put_gauge(page, "process_virtual_memory_bytes", "Virtual memory size in bytes.", virtual_bytes);
        begin(page, "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.");
        fprintf(page->out, "process_start_time_seconds{node=\"%s\"} %.2f\n", page->node, start_s);
    }
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        put_seconds(page, "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
                    (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec +
                        usage.ru_stime.tv_usec);
    put_gauge(page, "process_open_fds", "Number of open file descriptors.", open_descriptors());
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        put_gauge(page, "process_max_fds", "Maximum number of open file descriptors.", limit.rlim_cur);
}

void metrics_write(const struct http_facts *facts, FILE *out)
{
    const struct page page = {out, facts->node};
    begin(&page, "pgbridge_build_info", "gauge", "1; the version is in the label.");
    put(&page, "pgbridge_build_info", "version", PGBRIDGE_VERSION, 1);
    write_workers(&page, facts);
    write_circuits(&page, facts->counters);
    write_outbound(&page, facts->counters);
    write_inbound(&page, facts->counters);
    write_both(&page, facts->counters);
    write_process(&page);
}
