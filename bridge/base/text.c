#include "bridge/base/text.h"

int text_compare(struct text a, struct text b)
{
    if (text_is_null(a) || text_is_null(b))
        return (int)text_is_null(b) - (int)text_is_null(a);
    size_t shared = a.length < b.length ? a.length : b.length;
    int order = shared ? memcmp(a.data, b.data, shared) : 0;
    if (order != 0)
        return order;
    return (a.length > b.length) - (a.length < b.length);
}

/* Length of the UTF-8 sequence at p, 0 when it is malformed (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return p[0] != 0;
    size_t length = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) || (p[0] == 0xF0 && p[1] < 0x90) ||
        (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return length;
}

bool text_is_utf8(struct text t)
{
    const unsigned char *p = (const unsigned char *)t.data;
    for (size_t at = 0; at < t.length;) {
        size_t length = utf8_sequence(p + at, t.length - at);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}

void text_trim_cut(char *string)
{
    size_t length = strlen(string), end = length;
    while (end > 0 && length - end < 4 && ((unsigned char)string[end - 1] & 0xC0) == 0x80)
        end--;
    if (end == 0 || (unsigned char)string[end - 1] < 0xC0)
        return;
    unsigned char lead = (unsigned char)string[end - 1];
    size_t wanted = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (length - (end - 1) < wanted)
        string[end - 1] = '\0';
}
