#include "adapters/postgres/pgoutput.h"

#include <assert.h>
#include <endian.h>

/* From 1970 to 2000, PostgreSQL's own beginning of time. */
static const int64_t EPOCH_US = INT64_C(946684800) * 1000000;

/* What is left to read. Reading beyond the end reads zeros and is noted: looked at once, at the end. */
struct reader {
    const char *at, *end;
    bool bad;
};

static bool take(struct reader *reader, void *out, size_t bytes)
{
    if ((size_t)(reader->end - reader->at) < bytes) {
        reader->bad = true;
        memset(out, 0, bytes);
        return false;
    }
    memcpy(out, reader->at, bytes);
    reader->at += bytes;
    return true;
}

static uint8_t take_byte(struct reader *reader)
{
    uint8_t byte;
    take(reader, &byte, sizeof byte);
    return byte;
}

static uint16_t take_16(struct reader *reader)
{
    uint16_t big;
    take(reader, &big, sizeof big);
    return be16toh(big);
}

static uint32_t take_32(struct reader *reader)
{
    uint32_t big;
    take(reader, &big, sizeof big);
    return be32toh(big);
}

static uint64_t take_64(struct reader *reader)
{
    uint64_t big;
    take(reader, &big, sizeof big);
    return be64toh(big);
}

static int64_t take_time(struct reader *reader)
{
    int64_t time;
    if (__builtin_add_overflow((int64_t)take_64(reader), EPOCH_US, &time)) {
        reader->bad = true;
        return 0;
    }
    return time;
}

static struct text take_bytes(struct reader *reader, uint32_t length)
{
    if ((size_t)(reader->end - reader->at) < length) {
        reader->bad = true;
        return TEXT_NULL;
    }
    struct text bytes = {reader->at, length};
    reader->at += length;
    return bytes;
}

/* Ends with a NUL, which is not part of it. */
static struct text take_string(struct reader *reader)
{
    const char *nul = memchr(reader->at, '\0', (size_t)(reader->end - reader->at));
    if (nul == NULL) {
        reader->bad = true;
        return TEXT_NULL;
    }
    struct text string = {reader->at, (size_t)(nul - reader->at)};
    reader->at = nul + 1;
    return string;
}

static struct pgoutput_tuple take_tuple(struct reader *reader, struct pgoutput_value *values)
{
    size_t count = take_16(reader);
    if (count > PGOUTPUT_COLUMNS_MAX)
        reader->bad = true;
    for (size_t i = 0; i < count && !reader->bad; i++) {
        char kind = (char)take_byte(reader);
        values[i] = (struct pgoutput_value){kind == 'u' ? PGOUTPUT_UNCHANGED : PGOUTPUT_NULL, TEXT_NULL};
        if (kind == 't')
            values[i] = (struct pgoutput_value){PGOUTPUT_TEXT, take_bytes(reader, take_32(reader))};
        else if (kind != 'n' && kind != 'u')
            reader->bad = true;
    }
    return (struct pgoutput_tuple){count, values};
}

static void take_relation(struct reader *reader, struct pgoutput *decoder, struct pgoutput_message *message)
{
    message->relation = take_32(reader);
    message->schema = take_string(reader);
    /* The schema of built-in tables goes without its name. */
    if (!reader->bad && message->schema.length == 0)
        message->schema = TEXT_LITERAL("pg_catalog");
    message->name = take_string(reader);
    message->identity = (char)take_byte(reader);
    size_t count = take_16(reader);
    if (count > PGOUTPUT_COLUMNS_MAX)
        reader->bad = true;
    for (size_t i = 0; i < count && !reader->bad; i++) {
        struct pgoutput_column *column = &decoder->columns[i];
        column->identity = take_byte(reader) & 1;
        column->name = take_string(reader);
        column->type = take_32(reader);
        column->modifier = (int32_t)take_32(reader);
    }
    message->column_count = count;
    message->columns = decoder->columns;
}

static void take_old(struct reader *reader, struct pgoutput *decoder, char mark, struct pgoutput_message *message)
{
    message->old_is_whole = mark == 'O';
    message->old = take_tuple(reader, decoder->old);
}

static void take_update(struct reader *reader, struct pgoutput *decoder, struct pgoutput_message *message)
{
    message->relation = take_32(reader);
    char mark = (char)take_byte(reader);
    if (mark == 'K' || mark == 'O') {
        take_old(reader, decoder, mark, message);
        mark = (char)take_byte(reader);
    }
    if (mark != 'N')
        reader->bad = true;
    else
        message->row = take_tuple(reader, decoder->row);
}

static void take_delete(struct reader *reader, struct pgoutput *decoder, struct pgoutput_message *message)
{
    message->relation = take_32(reader);
    char mark = (char)take_byte(reader);
    if (mark != 'K' && mark != 'O')
        reader->bad = true;
    else
        take_old(reader, decoder, mark, message);
}

static void take_insert(struct reader *reader, struct pgoutput *decoder, struct pgoutput_message *message)
{
    message->relation = take_32(reader);
    if (take_byte(reader) != 'N')
        reader->bad = true;
    else
        message->row = take_tuple(reader, decoder->row);
}

static void take_truncate(struct reader *reader, struct pgoutput_message *message)
{
    uint32_t count = take_32(reader);
    take_byte(reader); /* CASCADE, RESTART IDENTITY */
    if (count > UINT32_MAX / sizeof(uint32_t))
        reader->bad = true;
    else
        message->truncated = take_bytes(reader, (uint32_t)(count * sizeof(uint32_t)));
    message->truncated_count = count;
}

static void take_message(struct reader *reader, struct pgoutput_message *message)
{
    message->transactional = take_byte(reader) & 1;
    message->lsn = take_64(reader);
    message->name = take_string(reader);
    message->content = take_bytes(reader, take_32(reader));
}

static bool take_kind(struct reader *reader, struct pgoutput *decoder, char kind, struct pgoutput_message *message)
{
    switch (kind) {
    case 'B':
        message->kind = PGOUTPUT_BEGIN;
        message->lsn = take_64(reader);
        message->committed_us = take_time(reader);
        message->xid = take_32(reader);
        return true;
    case 'C':
        message->kind = PGOUTPUT_COMMIT;
        take_byte(reader);
        take_64(reader); /* of the commit record, which the end comes after */
        message->lsn = take_64(reader);
        message->committed_us = take_time(reader);
        return true;
    case 'O':
        message->kind = PGOUTPUT_ORIGIN;
        message->lsn = take_64(reader);
        message->name = take_string(reader);
        return true;
    case 'R':
        message->kind = PGOUTPUT_RELATION;
        take_relation(reader, decoder, message);
        return true;
    case 'Y':
        message->kind = PGOUTPUT_TYPE;
        take_32(reader);
        message->schema = take_string(reader);
        message->name = take_string(reader);
        return true;
    case 'I':
        message->kind = PGOUTPUT_INSERT;
        take_insert(reader, decoder, message);
        return true;
    case 'U':
        message->kind = PGOUTPUT_UPDATE;
        take_update(reader, decoder, message);
        return true;
    case 'D':
        message->kind = PGOUTPUT_DELETE;
        take_delete(reader, decoder, message);
        return true;
    case 'T':
        message->kind = PGOUTPUT_TRUNCATE;
        take_truncate(reader, message);
        return true;
    case 'M':
        message->kind = PGOUTPUT_MESSAGE;
        take_message(reader, message);
        return true;
    default:
        return false;
    }
}

bool pgoutput_decode(struct pgoutput *decoder, struct text bytes, struct pgoutput_message *message, struct error *error)
{
    struct reader reader = {bytes.data, bytes.data + bytes.length, false};
    struct pgoutput_message read = {0};
    char kind = (char)take_byte(&reader);
    if (!take_kind(&reader, decoder, kind, &read))
        return error_set(error, FAULT_BUG, NULL, "the log has a message of unknown kind 0x%02x", (unsigned char)kind);
    if (reader.bad || reader.at != reader.end)
        return error_set(error, FAULT_BUG, NULL, "the log has a message of kind %c that cannot be read, of %zu bytes", kind, bytes.length);
    *message = read;
    return true;
}

uint32_t pgoutput_truncated(const struct pgoutput_message *message, size_t i)
{
    uint32_t big;
    assert(i < message->truncated_count);
    memcpy(&big, message->truncated.data + i * sizeof big, sizeof big);
    return be32toh(big);
}
