-- What the peers say of themselves, their clocks, and which deletions everybody knows.
alter table bridge.peer
    add column sent_us     bigint, -- time of the newest heartbeat heard, by the peer's clock
    add column received_us bigint, -- when it was committed here, by ours
    add column heard       jsonb,  -- the newest heartbeats that the peer had heard: {"node": its time}
    add column offset_us   bigint, -- how far the peer's clock is ahead of ours
    add column round_trip_us bigint; -- of the heartbeats that told so: the offset is right within half of it
comment on column bridge.peer.sent_us is
    'Whoever has heard a node''s heartbeat has committed everything which that node had committed before it.';

create table bridge.collection (
    only_row   boolean primary key default true check (only_row),
    checked_at timestamptz not null default '-infinity',
    marked_us  bigint,      -- when the mark was set; null: none is
    mark_xmin  xid8,        -- transactions before it had ended by then
    heard      jsonb,       -- the newest heartbeats heard by then
    horizon_us bigint not null default 0,
    collected  bigint not null default 0
);
insert into bridge.collection default values;
comment on column bridge.collection.horizon_us is
    'Deletions up to this version time may have been forgotten: an unknown row that is not newer is old news.';
create index row_version_deleted on bridge.row_version (entity) where deleted;
