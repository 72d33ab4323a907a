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
#else
bool hook_disabled(const char *part)
{
    (void)part;
    return false;
}
#endif
