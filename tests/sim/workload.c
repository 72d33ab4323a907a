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

static bool ends(struct work *work)
{
    return random_chance(work->random, work->node->world->schedule.deletes_one_in);
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
    if (row_here(work, row)->present && ends(work)) {
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

/* ---- with constraints: anybody writes what is right on his own node, and others' writes may be wrong with it ---- */

/* What an application cannot see past: a row that apply is about to change. */
static bool is_locked(struct work *work, size_t row)
{
    work->blocked = work->blocked || work->node->database.locked[row];
    return work->blocked;
}

static const struct content *committed_here(struct work *work, size_t row)
{
    return &database_committed(&work->node->database, &work->node->target.transaction, row)->content;
}

/* Whether no other row has the value; one that apply takes or frees is waited for. */
static bool code_is_free(struct work *work, size_t row, int code)
{
    for (size_t i = 0; i < KEYS_MAX; i++) {
        bool locked = work->node->database.locked[i];
        const struct content *now = row_here(work, i), *before = locked ? committed_here(work, i) : now;
        if (i == row || !((now->present && now->code == code) || (before->present && before->code == code)))
            continue;
        work->blocked = work->blocked || locked;
        return false;
    }
    return true;
}

static int free_code(struct work *work, size_t row)
{
    size_t codes = work->node->world->schedule.codes, start = random_below(work->random, codes);
    if (random_chance(work->random, 4))
        return NOBODY;
    for (size_t i = 0; i < codes; i++)
        if (code_is_free(work, row, (int)((start + i) % codes)))
            return (int)((start + i) % codes);
    return NOBODY;
}

static int some_parent(struct work *work)
{
    size_t keys = work->node->world->schedule.keys, start = random_below(work->random, keys);
    for (size_t i = 0; i < keys; i++) {
        size_t row = (start + i) % keys;
        if (committed_here(work, row)->present || row_here(work, row)->present)
            return is_locked(work, row) || !row_here(work, row)->present || random_chance(work->random, 5) ? NOBODY
                                                                                                           : (int)row;
    }
    return NOBODY;
}

/* Two or three rows exchange their values, through none at all, as an application must do it. */
static void exchange_codes(struct work *work)
{
    size_t rows[3], count = 0;
    int codes[3];
    for (size_t row = 0; row < KEYS_MAX && count < 3; row++)
        if (row_here(work, row)->present && row_here(work, row)->code != NOBODY)
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

/* A parent goes with its children, or not at all. A child that apply is about to bring is not seen. */
static void delete_parent(struct work *work, size_t row)
{
    bool cascade = random_chance(work->random, 2);
    for (size_t child = KEYS_MAX; child < ROWS_MAX; child++) {
        const struct content *seen = committed_here(work, child);
        bool locked = work->node->database.locked[child];
        if (!locked)
            seen = row_here(work, child);
        if (!seen->present || seen->parent != (int)row)
            continue;
        if (!cascade || is_locked(work, child))
            return;
        write_row(work, child, &deleted);
    }
    write_row(work, row, &deleted);
}

static void write_parent(struct work *work)
{
    size_t row = random_below(work->random, work->node->world->schedule.keys);
    if (random_chance(work->random, 5)) {
        exchange_codes(work);
        return;
    }
    if (is_locked(work, row))
        return;
    if (row_here(work, row)->present && ends(work)) {
        delete_parent(work, row);
        return;
    }
    struct content content = {true, some_value(work), free_code(work, row), NOBODY};
    write_row(work, row, &content);
}

static void write_child(struct work *work)
{
    size_t row = KEYS_MAX + random_below(work->random, work->node->world->schedule.keys);
    if (row_here(work, row)->present && ends(work)) {
        write_row(work, row, &deleted);
        return;
    }
    struct content content = {true, some_value(work), NOBODY, some_parent(work)};
    write_row(work, row, &content);
}

/* ---- a transaction ---- */

void workload_transact(struct node *node, struct random *random)
{
    static struct transaction transaction;
    struct world *world = node->world;
    struct work work = {node, random, &transaction, false};
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
        transaction_roll_back(&node->database, &transaction);
        node->application_blocked = work.blocked;
        world->statistics.writes = writes;
        world_trace(world, "%.*s's application %s", TEXT_PRINTF(node->name),
                    work.blocked ? "waits for a lock" : "rolls back");
        return;
    }
    /* A transaction that changes nothing counts all the same, or there might be no end. */
    size_t written = transaction.change_count > 0 ? transaction.change_count : 1;
    world->writes_left -= written < world->writes_left ? written : world->writes_left;
    if (!node->target.in_transaction)
        database_check(&node->database);
    transaction_commit(&node->database, &transaction);
}
