#pragma once
/* Names of nodes and entities, and help with misspelt ones.
 *
 * Routing keys are `<node>.<entity>.<created|updated|deleted>` and `<node>.control.<kind>`. Hence a name is 1..63 of
 * [A-Za-z0-9_-], without dots, blanks or the binding patterns * and #, and `control` is nobody's name. */
#include <stdbool.h>
#include <stddef.h>

#include "bridge/base/error.h"
#include "bridge/base/text.h"

/* what: "node", "peer", "entity", for the error's sentence. FAULT_OPERATOR. */
bool name_check(const char *what, struct text name, struct error *error);

/* The candidate that was probably meant (few letters differ), or NULL. */
const char *name_nearest(const char *name, const char *const *candidates, size_t count);

/* For "%.*s" in an error: at most 80 bytes of the text, whole UTF-8 sequences only. */
int name_shown(struct text text);

/* A NUL-terminated copy; the caller owns it. Never NULL: a process without memory for its own configuration ends. */
char *name_copy(struct text text);
