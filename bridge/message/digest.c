#include "bridge/message/digest.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/base/memory.h"

/* A hash that cannot be computed has no remedy here: going on would publish or accept unchecked content. Once SHA-256 is
 * there, libcrypto fails for want of memory, if at all. */
static void must(bool done, const char *what)
{
    if (!done)
        memory_exhausted(what);
}

/* Looking the algorithm up costs more than hashing a small message, so it happens once. */
static EVP_MD *sha256;

static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

/* Pieces are gathered before they are hashed: one call per piece would cost more than the hash itself. */
struct hasher {
    EVP_MD_CTX *context;
    size_t gathered;
    char buffer[8192];
};

static void hasher_start(struct hasher *hasher)
{
    static pthread_once_t fetched = PTHREAD_ONCE_INIT;
    pthread_once(&fetched, fetch_sha256);
    must(sha256 != NULL, "EVP_MD_fetch, or openssl.cnf offers no SHA-256");
    hasher->context = EVP_MD_CTX_new();
    hasher->gathered = 0;
    must(hasher->context != NULL && EVP_DigestInit_ex2(hasher->context, sha256, NULL) == 1, "EVP_DigestInit");
}

static void hasher_flush(struct hasher *hasher)
{
    must(EVP_DigestUpdate(hasher->context, hasher->buffer, hasher->gathered) == 1, "EVP_DigestUpdate");
    hasher->gathered = 0;
}

static inline void hasher_add(struct hasher *hasher, const char *data, size_t length)
{
    if (length > sizeof hasher->buffer - hasher->gathered) {
        hasher_flush(hasher);
        if (length > sizeof hasher->buffer) {
            must(EVP_DigestUpdate(hasher->context, data, length) == 1, "EVP_DigestUpdate");
            return;
        }
    }
    if (length > 0)
        memcpy(hasher->buffer + hasher->gathered, data, length);
    hasher->gathered += length;
}

static void hasher_finish(struct hasher *hasher, char out[static 64])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    hasher_flush(hasher);
    must(EVP_DigestFinal_ex(hasher->context, hash, &length) == 1 && length == 32, "EVP_DigestFinal");
    EVP_MD_CTX_free(hasher->context);
    hasher->context = NULL;
    for (size_t i = 0; i < 32; i++) {
        out[2 * i] = digits[hash[i] >> 4];
        out[2 * i + 1] = digits[hash[i] & 15];
    }
}

enum { DECIMAL_BYTES = 20 };

/* Writes number right-aligned into buffer; snprintf would cost more than hashing the value. */
static struct text decimal(size_t number, char buffer[static DECIMAL_BYTES])
{
    size_t at = DECIMAL_BYTES;
    do {
        buffer[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return (struct text){buffer + at, DECIMAL_BYTES - at};
}

struct field {
    struct text name;
    struct text lead; /* "<name bytes>:<name>=" */
    size_t column;
};

static int field_order(const void *a, const void *b)
{
    const struct field *left = a;
    const struct field *right = b;
    return text_compare(left->name, right->name);
}

static struct field *fields_sorted(size_t column_count, const struct text *columns, struct arena *scratch)
{
    struct field *fields = arena_take_array(scratch, column_count, sizeof *fields);
    for (size_t i = 0; i < column_count; i++) {
        char buffer[DECIMAL_BYTES];
        struct text count = decimal(columns[i].length, buffer);
        size_t length = count.length + 1 + columns[i].length + 1;
        char *lead = arena_take(scratch, length);
        memcpy(lead, count.data, count.length);
        lead[count.length] = ':';
        if (columns[i].length > 0)
            memcpy(lead + count.length + 1, columns[i].data, columns[i].length);
        lead[length - 1] = '=';
        fields[i] = (struct field){columns[i], {lead, length}, i};
    }
    qsort(fields, column_count, sizeof *fields, field_order);
    return fields;
}

void digest_rows(size_t column_count, const struct text *columns, size_t row_count, const struct text *values,
                 struct arena *scratch, struct digest *out)
{
    const struct field *fields = fields_sorted(column_count, columns, scratch);
    struct hasher hasher;
    hasher_start(&hasher);
    for (size_t row = 0; row < row_count; row++) {
        for (size_t i = 0; i < column_count; i++) {
            struct text value = values[row * column_count + fields[i].column];
            hasher_add(&hasher, fields[i].lead.data, fields[i].lead.length);
            if (text_is_null(value)) {
                hasher_add(&hasher, "~;", 2);
                continue;
            }
            char buffer[DECIMAL_BYTES];
            struct text count = decimal(value.length, buffer);
            hasher_add(&hasher, count.data, count.length);
            hasher_add(&hasher, ":", 1);
            hasher_add(&hasher, value.data, value.length);
            hasher_add(&hasher, ";", 1);
        }
        hasher_add(&hasher, "\n", 1);
    }
    memcpy(out->text, "sha256:", 7);
    hasher_finish(&hasher, out->text + 7);
    out->text[DIGEST_TEXT_BYTES] = '\0';
}

void digest_bytes(struct text bytes, char out[static 65])
{
    struct hasher hasher;
    hasher_start(&hasher);
    hasher_add(&hasher, bytes.data, bytes.length);
    hasher_finish(&hasher, out);
    out[64] = '\0';
}

void digest_uuid(char out[static 37])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char random[16];
    must(RAND_bytes(random, sizeof random) == 1, "RAND_bytes");
    random[6] = (unsigned char)((random[6] & 0x0F) | 0x40); /* version 4 */
    random[8] = (unsigned char)((random[8] & 0x3F) | 0x80); /* variant of RFC 4122 */
    size_t at = 0;
    for (size_t i = 0; i < sizeof random; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        out[at++] = digits[random[i] >> 4];
        out[at++] = digits[random[i] & 15];
    }
    out[at] = '\0';
}
