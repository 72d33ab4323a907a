-- A late entry remembers by how much its version is later than in the transaction's first part.
drop function if exists bridge.note_overtaken(bridge.row_version, "char", bigint, bigint, xid, bridge.known, jsonb, int);
