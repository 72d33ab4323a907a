#include "tests/sim/variant.h"

#include "bridge/flow/judge.h"

static const struct {
    const char *name, *sentence;
} variants[VARIANTS] = {
    [VARIANT_NONE] = {"none", "The rules as they are."},
    [VARIANT_TIE] = {"tie", "Of two versions at the same time the one that is asked about first wins."},
    [VARIANT_BUMP] = {"bump", "A write is stamped by the clock alone, whatever it replaces."},
    [VARIANT_NODELESS] = {"nodeless", "A version is a time, and nobody's."},
    [VARIANT_TOMBSTONE] = {"tombstone", "A deleted row leaves no version behind."},
    [VARIANT_ARRIVAL] = {"arrival", "What comes later wins."},
    [VARIANT_HORIZON] = {"horizon", "Deletions are forgotten without waiting for the peers."},
    [VARIANT_AHEAD] = {"ahead", "Deletions are forgotten when they are old by this node's clock alone."},
    [VARIANT_ANEW] = {"anew", "Who makes a row anew whose deletion is forgotten has seen nothing of it."},
    [VARIANT_ALONE] = {"alone", "Of changes that wait each is tried alone, also when they wait for each other."},
    [VARIANT_PROMISE] = {"promise", "A node that holds changes back says all the same that it has sent everything."},
    [VARIANT_UNNOTED] = {"unnoted", "Of a deletion that is captured from the WAL no tombstone is kept."},
    [VARIANT_BACKWARD] = {"backward", "A commit time is a version, also when the clock has gone back."},
    [VARIANT_FORMER] = {"former", "What a write replaced is looked up where it stands now, also when apply has replaced it since."},
    [VARIANT_UNDATED] = {"undated", "An entry of row_version is the row's version, also when an application has written since."},
    [VARIANT_JOINED] = {"joined", "Updates of a row are joined although a peer has written it in between."},
    [VARIANT_HASTY] = {"hasty", "What is stamped ahead of the clock of a node that captures from the WAL is applied at once."},
    [VARIANT_LIGHTLY] = {"lightly", "What is put aside of the WAL, because it is held, is forgotten when that is opened anew."},
};

static enum variant chosen;

enum variant variant_find(struct text name)
{
    enum variant variant = VARIANT_NONE;
    while (variant < VARIANTS && !text_equal(text_from(variants[variant].name), name))
        variant++;
    return variant;
}

const char *variant_name(enum variant variant)
{
    return variants[variant].name;
}

const char *variant_sentence(enum variant variant)
{
    return variants[variant].sentence;
}

void variant_choose(enum variant variant)
{
    chosen = variant;
}

/* ---- the core's rules, as the linker finds them (--wrap) ---- */

int __real_version_compare(struct version a, struct version b);
int __wrap_version_compare(struct version a, struct version b);
enum verdict __real_judge_change(struct text this_node, const struct write *change, const struct write *row,
                                 bool content_equal);
enum verdict __wrap_judge_change(struct text this_node, const struct write *change, const struct write *row,
                                 bool content_equal);

int __wrap_version_compare(struct version a, struct version b)
{
    if (chosen == VARIANT_TIE && a.timestamp_us == b.timestamp_us && !text_equal(a.node, b.node))
        return 1;
    return __real_version_compare(a, b);
}

enum verdict __wrap_judge_change(struct text this_node, const struct write *change, const struct write *row,
                                 bool content_equal)
{
    struct write empty = {0}, nameless = *row;
    nameless.version.node = change->version.node;
    if (chosen == VARIANT_ARRIVAL)
        row = &empty;
    if (chosen == VARIANT_NODELESS && !version_is_none(row->version))
        row = &nameless;
    return __real_judge_change(this_node, change, row, content_equal);
}
