-- The broker's and the database's failures: whether each direction may try them, what of the broker's messages is missing, and
-- which of its dead letters may have ended the process.
alter table bridge.worker
    add column database_circuit text not null default 'closed', -- closed, open (tried again later), half-open (one trial)
    add column broker_circuit   text not null default 'closed';

-- How far each sender's numbering (x-seq) has come here, per incarnation (x-epoch).
create table bridge.numbering (
    source   text not null,
    epoch    text not null,
    sequence bigint not null,
    at       timestamptz not null default now(),
    primary key (source, epoch)
);
insert into bridge.numbering (epoch, source, sequence)
select epoch, source, sequence from bridge.inbound where epoch is not null and sequence is not null;

create table bridge.gap (
    id              bigint generated always as identity primary key,
    source          text not null,
    epoch           text not null,
    first_number    bigint not null,
    last_number     bigint not null,
    missing         int8multirange not null, -- of them, still
    noticed_at      timestamptz not null default now(),
    filled_at       timestamptz,             -- when the last of them came late
    acknowledged_at timestamptz,
    acknowledged_by text,
    reason          text
);
create index gap_open on bridge.gap (source, epoch) where filled_at is null;
comment on table bridge.gap is 'Numbers of peers'' messages that were skipped: messages that were lost, or have not come yet.';
-- What was counted before cannot be told any more.
insert into bridge.gap (source, epoch, first_number, last_number, missing)
select source, coalesce(epoch, ''), 1, gaps, int8multirange(int8range(1, gaps + 1)) from bridge.inbound where gaps > 0;

-- Messages of the broker's dead-letter queue that somebody is reading, or has died reading.
create table bridge.suspect (
    identity   text primary key,
    message_id text,
    history    text,               -- the broker's: x-death
    instance   text not null,      -- the process
    deaths     int not null default 0,
    noted_at   timestamptz not null default now()
);
