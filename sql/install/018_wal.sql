-- Capture from the WAL: how this node captures, how far its log has been read, and where in the log it began and ended to count.
alter table bridge.node add column capture text not null default 'outbox' check (capture in ('outbox', 'wal')),
                        add column versions_since bigint,
                        add column wal_keep_max bigint not null default 8589934592;
comment on column bridge.node.versions_since is
    'Of capture wal: rows that were committed before it (microseconds since 1970) have no version unless bridge.row_version knows one.';

alter table bridge.outbound
    add column released_lsn pg_lsn,                       -- the end of the last transaction of the log that is confirmed
    add column given_us     bigint not null default 0,    -- the greatest commit time up to there, as it was given out
    add column captures_log boolean not null default false, -- whether rows in the log counted there
    add column released_at  timestamptz;                    -- when that was noted

-- Published together with the tables, so that the log itself says from where to where it is the one that tells.
create table bridge.capture_switch (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default now(),
    lsn     pg_lsn not null default pg_current_wal_insert_lsn(),
    capture text not null check (capture in ('outbox', 'wal'))
);

-- It tells of a time by now.
drop function if exists bridge.certainly_seen(text, text);
