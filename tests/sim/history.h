#pragma once
/* The history: every write that was ever made, by whom, and upon which others it stands. Nobody under test sees it; it
 * is the truth against which verdicts, messages and tables are held. */
#include "tests/sim/schedule.h"

#include "bridge/message/version.h"

enum { WRITES_MAX = 64, NOBODY = -1 };

/* A set of writes of one row: bit i is the row's write number i. */
typedef uint64_t past;

/* A version in numbers; us 0: none. */
struct stamp {
    int64_t us;
    int node;
};

/* By time, then by name: written once more here, because the one under test may be broken on purpose. */
int stamp_compare(struct stamp a, struct stamp b);

static inline bool stamp_equal(struct stamp a, struct stamp b)
{
    return a.us == b.us && (a.us == 0 || a.node == b.node);
}

/* What a row holds; NOBODY: null. */
struct content {
    bool present;
    int value, code, parent;
};

static inline bool content_equal(const struct content *a, const struct content *b)
{
    if (!a->present || !b->present)
        return a->present == b->present;
    return a->value == b->value && a->code == b->code && a->parent == b->parent;
}

enum written_state { WRITTEN_FREE, WRITTEN_PENDING, WRITTEN_COMMITTED };

struct written {
    enum written_state state;
    struct stamp version;
    past past; /* itself included */
    struct content content;
    bool assertion;        /* made by apply, not by an application */
    bool unnoted;          /* captured from the WAL: its version is not known yet */
    bool raised;           /* apply had judged it by an earlier version before it was noted */
    unsigned publications; /* how many messages carried it */
};

struct history {
    size_t counts[ROWS_MAX]; /* slots ever used */
    struct written writes[ROWS_MAX][WRITES_MAX];
};

void history_clear(struct history *history);

/* Notes a write of a transaction that is not committed yet: its number, or NOBODY when the row has too many. */
int history_add(struct history *history, size_t row, struct stamp version, past before, const struct content *content);

/* The number of the write with this version, or NOBODY. */
int history_find(const struct history *history, size_t row, struct stamp version);

static inline past history_bit(int number)
{
    return UINT64_C(1) << number;
}

/* ---- names: in the order of node numbers, so that numbers compare as names do; one is the beginning of another */

struct text node_name(int node);
/* NOBODY when it is none. */
int node_number(struct text name);

/* "entity key", for people. */
const char *row_name(size_t row, char *out, size_t size);
