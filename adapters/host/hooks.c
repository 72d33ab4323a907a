#include "adapters/host/hooks.h"

#ifdef PGBRIDGE_TEST_HOOKS
#include <stdlib.h>
#include <string.h>

#include "bridge/message/codec.h"

bool hook_disabled(const char *part)
{
    const char *list = getenv("PGBRIDGE_DISABLE");
    size_t length = strlen(part);
    for (const char *at = list; at != NULL && (at = strstr(at, part)) != NULL; at += length)
        if ((at == list || at[-1] == ',') && (at[length] == '\0' || at[length] == ','))
            return true;
    return false;
}

/* The linker puts this in the decoder's place. */
bool __real_codec_decode(struct text body, struct arena *arena, struct message *message, struct error *error);
bool __wrap_codec_decode(struct text body, struct arena *arena, struct message *message, struct error *error);

bool __wrap_codec_decode(struct text body, struct arena *arena, struct message *message, struct error *error)
{
    const char *poison = getenv("PGBRIDGE_POISON");
    if (poison != NULL && memmem(body.data, body.length, poison, strlen(poison)) != NULL)
        abort();
    return __real_codec_decode(body, arena, message, error);
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
