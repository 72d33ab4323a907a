#include "bridge/flow/judge.h"

const char *verdict_name(enum verdict verdict)
{
    static const char *const names[] = {"echo", "duplicate", "stale", "fresh", "same", "concurrent"};
    return names[verdict];
}

enum verdict judge_change(struct text this_node, const struct write *change, const struct write *row,
                          bool content_equal)
{
    if (text_equal(change->version.node, this_node))
        return VERDICT_ECHO;
    if (version_is_none(row->version))
        return VERDICT_FRESH;
    if (version_equal(change->version, row->version))
        return VERDICT_DUPLICATE;
    if (write_covers(row, change->version))
        return VERDICT_STALE;
    if (write_covers(change, row->version))
        return VERDICT_FRESH;
    return content_equal ? VERDICT_SAME : VERDICT_CONCURRENT;
}

bool judge_forgotten(const struct write *change, const struct write *row, int64_t horizon_us)
{
    return version_is_none(row->version) && change->version.timestamp_us <= horizon_us;
}

void tally_add(struct tally *sum, const struct tally *more)
{
    sum->received += more->received;
    sum->applied += more->applied;
    sum->same += more->same;
    sum->duplicate += more->duplicate;
    sum->stale += more->stale;
    sum->echo += more->echo;
    sum->kept += more->kept;
    sum->dead_letters += more->dead_letters;
    sum->conflicts += more->conflicts;
    sum->unchanged += more->unchanged;
    sum->ignored += more->ignored;
    sum->held += more->held;
}

bool tally_conserves(const struct tally *tally)
{
    return tally->received == tally->applied + tally->same + tally->duplicate + tally->stale + tally->echo +
                                  tally->kept + tally->dead_letters;
}
