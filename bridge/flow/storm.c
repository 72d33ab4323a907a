#include "bridge/flow/storm.h"

#include <stdlib.h>
#include <string.h>

#include "bridge/base/memory.h"

/* ---- what is held ---- */

void holds_add(struct holds *holds, struct text entity)
{
    if (holds_entity(holds, entity))
        return;
    if (holds->count == LIMIT_ENTITIES || entity.length > LIMIT_NAME_BYTES) {
        holds->all = true;
        return;
    }
    char *name = holds->entities[holds->count++];
    memcpy(name, entity.data, entity.length);
    name[entity.length] = '\0';
}

bool holds_entity(const struct holds *holds, struct text entity)
{
    for (size_t i = 0; i < holds->count; i++)
        if (text_equal(text_from(holds->entities[i]), entity))
            return true;
    return false;
}

bool holds_take(struct holds *holds, const struct holds *next)
{
    bool same = holds->all == next->all && holds->count == next->count;
    for (size_t i = 0; i < next->count && same; i++)
        same = holds_entity(holds, text_from(next->entities[i]));
    memcpy(holds->full, next->full, sizeof holds->full);
    holds->changes_max = next->changes_max;
    if (same)
        return false;
    holds->all = next->all;
    holds->count = next->count;
    memcpy(holds->entities, next->entities, next->count * sizeof next->entities[0]);
    holds->number++;
    return true;
}

/* ---- budgets ---- */

enum {
    ADVANCE_S = 5,
    CALM_PORTION_MIN = 100, /* it bounds batches of all entities */
    CALM_MS = 1000,
};

static void refill(struct budget *budget, int64_t now_ms)
{
    if (now_ms > budget->at_ms)
        budget->left += budget->per_second * (double)(now_ms - budget->at_ms) / 1000;
    budget->at_ms = now_ms;
    double most = budget->per_second > 1 ? budget->per_second : 1;
    if (budget->left <= most)
        return;
    /* Calm for long: what joined under load need not join now. */
    budget->left = most;
    if (budget->spent || now_ms - budget->freed_ms < CALM_MS)
        return;
    budget->joined = 1;
    budget->behind = false;
}

void budget_init(struct budget *budget, struct text entity, double per_second, int64_t now_ms)
{
    *budget = (struct budget){.entity = entity, .per_second = per_second, .at_ms = now_ms, .left = per_second, .joined = 1};
    refill(budget, now_ms);
}

void budget_spend(struct budget *budget, uint64_t sent, int64_t now_ms)
{
    refill(budget, now_ms);
    budget->left -= (double)sent;
    if (sent > 0)
        budget->joined = (double)budget->captured / (double)sent;
    budget->spent = budget->spent || budget->left < 1;
    budget->behind = budget->behind || budget->spent;
}

bool budget_spent(struct budget *budget, int64_t now_ms)
{
    refill(budget, now_ms);
    double enough = budget->per_second / 2 > 1 ? budget->per_second / 2 : 1;
    if (budget->spent && budget->left >= enough) {
        budget->spent = false;
        budget->freed_ms = now_ms;
    }
    return budget->spent;
}

size_t budget_portion(const struct budget *budget)
{
    /* Where much waits, so much that also rows of which there are more than is left may join: it is waited for afterwards. */
    double advance = budget->behind ? ADVANCE_S * budget->per_second : 0;
    double portion = (budget->left + advance) * (budget->joined > 1 ? budget->joined : 1), least = budget->behind ? 1 : CALM_PORTION_MIN;
    return portion < least ? (size_t)least : portion > LIMIT_BATCH_ROWS ? LIMIT_BATCH_ROWS : (size_t)portion;
}

/* ---- rallies ---- */

enum { RALLY_PLACES = 8, RALLY_SHELVES = 128, RALLY_CONTENTS = 4 };

struct rally {
    uint64_t hash;      /* of entity and key; 0: free */
    size_t count;       /* changes of sides noted in its ring, at most times + 1 */
    size_t newest;      /* in the ring */
    int64_t seen_ms;
    int64_t held_until_ms;
    int64_t latest_us;  /* the newest version that it has come with */
    int64_t replaced_us; /* of the other's write that it has replaced last */
    uint64_t contents[RALLY_CONTENTS]; /* that it has come with, lately */
    size_t latest_content;
    int64_t *times_ms;
};

struct rallies {
    struct rally_rule rule;
    struct text node;
    struct rally rows[RALLY_SHELVES][RALLY_PLACES];
    int64_t times_ms[];
};

struct rallies *rallies_new(const struct rally_rule *rule, struct text node)
{
    size_t ring = rule->times + 1;
    struct rallies *rallies = calloc(1, sizeof *rallies + RALLY_SHELVES * RALLY_PLACES * ring * sizeof(int64_t));
    if (rallies == NULL)
        memory_exhausted(__func__);
    rallies->rule = *rule;
    rallies->node = node;
    for (size_t i = 0; i < RALLY_SHELVES * RALLY_PLACES; i++)
        rallies->rows[i / RALLY_PLACES][i % RALLY_PLACES].times_ms = rallies->times_ms + i * ring;
    return rallies;
}

void rallies_free(struct rallies *rallies)
{
    free(rallies);
}

/* FNV-1a, 64 bits. */
static uint64_t hash_text(uint64_t hash, struct text text)
{
    for (size_t i = 0; i < text.length; i++)
        hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(0x100000001B3);
    return (hash ^ text.length) * UINT64_C(0x100000001B3);
}

static uint64_t hash_row(const struct message *message, size_t row)
{
    uint64_t hash = hash_text(UINT64_C(0xCBF29CE484222325), message->entity);
    for (size_t i = 0; i < message->key_count; i++)
        hash = hash_text(hash, message_row(message, row)[i]);
    return hash != 0 ? hash : 1;
}

/* A date or timestamp: of two writes of the same it tells only when they were made. */
static bool is_time(struct text value)
{
    static const char pattern[] = "dddd-dd-dd";
    bool matches = value.length >= sizeof pattern - 1;
    for (size_t i = 0; matches && i < sizeof pattern - 1; i++)
        matches = pattern[i] == 'd' ? value.data[i] >= '0' && value.data[i] <= '9' : value.data[i] == pattern[i];
    return matches;
}

static uint64_t hash_content(const struct message *message, size_t row)
{
    uint64_t hash = hash_text(UINT64_C(0xCBF29CE484222325), text_from(change_op_name(message->op == CHANGE_DELETED ? CHANGE_DELETED : CHANGE_UPDATED)));
    const struct text *values = message_row(message, row);
    for (size_t i = message->key_count; message->op != CHANGE_DELETED && i < message->column_count; i++)
        hash = hash_text(hash, text_is_null(values[i]) ? TEXT_LITERAL("null") : is_time(values[i]) ? TEXT_LITERAL("time") : values[i]);
    return hash != 0 ? hash : 1;
}

/* A message that is delivered again, by a bad link, is no turn of anybody's. */
static bool is_news(int64_t *latest_us, int64_t us)
{
    bool news = us > *latest_us;
    if (news)
        *latest_us = us;
    return news;
}

/* Whether the row comes with a content that it has come with before: what a rally is made of. Work brings something new. */
static bool comes_back(struct rally *rally, uint64_t content)
{
    for (size_t i = 0; i < RALLY_CONTENTS; i++)
        if (rally->contents[i] == content)
            return true;
    rally->latest_content = (rally->latest_content + 1) % RALLY_CONTENTS;
    rally->contents[rally->latest_content] = content;
    return false;
}

/* The row's place, or the one that it takes over if it may: that of the row on its shelf that was seen longest ago and is not held. */
static struct rally *find_rally(struct rallies *rallies, uint64_t hash, int64_t now_ms, bool take)
{
    struct rally *shelf = rallies->rows[hash % RALLY_SHELVES], *oldest = NULL;
    for (size_t i = 0; i < RALLY_PLACES; i++) {
        if (shelf[i].hash == hash)
            return &shelf[i];
        if (shelf[i].held_until_ms <= now_ms && (oldest == NULL || shelf[i].seen_ms < oldest->seen_ms))
            oldest = &shelf[i];
    }
    if (!take || oldest == NULL)
        return NULL;
    *oldest = (struct rally){.hash = hash, .times_ms = oldest->times_ms};
    return oldest;
}

/* The version of somebody else's write that the row has replaced; none when it was the same node's or is not known. A source that tells no
 * base has seen the newest of others that it tells of, and perhaps written the row several times since. */
static struct version replaced_by(const struct message *message, size_t row)
{
    struct write write = message_write(message, row);
    struct version replaced = write.base;
    bool told = !version_is_none(write.base);
    for (size_t i = 0; !told && i < write.seen.count; i++)
        if (version_compare(write.seen.versions[i], replaced) > 0)
            replaced = write.seen.versions[i];
    return text_equal(replaced.node, message->source) ? (struct version){0} : replaced;
}

static bool too_often(const struct rallies *rallies, const struct rally *rally, int64_t now_ms)
{
    size_t ring = rallies->rule.times + 1;
    return rally->count == ring && rally->times_ms[(rally->newest + 1) % ring] > now_ms - rallies->rule.within_ms;
}

int64_t rallies_note(struct rallies *rallies, const struct message *message, size_t row, int64_t now_ms, bool *begins)
{
    *begins = false;
    if (rallies->rule.times == 0)
        return 0;
    struct version replaced = replaced_by(message, row);
    bool turned = !version_is_none(replaced);
    size_t changes = 0, ring = rallies->rule.times + 1;
    struct rally *rally = find_rally(rallies, hash_row(message, row), now_ms, turned);
    if (rally == NULL)
        return 0;
    rally->seen_ms = now_ms;
    if (rally->held_until_ms > now_ms)
        return rally->held_until_ms;
    /* Between two of the other node's writes of which the second replaced ours, ours changed sides, too. */
    if (turned && is_news(&rally->latest_us, message_version(message, row)) && is_news(&rally->replaced_us, replaced.timestamp_us) &&
        comes_back(rally, hash_content(message, row)))
        changes = text_equal(replaced.node, rallies->node) ? 2 : 1;
    for (size_t i = 0; i < changes; i++) {
        rally->newest = (rally->newest + 1) % ring;
        rally->times_ms[rally->newest] = now_ms;
        rally->count += rally->count < ring;
    }
    bool again = changes > 0 && rally->held_until_ms > 0 && now_ms - rally->held_until_ms < rallies->rule.within_ms;
    if (!again && !too_often(rallies, rally, now_ms))
        return 0;
    *begins = true;
    rally->count = 0;
    rally->held_until_ms = now_ms + rallies->rule.cool_down_ms;
    return rally->held_until_ms;
}

/* ---- mass deletions ---- */

enum { DELETION_SLICES = 10, DELETING_MAX = 4096 };

struct deleting {
    struct deleting *next;
    char entity[LIMIT_NAME_BYTES + 1], source[LIMIT_NAME_BYTES + 1];
    int64_t slice; /* the newest, counted from time 0 */
    uint64_t counts[DELETION_SLICES];
};

struct deletions {
    struct deletion_rule rule;
    size_t count;
    struct deleting *first;
};

struct deletions *deletions_new(const struct deletion_rule *rule)
{
    struct deletions *deletions = calloc(1, sizeof *deletions);
    if (deletions == NULL)
        memory_exhausted(__func__);
    deletions->rule = *rule;
    return deletions;
}

void deletions_free(struct deletions *deletions)
{
    while (deletions != NULL && deletions->first != NULL) {
        struct deleting *next = deletions->first->next;
        free(deletions->first);
        deletions->first = next;
    }
    free(deletions);
}

/* NULL: there are too many, of a peer that makes up names. */
static struct deleting *find_deleting(struct deletions *deletions, struct text entity, struct text source)
{
    for (struct deleting *at = deletions->first; at != NULL; at = at->next)
        if (text_equal(text_from(at->entity), entity) && text_equal(text_from(at->source), source))
            return at;
    if (deletions->count == DELETING_MAX || entity.length > LIMIT_NAME_BYTES || source.length > LIMIT_NAME_BYTES)
        return NULL;
    deletions->count++;
    struct deleting *deleting = calloc(1, sizeof *deleting);
    if (deleting == NULL)
        memory_exhausted(__func__);
    memcpy(deleting->entity, entity.data, entity.length);
    memcpy(deleting->source, source.data, source.length);
    deleting->next = deletions->first;
    deletions->first = deleting;
    return deleting;
}

uint64_t deletions_note(struct deletions *deletions, struct text entity, struct text source, uint64_t count, int64_t now_ms)
{
    struct deleting *deleting = find_deleting(deletions, entity, source);
    if (deleting == NULL)
        return count;
    int64_t slice_ms = deletions->rule.within_ms / DELETION_SLICES > 0 ? deletions->rule.within_ms / DELETION_SLICES : 1;
    int64_t slice = now_ms / slice_ms;
    for (int64_t gone = deleting->slice + 1; gone <= slice && gone <= deleting->slice + DELETION_SLICES; gone++)
        deleting->counts[gone % DELETION_SLICES] = 0;
    deleting->slice = slice;
    deleting->counts[slice % DELETION_SLICES] += count;
    uint64_t sum = 0;
    for (size_t i = 0; i < DELETION_SLICES; i++)
        sum += deleting->counts[i];
    return sum;
}

void deletions_forget(struct deletions *deletions, struct text entity, struct text source)
{
    struct deleting *deleting = find_deleting(deletions, entity, source);
    if (deleting != NULL)
        memset(deleting->counts, 0, sizeof deleting->counts);
}

bool deletions_break(const struct deletion_rule *rule, uint64_t deleted, uint64_t rows)
{
    if (rule->within_ms == 0)
        return false;
    return (rule->rows > 0 && deleted > rule->rows) ||
           (rule->percent > 0 && rows > 0 && deleted >= DELETIONS_PERCENT_FROM && deleted * 100 > rows * rule->percent);
}
