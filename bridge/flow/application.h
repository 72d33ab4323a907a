#pragma once
/* Applying whole batches: one transaction, in bundles (bridge/flow/bundle.h). If that fails, each batch by itself; if one fails by itself,
 * its rows are isolated inside one transaction, so that only those become dead letters that cannot be applied, and the
 * rest of the batch still becomes visible at once. Nothing is ever given up for a connection, a lock or a privilege. */
#include "bridge/flow/worker.h"

struct follower;

enum fate {
    FATE_APPLY,
    FATE_ECHO,    /* our own message came back */
    FATE_REFUSED, /* of a source that is not a peer */
    FATE_POISON,  /* unreadable */
    FATE_HEARD,   /* a peer's heartbeat */
};

/* A delivery, read. */
struct item {
    struct delivery *delivery;
    struct message message;
    struct heartbeat heartbeat; /* instead of a message */
    enum fate fate;
    struct error error; /* why it is poison; what could be read of its source, epoch and number is in the message all the same */
    bool watched;            /* its deletions are counted */
    bool ends_batch;         /* of what came up to it nothing waits for its rest */
    int64_t *held_until_us;  /* per row: until when it is to cool down, 0: not; NULL: none is */
};

/* A row that cannot be applied, and why. */
struct condemned {
    const struct item *item;
    size_t row;
    struct error error;
};

struct condemned_list {
    struct condemned *rows;
    size_t count, capacity;
};

struct application {
    struct worker *worker;
    struct target *target;
    int64_t max_clock_skew_us; /* 0: changes may come from any time */
    bool waits_for_clock;      /* nothing is applied before the clock has passed its version */
    const struct holds *holds; /* entities whose changes are put aside */
    struct follower *follower; /* NULL: one transaction at a time. application_free frees it */
    size_t behind;             /* items that follow those which are applied now, beside them */
    bool open; /* the target */
    struct retry contention;
    struct condemned_list condemned; /* known from earlier attempts at this batch */
    struct condemned_list held;      /* failed in this attempt, may still succeed after others */
    struct arena arena;              /* of the transaction at hand */
    size_t one_by_one;               /* so many transactions yet: bundles have clashed */
    bool letters_wait;               /* some letters wait to be tried again */
    bool hurry;                      /* something was applied since they were tried */
    int64_t hurry_ms;                /* how soon after that they are tried again */
    int64_t retry_ms;                /* when to try them */
    void (*waiting)(void *context);  /* called while something is waited for */
    void *context;
};

void application_init(struct application *application, struct worker *worker, struct target *target,
                      void (*waiting)(void *context), void *context);
void application_free(struct application *application);

/* A plan or statement that does not fit any more, or capture that was switched: a new session begins with what is there now, or says what is to be
 * done. */
bool application_is_stale(const struct error *error);

/* Opens the target unless it is open; on failure waits, and returns false. */
bool application_open(struct application *application);
/* The target failed outside of a transaction. */
void application_failed(struct application *application, const struct error *error);

/* Tries the letters that wait, when it is time to. False: the target failed. */
bool application_retry(struct application *application);
/* How long until it is time to, at most most_ms. */
int application_retry_wait_ms(const struct application *application, int most_ms);

/* Applies the first count items, which are whole batches, and commits; and those which stand behind them, whole batches too, if they may go beside
 * these, in a transaction of their own. Tells how many are committed: 0 when the process stops before the first are. */
size_t application_apply(struct application *application, const struct item *items, size_t count, size_t behind);
