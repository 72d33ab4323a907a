-- Dead letters that somebody can see and repair: how often each entity's are tried, what was asked for and by whom.
alter table bridge.entity
    add column retry_base   interval not null default '1 s', -- before the second attempt; each wait is retry_factor times the last
    add column retry_factor int not null default 2,
    add column retry_cap    interval not null default '1 min',
    add column max_attempts int not null default 100;

alter table bridge.dead_letter
    add column original     bytea,  -- the payload as it came, of one that was edited
    add column replay       bigint, -- the replay that asked for it last: its id in bridge.audit
    add column failed_again boolean not null default false; -- since then
comment on column bridge.dead_letter.attempts is
    'How often it was tried and failed for a reason of its own, since it came or was replayed; a lock or a clock that it waits for is none.';
create index dead_letter_replay on bridge.dead_letter (replay) where replay is not null;
-- The same letter, delivered again, is the same letter also when it was edited.
drop index bridge.dead_letter_once;
create unique index dead_letter_once on bridge.dead_letter
    (coalesce(source, ''), coalesce(entity, ''), md5(coalesce(key, '')), coalesce(version_ts, 0), md5(coalesce(original, payload)))
    where state in ('retrying', 'parked', 'quarantined');

create table bridge.audit (
    id       bigint generated always as identity primary key,
    at       timestamptz not null default now(),
    who      text not null default session_user,
    action   text not null,
    details  jsonb not null,           -- what it was asked of; never a row's values
    affected bigint not null default 0,
    reason   text
);
comment on table bridge.audit is 'What people did by hand.';
