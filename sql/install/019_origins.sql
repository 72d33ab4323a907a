-- Of a node that captures from the WAL: which state of the row an entry of row_version is about, and what others that are not published
-- yet were written upon. What no entry is about was written by an application, and has the version that its commit says.
alter table bridge.row_version
    add column row_xmin xid,    -- the row's xmin that this is about; null: that of the transaction which wrote this
    add column lsn      pg_lsn, -- when this was written, in the order of the log
    add column at_us    bigint, -- and by this node's clock
    add column later_us bigint, -- of a transaction that was given out in parts, and wrote the row in several: by how much this part's version is later than its first's
    add column over     xid,    -- whose write of this node's applications apply has judged by it
    add column former   jsonb;  -- the entries before this one that changes may stand upon which are not confirmed yet: bridge.remember

create type bridge.known as (ts bigint, seen jsonb); -- of a change: its version, and what its writer had seen
alter type bridge.known owner to pgbridge_owner;
