#include "adapters/host/hooks.h"

#ifdef PGBRIDGE_TEST_HOOKS
#include <stdlib.h>
#include <string.h>

bool hook_disabled(const char *part)
{
    const char *list = getenv("PGBRIDGE_DISABLE");
    size_t length = strlen(part);
    for (const char *at = list; at != NULL && (at = strstr(at, part)) != NULL; at += length)
        if ((at == list || at[-1] == ',') && (at[length] == '\0' || at[length] == ','))
            return true;
    return false;
}

int64_t hook_number(const char *variable, int64_t otherwise)
{
    const char *text = getenv(variable);
    return text != NULL ? atoll(text) : otherwise;
}
#else
bool hook_disabled(const char *part)
{
    (void)part;
    return false;
}

int64_t hook_number(const char *variable, int64_t otherwise)
{
    (void)variable;
    return otherwise;
}
#endif
