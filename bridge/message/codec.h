#pragma once
/* The JSON body of a message, both ways. Its files alone include json-c.
 *
 * Every value is PostgreSQL's text form as a JSON string, or null; never a JSON number except in versions and bases.
 * Parsing is bounded and strict: size, brackets and commas are counted before the parser runs, duplicate keys, trailing
 * bytes, invalid UTF-8 and \u0000 are refused. Members that the protocol does not know are ignored and counted. */
#include "bridge/message/heartbeat.h"
#include "bridge/message/message.h"

/* JSON text of message's body, in the arena. Never fails for a message that the bridge built. */
struct text codec_encode(const struct message *message, struct arena *arena);

/* Fills the body fields of *message (headers stay as they are), the key's columns first and in the key's order, whatever
 * order they came in. Trailing blanks are allowed. FAULT_POISON when it cannot be read, FAULT_TRANSIENT when memory or
 * the arena's room (20 times the body at most) is short; message is then unspecified. */
bool codec_decode(struct text body, struct arena *arena, struct message *message, struct error *error);

/* The same for one row's "seen" alone, {"node": timestamp}, as the database keeps it; a null text is nothing seen, both
 * ways. */
struct text codec_encode_seen(struct seen seen, struct arena *arena);
bool codec_decode_seen(struct text json, struct arena *arena, struct seen *seen, struct error *error);

/* A heartbeat's body; its source is not part of it. FAULT_POISON when it cannot be read. */
struct text codec_encode_heartbeat(const struct heartbeat *heartbeat, struct arena *arena);
bool codec_decode_heartbeat(struct text body, struct arena *arena, struct heartbeat *heartbeat, struct error *error);

/* The same for one row's merge state, as the database keeps it; a null text and "{}" are no state. merge->present is left
 * false: the row itself says it. */
struct text codec_encode_merge(const struct merge *merge, struct arena *arena);
bool codec_decode_merge(struct text json, struct arena *arena, struct merge *merge, struct error *error);
