#include "bridge/message/scan.h"

#include <stdarg.h>
#include <stdio.h>

#include "bridge/base/limits.h"
#include "bridge/message/merge.h"

bool scan_refuse(struct error *error, const char *format, ...)
{
    char text[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_set(error, FAULT_POISON, NULL, "%s", text);
}

enum {
    /* rows, bases, seen and changed have at most one bracket per row, and a few stand around them. A bracket costs
     * json-c up to 500 bytes. A merge state has one for each group, counter and node's total: MERGE_MAX is what one row
     * can have at most, and more than the states of a message of many rows have. */
    MERGE_MAX = LIMIT_FIELDS * (MERGE_NODES_MAX + 2) + 8,
    BRACKETS_MAX = 4 * LIMIT_MESSAGE_ROWS + 16 + MERGE_MAX,
    /* Every value of every array is followed by a comma or a bracket: row values, and five arrays with one or two
     * values per row. */
    COMMAS_MAX = LIMIT_MESSAGE_VALUES + 7 * LIMIT_MESSAGE_ROWS + 2 * MERGE_MAX,
    /* Of one object: what a row has written, by field, is the largest. To find a place for a million costs seconds. */
    MEMBERS_MAX = LIMIT_FIELDS,
};

enum byte_class {
    BYTE_BAD,
    BYTE_PLAIN, /* blanks, and what numbers and literals are made of: the parser knows their grammar */
    BYTE_OPEN,
    BYTE_CLOSE,
    BYTE_COMMA,
    BYTE_COLON,
    BYTE_QUOTE,
};

static enum byte_class byte_class(unsigned char c)
{
    switch (c) {
    case '{':
    case '[':
        return BYTE_OPEN;
    case '}':
    case ']':
        return BYTE_CLOSE;
    case ',':
        return BYTE_COMMA;
    case ':':
        return BYTE_COLON;
    case '"':
        return BYTE_QUOTE;
    case ' ':
    case '\t':
    case '\n':
    case '\r':
    case '+':
    case '-':
    case '.':
    case 'E':
        return BYTE_PLAIN;
    default:
        /* Capitals, single quotes and slashes are NaN, Infinity, odd strings and comments, which json-c lets pass even
         * when strict. */
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ? BYTE_PLAIN : BYTE_BAD;
    }
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

/* The code unit of the escape \uXXXX at p, -1 when there is none. */
static int escape_unit(const unsigned char *p, const unsigned char *end)
{
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    int unit = 0;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

/* Bytes of the escape sequence at p, 0 for one to refuse: \u0000, which no text of PostgreSQL holds and which cuts
 * names short in json-c, and half a surrogate pair, which json-c would silently replace. */
static size_t escape_length(const unsigned char *p, const unsigned char *end)
{
    if (end - p < 2)
        return 0;
    if (p[1] != 'u')
        return 2;
    int unit = escape_unit(p, end);
    if (unit <= 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
        return 0;
    if (unit < 0xD800 || unit > 0xDBFF)
        return 6;
    int low = escape_unit(p + 6, end);
    return low >= 0xDC00 && low <= 0xDFFF ? 12 : 0;
}

/* p stands after the opening quote. Returns the place after the closing one, NULL when the string must be refused. */
static const unsigned char *scan_string(const unsigned char *p, const unsigned char *end, struct error *error)
{
    const unsigned char *start = p;
    unsigned char all = 0;
    for (;;) {
        while (p < end && *p != '"' && *p != '\\' && *p >= 0x20)
            all |= *p++;
        if (p == end || *p < 0x20) {
            scan_refuse(error, p == end ? "the body ends within a string" : "a string holds a control character");
            return NULL;
        }
        if (*p == '"')
            break;
        size_t length = escape_length(p, end);
        if (length == 0) {
            scan_refuse(error, "a string holds \\u0000 or a broken escape");
            return NULL;
        }
        p += length;
    }
    if (all >= 0x80 && !text_is_utf8((struct text){(const char *)start, (size_t)(p - start)})) {
        scan_refuse(error, "a string is not valid UTF-8");
        return NULL;
    }
    return p + 1;
}

/* Bounds what the parser will allocate, and refuses what it would let pass. member_count: of the outermost object,
 * repeated names counted each time. */
bool scan_body(struct text body, size_t *member_count, struct error *error)
{
    const unsigned char *p = (const unsigned char *)body.data;
    const unsigned char *end = p + body.length;
    size_t depth = 0, brackets = 0, commas = 0;
    size_t members[SCAN_DEPTH_MAX + 1] = {0}; /* of the object that is open at each depth; of the outermost it stays */
    while (p < end) {
        switch (byte_class(*p)) {
        case BYTE_PLAIN:
            break;
        case BYTE_OPEN:
            if (++depth > SCAN_DEPTH_MAX)
                return scan_refuse(error, "the body is nested deeper than %d", SCAN_DEPTH_MAX);
            if (++brackets > BRACKETS_MAX)
                return scan_refuse(error, "the body has more than %d brackets", BRACKETS_MAX);
            if (depth > 1)
                members[depth] = 0;
            break;
        case BYTE_CLOSE:
            if (depth-- == 0)
                return scan_refuse(error, "the body closes a bracket that is not open");
            break;
        case BYTE_COMMA:
            if (++commas > COMMAS_MAX)
                return scan_refuse(error, "the body has more than %d values", COMMAS_MAX);
            break;
        case BYTE_COLON:
            if (++members[depth] > MEMBERS_MAX)
                return scan_refuse(error, "an object of the body has more than %d members", MEMBERS_MAX);
            break;
        case BYTE_QUOTE:
            p = scan_string(p + 1, end, error);
            if (p == NULL)
                return false;
            continue;
        case BYTE_BAD:
            return scan_refuse(error, "the body has a byte 0x%02x that JSON does not know there", *p);
        }
        p++;
    }
    *member_count = members[1];
    return true;
}
