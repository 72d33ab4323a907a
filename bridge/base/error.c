#include "bridge/base/error.h"

#include "bridge/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *fault_name(enum fault fault)
{
    switch (fault) {
    case FAULT_NONE:
        return "none";
    case FAULT_CONNECTION:
        return "connection";
    case FAULT_CONTENTION:
        return "contention";
    case FAULT_TRANSIENT:
        return "transient";
    case FAULT_PERMANENT:
        return "permanent";
    case FAULT_POISON:
        return "poison";
    case FAULT_OPERATOR:
        return "operator";
    case FAULT_BUG:
        return "bug";
    }
    return "unknown";
}

bool error_set(struct error *error, enum fault fault, const char *code, const char *format, ...)
{
    /* The arguments may point into error->text itself. */
    char text[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char kept_code[sizeof error->code] = "";
    if (code != NULL)
        snprintf(kept_code, sizeof kept_code, "%s", code);
    text_trim_cut(text);
    error->fault = fault;
    memcpy(error->code, kept_code, sizeof kept_code);
    memcpy(error->text, text, sizeof text);
    return false;
}

bool error_prefix(struct error *error, const char *format, ...)
{
    char words[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    size_t added = strlen(words), room = sizeof error->text - added - 3;
    size_t kept = strnlen(error->text, room);
    memmove(error->text + added + 2, error->text, kept);
    memcpy(error->text, words, added);
    memcpy(error->text + added, ": ", 2);
    error->text[added + 2 + kept] = '\0';
    text_trim_cut(error->text);
    return false;
}

bool error_hint(struct error *error, const char *format, ...)
{
    size_t length = strlen(error->text);
    int added = snprintf(error->text + length, sizeof error->text - length, "\nHINT: ");
    if (added > 0)
        length += (size_t)added;
    if (length >= sizeof error->text)
        return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text + length, sizeof error->text - length, format, arguments);
    va_end(arguments);
    text_trim_cut(error->text);
    return false;
}
