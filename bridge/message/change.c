#include "bridge/message/change.h"

static const char *const op_names[] = {"created", "updated", "deleted"};

const char *change_op_name(enum change_op op)
{
    return op_names[op];
}

bool change_op_parse(struct text name, enum change_op *op)
{
    for (size_t i = 0; i < sizeof op_names / sizeof op_names[0]; i++) {
        if (text_equal(name, text_from(op_names[i]))) {
            *op = (enum change_op)i;
            return true;
        }
    }
    return false;
}
