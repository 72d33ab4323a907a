#include "bridge/message/version.h"

int version_compare(struct version a, struct version b)
{
    if (a.timestamp_us != b.timestamp_us)
        return a.timestamp_us < b.timestamp_us ? -1 : 1;
    return text_compare(a.node, b.node);
}

bool write_covers(const struct write *write, struct version version)
{
    if (version_is_none(version))
        return true;
    if (text_equal(version.node, write->version.node))
        return version.timestamp_us <= write->version.timestamp_us;
    if (!version_is_none(write->base) && text_equal(version.node, write->base.node) &&
        version.timestamp_us <= write->base.timestamp_us)
        return true;
    for (size_t i = 0; i < write->seen.count; i++)
        if (text_equal(version.node, write->seen.versions[i].node))
            return version.timestamp_us <= write->seen.versions[i].timestamp_us;
    return false;
}

/* Puts one version into a sorted list, or moves its node's entry forward. Returns the new count. */
static size_t see(struct version *versions, size_t count, struct version version, struct text node)
{
    if (version_is_none(version) || text_equal(version.node, node))
        return count;
    size_t at = 0;
    while (at < count && text_compare(versions[at].node, version.node) < 0)
        at++;
    if (at < count && text_equal(versions[at].node, version.node)) {
        if (versions[at].timestamp_us < version.timestamp_us)
            versions[at] = version;
        return count;
    }
    memmove(versions + at + 1, versions + at, (count - at) * sizeof *versions);
    versions[at] = version;
    return count + 1;
}

bool seen_equal(const struct seen *a, const struct seen *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!version_equal(a->versions[i], b->versions[i]))
            return false;
    return true;
}

struct seen write_join(const struct write *a, const struct write *b, struct text node, struct arena *arena)
{
    const struct write *both[] = {a, b};
    struct version *versions = arena_take_array(arena, a->seen.count + b->seen.count + 4, sizeof *versions);
    size_t count = 0;
    for (size_t i = 0; i < 2; i++) {
        /* Of its writer a write's own version tells all: whoever claims to stand upon a later write of his own is not
         * believed, or that write would be old news when it comes. */
        struct text writer = both[i]->version.node;
        count = see(versions, count, both[i]->version, node);
        if (!text_equal(both[i]->base.node, writer))
            count = see(versions, count, both[i]->base, node);
        for (size_t j = 0; j < both[i]->seen.count; j++)
            if (!text_equal(both[i]->seen.versions[j].node, writer))
                count = see(versions, count, both[i]->seen.versions[j], node);
    }
    return (struct seen){count, versions};
}
