#pragma once
/* Content hashes. The canonical content of a row is, for its fields sorted by name in byte order:
 *
 *     <name bytes>:<name>=<value bytes>:<value>;      or, for null,      <name bytes>:<name>=~;
 *
 * lengths in decimal bytes, nothing in between; the content of several rows is each row's followed by one newline,
 * a single row's too. SQL computes the same: sql/functions/content_hash.sql. */
#include "bridge/message/message.h"

enum { DIGEST_TEXT_BYTES = 7 + 64 }; /* "sha256:" and 64 hexadecimal digits */

struct digest {
    char text[DIGEST_TEXT_BYTES + 1];
};

/* Hash over rows*columns values in the order given; the columns' order does not matter, the rows' does. */
void digest_rows(size_t column_count, const struct text *columns, size_t row_count, const struct text *values,
                 struct arena *scratch, struct digest *out);

/* sha256 of plain bytes, as 64 hexadecimal digits (fingerprints). */
void digest_bytes(struct text bytes, char out[static 65]);

/* A random UUID (version 4) as text of 36 characters. */
void digest_uuid(char out[static 37]);
