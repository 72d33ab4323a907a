#include "bridge/message/change.h"

#include "bridge/base/index.h"

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

uint64_t change_row_hash(const struct change *change)
{
    uint64_t hash = index_mix_text(0, change->layout->entity);
    for (size_t i = 0; i < change->layout->key_count; i++)
        hash = index_mix_text(hash, change->values[i]);
    return hash;
}

bool change_row_same(const void *changes, size_t place, const void *item)
{
    const struct change *a = (const struct change *)changes + place;
    const struct change *b = item;
    if (a->layout != b->layout &&
        (a->layout->key_count != b->layout->key_count || !text_equal(a->layout->entity, b->layout->entity)))
        return false;
    for (size_t i = 0; i < a->layout->key_count; i++)
        if (!text_equal(a->values[i], b->values[i]))
            return false;
    return true;
}
