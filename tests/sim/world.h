#pragma once
/* The world: nodes with their workers, databases and clocks, the broker between them, and the scheduler that decides
 * who goes on and what goes wrong.
 *
 * Each worker of each node is a coroutine that runs the core's own loop; every call of a port hands over to the
 * scheduler. Between two calls anything may happen: another worker's call, an application's transaction, the broker
 * taking a message further, a crash, a clock that jumps. Nothing waits: when nobody can go on, time leaps. */
#include "bridge/flow/inbound.h"
#include "bridge/flow/outbound.h"
#include "tests/sim/broker.h"
#include "tests/sim/coroutine.h"
#include "tests/sim/database.h"
#include "tests/sim/variant.h"

enum call {
    CALL_SOURCE_OPEN,
    CALL_NEXT,
    CALL_NOTED,
    CALL_RELEASE,
    CALL_SOURCE_REPORT,
    CALL_OUTLET_OPEN,
    CALL_PUBLISH,
    CALL_CONFIRM,
    CALL_INLET_OPEN,
    CALL_RECEIVE,
    CALL_SETTLE,
    CALL_DEPTH,
    CALL_TARGET_OPEN,
    CALL_BEGIN,
    CALL_APPLY,
    CALL_BURY,
    CALL_HEAR,
    CALL_NOTE,
    CALL_RETRY,
    CALL_TRY,
    CALL_COMMIT,
    CALL_ROLLBACK,
    CALL_TARGET_REPORT,
    CALL_LOOK,
    CALL_SUSPECT,
    CALL_ACQUIT,
    CALL_KINDS,
};

/* A port's connection. A cut one is still open to the client, until its next call says what happened. */
enum link_kind { LINK_SOURCE, LINK_TARGET, LINK_OUTLET, LINK_INLET, LINK_DEAD, LINKS };

struct link {
    bool open, cut;
};

enum node_state {
    NODE_DOWN, /* no process, until restart_us */
    NODE_UP,
    NODE_ENDING, /* told to stop, or dead: its workers unwind */
    NODE_ENDED,  /* for good: the schedule is over */
};

struct node;

/* A worker and where it stands. */
struct actor {
    struct coroutine coroutine;
    struct node *node;
    bool outbound;
    bool active; /* within its loop */
    bool waiting;
    bool idle; /* it waits for work: nobody minds when that lasts longer */
    int64_t until_us;
    enum link_kind link; /* on what it waits; LINKS: it sleeps */
    bool (*ready)(const struct node *node);
};

struct node_clock {
    struct clock port; /* first */
    struct node *node;
};

struct source_port {
    struct source port; /* first */
    struct node *node;
    uint64_t generation; /* of opening */
    int64_t newest_us;   /* given to any transaction, of a node that captures from the WAL */
    size_t given;        /* changes of the outbox that have been given out, or are held */
    size_t window;       /* its end when it was looked at last */
    size_t unreleased;   /* batches */
    uint64_t tickets;
    size_t released;     /* the end of what was released last */
    uint64_t holds_number;
    bool held[ENTITIES];
    bool heartbeat_due, has_heartbeat;
    struct heartbeat heartbeat; /* of that moment */
    struct heard heard[NODES_MAX];
    int64_t confirmed_us[ROWS_MAX]; /* the newest version that the broker has confirmed */
    struct confirmed_number confirmed; /* the same of the messages' numbers */
};

/* A row that was written, and on whose word: to be blamed at the commit. */
struct done {
    const struct message *message; /* NULL: a letter's */
    size_t number, row;
};

struct target_port {
    struct target port; /* first */
    struct node *node;
    bool in_transaction, broken;
    int64_t horizon_us; /* as the session has learnt it last */
    struct transaction transaction;
    struct numbering noted; /* with what the transaction noted */
    size_t done_count; /* in it */
    struct done done[CHANGES_MAX];
    past applied[ROWS_MAX]; /* the writes that were applied in it */
    bool row_by_row;        /* some of them by themselves */
};

struct outlet_port {
    struct outlet port; /* first */
    struct node *node;
};

struct inlet_port {
    struct inlet port; /* first */
    struct node *node;
};

/* Of the broker's dead letters for the node, one at a time. */
struct dead_port {
    struct inlet port; /* first */
    struct node *node;
    bool in_hand;
};

struct brake_port {
    struct brake port; /* first */
    struct node *node;
};

enum { OUTBOUND_ACTOR, INBOUND_ACTOR, ACTORS_EACH };

struct node {
    struct world *world;
    int number;
    struct text name;
    enum node_state state;
    bool dead;     /* its process is gone: what its workers still do has no effect */
    bool for_good; /* not to be started again */
    bool apart;    /* not to be started before the script says so */
    atomic_bool stop;
    int64_t restart_us;
    int64_t database_away_us; /* until then */
    int64_t clock_offset_us;
    unsigned upsets;          /* how often anything went wrong for it */
    bool application_blocked; /* by apply's locks */
    bool said_in_use;         /* the session of a dead predecessor still holds the lock: once */
    struct actor actors[ACTORS_EACH];
    struct link links[LINKS];
    struct node_clock clock;
    struct counters counters;
    struct outbound outbound;
    struct inbound inbound;
    struct source_port source;
    struct target_port target;
    struct outlet_port outlet;
    struct inlet_port inlet;
    struct dead_port dead_inlet;
    struct brake_port brake;
    uint64_t process; /* counts its starts */
    struct database database;
};

struct statistics {
    uint64_t schedules, calls, writes, messages, rows, redeliveries, duplicates, conflicts, assertions, crashes, stops,
        cuts, lost_replies, contentions, outages, jumps, exchanges, letters, tries, released, superseded, settled,
        circles, heartbeats, signs, forgotten, replays, pauses, unsettled, holds, dead, drained, calls_max;
};

struct script;

struct world {
    struct schedule schedule;
    struct script *script; /* NULL: applications write when they like, and everybody is connected */
    struct random random;
    int64_t now_us;
    uint64_t calls;
    size_t writes_left, writes_later, faults_left, duplicates_left, pauses_left, replays_left, holds_left;
    bool interrupts; /* the next pause comes amidst of everything */
    bool ending;     /* everything is quiet: the nodes are told to stop */
    bool verbose;
    enum variant variant;
    const char *replay; /* the command, without seed */
    struct history history;
    struct node nodes[NODES_MAX];
    struct broker broker;
    struct arena scratch; /* for one port call */
    struct coroutine main;
    struct actor *running; /* NULL: main */
    struct statistics statistics;
};

/* Once per process. */
void world_init(struct world *world);

/* One schedule from beginning to end, with its checks. Does not return when anything is wrong. */
void world_run(struct world *world, uint64_t seed, size_t node_count, bool forgets, enum capture capture, bool jumps);
/* The schedule that is set, with the random numbers that are, and without the checks. */
void world_play(struct world *world);

/* Prints what is wrong and how to see it again, and ends the process. */
void world_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

/* One line about a step, with --verbose. */
#define world_trace(world, ...)                                                                                        \
    do {                                                                                                               \
        if ((world)->verbose)                                                                                          \
            world_print(world, __VA_ARGS__);                                                                           \
    } while (0)
void world_print(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- for the ports ------------------------------------------------------------------------------------------------
 */

enum failing { FAILS_NOT, FAILS_BEFORE, FAILS_AFTER };

/* Lets others go on; then says whether the call fails, before it did anything or after: then only its reply is lost,
 * and the port does what was asked for and ends with link_break. */
enum failing world_call(struct node *node, enum link_kind link, enum call call, struct error *error);

/* Waits at most wait_ms for ready. False when the link was cut, *error then says so. */
bool world_wait(struct node *node, enum link_kind link, int wait_ms, bool (*ready)(const struct node *),
                struct error *error);

/* The client learns that the connection is gone. Returns false. */
bool link_break(struct node *node, enum link_kind link, struct error *error);
/* The client hangs up. */
void link_close(struct node *node, enum link_kind link);

/* Whether a foreign key of other rows leads to rows such as this one. */
static inline bool is_referred_to(const struct world *world, size_t row)
{
    return world->schedule.constraints && row_entity(row) == ENTITY_PARENT;
}

/* The time by the node's own clock. */
int64_t node_clock_us(const struct node *node);

void source_init(struct node *node);
void target_init(struct node *node);
void outlet_init(struct node *node);
void inlet_init(struct node *node);
void dead_init(struct node *node);
void brake_init(struct node *node);
void clock_init(struct node *node);
/* The session is gone, and what it had not committed. */
void target_lose(struct node *node);

/* ---- for the faults -----------------------------------------------------------------------------------------------
 */

/* Maybe something goes wrong somewhere; returns how this very call fails. */
enum failing fault_draw(struct node *node, enum link_kind link, enum call call, struct error *error);
void link_cut(struct node *node, enum link_kind link);
void node_crash(struct node *node);
/* An operator pauses or resumes something. */
void brake_touch(struct world *world);
/* Resumes everything; tells whether anything was paused. */
bool brake_release(struct world *world);
/* As by SIGTERM. */
void node_stop(struct node *node);
