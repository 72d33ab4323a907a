/* Any bytes as a message of the log: read or refused, and what was read lies within them. */
#include <assert.h>

#include "adapters/postgres/pgoutput.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_view(struct text bytes, struct text view)
{
    if (text_is_null(view) || (bytes.length > 0 && bytes.data[0] == 'R' && text_equal(view, TEXT_LITERAL("pg_catalog"))))
        return;
    assert(view.data >= bytes.data && view.data + view.length <= bytes.data + bytes.length);
}

static void check_tuple(struct text bytes, const struct pgoutput_tuple *tuple)
{
    assert(tuple->count <= PGOUTPUT_COLUMNS_MAX);
    for (size_t i = 0; i < tuple->count; i++) {
        assert((tuple->values[i].presence == PGOUTPUT_TEXT) == !text_is_null(tuple->values[i].text));
        check_view(bytes, tuple->values[i].text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pgoutput decoder;
    struct text bytes = {(const char *)data, size};
    struct pgoutput_message message;
    struct error error = {0};
    if (!pgoutput_decode(&decoder, bytes, &message, &error)) {
        assert(error.fault == FAULT_BUG && error.text[0] != '\0');
        return 0;
    }
    check_view(bytes, message.schema);
    check_view(bytes, message.name);
    check_view(bytes, message.content);
    check_tuple(bytes, &message.old);
    check_tuple(bytes, &message.row);
    for (size_t i = 0; i < message.column_count; i++)
        check_view(bytes, message.columns[i].name);
    for (size_t i = 0; i < message.truncated_count; i++)
        pgoutput_truncated(&message, i);
    return 0;
}
