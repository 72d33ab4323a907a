/* judge_cases SEED COUNT NODE PREFIX...: draws COUNT cases, each a row's state here and a change that arrives, for the
 * entities PREFIX_latest (last-write-wins), PREFIX_ranked (node-priority: arctic, NODE, Zebra) and PREFIX_argued
 * (manual), and computes with the core's own functions what must come of them. For tests/integration/judge.sh, which
 * has the database do the same.
 *
 * Prints one item a line: messages as contract.py publishes them begin with "{", everything else is a statement of SQL
 * that makes the rows' states, and the expectations in judge.expected and judge.counted (tables of judge.sh). Every row
 * has one change, and all rows of a message are different ones, so the order of messages does not matter. That nothing
 * may change when all messages come once more is asked of the core here. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/base/limits.h"
#include "bridge/flow/policy.h"
#include "bridge/message/codec.h"

enum { FIELDS = 4, NODES = 5, ROWS_MAX = 24, SEEN_MAX = 3, ROUNDS = 2 };

/* A whole second, because a message may have no other version than its AMQP timestamp; the versions lie around it. */
#define EPOCH_US INT64_C(1700000000000000)
enum { EARLIEST_US = -3, LATEST_US = 4, HORIZON_US = -1 };
/* Stands for the clock's time in the version of an assertion. */
#define ASSERTED_US (EPOCH_US * 10)

static const char *const field_names[FIELDS] = {"id", "what", "amount", "n"};
static const char *const defaults[FIELDS] = {NULL, "unset", NULL, "7"};

/* Byte order is Zebra, arctic, commerce, north, omega; a dictionary's differs. The last is this node. */
static struct text nodes[NODES] = {{"arctic", 6}, {"Zebra", 5}, {"north", 5}, {"omega", 5}, {NULL, 0}};
static struct text this_node;
static struct arena arena;
static uint64_t random_state;

struct state {
    bool present;
    bool deleted; /* its version is a tombstone's */
    struct text fields[FIELDS];
    struct write write;
};

struct outcome {
    struct settlement settlement;
    struct tally tally;
    bool conflict;
    const char *kind;
};

struct entity {
    struct text name;
    struct rules rules;
    struct tally counted[ROUNDS][NODES];
    size_t next_key;
};

/* ---- chance ---- */

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t draw(uint64_t bound)
{
    uint64_t z = (random_state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) % bound;
}

static bool chance(uint64_t percent)
{
    return draw(100) < percent;
}

static int64_t draw_timestamp(void)
{
    return EPOCH_US + EARLIEST_US + (int64_t)draw(LATEST_US - EARLIEST_US + 1);
}

static struct version draw_version(void)
{
    int64_t timestamp_us = draw_timestamp();
    return (struct version){timestamp_us, nodes[draw(NODES)]};
}

/* Up to three nodes; own: whose write it is, which stands among them only when odd. */
static struct seen draw_seen(struct text own, bool odd)
{
    struct version *versions = arena_take_array(&arena, SEEN_MAX, sizeof *versions);
    size_t count = 0;
    for (uint64_t wanted = draw(SEEN_MAX + 1); wanted > 0; wanted--) {
        struct version version = draw_version();
        bool known = text_equal(version.node, own) && !odd;
        for (size_t i = 0; i < count; i++)
            known = known || text_equal(versions[i].node, version.node);
        if (!known)
            versions[count++] = version;
    }
    return (struct seen){count, versions};
}

/* Numerics that are equal as numbers and differ as texts are among them: content is what the text says. */
static struct text draw_value(size_t field)
{
    static const char *const values[FIELDS][4] = {
        {NULL}, {"a", "A", "", NULL}, {"1.5", "1.50", "2", NULL}, {"1", "2", "7", NULL}};
    assert(field > 0);
    return text_from(values[field][draw(4)]);
}

static struct state draw_state(struct text key)
{
    struct state state = {0};
    uint64_t kind = draw(100);
    if (kind < 12) /* never heard of */
        return state;
    state.deleted = kind < 35;
    state.present = !state.deleted;
    /* Somebody went round the triggers: a row that is gone without a tombstone, or came back beside its own. */
    if (kind == 35 || kind == 36)
        state.present = false;
    if (kind == 37 || kind == 38)
        state.deleted = true;
    if (state.present) {
        state.fields[0] = key;
        for (size_t i = 1; i < FIELDS; i++)
            state.fields[i] = draw_value(i);
    }
    if (kind < 90) { /* else it was here before install */
        state.write.version = draw_version();
        state.write.seen = draw_seen(state.write.version.node, false);
    }
    return state;
}

/* ---- the core's word ---- */

static size_t field_of(struct text name)
{
    size_t field = 0;
    while (!text_equal(name, text_from(field_names[field])))
        field++;
    return field;
}

static bool content_equal(const struct message *message, size_t row, const struct state *state)
{
    if (message->op == CHANGE_DELETED)
        return !state->present && state->deleted;
    bool equal = state->present;
    for (size_t i = 0; equal && i < message->column_count; i++)
        equal = text_equal(message_row(message, row)[i], state->fields[field_of(message->columns[i])]);
    return equal;
}

static void write_content(const struct message *message, size_t row, struct state *state)
{
    bool inserted = !state->present;
    state->present = message->op != CHANGE_DELETED;
    for (size_t i = 0; state->present && inserted && i < FIELDS; i++)
        state->fields[i] = text_from(defaults[i]);
    for (size_t i = 0; state->present && i < message->column_count; i++)
        state->fields[field_of(message->columns[i])] = message_row(message, row)[i];
}

/* What comes of the change, and what the row is afterwards. */
static struct outcome play(const struct entity *entity, const struct message *message, size_t row, struct state *state)
{
    struct write change = message_write(message, row);
    bool equal = content_equal(message, row, state),
         forgotten = !state->present && judge_forgotten(&change, &state->write, EPOCH_US + HORIZON_US);
    struct outcome outcome = {
        .settlement = policy_settle(&entity->rules, this_node, &change, &state->write, equal, &arena),
        .tally.received = 1,
    };
    struct settlement *settlement = &outcome.settlement;
    if (settlement->verdict == VERDICT_FRESH && forgotten)
        *settlement = (struct settlement){.verdict = VERDICT_STALE};
    outcome.conflict = settlement->verdict == VERDICT_CONCURRENT;
    switch (settlement->verdict) {
    case VERDICT_ECHO:
        outcome.tally.echo++;
        break;
    case VERDICT_DUPLICATE:
        outcome.tally.duplicate++;
        break;
    case VERDICT_STALE:
        outcome.tally.stale++;
        break;
    case VERDICT_SAME:
        outcome.tally.same++;
        break;
    case VERDICT_FRESH:
        outcome.tally.applied++;
        outcome.tally.unchanged += equal && state->present;
        break;
    case VERDICT_CONCURRENT:
        outcome.kind = conflict_kind(message->op, state->present, state->deleted);
        outcome.tally.conflicts++;
        outcome.tally.applied += settlement->action == ACTION_WRITE;
        outcome.tally.kept += settlement->action != ACTION_WRITE;
        break;
    }
    assert(tally_conserves(&outcome.tally));
    if (settlement->action == ACTION_WRITE)
        write_content(message, row, state);
    if (settlement->action != ACTION_NOTHING) {
        state->write = settlement->write;
        state->deleted = !state->present;
    }
    if (settlement->assertion) {
        static const struct write nothing = {0};
        state->write = (struct write){
            .version = {ASSERTED_US, this_node},
            .base = settlement->write.version,
            .seen = write_join(&settlement->write, &nothing, this_node, &arena),
        };
    }
    return outcome;
}

/* ---- SQL ---- */

/* Nothing that is drawn has quotes. */
static struct text sql_text(struct text text)
{
    return text_is_null(text) ? TEXT_LITERAL("null") : arena_printf(&arena, "'%.*s'", TEXT_PRINTF(text));
}

static struct text sql_number(int64_t number)
{
    return number == 0 ? TEXT_LITERAL("null") : arena_printf(&arena, "%" PRId64, number);
}

static struct text sql_row(const struct text *fields)
{
    struct text out = TEXT_LITERAL("array[");
    for (size_t i = 0; i < FIELDS; i++)
        out = arena_printf(&arena, "%.*s%s%.*s", TEXT_PRINTF(out), i > 0 ? ", " : "", TEXT_PRINTF(sql_text(fields[i])));
    return arena_printf(&arena, "%.*s]::text[]", TEXT_PRINTF(out));
}

static struct text sql_seen(struct seen seen)
{
    return arena_printf(&arena, "%.*s::jsonb", TEXT_PRINTF(sql_text(codec_encode_seen(seen, &arena))));
}

/* ---- words ---- */

static struct text words_version(struct version version)
{
    if (version_is_none(version))
        return TEXT_LITERAL("none");
    return arena_printf(&arena, "%+" PRId64 " %.*s", version.timestamp_us - EPOCH_US, TEXT_PRINTF(version.node));
}

static struct text words_write(const struct write *write)
{
    struct text out = arena_printf(&arena, "version %s, base %s, seen", words_version(write->version).data,
                                   words_version(write->base).data);
    for (size_t i = 0; i < write->seen.count; i++)
        out = arena_printf(&arena, "%s%s %s", out.data, i > 0 ? "," : "", words_version(write->seen.versions[i]).data);
    return write->seen.count > 0 ? out : arena_printf(&arena, "%s nothing", out.data);
}

static struct text words_values(size_t count, const struct text *names, const struct text *values)
{
    struct text out = TEXT_LITERAL("(");
    for (size_t i = 0; i < count; i++)
        out = arena_printf(&arena, "%s%s%s=%.*s", out.data, i > 0 ? " " : "", arena_string(&arena, names[i]),
                           TEXT_PRINTF(text_is_null(values[i]) ? TEXT_LITERAL("null") : values[i]));
    return arena_printf(&arena, "%s)", out.data);
}

static struct text words_case(const struct message *message, size_t row, const struct state *state,
                              const struct outcome *outcome)
{
    struct text names[FIELDS];
    for (size_t i = 0; i < FIELDS; i++)
        names[i] = text_from(field_names[i]);
    struct write change = message_write(message, row);
    const struct settlement *settlement = &outcome->settlement;
    static const char *const actions[] = {"nothing", "stamp", "write"};
    bool known = !version_is_none(state->write.version);
    struct text here = state->present   ? words_values(FIELDS, names, state->fields)
                       : state->deleted ? TEXT_LITERAL("deleted")
                       : known          ? TEXT_LITERAL("lost")
                                        : TEXT_LITERAL("unknown");
    if (state->present && state->deleted)
        here = arena_printf(&arena, "%s beside a tombstone,", here.data);
    return arena_printf(&arena, "here %s %s; row %zu of %zu: %s %s %s%s; the core says %s%s%s, %s%s", here.data,
                        words_write(&state->write).data, row + 1, message->row_count, change_op_name(message->op),
                        words_values(message->column_count, message->columns, message_row(message, row)).data,
                        words_write(&change).data, message->versions == NULL ? ", the timestamp of the message" : "",
                        verdict_name(settlement->verdict), outcome->conflict ? ", ruling " : "",
                        outcome->conflict ? ruling_name(settlement->ruling) : "", actions[settlement->action],
                        settlement->assertion ? ", assertion" : "");
}

/* ---- printing ---- */

static void print_state(const struct entity *entity, struct text key, const struct state *state)
{
    if (state->present) {
        printf("insert into %s values (", entity->name.data);
        for (size_t i = 0; i < FIELDS; i++)
            printf("%s%s", i > 0 ? ", " : "", sql_text(state->fields[i]).data);
        printf(");\n");
    }
    if (!version_is_none(state->write.version))
        printf("insert into bridge.row_version (entity, key, ts, node, deleted, seen) select id, %s, %s, %s, %s, %s "
               "from bridge.entity where name = '%s';\n",
               sql_text(key).data, sql_number(state->write.version.timestamp_us).data,
               sql_text(state->write.version.node).data, state->deleted ? "true" : "false",
               sql_seen(state->write.seen).data, entity->name.data);
}

static void print_expected(const struct entity *entity, const struct message *message, size_t row,
                           const struct state *before, const struct state *after, const struct outcome *outcome)
{
    struct text key = message_row(message, row)[0];
    struct write change = message_write(message, row);
    bool asserted = outcome->settlement.assertion;
    /* Of an assertion the timestamp is only known to come after both. */
    int64_t later = version_compare(before->write.version, change.version) > 0 ? before->write.version.timestamp_us
                                                                               : change.version.timestamp_us;
    printf("insert into judge.expected values ('%s', %s, %s, %s, ", entity->name.data, sql_text(key).data,
           sql_text(text_from(verdict_name(outcome->settlement.verdict))).data,
           after->present ? sql_row(after->fields).data : "null");
    printf("%s, %s, %s, %s, %s, %s, %s, ", sql_number(asserted ? later : after->write.version.timestamp_us).data,
           sql_text(after->write.version.node).data,
           version_is_none(after->write.version) ? "null"
           : after->deleted                      ? "true"
                                                 : "false",
           sql_seen(after->write.seen).data, sql_number(after->write.base.timestamp_us).data,
           sql_text(after->write.base.node).data, asserted ? "true" : "false");
    if (outcome->conflict) {
        struct text remote[FIELDS];
        for (size_t i = 0; i < FIELDS; i++)
            remote[i] = before->present ? before->fields[i] : TEXT_NULL;
        for (size_t i = 0; i < message->column_count; i++)
            remote[field_of(message->columns[i])] = message_row(message, row)[i];
        bool open = outcome->settlement.ruling == RULING_OPEN;
        printf("row('%s', '%s', '%s', %s, %s, %s, %s, %s, %s, %s)::judge.conflict, ", outcome->kind,
               entity->rules.policy->name, ruling_name(outcome->settlement.ruling),
               before->present ? sql_row(before->fields).data : "null",
               sql_number(before->write.version.timestamp_us).data, sql_text(before->write.version.node).data,
               message->op == CHANGE_DELETED ? "null" : sql_row(remote).data,
               sql_number(change.version.timestamp_us).data, sql_text(change.version.node).data,
               open ? "null" : "'policy'");
    } else {
        printf("null, ");
    }
    printf("'%s');\n", words_case(message, row, before, outcome).data);
}

static void print_message(const struct message *message)
{
    /* This node's queue takes what peers send: an echo comes by a detour. */
    struct text sender = text_equal(message->source, this_node) ? nodes[0] : message->source;
    printf("{\"routing_key\": \"%s.%s.%s\", \"headers\": {\"x-source\": \"%s\", \"x-content-hash\": \"compute\"}, "
           "\"properties\": {\"timestamp\": %" PRId64 "}, \"body\": %s}\n",
           arena_string(&arena, sender), message->entity.data, change_op_name(message->op),
           arena_string(&arena, message->source), message->timestamp_us / 1000000, codec_encode(message, &arena).data);
}

static void print_counted(const struct entity *entity)
{
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < NODES; i++) {
            const struct tally *tally = &entity->counted[round][i];
            if (tally->received == 0)
                continue;
            printf("insert into judge.counted values ('%s', %d, '%s'", entity->name.data, round + 1,
                   arena_string(&arena, nodes[i]));
            const uint64_t numbers[] = {tally->received, tally->applied,   tally->unchanged,
                                        tally->same,     tally->duplicate, tally->stale,
                                        tally->echo,     tally->kept,      tally->conflicts};
            for (size_t j = 0; j < sizeof numbers / sizeof numbers[0]; j++)
                printf(", %" PRIu64, numbers[j]);
            printf(");\n");
        }
}

/* ---- cases ---- */

/* What a message has besides the key. */
static const struct {
    size_t count;
    size_t fields[FIELDS - 1];
} shapes[] = {{3, {1, 2, 3}}, {1, {2}}, {2, {3, 1}}, {0, {0}}};

/* A message of the entity as it would be decoded, without its rows' values. */
static struct message draw_head(const struct entity *entity)
{
    static const enum change_op ops[] = {CHANGE_CREATED, CHANGE_UPDATED, CHANGE_UPDATED, CHANGE_DELETED};
    /* One draw a statement: a seed must mean the same with every compiler. */
    struct text source = chance(3) ? this_node : nodes[draw(NODES - 1)];
    enum change_op op = ops[draw(sizeof ops / sizeof ops[0])];
    size_t row_count = chance(40) ? 1 : 2 + draw(ROWS_MAX - 1);
    struct message message = {
        .source = source,
        .part = 1,
        .parts = 1,
        .timestamp_us = EPOCH_US,
        .entity = entity->name,
        .op = op,
        .key_count = 1,
        .row_count = row_count,
    };
    /* The key first, as the decoder puts it. */
    size_t shape = chance(50) ? 0 : draw(sizeof shapes / sizeof shapes[0]);
    struct text *columns = arena_take_array(&arena, FIELDS, sizeof *columns);
    columns[message.column_count++] = text_from(field_names[0]);
    for (size_t i = 0; message.op != CHANGE_DELETED && i < shapes[shape].count; i++)
        columns[message.column_count++] = text_from(field_names[shapes[shape].fields[i]]);
    message.columns = columns;
    return message;
}

static struct text draw_key(struct entity *entity)
{
    return arena_printf(&arena, "%zu", ++entity->next_key);
}

/* Values, versions, and what the writers had seen. */
static void draw_rows(struct entity *entity, struct message *message, struct state *states)
{
    size_t count = message->row_count;
    struct text *values = arena_take_array(&arena, count * message->column_count, sizeof *values);
    int64_t *versions = arena_take_array(&arena, count, sizeof *versions);
    struct version *bases = arena_take_array(&arena, count, sizeof *bases);
    struct seen *seen = arena_take_array(&arena, count, sizeof *seen);
    for (size_t row = 0; row < count; row++) {
        struct text key = draw_key(entity);
        states[row] = draw_state(key);
        bool equal = states[row].present && chance(40);
        struct text *fields = values + row * message->column_count;
        fields[0] = key;
        for (size_t i = 1; i < message->column_count; i++) {
            size_t field = field_of(message->columns[i]);
            fields[i] = equal ? states[row].fields[field] : draw_value(field);
        }
        versions[row] = draw_timestamp();
        bases[row] = chance(30) ? states[row].write.version : chance(40) ? draw_version() : (struct version){0};
        seen[row] = chance(60) ? draw_seen(message->source, chance(20)) : (struct seen){0};
    }
    message->values = values;
    message->versions = chance(85) ? versions : NULL;
    message->bases = chance(60) ? bases : NULL;
    message->seen = chance(60) ? seen : NULL;
}

/* What the receiver's codec makes of it. */
static void decode(struct message *message)
{
    struct error error;
    if (!codec_decode(codec_encode(message, &arena), &arena, message, &error)) {
        fprintf(stderr, "judge_cases: %s\n", error.text);
        exit(EXIT_FAILURE);
    }
}

static size_t node_number(struct text node)
{
    size_t number = 0;
    while (!text_equal(nodes[number], node))
        number++;
    return number;
}

static void add_message(struct entity *entity, size_t rows_max)
{
    struct state states[ROWS_MAX];
    struct message message = draw_head(entity);
    if (message.row_count > rows_max)
        message.row_count = rows_max;
    draw_rows(entity, &message, states);
    decode(&message);
    size_t source = node_number(message.source);
    for (size_t row = 0; row < message.row_count; row++) {
        struct state after = states[row];
        print_state(entity, message_row(&message, row)[0], &states[row]);
        struct outcome outcome = play(entity, &message, row, &after);
        print_expected(entity, &message, row, &states[row], &after, &outcome);
        tally_add(&entity->counted[0][source], &outcome.tally);
        struct state once = after;
        struct outcome again = play(entity, &message, row, &after);
        tally_add(&entity->counted[1][source], &again.tally);
        if (again.settlement.action != ACTION_NOTHING || (again.conflict && again.settlement.ruling != RULING_OPEN)) {
            fprintf(stderr, "judge_cases: by the core itself a change is news a second time: %s; then %s\n",
                    words_case(&message, row, &states[row], &outcome).data,
                    words_case(&message, row, &once, &again).data);
            exit(EXIT_FAILURE);
        }
    }
    print_message(&message);
}

static void add_entity(const char *prefix, const char *name, const char *policy, size_t count)
{
    struct text priority[] = {nodes[0], this_node, nodes[1]};
    struct entity entity = {
        .name = arena_printf(&arena, "%s_%s", prefix, name),
        .rules = {policy_find(text_from(policy)), sizeof priority / sizeof priority[0], priority},
    };
    while (entity.next_key < count)
        add_message(&entity, count - entity.next_key);
    print_counted(&entity);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: judge_cases SEED COUNT NODE PREFIX...\n");
        return EXIT_FAILURE;
    }
    arena_init(&arena, LIMIT_ARENA_BYTES);
    random_state = strtoull(argv[1], NULL, 10);
    this_node = nodes[NODES - 1] = text_from(argv[3]);
    printf("update bridge.collection set horizon_us = %" PRId64 ";\n", EPOCH_US + HORIZON_US);
    for (int i = 4; i < argc; i++) {
        add_entity(argv[i], "latest", "last-write-wins", strtoul(argv[2], NULL, 10));
        add_entity(argv[i], "ranked", "node-priority", strtoul(argv[2], NULL, 10));
        add_entity(argv[i], "argued", "manual", strtoul(argv[2], NULL, 10));
    }
    arena_free(&arena);
    return EXIT_SUCCESS;
}
