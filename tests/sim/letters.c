#include "tests/sim/letters.h"

#include "tests/sim/wal.h"

enum { SECOND_US = 1000000, RETRY_AT_LEAST_MS = 50 };
#define NEVER_US (INT64_MAX / 4)

/* ---- keeping ---- */

static bool is_code(const char *code, const char *wanted)
{
    return strcmp(code, wanted) == 0;
}

static bool same_letter(const struct letter *a, const struct letter *b)
{
    return a->row == b->row && a->write == b->write && a->op == b->op && stamp_equal(a->base, b->base) &&
           memcmp(a->seen_us, b->seen_us, sizeof a->seen_us) == 0;
}

static void letter_fill(struct letter *letter, const struct news *news)
{
    *letter = (struct letter){.row = news->row,
                              .write = news->write,
                              .op = news->op,
                              .content = news->content,
                              .version = stamp_of(news->change.version),
                              .base = stamp_of(news->change.base)};
    seen_of(news->change.seen, letter->seen_us);
}

void letters_bury(struct node *node, const struct dead_letter *dead)
{
    struct world *world = node->world;
    struct database *database = &node->database;
    if (dead->message == NULL || dead->error->fault != FAULT_TRANSIENT)
        world_fail(world, "%.*s buries a change for good: %s", TEXT_PRINTF(node->name), dead->error->text);
    struct news news = news_read(node, dead->message, dead->row);
    struct letter letter;
    letter_fill(&letter, &news);
    struct letters *letters = database_letters(database, &node->target.transaction);
    size_t i = 0;
    while (i < letters->count && !same_letter(&letters->list[i], &letter))
        i++;
    if (i == LETTERS_MAX)
        world_fail(world, "%.*s buries changes without end", TEXT_PRINTF(node->name));
    if (i == letters->count) {
        bool clock = is_code(dead->error->code, "CLOCK");
        letter.next_us =
            clock ? letter.version.us - (database->wal ? -1 : world->schedule.max_clock_skew_us) : node_clock_us(node) + SECOND_US;
        letter.tried = UINT64_MAX;
        letter.horizon_us = node->target.horizon_us;
        if (is_code(dead->error->code, "PAUSED"))
            letter.next_us = NEVER_US;
        letters->list[letters->count++] = letter;
    }
    letters->list[i].attempts++;
    memcpy(letters->list[i].code, dead->error->code, sizeof letter.code);
    letters->buried[news.row] |= news.written->past;
    world->statistics.letters++;
    world_trace(world, "%.*s buries write %d: %s", TEXT_PRINTF(node->name), news.write, dead->error->text);
}

/* ---- trying again ---- */

static struct news letter_news(struct node *node, const struct letter *letter)
{
    struct world *world = node->world;
    return (struct news){.row = letter->row,
                         .write = letter->write,
                         .op = letter->op,
                         .change = write_of(letter->version, letter->base, letter->seen_us, &world->scratch),
                         .written = &world->history.writes[letter->row][letter->write],
                         .content = letter->content};
}

/* A child that this node itself wrote: nobody else's word will free its parent. */
static bool has_own_child(const struct node *node, size_t parent)
{
    for (size_t i = KEYS_MAX; i < ROWS_MAX; i++) {
        const struct row *row = &node->database.rows[i];
        if (row->content.present && row->content.parent == (int)parent && row->version.node == node->number)
            return true;
    }
    return false;
}

/* The parent was deleted there and a child inserted here: it stays, and this node says so to everybody. */
static bool keep_parent(struct node *node, const struct news *news)
{
    struct world *world = node->world;
    struct database *database = &node->database;
    struct transaction *transaction = &node->target.transaction;
    const struct row *here = &database->rows[news->row];
    if (!here->content.present || !has_own_child(node, news->row))
        return false;
    struct write local = wal_local(database, here, &news->change, &world->scratch);
    bool later = version_compare(local.version, news->change.version) > 0;
    struct version stands = later ? local.version : news->change.version;
    struct conflict conflict = {.row = news->row,
                                .local = here->write,
                                .remote = news->write,
                                .local_past = here->past,
                                .remote_past = news->written->past,
                                .of_letter = true,
                                .parent_kept = true,
                                .ruling = RULING_LOCAL};
    struct row after = *here;
    seen_of(write_join(&news->change, &local, stands.node, &world->scratch), after.seen_us);
    after.base = after.version;
    after.version = stamp_of(stands);
    after.past |= news->written->past;
    after.write = later ? after.write : news->write;
    wal_enter(database, transaction, here, &after, false);
    database_disagree(database, transaction, &conflict);
    database_put(database, transaction, news->row, &after);
    database_write(database, transaction, news->row, CHANGE_UPDATED, &after.content, true);
    return true;
}

static bool letter_applies(struct node *node, const struct letter *letter, struct tally *tally, struct error *error)
{
    struct news news = letter_news(node, letter);
    node->target.done_count = 0;
    /* Since it came, no deletion of its row was forgotten. */
    return news_apply(node, &news, false, letter->horizon_us, tally, error) && news_check(node, NULL, error);
}

enum fate_of_letter { LETTER_WAITS, LETTER_RELEASED, LETTER_SUPERSEDED, LETTER_SETTLED };

static enum fate_of_letter try_letter(struct node *node, const struct letter *letter, struct error *error)
{
    struct transaction *transaction = &node->target.transaction;
    struct savepoint before = transaction_point(transaction);
    struct tally tally = {0};
    if (letter_applies(node, letter, &tally, error))
        return tally.applied + tally.kept > 0 ? LETTER_RELEASED : LETTER_SUPERSEDED;
    transaction_undo(&node->database, transaction, before);
    struct news news = letter_news(node, letter);
    if (letter->op == CHANGE_DELETED && is_code(error->code, "23503") && keep_parent(node, &news))
        return LETTER_SETTLED;
    return LETTER_WAITS;
}

static void letter_again(struct node *node, struct letter *letter, const struct error *reason)
{
    unsigned doublings = letter->attempts < 6 ? letter->attempts : 6;
    int64_t longest_us = doublings == 6 ? 60 * SECOND_US : (int64_t)SECOND_US << doublings;
    letter->attempts++;
    memcpy(letter->code, reason->code, sizeof letter->code);
    letter->tried = reason->fault == FAULT_CONTENTION ? UINT64_MAX : node->database.transactions;
    letter->next_us =
        node_clock_us(node) + longest_us / 2 + (int64_t)random_below(&node->world->random, (size_t)(longest_us / 2));
}

static void note_fate(struct node *node, const struct letter *letter, enum fate_of_letter fate)
{
    static const char *const names[] = {"waits", "is released", "is superseded", "is settled"};
    struct statistics *statistics = &node->world->statistics;
    char name[32];
    statistics->tries++;
    statistics->released += fate == LETTER_RELEASED;
    statistics->superseded += fate == LETTER_SUPERSEDED;
    statistics->settled += fate == LETTER_SETTLED;
    world_trace(node->world, "%.*s's letter of write %d of %s %s", TEXT_PRINTF(node->name), letter->write,
                row_name(letter->row, name, sizeof name), names[fate]);
}

/* It waits for a time, or for somebody's word. */
static bool waits_alone(const struct letter *letter)
{
    return is_code(letter->code, "CLOCK") || is_code(letter->code, "PAUSED");
}

static bool is_paused(const struct node *node, const struct letter *letter)
{
    return node->database.pauses[false].entities[row_entity(letter->row)];
}

static bool is_due(struct node *node, const struct letter *letter, bool hurry)
{
    return !is_paused(node, letter) && (letter->next_us <= node_clock_us(node) || (hurry && !waits_alone(letter)));
}

void letters_let_go(struct node *node)
{
    struct letters *letters = &node->database.letters;
    for (size_t i = 0; i < letters->count; i++)
        if (letters->list[i].next_us == NEVER_US && !is_paused(node, &letters->list[i]))
            letters->list[i].next_us = node_clock_us(node);
}

static void letter_remove(struct node *node, struct letters *letters, size_t i)
{
    letters->ended[letters->list[i].row] = ++node->database.lsn;
    memmove(&letters->list[i], &letters->list[i + 1], (--letters->count - i) * sizeof letters->list[0]);
}

/* The first that is due, was not tried in this round, and waits longest. */
static struct letter *next_letter(struct node *node, struct letters *letters, bool hurry, const bool *done)
{
    struct letter *next = NULL;
    for (size_t i = 0; i < letters->count; i++) {
        struct letter *letter = &letters->list[i];
        if (!done[i] && is_due(node, letter, hurry) && (next == NULL || letter->next_us < next->next_us))
            next = letter;
    }
    return next;
}

/* Each alone. False: the session is lost. */
static bool try_alone(struct node *node, bool hurry, struct error *error)
{
    struct letters *letters = database_letters(&node->database, &node->target.transaction);
    bool done[LETTERS_MAX] = {false};
    for (struct letter *letter; (letter = next_letter(node, letters, hurry, done)) != NULL;) {
        size_t i = (size_t)(letter - letters->list);
        enum failing failing = world_call(node, LINK_TARGET, CALL_TRY, error);
        if (failing != FAILS_NOT && error->fault == FAULT_CONNECTION)
            return false;
        enum fate_of_letter fate = failing != FAILS_NOT ? LETTER_WAITS : try_letter(node, letter, error);
        note_fate(node, letter, fate);
        if (fate == LETTER_WAITS) {
            letter_again(node, letter, error);
            done[i] = true;
            continue;
        }
        letter_remove(node, letters, i);
        memmove(&done[i], &done[i + 1], (LETTERS_MAX - 1 - i) * sizeof done[0]);
    }
    return true;
}

/* ---- together: changes may wait for each other, as those of one transaction do ---- */

/* The newest letter of the row that may be tried; NULL: there is none. */
static struct letter *newest_letter(struct letters *letters, size_t row)
{
    struct letter *newest = NULL;
    for (size_t i = 0; i < letters->count; i++) {
        struct letter *letter = &letters->list[i];
        if (letter->row == row && !waits_alone(letter) &&
            (newest == NULL || stamp_compare(letter->version, newest->version) > 0))
            newest = letter;
    }
    return newest;
}

/* The rows that are in the letter's way, as a set. */
static uint32_t obstacles(const struct database *database, const struct letter *letter)
{
    uint32_t rows = 0;
    int holder = database_code_holder(database, &letter->content, letter->row), parent = letter->content.parent;
    if (holder != NOBODY)
        rows |= UINT32_C(1) << holder;
    if (letter->content.present && parent != NOBODY && !database->rows[parent].content.present)
        rows |= UINT32_C(1) << parent;
    for (size_t child = KEYS_MAX; child < ROWS_MAX && !letter->content.present && letter->row < KEYS_MAX; child++)
        if (database->rows[child].content.present && database->rows[child].content.parent == (int)letter->row)
            rows |= UINT32_C(1) << child;
    return rows;
}

/* All that the row's letter waits for, and that waits for: 0 when something of it waits for nothing. */
static uint32_t circle_of(struct node *node, struct letters *letters, size_t first)
{
    uint32_t rows = UINT32_C(1) << first, done = 0;
    while (rows != done) {
        size_t row = 0;
        while (((rows & ~done) >> row & 1) == 0)
            row++;
        const struct letter *letter = newest_letter(letters, row);
        if (letter == NULL)
            return 0;
        done |= UINT32_C(1) << row;
        rows |= obstacles(&node->database, letter);
    }
    return rows;
}

/* Applies those of the rows that are here, or those that are not. */
static bool join(struct node *node, struct letters *letters, uint32_t rows, bool present, struct tally tallies[])
{
    uint32_t chosen = 0;
    struct error error;
    for (size_t row = 0; row < ROWS_MAX; row++)
        if ((rows >> row & 1) != 0 && node->database.rows[row].content.present == present)
            chosen |= UINT32_C(1) << row;
    for (size_t row = 0; row < ROWS_MAX; row++) {
        if ((chosen >> row & 1) == 0)
            continue;
        struct news news = letter_news(node, newest_letter(letters, row));
        if (!news_apply(node, &news, true, 0, &tallies[row], &error))
            return false;
    }
    return true;
}

static bool try_circle(struct node *node, struct letters *letters, uint32_t rows)
{
    struct database *database = &node->database;
    struct transaction *transaction = &node->target.transaction;
    struct savepoint before = transaction_point(transaction);
    struct tally tallies[ROWS_MAX] = {{0}};
    struct error error;
    node->target.done_count = 0;
    bool good = join(node, letters, rows, true, tallies) && join(node, letters, rows, false, tallies) &&
                news_check(node, NULL, &error);
    if (!good)
        transaction_undo(database, transaction, before);
    memset(database->taken, 0, sizeof database->taken);
    for (size_t row = 0; row < ROWS_MAX && good; row++) {
        if ((rows >> row & 1) == 0)
            continue;
        struct letter *letter = newest_letter(letters, row);
        note_fate(node, letter, tallies[row].applied + tallies[row].kept > 0 ? LETTER_RELEASED : LETTER_SUPERSEDED);
        letter_remove(node, letters, (size_t)(letter - letters->list));
    }
    return good;
}

/* Letters that wait for each other and for nothing else go in one step. */
static void try_together(struct node *node)
{
    struct letters *letters = database_letters(&node->database, &node->target.transaction);
    if (letters->count < 2 || node->world->variant == VARIANT_ALONE)
        return;
    for (size_t row = 0; row < ROWS_MAX; row++) {
        uint32_t rows = circle_of(node, letters, row);
        if (rows != 0 && rows != UINT32_C(1) << row)
            node->world->statistics.circles += try_circle(node, letters, rows);
    }
}

bool letters_hide_deletion(const struct node *node, int source)
{
    const struct letters *letters = &node->database.letters;
    for (size_t i = 0; i < letters->count; i++)
        if (letters->list[i].op == CHANGE_DELETED && letters->list[i].version.node == source && is_code(letters->list[i].code, "PAUSED"))
            return true;
    return false;
}

static int next_ms_of(struct node *node)
{
    const struct letters *letters = &node->database.letters;
    int64_t earliest_us = INT64_MAX;
    for (size_t i = 0; i < letters->count; i++)
        if (letters->list[i].next_us < earliest_us && !is_paused(node, &letters->list[i]))
            earliest_us = letters->list[i].next_us;
    if (earliest_us == INT64_MAX)
        return -1;
    int64_t wait_ms = (earliest_us - node_clock_us(node) + 999) / 1000;
    return wait_ms < RETRY_AT_LEAST_MS ? RETRY_AT_LEAST_MS : wait_ms > INT32_MAX ? INT32_MAX : (int)wait_ms;
}

bool letters_retry(struct node *node, bool hurry, struct retried *left, struct error *error)
{
    enum failing failing = world_call(node, LINK_TARGET, CALL_RETRY, error);
    if (failing == FAILS_BEFORE)
        return false;
    target_begin_in(node);
    if (!try_alone(node, hurry, error))
        return false;
    try_together(node);
    node->target.done_count = 0;
    left->next_ms = next_ms_of(node);
    target_commit_in(node);
    return failing == FAILS_NOT || link_break(node, LINK_TARGET, error);
}

/* ---- for the scheduler and the checker ---- */

static bool is_at_rest(const struct node *node, const struct letter *letter)
{
    return letter->tried == node->database.transactions && !waits_alone(letter);
}

bool letters_rest(const struct node *node)
{
    const struct letters *letters = &node->database.letters;
    for (size_t i = 0; i < letters->count; i++)
        if (!is_at_rest(node, &letters->list[i]))
            return false;
    return true;
}

int64_t letters_due_us(const struct node *node)
{
    const struct world *world = node->world;
    const struct letters *letters = &node->database.letters;
    int64_t due_us = INT64_MAX;
    for (size_t i = 0; i < letters->count; i++) {
        int64_t wait_us = letters->list[i].next_us - node_clock_us(node);
        /* A clock that shows the hour may have to show the next one. */
        if (wait_us > 0)
            wait_us += world->schedule.tick_us;
        if (!is_at_rest(node, &letters->list[i]) && !is_paused(node, &letters->list[i]) && world->now_us + wait_us < due_us)
            due_us = world->now_us + wait_us;
    }
    return due_us;
}

const char *letter_obstacle(struct node *node, const struct letter *letter)
{
    static struct error error;
    struct transaction *transaction = &node->target.transaction;
    struct tally tally = {0};
    transaction_begin(transaction);
    bool applies = letter_applies(node, letter, &tally, &error);
    transaction_undo(&node->database, transaction, (struct savepoint){0});
    return applies ? NULL : error.code;
}
