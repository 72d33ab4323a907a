#include "tests/sim/workload.h"

#include "tests/sim/world.h"

/* A transaction under way. */
struct work {
    struct node *node;
    struct random *random;
    struct transaction *transaction;
    bool blocked; /* by a lock: nothing of it happens */
};

static int some_value(struct work *work)
{
    return (int)random_below(work->random, work->node->world->schedule.values);
}

static struct content *row_here(struct work *work, size_t row)
{
    return &work->node->database.rows[row].content;
}

static void write_row(struct work *work, size_t row, const struct content *content)
{
    struct database *database = &work->node->database;
    const struct content *before = row_here(work, row);
    work->blocked = work->blocked || database->locked[row];
    if (work->blocked || content_equal(before, content))
        return; /* the trigger does not fire for what changes nothing */
    enum change_op op = !content->present ? CHANGE_DELETED : before->present ? CHANGE_UPDATED : CHANGE_CREATED;
    database_write(database, work->transaction, row, op, content, false);
}

static const struct content deleted = {false, NOBODY, NOBODY, NOBODY};

/* ---- without constraints: anybody writes anything ---- */

static void write_anything(struct work *work)
{
    size_t keys = work->node->world->schedule.keys;
    size_t first = random_chance(work->random, 2) ? 0 : KEYS_MAX, row = first + random_below(work->random, keys);
    struct content content = {true, some_value(work), NOBODY, NOBODY};
    if (row_here(work, row)->present && random_chance(work->random, 3)) {
        /* A new key is the old key's end and another row's beginning. */
        size_t moved = first + random_below(work->random, keys);
        bool moves = moved != row && !row_here(work, moved)->present && random_chance(work->random, 3);
        content = *row_here(work, row);
        write_row(work, row, &deleted);
        if (moves)
            write_row(work, moved, &content);
        return;
    }
    write_row(work, row, &content);
}

/* ---- with constraints ----
 *
 * Uniqueness and references across nodes are not known when a transaction commits. What is written here is what can be
 * right everywhere all the same: a row of the parent table is written by one node alone, its owner; so are unique
 * values, which the owner's rows take, free and exchange. Parents that have children, those with the number of their
 * owner, stay for ever. Children are everybody's, and refer to a parent of who writes them.
 * The stronger form - contested parents, deletion of a parent against insertion of its child, the same value taken on
 * two nodes - begins by letting owner_of and parent_for choose from all nodes. */

static bool is_owner(struct work *work, size_t row)
{
    return row % work->node->world->schedule.node_count == (size_t)work->node->number;
}

static bool is_parent_for_good(struct work *work, size_t row)
{
    return row < work->node->world->schedule.node_count;
}

static int parent_for(struct work *work)
{
    size_t own = (size_t)work->node->number;
    work->blocked = work->blocked || work->node->database.locked[own];
    return row_here(work, own)->present && !random_chance(work->random, 4) ? (int)own : NOBODY;
}

/* A value of the node's own that no row holds; NOBODY: all are taken. */
static int free_code(struct work *work, size_t row)
{
    int first = work->node->number * CODES_EACH, start = (int)random_below(work->random, CODES_EACH);
    for (int i = 0; i < CODES_EACH; i++) {
        struct content wanted = {.present = true, .code = first + (start + i) % CODES_EACH};
        if (database_code_holder(&work->node->database, &wanted, row) == NOBODY)
            return wanted.code;
    }
    return NOBODY;
}

static size_t own_row(struct work *work)
{
    size_t node_count = work->node->world->schedule.node_count, own = (size_t)work->node->number;
    return own + node_count * random_below(work->random, (KEYS_MAX - own - 1) / node_count + 1);
}

/* Two or three rows exchange their values, through none at all, as an application must do it. */
static void exchange_codes(struct work *work)
{
    size_t rows[3], count = 0;
    int codes[3];
    for (size_t row = 0; row < KEYS_MAX && count < 3; row++)
        if (is_owner(work, row) && row_here(work, row)->present && row_here(work, row)->code != NOBODY)
            rows[count++] = row;
    if (count < 2)
        return;
    for (size_t i = 0; i < count; i++) {
        struct content content = *row_here(work, rows[i]);
        codes[i] = content.code;
        content.code = NOBODY;
        write_row(work, rows[i], &content);
    }
    for (size_t i = 0; i < count && !work->blocked; i++) {
        struct content content = *row_here(work, rows[i]);
        content.code = codes[(i + 1) % count];
        write_row(work, rows[i], &content);
    }
}

static void write_parent(struct work *work)
{
    size_t row = own_row(work);
    if (random_chance(work->random, 3)) {
        exchange_codes(work);
        return;
    }
    if (row_here(work, row)->present && !is_parent_for_good(work, row) && random_chance(work->random, 3)) {
        write_row(work, row, &deleted);
        return;
    }
    struct content content = {true, some_value(work), free_code(work, row), NOBODY};
    write_row(work, row, &content);
}

static void write_child(struct work *work)
{
    size_t row = KEYS_MAX + random_below(work->random, 3);
    if (row_here(work, row)->present && random_chance(work->random, 3)) {
        write_row(work, row, &deleted);
        return;
    }
    struct content content = {true, some_value(work), NOBODY, parent_for(work)};
    write_row(work, row, &content);
}

/* ---- a transaction ---- */

void workload_transact(struct node *node)
{
    static struct transaction transaction;
    struct world *world = node->world;
    struct work work = {node, &world->random, &transaction, false};
    size_t statements = 1 + random_below(work.random, world->schedule.transaction_rows);
    transaction_begin(&transaction);
    uint64_t writes = world->statistics.writes;
    for (size_t i = 0; i < statements && !work.blocked; i++) {
        if (!world->schedule.constraints)
            write_anything(&work);
        else if (random_chance(work.random, 2))
            write_parent(&work);
        else
            write_child(&work);
    }
    if (work.blocked || random_chance(work.random, 16)) {
        transaction_undo(&node->database, &transaction, (struct savepoint){0});
        node->application_blocked = work.blocked;
        world->statistics.writes = writes;
        world_trace(world, "%.*s's application %s", TEXT_PRINTF(node->name),
                    work.blocked ? "waits for a lock" : "rolls back");
        return;
    }
    /* A transaction that changes nothing counts all the same, or there might be no end. */
    size_t written = transaction.change_count > 0 ? transaction.change_count : 1;
    world->writes_left -= written < world->writes_left ? written : world->writes_left;
    transaction_commit(&node->database, &transaction);
}
