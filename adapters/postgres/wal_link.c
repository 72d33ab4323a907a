#include "adapters/postgres/wal_link.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "adapters/postgres/fault.h"
#include "adapters/postgres/session.h"

/* src/backend/replication/walsender.c; all numbers are big-endian. */
enum { DATA_HEAD_BYTES = 25, KEEPALIVE_BYTES = 18, ANSWER_BYTES = 34 };

static uint64_t get_64(const char *at)
{
    uint64_t big;
    memcpy(&big, at, sizeof big);
    return be64toh(big);
}

static void put_64(char *at, uint64_t value)
{
    uint64_t big = htobe64(value);
    memcpy(at, &big, sizeof big);
}

static bool stream_ended(struct wal_link *link, const char *what, struct error *error)
{
    char message[512];
    snprintf(message, sizeof message, "%s", PQerrorMessage(link->connection));
    message[strcspn(message, "\n")] = '\0';
    error_set(error, FAULT_CONNECTION, "08006", "%s: %s", what, message[0] != '\0' ? message : "the server ended it");
    wal_link_close(link);
    return false;
}

bool wal_link_open(struct wal_link *link, const struct config *config, struct error *error)
{
    wal_link_close(link);
    struct pg_session session = {.replication = true};
    if (!pg_session_open(&session, config->database, config->database_password, "pgbridge capture", error)) {
        pg_session_close(&session);
        return error_prefix(error, "replication");
    }
    link->connection = session.connection;
    session.connection = NULL;
    pg_session_close(&session);
    return true;
}

bool wal_link_start(struct wal_link *link, const char *name, uint64_t lsn, struct error *error)
{
    /* bridge.slot_name makes names of letters, digits and _ only. */
    char command[256];
    snprintf(command, sizeof command,
             "START_REPLICATION SLOT \"%s\" LOGICAL %X/%X (proto_version '1', publication_names '\"%s\"', messages 'true')", name,
             (unsigned)(lsn >> 32), (unsigned)lsn, name);
    PG_RESULT result = PQexec(link->connection, command);
    if (PQresultStatus(result) == PGRES_COPY_BOTH)
        return true;
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (code == NULL)
        return stream_ended(link, "could not read the log", error);
    enum fault fault = strcmp(code, "55006") == 0 ? FAULT_TRANSIENT : pg_fault(code);
    error_set(error, fault == FAULT_PERMANENT ? FAULT_OPERATOR : fault, code, "could not read the log: %s", primary ? primary : "no reason given");
    wal_link_close(link);
    return false;
}

bool wal_link_read(struct wal_link *link, struct wal_frame *frame, struct error *error)
{
    *frame = (struct wal_frame){0};
    PQfreemem(link->frame);
    link->frame = NULL;
    int length = PQgetCopyData(link->connection, &link->frame, 1);
    if (length == 0) {
        if (!PQconsumeInput(link->connection))
            return stream_ended(link, "the log's stream has broken", error);
        length = PQgetCopyData(link->connection, &link->frame, 1);
    }
    if (length == 0)
        return true;
    if (length == -1) {
        PG_RESULT result = PQgetResult(link->connection);
        return stream_ended(link, "the log's stream has ended", error);
    }
    if (length < 0)
        return stream_ended(link, "the log's stream has broken", error);
    if (link->frame[0] == 'w' && length >= DATA_HEAD_BYTES)
        *frame = (struct wal_frame){.kind = WAL_FRAME_DATA, .bytes = {link->frame + DATA_HEAD_BYTES, (size_t)length - DATA_HEAD_BYTES}};
    else if (link->frame[0] == 'k' && length >= KEEPALIVE_BYTES)
        *frame = (struct wal_frame){.kind = WAL_FRAME_KEEPALIVE, .lsn = get_64(link->frame + 1), .reply = link->frame[KEEPALIVE_BYTES - 1] != 0};
    else
        return error_set(error, FAULT_BUG, NULL, "the log's stream has a frame of unknown kind 0x%02x", (unsigned char)link->frame[0]);
    return true;
}

bool wal_link_wait(struct wal_link *link, int wake, int wait_ms, struct error *error)
{
    struct pollfd files[] = {{.fd = PQsocket(link->connection), .events = POLLIN}, {.fd = wake, .events = POLLIN}};
    if (poll(files, 2, wait_ms) < 0 && errno != EINTR)
        return error_set(error, FAULT_CONNECTION, "08006", "poll: %s", strerror(errno));
    return true;
}

bool wal_link_answer(struct wal_link *link, uint64_t written, uint64_t flushed, struct error *error)
{
    static const int64_t epoch_us = INT64_C(946684800) * 1000000; /* from 1970 to 2000 */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char answer[ANSWER_BYTES] = {'r'};
    put_64(answer + 1, written);
    put_64(answer + 9, flushed);
    put_64(answer + 17, flushed); /* applied */
    put_64(answer + 25, (uint64_t)((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 - epoch_us));
    if (PQputCopyData(link->connection, answer, sizeof answer) <= 0 || PQflush(link->connection) != 0)
        return stream_ended(link, "could not answer the log's stream", error);
    return true;
}

void wal_link_close(struct wal_link *link)
{
    PQfreemem(link->frame);
    PQfinish(link->connection);
    *link = (struct wal_link){0};
}
