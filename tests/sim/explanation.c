#include "tests/sim/explanation.h"

bool is_manual(const struct world *world, size_t row)
{
    return policy_number(world->schedule.policies[row_entity(row)]) == policy_find(TEXT_LITERAL("manual"));
}

bool is_open(const struct world *world, size_t row)
{
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        const struct database *database = &world->nodes[i].database;
        for (size_t j = 0; j < database->conflict_count; j++) {
            const struct conflict *conflict = &database->conflicts[j];
            if (conflict->row == row && !conflict->same && conflict->ruling == RULING_OPEN)
                return true;
        }
    }
    return false;
}

int latest_write(const struct world *world, size_t row)
{
    const struct written *writes = world->history.writes[row];
    int latest = NOBODY;
    for (size_t i = 0; i < world->history.counts[row]; i++)
        if (writes[i].state == WRITTEN_COMMITTED &&
            (latest == NOBODY || stamp_compare(writes[i].version, writes[latest].version) > 0))
            latest = (int)i;
    return latest;
}

const struct letter *letter_of(const struct world *world, size_t node, size_t row)
{
    const struct letters *letters = &world->nodes[node].database.letters;
    for (size_t i = 0; i < letters->count; i++)
        if (letters->list[i].row == row)
            return &letters->list[i];
    return NULL;
}

/* What the row is to be on all nodes. */
static const struct content *latest_content(const struct world *world, size_t row)
{
    int latest = latest_write(world, row);
    return latest != NOBODY ? &world->history.writes[row][latest].content : NULL;
}

/* Rows whose reasons are being looked for: a reason is not its own. */
struct search {
    struct world *world;
    size_t node;
    uint32_t visited;
};

static bool is_explained(struct search *search, size_t row);

/* Why this very letter waits. */
static bool has_reason(struct search *search, const struct letter *letter)
{
    struct world *world = search->world;
    const struct database *database = &world->nodes[search->node].database;
    const struct content *wanted;
    /* The deletion of a parent waits for its child. */
    if (letter->op == CHANGE_DELETED) {
        for (size_t child = KEYS_MAX; child < ROWS_MAX; child++)
            if (database->rows[child].content.present && database->rows[child].content.parent == (int)letter->row &&
                is_explained(search, child))
                return true;
        return false;
    }
    if (row_entity(letter->row) == ENTITY_CHILD)
        return letter->content.parent != NOBODY && !database->rows[letter->content.parent].content.present &&
               is_explained(search, (size_t)letter->content.parent);
    int holder = database_code_holder(database, &letter->content, letter->row);
    if (holder == NOBODY)
        return false;
    /* Two nodes have given it: the rule lets both rows stay. */
    wanted = latest_content(world, (size_t)holder);
    return (wanted != NULL && wanted->present && wanted->code == letter->content.code) ||
           is_explained(search, (size_t)holder);
}

static bool is_explained(struct search *search, size_t row)
{
    const struct letters *letters = &search->world->nodes[search->node].database.letters;
    int latest = latest_write(search->world, row);
    uint32_t bit = UINT32_C(1) << row;
    if (is_manual(search->world, row) && is_open(search->world, row))
        return true;
    if ((search->visited & bit) != 0)
        return false;
    search->visited |= bit;
    for (size_t i = 0; i < letters->count; i++)
        if (letters->list[i].row == row && letters->list[i].write == latest && has_reason(search, &letters->list[i]))
            return true;
    return false;
}

bool explanation_of(struct world *world, size_t node, size_t row)
{
    struct search search = {world, node, 0};
    return is_explained(&search, row);
}

void explanation_check(struct world *world)
{
    for (size_t i = 0; i < world->schedule.node_count; i++) {
        struct node *node = &world->nodes[i];
        for (size_t j = 0; j < node->database.letters.count; j++) {
            const struct letter *letter = &node->database.letters.list[j];
            struct search search = {world, i, UINT32_C(1) << letter->row};
            /* A human is to decide, or another that waits as well will. */
            bool outdone = (is_manual(world, letter->row) && is_open(world, letter->row)) ||
                           (letter->write != latest_write(world, letter->row) && explanation_of(world, i, letter->row));
            char name[32];
            row_name(letter->row, name, sizeof name);
            if (letter_obstacle(node, letter) == NULL)
                world_fail(world, "write %d of %s waits on %.*s, and nothing is in its way", letter->write, name,
                           TEXT_PRINTF(node->name));
            if (!outdone && !has_reason(&search, letter))
                world_fail(world, "write %d of %s waits on %.*s for what should not be there: %s", letter->write, name,
                           TEXT_PRINTF(node->name), letter->code);
            world->statistics.unsettled++;
        }
    }
}
