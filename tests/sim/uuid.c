/* Epochs and batch numbers from the seed: the same schedule has the same ones wherever it is run. The linker puts this
 * in the place of the core's (--wrap). */
#include "tests/sim/uuid.h"

#include "bridge/message/digest.h"
#include "tests/unit/random.h"

void __wrap_digest_uuid(char out[static 37]);

static struct random numbers;

void uuid_begin(uint64_t seed)
{
    numbers = (struct random){~seed};
}

void __wrap_digest_uuid(char out[static 37])
{
    static const char digits[] = "0123456789abcdef";
    memcpy(out, "00000000-0000-4000-8000-000000000000", 37);
    uint64_t number = random_next(&numbers);
    for (int i = 0; i < 8; i++, number >>= 4)
        out[i] = digits[number & 15];
    for (int i = 24; i < 32; i++, number >>= 4)
        out[i] = digits[number & 15];
}
