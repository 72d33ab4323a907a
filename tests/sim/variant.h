#pragma once
/* Variants: the rules, broken on purpose, one each. A simulator that does not notice is of no use. */
#include "bridge/base/text.h"

enum variant {
    VARIANT_NONE,
    VARIANT_TIE,       /* of two versions at the same time the one that is asked about first wins */
    VARIANT_BUMP,      /* a write is stamped by the clock alone, whatever it replaces */
    VARIANT_NODELESS,  /* a version is a time, and nobody's */
    VARIANT_TOMBSTONE, /* a deleted row leaves no version behind */
    VARIANT_ARRIVAL,   /* what comes later wins */
    VARIANT_HORIZON,   /* deletions are forgotten without waiting for the peers */
    VARIANT_AHEAD,     /* deletions are forgotten when they are old by this node's clock alone */
    VARIANT_ANEW,      /* who makes a row anew whose deletion is forgotten has seen nothing of it */
    VARIANT_ALONE,     /* of changes that wait each is tried alone, also when they wait for each other */
    VARIANT_PROMISE,   /* a node that holds changes back says all the same that it has sent everything */
    VARIANT_UNNOTED,   /* of a deletion that is captured from the WAL no tombstone is kept */
    VARIANT_BACKWARD,  /* a commit time is a version, also when the clock has gone back */
    VARIANT_FORMER,    /* what a write replaced is looked up where it stands now, also when apply has replaced it since */
    VARIANT_UNDATED,   /* an entry of row_version is the row's version, also when an application has written since */
    VARIANT_JOINED,    /* updates of a row are joined although a peer has written it in between */
    VARIANT_HASTY,     /* what is stamped ahead of the clock of a node that captures from the WAL is applied at once */
    VARIANT_LIGHTLY,   /* what is put aside of the WAL, because it is held, is forgotten when that is opened anew */
    VARIANTS,
};

/* VARIANTS: none has this name. */
enum variant variant_find(struct text name);
const char *variant_name(enum variant variant);
const char *variant_sentence(enum variant variant);

/* What the core's rules are wrapped in asks this. */
void variant_choose(enum variant variant);
