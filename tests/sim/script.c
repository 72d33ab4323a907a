#include "tests/sim/script.h"

#include <stdlib.h>

#include "tests/sim/checker.h"
#include "tests/sim/workload.h"

enum {
    ROUNDS_MAX = 6,
    OPERATIONS_MAX = 128, /* of a round */
    TIMINGS = 20,         /* that each round is tried with */
    ATTEMPTS_MAX = 100,   /* at a round, before all of it is drawn anew */
    START_MAX_US = 500000,
};

/* What a node writes. */
struct operation {
    int node;
    size_t row;
    enum change_op op;
    struct content content;
    bool last; /* of its transaction */
};

struct round {
    size_t count;
    struct operation operations[OPERATIONS_MAX];
    unsigned connected; /* nodes, as a set */
    char *outcome;      /* what all nodes hold afterwards */
    uint64_t circles;   /* of letters, on all tried ways up to here */
};

struct script {
    struct schedule schedule;
    struct random random; /* of what is written, not of when what happens */
    size_t round_count;
    struct round rounds[ROUNDS_MAX];
    /* one way through it */
    size_t until, at; /* rounds to be played, and which is next */
    bool drawing;     /* the last of them is not there yet */
    bool agrees;      /* with the outcomes that are known */
};

/* ---- what all nodes hold ---- */

static void put_number(FILE *out, const char *name, int number)
{
    if (number == NOBODY)
        fprintf(out, ",\"%s\":null", name);
    else
        fprintf(out, ",\"%s\":%d", name, number);
}

static void put_row(FILE *out, size_t row)
{
    fprintf(out, "{\"entity\":\"%s\",\"key\":%zu", row_entity(row) == ENTITY_PARENT ? "parent" : "child",
            row % KEYS_MAX);
}

static void put_content(FILE *out, size_t row, const struct content *content)
{
    put_number(out, "value", content->value);
    if (row_entity(row) == ENTITY_PARENT)
        put_number(out, "code", content->code);
    else
        put_number(out, "parent", content->parent);
}

/* The other nodes of whose writes the row's writer had seen any. */
static void put_seen(FILE *out, const struct row *row)
{
    const char *separator = "";
    for (int i = 0; i < NODES_MAX; i++) {
        if (row->seen_us[i] == 0)
            continue;
        fprintf(out, "%s\"%s\"", separator, node_name(i).data);
        separator = ",";
    }
}

static void put_rows(FILE *out, const struct database *database)
{
    const char *separator = "";
    fputs("\"rows\":[", out);
    for (size_t i = 0; i < ROWS_MAX; i++) {
        const struct row *row = &database->rows[i];
        if (!row->content.present)
            continue;
        fputs(separator, out);
        put_row(out, i);
        put_content(out, i, &row->content);
        fprintf(out, ",\"writer\":\"%s\",\"seen\":[", node_name(row->version.node).data);
        put_seen(out, row);
        fputs("]}", out);
        separator = ",";
    }
    fputs("]", out);
}

/* The newest of the writer's letters that wait for this row; NULL: there is none. */
static const struct letter *letter_from(const struct database *database, size_t row, int writer)
{
    const struct letter *newest = NULL;
    for (size_t i = 0; i < database->letters.count; i++) {
        const struct letter *letter = &database->letters.list[i];
        if (letter->row == row && letter->version.node == writer &&
            (newest == NULL || stamp_compare(letter->version, newest->version) > 0))
            newest = letter;
    }
    return newest;
}

static void put_waiting(FILE *out, const struct database *database)
{
    const char *separator = "";
    fputs(",\"waiting\":[", out);
    for (size_t row = 0; row < ROWS_MAX; row++)
        for (int writer = 0; writer < NODES_MAX; writer++) {
            const struct letter *letter = letter_from(database, row, writer);
            if (letter == NULL)
                continue;
            fputs(separator, out);
            put_row(out, row);
            fprintf(out, ",\"writer\":\"%s\",\"code\":\"%s\"}", node_name(writer).data, letter->code);
            separator = ",";
        }
    fputs("]", out);
}

/* Whether the row and what the other node wrote are in dispute: neither side has been seen by a later word. */
static bool is_disputed(const struct world *world, const struct database *database, size_t row, int writer)
{
    const struct row *here = &database->rows[row];
    int64_t seen_us = here->version.node == writer ? here->version.us : here->seen_us[writer];
    for (size_t i = 0; i < database->conflict_count; i++) {
        const struct conflict *conflict = &database->conflicts[i];
        struct stamp remote = world->history.writes[row][conflict->remote].version;
        if (conflict->row == row && !conflict->same && conflict->ruling == RULING_OPEN && remote.node == writer &&
            remote.us > seen_us)
            return true;
    }
    return false;
}

static void put_conflicts(FILE *out, const struct world *world, const struct database *database)
{
    const char *separator = "";
    fputs(",\"conflicts\":[", out);
    for (size_t row = 0; row < ROWS_MAX; row++)
        for (int writer = 0; writer < NODES_MAX; writer++) {
            const struct letter *letter = letter_from(database, row, writer);
            bool unique = letter != NULL && letter->op != CHANGE_DELETED && strcmp(letter->code, "23505") == 0;
            if (!unique && !is_disputed(world, database, row, writer))
                continue;
            fputs(separator, out);
            put_row(out, row);
            fprintf(out, ",\"writer\":\"%s\",\"unique\":%s}", node_name(writer).data, unique ? "true" : "false");
            separator = ",";
        }
    fputs("]", out);
}

static char *outcome_of(const struct world *world)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL)
        abort();
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        const struct database *database = &world->nodes[i].database;
        fprintf(out, "{\"step\":\"expect\",\"node\":\"%s\",", node_name((int)i).data);
        put_rows(out, database);
        put_waiting(out, database);
        put_conflicts(out, world, database);
        fputs("}\n", out);
    }
    fclose(out);
    return text;
}

/* ---- writing ---- */

/* A history is bounded, and assertions want some of it. */
static bool has_room(const struct history *history)
{
    for (size_t row = 0; row < ROWS_MAX; row++)
        if (history->counts[row] > WRITES_MAX / 2)
            return false;
    return true;
}

/* The application's transactions are what is in the outboxes then. */
static void draw_writes(struct world *world, struct script *script, struct round *round)
{
    size_t count = 1 + random_below(&script->random, 10);
    round->count = 0;
    while (count-- > 0 && has_room(&world->history)) {
        struct node *node = &world->nodes[random_below(&script->random, world->schedule.node_count)];
        const struct database *database = &node->database;
        size_t before = database->outbox_count;
        arena_reset(&world->scratch);
        workload_transact(node, &script->random);
        world->now_us += world->schedule.call_us;
        for (size_t i = before; i < database->outbox_count; i++) {
            const struct outbox_change *change = &database->outbox[i];
            if (round->count == OPERATIONS_MAX)
                world_fail(world, "a round writes without end");
            round->operations[round->count++] =
                (struct operation){node->number, change->row, change->op, change->content, change->last};
        }
    }
}

static void play_writes(struct world *world, const struct round *round)
{
    static struct transaction transaction;
    transaction_begin(&transaction);
    for (size_t i = 0; i < round->count; i++) {
        const struct operation *operation = &round->operations[i];
        struct database *database = &world->nodes[operation->node].database;
        arena_reset(&world->scratch);
        database_write(database, &transaction, operation->row, operation->op, &operation->content, false);
        if (!operation->last)
            continue;
        database_check(database);
        transaction_commit(database, &transaction);
        world->now_us += world->schedule.call_us;
    }
}

/* ---- the scheduler's next step ---- */

/* What the timing decides, and nothing else. */
static void take_timing(struct schedule *schedule, uint64_t timing)
{
    struct schedule drawn;
    struct random random;
    schedule_draw(&drawn, timing, schedule->node_count, false, &random);
    schedule->message_bytes = drawn.message_bytes;
    schedule->batch_transactions = drawn.batch_transactions;
    schedule->call_us = drawn.call_us;
    schedule->faults = 1 + drawn.faults; /* being stopped is one */
    schedule->fault_every = drawn.fault_every;
    schedule->outages_last = drawn.outages_last;
    schedule->duplicates = drawn.duplicates;
    schedule->stragglers = drawn.stragglers;
    schedule->shuffles = drawn.shuffles;
    memcpy(schedule->application_weight, drawn.application_weight, sizeof drawn.application_weight);
    memcpy(schedule->routing_weight, drawn.routing_weight, sizeof drawn.routing_weight);
    memcpy(schedule->worker_weight, drawn.worker_weight, sizeof drawn.worker_weight);
}

static bool all_apart(const struct world *world)
{
    bool apart = true;
    for (size_t i = 0; i < world->schedule.node_count; i++)
        apart = apart && world->nodes[i].apart;
    return apart;
}

static bool connects_all(const struct world *world, const struct round *round)
{
    return round->connected + 1 == 1u << world->schedule.node_count;
}

/* Processes take their time to start: what comes from one may find the other's letters tried already, or not yet. */
static void connect_nodes(struct world *world, const struct round *round)
{
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        world->nodes[i].apart = (round->connected >> i & 1) == 0;
        world->nodes[i].restart_us = world->now_us + (int64_t)random_below(&world->random, START_MAX_US);
    }
}

/* At rest, by a signal or by a crash. */
static void stop_nodes(struct world *world)
{
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        struct node *node = &world->nodes[i];
        if (node->apart)
            continue;
        node->apart = true;
        if (random_chance(&world->random, 4))
            node_crash(node);
        else
            node_stop(node);
    }
}

/* Who was not connected last is not started any more. */
static void end_apart(struct world *world)
{
    for (size_t i = 0; i < world->schedule.node_count; i++)
        if (world->nodes[i].apart)
            world->nodes[i].state = NODE_ENDED;
}

/* The round has settled: as it did before, if it did. */
static void compare(struct world *world, struct script *script, struct round *round)
{
    char *outcome = outcome_of(world);
    if (script->drawing && script->at == script->until) {
        free(round->outcome);
        round->outcome = outcome;
        return;
    }
    script->agrees = strcmp(outcome, round->outcome) == 0;
    free(outcome);
}

bool script_go_on(struct world *world)
{
    struct script *script = world->script;
    if (all_apart(world)) {
        struct round *round = &script->rounds[script->at++];
        if (script->drawing && script->at == script->until)
            draw_writes(world, script, round);
        else
            play_writes(world, round);
        connect_nodes(world, round);
        return true;
    }
    compare(world, script, &script->rounds[script->at - 1]);
    if (script->agrees && script->at < script->until) {
        stop_nodes(world);
        return true;
    }
    end_apart(world);
    return false;
}

/* ---- drawing ---- */

/* Plays the first rounds; false when they end otherwise than before. */
static bool play(struct world *world, struct script *script, size_t until, uint64_t timing, bool drawing)
{
    script->until = until;
    script->at = 0;
    script->drawing = drawing;
    script->agrees = true;
    world->schedule = script->schedule;
    take_timing(&world->schedule, timing);
    world->random = (struct random){timing};
    world_play(world);
    if (script->agrees && connects_all(world, &script->rounds[until - 1]))
        checker_check(world);
    return script->agrees;
}

static unsigned some_nodes(struct script *script)
{
    unsigned all = (1u << script->schedule.node_count) - 1;
    return random_chance(&script->random, 2) ? all : 1 + (unsigned)random_below(&script->random, all);
}

static bool draw_round(struct world *world, struct script *script, size_t number)
{
    struct round *round = &script->rounds[number];
    unsigned all = (1u << script->schedule.node_count) - 1;
    uint64_t circles = world->statistics.circles;
    round->connected = number + 1 == script->round_count ? all : some_nodes(script);
    /* Also the rounds before may end in another way than they ever did. */
    if (!play(world, script, number + 1, random_next(&script->random), true))
        return false;
    for (size_t i = 0; i < TIMINGS; i++)
        if (!play(world, script, number + 1, random_next(&script->random), false))
            return false;
    round->circles = world->statistics.circles - circles;
    return true;
}

static void draw_schedule(struct script *script, uint64_t seed, size_t node_count)
{
    struct schedule *schedule = &script->schedule;
    schedule_draw(schedule, seed, node_count > 0 ? node_count : 2 + seed % 2, false, &script->random);
    schedule->constraints = !random_chance(&script->random, 3);
    schedule->keys = 2 + random_below(&script->random, 3);
    schedule->values = 2 + random_below(&script->random, 3);
    schedule->codes = 1 + random_below(&script->random, 3);
    /* Time is what the script says, for everybody alike. */
    schedule->writes = schedule->pauses = schedule->replays = 0;
    schedule->tick_us = 1;
    schedule->skew_us = schedule->max_clock_skew_us = 0;
    schedule->clocks_jump = schedule->echoes = false;
    schedule->retention_us = INT64_C(86400000000);
    script->round_count = 2 + random_below(&script->random, ROUNDS_MAX - 1);
}

/* Returns how many rounds had to be drawn anew. */
static size_t draw_script(struct world *world, struct script *script)
{
    size_t again = 0, attempts = 0;
    for (size_t number = 0; number < script->round_count;) {
        if (draw_round(world, script, number)) {
            number++;
            attempts = 0;
            continue;
        }
        again++;
        /* What is on its way may end in two ways, whatever is written now. */
        if (++attempts == ATTEMPTS_MAX)
            number = attempts = 0;
    }
    return again;
}

/* ---- printing ---- */

static void print_entity(const struct schedule *schedule, enum entity entity)
{
    printf("{\"name\":\"%s\",\"policy\":\"%s\",\"priority\":[", entity == ENTITY_PARENT ? "parent" : "child",
           policy_number(schedule->policies[entity])->name);
    for (size_t i = 0; i < schedule->priority_count; i++)
        printf("%s\"%s\"", i > 0 ? "," : "", node_name((int)schedule->priority[i]).data);
    printf("],\"coalesce\":%s}", schedule->coalesce[entity] ? "true" : "false");
}

static void print_nodes(const char *name, unsigned nodes)
{
    const char *separator = "";
    printf("\"%s\":[", name);
    for (int i = 0; i < NODES_MAX; i++) {
        if ((nodes >> i & 1) == 0)
            continue;
        printf("%s\"%s\"", separator, node_name(i).data);
        separator = ",";
    }
    fputs("]", stdout);
}

static void print_operation(const struct operation *operation)
{
    put_row(stdout, operation->row);
    printf(",\"op\":\"%s\"", change_op_name(operation->op));
    if (operation->op != CHANGE_DELETED)
        put_content(stdout, operation->row, &operation->content);
    fputs("}", stdout);
}

static void print_round(const struct round *round)
{
    bool first = true;
    for (size_t i = 0; i < round->count; i++) {
        const struct operation *operation = &round->operations[i];
        if (first)
            printf("{\"step\":\"write\",\"node\":\"%s\",\"operations\":[", node_name(operation->node).data);
        else
            fputs(",", stdout);
        print_operation(operation);
        first = operation->last;
        if (operation->last)
            fputs("]}\n", stdout);
    }
    fputs("{\"step\":\"connect\",", stdout);
    print_nodes("nodes", round->connected);
    printf("}\n%s", round->outcome);
}

void script_print(struct world *world, uint64_t seed, size_t node_count)
{
    static struct script script;
    draw_schedule(&script, seed, node_count);
    world->script = &script;
    size_t again = draw_script(world, &script);
    printf("{\"script\":%llu,", (unsigned long long)seed);
    print_nodes("nodes", (1u << script.schedule.node_count) - 1);
    printf(",\"constraints\":%s,\"entities\":[", script.schedule.constraints ? "true" : "false");
    print_entity(&script.schedule, ENTITY_PARENT);
    fputs(",", stdout);
    print_entity(&script.schedule, ENTITY_CHILD);
    printf("],\"rounds\":%zu,\"drawn_anew\":%zu,\"circles\":%llu}\n", script.round_count, again,
           (unsigned long long)script.rounds[script.round_count - 1].circles);
    for (size_t i = 0; i < script.round_count; i++)
        print_round(&script.rounds[i]);
    world->script = NULL;
}
