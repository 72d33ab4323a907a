#include "bridge/flow/row_set.h"

struct row_set row_set_new(size_t rows_max, struct arena *arena)
{
    return (struct row_set){.index = index_new(rows_max, arena), .rows = arena_take_array(arena, rows_max, sizeof(struct row_place))};
}

/* The value of the key field that another message has at place i; NULL: this one has no such. */
static const struct text *same_field(const struct message *message, const struct text *key, const struct message *other, size_t i)
{
    if (text_equal(message->columns[i], other->columns[i]))
        return &key[i];
    for (size_t j = 0; j < message->key_count; j++)
        if (text_equal(message->columns[j], other->columns[i]))
            return &key[j];
    return NULL;
}

static bool same_row(const void *rows, size_t place, const void *item)
{
    const struct row_place *a = (const struct row_place *)rows + place, *b = item;
    if (a->message->key_count != b->message->key_count || !text_equal(a->message->entity, b->message->entity))
        return false;
    const struct text *key = message_row(a->message, a->row), *other = message_row(b->message, b->row);
    for (size_t i = 0; i < b->message->key_count; i++) {
        const struct text *value = same_field(a->message, key, b->message, i);
        if (value == NULL || !text_equal(*value, other[i]))
            return false;
    }
    return true;
}

static struct index_slot *slot_of(const struct row_set *set, const struct row_place *place, uint64_t *hash)
{
    uint64_t key = 0;
    for (size_t i = 0; i < place->message->key_count; i++)
        key += index_mix_text(0, message_row(place->message, place->row)[i]);
    *hash = index_mix(index_mix_text(0, place->message->entity), key);
    return index_find(&set->index, *hash, same_row, set->rows, place);
}

size_t *row_set_note(struct row_set *set, const struct message *message, size_t row)
{
    struct row_place place = {message, row};
    uint64_t hash;
    struct index_slot *slot = slot_of(set, &place, &hash);
    if (slot->place == 0) {
        set->rows[set->count++] = place;
        *slot = (struct index_slot){.hash = hash, .place = set->count};
    }
    return &slot->stamp;
}

bool row_set_has(const struct row_set *set, const struct message *message, size_t row)
{
    struct row_place place = {message, row};
    uint64_t hash;
    return slot_of(set, &place, &hash)->place != 0;
}
