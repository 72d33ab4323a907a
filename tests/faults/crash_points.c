/* Crash points: places in both loops where the program of the test build ends itself, as kill -9 would.
 *
 *     PGBRIDGE_CRASH=NAME:N     dies at the N-th passing of NAME, after a line "crashed NAME" on stderr
 *     PGBRIDGE_SEVER=NAME:N     lives, but loses the session of that statement, after a line "severed NAME"
 *     PGBRIDGE_CRASH=trace      writes a line "passed NAME" at each
 *
 * NAME is before-PLACE or after-PLACE, where PLACE is a call of a port (source.next, inlet.settle, ...) or a statement of a worker
 * (out.outbox_release, in.inbound_receipt, in.apply, in.foreign_keys, in.savepoint_letter: the query's name, the kind of a composed
 * one, or the first words of a command). after-source.next, after-inlet.receive mean: something came. Further:
 *
 *     sent-in.PLACE, sent-out.PLACE     the server has done it, or is at it, and its answer is unread; for commands and queries
 *     half-outlet.message               a message's first frame is sent, and a piece of the next
 *
 * The linker puts these in the place of both loops and of the libraries' calls (--wrap): neither the core nor the adapters know
 * of them, and what is installed has none. */
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "adapters/rabbitmq/compat.h"
#include "bridge/flow/inbound.h"
#include "bridge/flow/outbound.h"

enum { NAME_BYTES = 80, ANSWER_MS = 2000 };

static struct {
    char name[NAME_BYTES];
    long at;
    bool severs, traces;
    atomic_long passed;
} plan;

static _Thread_local const char *side = "main";

__attribute__((constructor)) static void read_plan(void)
{
    const char *severed = getenv("PGBRIDGE_SEVER");
    const char *wanted = severed != NULL ? severed : getenv("PGBRIDGE_CRASH");
    plan.severs = severed != NULL;
    const char *colon = wanted != NULL ? strrchr(wanted, ':') : NULL;
    plan.traces = wanted != NULL && strcmp(wanted, "trace") == 0;
    if (colon == NULL || (size_t)(colon - wanted) >= NAME_BYTES)
        return;
    memcpy(plan.name, wanted, (size_t)(colon - wanted));
    plan.at = strtol(colon + 1, NULL, 10);
}

static void tell(const char *what, const char *name)
{
    char line[NAME_BYTES + 16];
    int length = snprintf(line, sizeof line, "%s %s\n", what, name);
    if (write(STDERR_FILENO, line, (size_t)length) != length)
        plan.traces = false;
}

static _Noreturn void die(const char *name)
{
    tell("crashed", name);
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static bool is_due(const char *name)
{
    if (plan.traces)
        tell("passed", name);
    return plan.at > 0 && strcmp(plan.name, name) == 0 && atomic_fetch_add(&plan.passed, 1) + 1 == plan.at;
}

static void pass(const char *name)
{
    if (is_due(name))
        die(name);
}

/* ---- the ports ---------------------------------------------------------------------------------------------------- */

/* The ports stay; only their tables are exchanged. There is one of each. */
static struct {
    struct source_ops source;
    struct outlet_ops outlet;
    struct inlet_ops inlet, dead;
    struct target_ops target;
} real, wrapped;

static bool source_open(struct source *source, struct error *error)
{
    pass("before-source.open");
    bool good = real.source.open(source, error);
    pass("after-source.open");
    return good;
}

static bool source_next(struct source *source, int wait_ms, struct batch *batch, bool *found, struct error *error)
{
    pass("before-source.next");
    bool good = real.source.next(source, wait_ms, batch, found, error);
    if (good && *found && batch->change_count > 0)
        pass("after-source.next");
    return good;
}

static bool source_release(struct source *source, const struct batch *batch, const struct receipt *receipt, struct error *error)
{
    if (receipt->messages > 0)
        pass("before-source.release");
    bool good = real.source.release(source, batch, receipt, error);
    if (receipt->messages > 0)
        pass("after-source.release");
    return good;
}

static bool outlet_open(struct outlet *outlet, struct error *error)
{
    pass("before-outlet.open");
    bool good = real.outlet.open(outlet, error);
    pass("after-outlet.open");
    return good;
}

static bool outlet_publish(struct outlet *outlet, const struct envelope *envelope, struct error *error)
{
    pass("before-outlet.publish");
    bool good = real.outlet.publish(outlet, envelope, error);
    pass("after-outlet.publish");
    return good;
}

static bool outlet_confirm(struct outlet *outlet, int wait_ms, uint64_t *confirmed, struct error *error)
{
    static uint64_t before;
    pass("before-outlet.confirm");
    bool good = real.outlet.confirm(outlet, wait_ms, confirmed, error);
    if (good && *confirmed != before)
        pass("after-outlet.confirm");
    before = *confirmed;
    return good;
}

static bool inlet_open(struct inlet *inlet, struct error *error)
{
    pass("before-inlet.open");
    bool good = real.inlet.open(inlet, error);
    pass("after-inlet.open");
    return good;
}

static bool inlet_receive(struct inlet *inlet, int wait_ms, struct delivery **delivery, struct error *error)
{
    bool good = real.inlet.receive(inlet, wait_ms, delivery, error);
    if (good && *delivery != NULL)
        pass("after-inlet.receive");
    return good;
}

static bool inlet_settle(struct inlet *inlet, uint64_t tag, struct error *error)
{
    pass("before-inlet.settle");
    bool good = real.inlet.settle(inlet, tag, error);
    pass("after-inlet.settle");
    return good;
}

static bool dead_open(struct inlet *inlet, struct error *error)
{
    pass("before-dead.open");
    bool good = real.dead.open(inlet, error);
    pass("after-dead.open");
    return good;
}

static bool dead_receive(struct inlet *inlet, int wait_ms, struct delivery **delivery, struct error *error)
{
    bool good = real.dead.receive(inlet, wait_ms, delivery, error);
    if (good && *delivery != NULL)
        pass("after-dead.receive");
    return good;
}

static bool dead_settle(struct inlet *inlet, uint64_t tag, struct error *error)
{
    pass("before-dead.settle");
    bool good = real.dead.settle(inlet, tag, error);
    pass("after-dead.settle");
    return good;
}

static bool target_suspect(struct target *target, const struct envelope *envelope, int *deaths, struct error *error)
{
    pass("before-target.suspect");
    bool good = real.target.suspect(target, envelope, deaths, error);
    pass("after-target.suspect");
    return good;
}

static bool target_acquit(struct target *target, const struct envelope *envelope, struct error *error)
{
    pass("before-target.acquit");
    bool good = real.target.acquit(target, envelope, error);
    pass("after-target.acquit");
    return good;
}

static bool target_open(struct target *target, struct error *error)
{
    pass("before-target.open");
    bool good = real.target.open(target, error);
    pass("after-target.open");
    return good;
}

static bool target_begin(struct target *target, enum standing standing, struct error *error)
{
    pass("before-target.begin");
    bool good = real.target.begin(target, standing, error);
    pass("after-target.begin");
    return good;
}

static bool target_apply(struct target *target, const struct message *message, size_t first, size_t count, enum apply_mode mode,
                         struct tally *tally, struct error *error)
{
    pass("before-target.apply");
    bool good = real.target.apply(target, message, first, count, mode, tally, error);
    pass("after-target.apply");
    return good;
}

static bool target_bury(struct target *target, const struct dead_letter *letter, struct error *error)
{
    pass("before-target.bury");
    bool good = real.target.bury(target, letter, error);
    pass("after-target.bury");
    return good;
}

static bool target_commit(struct target *target, const struct receipt *receipts, size_t count, struct offences *offences,
                          struct error *error)
{
    pass("before-target.commit");
    bool good = real.target.commit(target, receipts, count, offences, error);
    pass("after-target.commit");
    return good;
}

static bool target_retry(struct target *target, bool hurry, struct retried *left, struct error *error)
{
    pass("before-target.retry");
    bool good = real.target.retry(target, hurry, left, error);
    pass("after-target.retry");
    return good;
}

void __real_outbound_run(struct outbound *out);
void __wrap_outbound_run(struct outbound *out);
void __real_inbound_run(struct inbound *in);
void __wrap_inbound_run(struct inbound *in);

void __wrap_outbound_run(struct outbound *out)
{
    side = "out";
    real.source = wrapped.source = *out->source->ops;
    real.outlet = wrapped.outlet = *out->outlet->ops;
    wrapped.source.open = source_open;
    wrapped.source.next = source_next;
    wrapped.source.release = source_release;
    wrapped.outlet.open = outlet_open;
    wrapped.outlet.publish = outlet_publish;
    wrapped.outlet.confirm = outlet_confirm;
    out->source->ops = &wrapped.source;
    out->outlet->ops = &wrapped.outlet;
    __real_outbound_run(out);
}

void __wrap_inbound_run(struct inbound *in)
{
    side = "in";
    real.inlet = wrapped.inlet = *in->inlet->ops;
    real.target = wrapped.target = *in->target->ops;
    wrapped.inlet.open = inlet_open;
    wrapped.inlet.receive = inlet_receive;
    wrapped.inlet.settle = inlet_settle;
    wrapped.target.open = target_open;
    wrapped.target.begin = target_begin;
    wrapped.target.apply = target_apply;
    wrapped.target.bury = target_bury;
    wrapped.target.commit = target_commit;
    wrapped.target.retry = target_retry;
    wrapped.target.suspect = target_suspect;
    wrapped.target.acquit = target_acquit;
    in->inlet->ops = &wrapped.inlet;
    real.dead = wrapped.dead = *in->dead->ops;
    wrapped.dead.open = dead_open;
    wrapped.dead.receive = dead_receive;
    wrapped.dead.settle = dead_settle;
    in->dead->ops = &wrapped.dead;
    in->target->ops = &wrapped.target;
    __real_inbound_run(in);
}

/* ---- statements --------------------------------------------------------------------------------------------------- */

/* before-, sent- or after- and the place: "apply_3_7" is apply, "begin isolation level ..." begin, "savepoint letter"
 * savepoint_letter. */
static const char *named(char name[NAME_BYTES], const char *when, const char *statement)
{
    size_t length = strcspn(statement, " ;_0123456789");
    bool composed = statement[length] == '_' && statement[length + 1] >= '0' && statement[length + 1] <= '9';
    bool command = strchr(statement, ' ') != NULL;
    bool two_words = strncmp(statement, "savepoint", 9) == 0 || strncmp(statement, "release", 7) == 0 ||
                     strncmp(statement, "rollback", 8) == 0;
    if (command && two_words) /* the last word of the first command */
        length = strcspn(statement, ";");
    else if (!composed && !command)
        length = strlen(statement);
    int end = snprintf(name, NAME_BYTES, "%s-%s.%.*s", when, side, (int)(length < 40 ? length : 40), statement);
    for (int i = 0; i < end && i < NAME_BYTES; i++)
        if (name[i] == ' ')
            name[i] = '_';
    return name;
}

/* As when the server ends the session, or the link does: what has come and is not read is gone, too. */
static void sever(PGconn *connection)
{
    char bytes[4096];
    while (recv(PQsocket(connection), bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
    shutdown(PQsocket(connection), SHUT_RDWR);
    tell("severed", plan.name);
}

static void pass_statement(PGconn *connection, const char *when, const char *statement)
{
    char name[NAME_BYTES];
    if ((plan.at == 0 && !plan.traces) || !is_due(named(name, when, statement)))
        return;
    if (!plan.severs)
        die(name);
    sever(connection);
}

static bool due_unread(const char *statement)
{
    char name[NAME_BYTES];
    return (plan.at > 0 || plan.traces) && is_due(named(name, "sent", statement));
}

/* The answer is here, and nobody reads it. */
static void leave_unread(PGconn *connection)
{
    struct pollfd answer = {.fd = PQsocket(connection), .events = POLLIN};
    PQflush(connection);
    poll(&answer, 1, ANSWER_MS);
    if (!plan.severs)
        die(plan.name);
    sever(connection);
}

/* The statements under way, for after-: several when they were sent in one go. */
enum { UNDER_WAY_MAX = 64 };
static _Thread_local struct {
    const char *statements[UNDER_WAY_MAX];
    size_t first, count;
} under_way;

static int pass_sent(PGconn *connection, const char *statement, int sent)
{
    if (PQpipelineStatus(connection) == PQ_PIPELINE_OFF)
        under_way.count = 0;
    if (under_way.count < UNDER_WAY_MAX)
        under_way.statements[(under_way.first + under_way.count++) % UNDER_WAY_MAX] = statement;
    if (sent && due_unread(statement))
        leave_unread(connection);
    return sent;
}

int __real_PQsendQuery(PGconn *connection, const char *sql);
int __wrap_PQsendQuery(PGconn *connection, const char *sql);

int __wrap_PQsendQuery(PGconn *connection, const char *sql)
{
    pass_statement(connection, "before", sql);
    return pass_sent(connection, sql, __real_PQsendQuery(connection, sql));
}

int __real_PQsendQueryPrepared(PGconn *connection, const char *name, int count, const char *const *values, const int *lengths,
                               const int *formats, int result_format);
int __wrap_PQsendQueryPrepared(PGconn *connection, const char *name, int count, const char *const *values, const int *lengths,
                               const int *formats, int result_format);

int __wrap_PQsendQueryPrepared(PGconn *connection, const char *name, int count, const char *const *values, const int *lengths,
                               const int *formats, int result_format)
{
    pass_statement(connection, "before", name);
    int sent = __real_PQsendQueryPrepared(connection, name, count, values, lengths, formats, result_format);
    return pass_sent(connection, name, sent);
}

/* Composed for foreign keys; the rest goes by name. */
int __real_PQsendQueryParams(PGconn *connection, const char *sql, int count, const Oid *types, const char *const *values,
                             const int *lengths, const int *formats, int result_format);
int __wrap_PQsendQueryParams(PGconn *connection, const char *sql, int count, const Oid *types, const char *const *values,
                             const int *lengths, const int *formats, int result_format);

int __wrap_PQsendQueryParams(PGconn *connection, const char *sql, int count, const Oid *types, const char *const *values,
                             const int *lengths, const int *formats, int result_format)
{
    pass_statement(connection, "before", "foreign_keys");
    int sent = __real_PQsendQueryParams(connection, sql, count, types, values, lengths, formats, result_format);
    return pass_sent(connection, "foreign_keys", sent);
}

PGresult *__real_PQgetResult(PGconn *connection);
PGresult *__wrap_PQgetResult(PGconn *connection);

PGresult *__wrap_PQgetResult(PGconn *connection)
{
    PGresult *result = __real_PQgetResult(connection);
    if (result == NULL && under_way.count > 0) {
        const char *statement = under_way.statements[under_way.first];
        under_way.first = (under_way.first + 1) % UNDER_WAY_MAX;
        under_way.count--;
        pass_statement(connection, "after", statement);
    }
    return result;
}

/* ---- messages ----------------------------------------------------------------------------------------------------- */

int __real_amqp_basic_publish(amqp_connection_state_t connection, amqp_channel_t channel, amqp_bytes_t exchange, amqp_bytes_t key,
                              amqp_boolean_t mandatory, amqp_boolean_t immediate, const amqp_basic_properties_t *properties,
                              amqp_bytes_t body);
int __wrap_amqp_basic_publish(amqp_connection_state_t connection, amqp_channel_t channel, amqp_bytes_t exchange, amqp_bytes_t key,
                              amqp_boolean_t mandatory, amqp_boolean_t immediate, const amqp_basic_properties_t *properties,
                              amqp_bytes_t body);

int __wrap_amqp_basic_publish(amqp_connection_state_t connection, amqp_channel_t channel, amqp_bytes_t exchange, amqp_bytes_t key,
                              amqp_boolean_t mandatory, amqp_boolean_t immediate, const amqp_basic_properties_t *properties,
                              amqp_bytes_t body)
{
    if (is_due("half-outlet.message")) {
        /* The beginning of a content header: its type, its channel, a part of its size. */
        static const char piece[] = {2, 0, 1, 0, 0};
        amqp_basic_publish_t method = {.exchange = exchange, .routing_key = key, .mandatory = mandatory, .immediate = immediate};
        if (amqp_send_method(connection, channel, AMQP_BASIC_PUBLISH_METHOD, &method) == AMQP_STATUS_OK &&
            send(amqp_get_sockfd(connection), piece, sizeof piece, MSG_NOSIGNAL) == (ssize_t)sizeof piece)
            die("half-outlet.message");
    }
    return __real_amqp_basic_publish(connection, channel, exchange, key, mandatory, immediate, properties, body);
}
