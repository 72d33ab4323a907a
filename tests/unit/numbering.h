#pragma once
/* What a target knows of its senders' numbers, as bridge.note_numbers keeps it: for the fakes and the simulator. */
#include <assert.h>

#include "bridge/flow/judge.h"

enum { NUMBERING_MAX = 256 };

struct numbering {
    size_t count;
    struct {
        char source[64], epoch[64];
        int64_t reached;
    } of[NUMBERING_MAX];
};

static inline bool numbering_is(const char *known, struct text text)
{
    return text_equal(text_from(known), text);
}

/* Returns how many are missing before the sighting. */
static inline uint64_t numbering_note(struct numbering *numbering, const struct sighting *sighting)
{
    bool known = false;
    size_t at = numbering->count;
    for (size_t i = 0; i < numbering->count; i++) {
        bool same = numbering_is(numbering->of[i].source, sighting->source);
        known = known || same;
        at = same && numbering_is(numbering->of[i].epoch, sighting->epoch) ? i : at;
    }
    if (at == numbering->count) {
        assert(numbering->count < NUMBERING_MAX && sighting->source.length < 64 && sighting->epoch.length < 64);
        numbering->count++;
        memset(&numbering->of[at], 0, sizeof numbering->of[at]);
        memcpy(numbering->of[at].source, sighting->source.data, sighting->source.length);
        memcpy(numbering->of[at].epoch, sighting->epoch.data, sighting->epoch.length);
        numbering->of[at].reached = known ? 0 : sighting->first - 1;
    }
    int64_t reached = numbering->of[at].reached;
    if (sighting->last > reached)
        numbering->of[at].reached = sighting->last;
    return sighting->first > reached + 1 ? (uint64_t)(sighting->first - reached - 1) : 0;
}

static inline void numbering_copy(struct numbering *to, const struct numbering *from)
{
    to->count = from->count;
    memcpy(to->of, from->of, from->count * sizeof *from->of);
}
