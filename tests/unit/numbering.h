#pragma once
/* What a target knows of its senders' numbers, as bridge.note_numbers keeps it: for the fakes and the simulator. */
#include <assert.h>

#include "bridge/flow/judge.h"
#include "bridge/message/heartbeat.h"

enum { NUMBERING_MAX = 256, NUMBERING_GAPS_MAX = 256 };

struct numbering {
    size_t count, gap_count;
    struct {
        char source[64], epoch[64];
        int64_t reached;
    } of[NUMBERING_MAX];
    struct numbering_gap {
        size_t of; /* an index */
        int64_t first, last;
    } gaps[NUMBERING_GAPS_MAX];
};

static inline bool numbering_is(const char *known, struct text text)
{
    return text_equal(text_from(known), text);
}

static inline void numbering_miss(struct numbering *numbering, size_t of, int64_t first, int64_t last)
{
    if (first > last)
        return;
    assert(numbering->gap_count < NUMBERING_GAPS_MAX);
    numbering->gaps[numbering->gap_count++] = (struct numbering_gap){of, first, last};
}

/* What was missing has come. */
static inline void numbering_fill(struct numbering *numbering, size_t of, int64_t first, int64_t last)
{
    for (size_t i = numbering->gap_count; i-- > 0;) {
        struct numbering_gap gap = numbering->gaps[i];
        if (gap.of != of || gap.last < first || gap.first > last)
            continue;
        numbering->gaps[i] = numbering->gaps[--numbering->gap_count];
        numbering_miss(numbering, of, gap.first, first - 1);
        numbering_miss(numbering, of, last + 1, gap.last);
    }
}

/* Whether anything of the source is missing still. */
static inline bool numbering_has_gap(const struct numbering *numbering, struct text source)
{
    for (size_t i = 0; i < numbering->gap_count; i++)
        if (numbering_is(numbering->of[numbering->gaps[i].of].source, source))
            return true;
    return false;
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
    numbering_fill(numbering, at, sighting->first, sighting->last);
    numbering_miss(numbering, at, reached + 1, sighting->first - 1);
    return sighting->first > reached + 1 ? (uint64_t)(sighting->first - reached - 1) : 0;
}

/* Returns how many are missing of what the heartbeat says is confirmed. */
static inline uint64_t numbering_note_confirmed(struct numbering *numbering, const struct heartbeat *heartbeat)
{
    uint64_t missing = 0;
    bool seen = false;
    for (size_t i = 0; i < heartbeat->confirmed_count; i++) {
        const struct confirmed *confirmed = &heartbeat->confirmed[i];
        for (size_t k = 0; k < numbering->count; k++)
            seen = seen || (numbering_is(numbering->of[k].source, heartbeat->source) && numbering_is(numbering->of[k].epoch, confirmed->epoch));
        struct sighting sighting = {heartbeat->source, confirmed->epoch, confirmed->sequence + 1, confirmed->sequence};
        missing += seen ? numbering_note(numbering, &sighting) : 0;
    }
    return missing;
}

static inline void numbering_copy(struct numbering *to, const struct numbering *from)
{
    to->count = from->count;
    to->gap_count = from->gap_count;
    memcpy(to->of, from->of, from->count * sizeof *from->of);
    memcpy(to->gaps, from->gaps, from->gap_count * sizeof *from->gaps);
}
