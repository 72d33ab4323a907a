#pragma once
/* The doors to the world. The core sees PostgreSQL, RabbitMQ and the clock through these, and nothing else.
 *
 * Each port is embedded first in its implementation's struct. Every call that can fail returns false and fills *error;
 * after a failure with FAULT_CONNECTION the port is closed and must be opened again before any other call. close is
 * allowed at any time, any number of times. A wait_ms of 0 means: take what is there. */
#include "bridge/flow/judge.h"
#include "bridge/flow/storm.h"
#include "bridge/message/batch.h"

/* ---- source: where this node's own changes come from ------------------------------------------------------------ */

struct source;

#define SOURCE_IN_USE "55006" /* PostgreSQL's object_in_use */

struct source_ops {
    /* Connects and becomes the one reader of this node's changes. Everything not yet released is read again.
     * Code SOURCE_IN_USE: another adapter of this node leads; try again later. */
    bool (*open)(struct source *, struct error *);
    /* A batch's heartbeat speaks of a moment after which nothing was committed that comes before it, and everything committed before
     * that moment is in this batch or an earlier one; while changes are held back it says the latest of these again.
     * Fills an empty batch (its arena is ready) with whole transactions that nobody can undo any more: committed and
     * durable. Waits at most wait_ms for one to appear; *found tells whether there is any. */
    bool (*next)(struct source *, int wait_ms, struct batch *, bool *found, struct error *);
    /* The batch is safe elsewhere: the source may forget it. Batches are released in the order they came; those given out
     * before the last open are not to be released any more. */
    bool (*release)(struct source *, const struct batch *, const struct receipt *, struct error *);
    /* Writes what the worker wants to be seen in the views. */
    bool (*report)(struct source *, const struct report *, struct error *);
    void (*close)(struct source *);
};

struct source {
    const struct source_ops *ops;
    /* Changes of the entities that it names wait; NULL: of none. When its number changes, the source gives nothing out of where they wait
     * until all that it gave out from there is released, and then looks at all of it anew, in the order of commit. */
    const struct holds *holds;
};

/* ---- outlet: where messages go ---------------------------------------------------------------------------------- */

struct outlet;

struct outlet_ops {
    bool (*open)(struct outlet *, struct error *);
    /* Sends one message: persistent, mandatory. Messages are numbered from 1 since open. */
    bool (*publish)(struct outlet *, const struct envelope *, struct error *);
    /* Waits at most wait_ms for confirmations. Afterwards *confirmed is the number up to which every message is
     * confirmed and was not returned. A message nacked or returned is an error: FAULT_TRANSIENT for a full queue,
     * FAULT_OPERATOR for one that no queue wants; the outlet is then to be closed, and what is not confirmed sent
     * again. */
    bool (*confirm)(struct outlet *, int wait_ms, uint64_t *confirmed, struct error *);
    /* Why the broker takes no messages at present ("low on memory"), a text that lives for ever; NULL when it takes them. What was
     * published meanwhile waits, unconfirmed. */
    const char *(*blocked)(struct outlet *);
    void (*close)(struct outlet *);
};

struct outlet {
    const struct outlet_ops *ops;
};

/* ---- inlet: where messages come from ---------------------------------------------------------------------------- */

struct inlet;

struct delivery {
    struct delivery *next;    /* free for the holder */
    struct arena arena;       /* owns the envelope's texts and the message's */
    struct envelope envelope;
    uint64_t tag;
};

struct inlet_ops {
    bool (*open)(struct inlet *, struct error *);
    /* Waits at most wait_ms. *delivery is NULL when nothing came; otherwise the caller owns it: delivery_free. */
    bool (*receive)(struct inlet *, int wait_ms, struct delivery **delivery, struct error *);
    /* Acknowledges every delivery up to and including tag. Only after the commit that made them durable. */
    bool (*settle)(struct inlet *, uint64_t tag, struct error *);
    /* Messages ready in the queue, for reports; may be asked while the port is closed. */
    bool (*depth)(struct inlet *, uint64_t *messages, struct error *);
    void (*close)(struct inlet *);
};

struct inlet {
    const struct inlet_ops *ops;
    bool dry; /* set before open: connected, and alive, but nothing is taken from the queue */
};

struct delivery *delivery_new(void);
void delivery_free(struct delivery *);

/* ---- target: where changes of peers are applied ------------------------------------------------------------------ */

struct target;

/* A change or message that could not be applied, kept for a human. */
struct dead_letter {
    const struct message *message; /* NULL when it could not be read */
    size_t row;                    /* which row of the message */
    const struct envelope *envelope;
    const struct error *error;
    int64_t not_before_us; /* of one that waits: when it may be tried; 0: soon */
};

/* Rows that break a constraint at the end of a transaction. */
struct offence {
    const struct message *message;
    size_t row;
};

enum { OFFENCES_MAX = 256 };

struct offences {
    size_t count;
    struct offence rows[OFFENCES_MAX];
};

enum apply_mode {
    APPLY_TOGETHER, /* with everything else in the transaction */
    APPLY_GUARDED,  /* a failure undoes only these rows (a savepoint, so for the rare case only) */
    APPLY_PUT_OFF,  /* guarded; rows that are here are taken out now and put back, changed, at the commit: so that rows can
                       exchange unique values. For one row at a time; like APPLY_GUARDED where triggers fire */
};

/* How a transaction stands to another one of this node's. */
enum standing {
    STANDS_ALONE,
    STANDS_FIRST,  /* once it is begun another may be begun behind it, by a target of its own */
    STANDS_BEHIND, /* of other rows, beside one that stands first, and committed after that */
};

/* Code of one that was to stand behind another when that one had ended already. */
#define TARGET_LATE "PB004"

/* What is left after letters have been tried. */
struct retried {
    int next_ms; /* when to come again; -1: none waits */
    bool held;   /* others' locks keep some of them from succeeding, and of the others none may be due */
};

struct target_ops {
    bool (*open)(struct target *, struct error *);
    bool (*begin)(struct target *, enum standing, struct error *);
    /* Judges and applies rows [first, first + count) of the message inside the open transaction, and adds what came of
     * them to *tally, which a failure leaves as it was. After a failure only rollback or close may follow, unless the mode
     * is another than APPLY_TOGETHER and the fault none of connection, contention and operator. */
    bool (*apply)(struct target *, const struct message *, size_t first, size_t count, enum apply_mode, struct tally *,
                  struct error *);
    /* Notes a heartbeat, inside the open transaction; of one that is said again, or that speaks of messages which are missing, only
     * that its node lives. *offset_us is how far that node's clock is certainly ahead of this one's; 0 when it is not known. */
    bool (*hear)(struct target *, const struct heartbeat *, int64_t *offset_us, struct error *);
    /* Notes, inside the open transaction, which of a sender's messages have come, in their order. What is missing before them is noted
     * as a gap, and *missing is how many; what was missing and comes late fills one. Of a sender that was never seen nothing is
     * missing. */
    bool (*note)(struct target *, const struct sighting *, uint64_t *missing, struct error *);
    /* The same of the incarnations that a heartbeat tells of: from the first one on that was ever seen, everything up to their numbers
     * should have come. */
    bool (*note_confirmed)(struct target *, const struct heartbeat *, uint64_t *missing, struct error *);
    /* Keeps a dead letter, inside the open transaction: one with FAULT_TRANSIENT waits and is tried again, one with any
     * other fault is kept for a human. A transient one that has a code of CLOCK waits until its version's time has come, one of
     * PAUSED until its entity is resumed. */
    bool (*bury)(struct target *, const struct dead_letter *, struct error *);
    /* Checks what can only be checked at the end, records the receipts and commits durably. A failure whose outcome is
     * unknown (the reply was lost) is FAULT_CONNECTION: apply again, versions make that harmless. When a check fails, the
     * rows to blame are added to *offences (which may be NULL) as far as they are known. */
    bool (*commit)(struct target *, const struct receipt *, size_t receipt_count, struct offences *, struct error *);
    bool (*rollback)(struct target *, struct error *);
    /* Outside of transactions: tries the letters that wait and whose time has come, in a transaction of its own; with hurry
     * any that waits, because what it waits for may have come. */
    bool (*retry)(struct target *, bool hurry, struct retried *, struct error *);
    /* Outside of transactions: notes durably that this message of the broker's dead letters is about to be read. *deaths is how many
     * processes have noted it before and have not acquitted it. */
    bool (*suspect)(struct target *, const struct envelope *, int *deaths, struct error *);
    /* Outside of transactions: the message has ended nothing. */
    bool (*acquit)(struct target *, const struct envelope *, struct error *);
    /* Writes what a worker wants to be seen in the views: queue depth, last error. Outside of transactions. */
    bool (*report)(struct target *, const struct report *, struct error *);
    void (*close)(struct target *);
};

struct target {
    const struct target_ops *ops;
    /* Set before open. Called at least every second while a call of this port waits for its answer, so that the broker hears of us in a
     * transaction of minutes; NULL: nobody wants to know. It calls nothing of this port. */
    void (*waiting)(void *context);
    void *context;
    /* Set by open: entities whose changes do more here than to be written, so that in a transaction with any of them everything is to be
     * applied in the order in which it came. */
    const struct text *in_order;
    size_t in_order_count;
    /* And such whose changes may be about other rows than those they name: a transaction with any of them stands alone. */
    const struct text *alone;
    size_t alone_count;
    /* And such of whose keys each text is a value of its own: of others plain numbers and UUIDs are. */
    const struct text *exact;
    size_t exact_count;
};

/* ---- brake: what is paused ---------------------------------------------------------------------------------------- */

struct brake;

/* Of the session of source or target, outside of transactions. direction: in, out. */
struct brake_ops {
    /* Adds what is paused to holds, which are empty. */
    bool (*look)(struct brake *, const char *direction, struct holds *, struct error *);
    /* Pauses the entity, or with a null text the whole direction, until somebody resumes it: durable when it returns. */
    bool (*pull)(struct brake *, const char *direction, struct text entity, const char *reason, struct error *);
    /* About how many rows the entity has here; 0: not known. */
    bool (*size)(struct brake *, struct text entity, uint64_t *rows, struct error *);
};

struct brake {
    const struct brake_ops *ops;
};

/* ---- clock -------------------------------------------------------------------------------------------------------- */

struct clock;

struct clock_ops {
    int64_t (*now_us)(struct clock *);       /* wall clock, since 1970 */
    int64_t (*monotonic_ms)(struct clock *); /* for deadlines */
    /* Sleeps up to wait_ms; returns early when the process is to stop. */
    void (*sleep_ms)(struct clock *, int wait_ms);
};

struct clock {
    const struct clock_ops *ops;
};
