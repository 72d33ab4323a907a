-- bridge.note_log leaves changes whose rows applications hold, and stands for bridge.note_changes: an adapter of before is refused until it is
-- restarted, rather than take a change that was left for one that was noted.
drop function if exists bridge.note_changes(smallint[], text[], "char"[], bigint[], bigint[], pg_lsn[], xid[], bigint[]);
drop function if exists bridge.row_here(bridge.entity, text);
