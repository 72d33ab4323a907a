-- What operators have paused, and what the bridge has paused by itself; kept as a history.
create table bridge.pause (
    id         bigint generated always as identity primary key,
    direction  text not null check (direction in ('in', 'out')),
    entity     text,                        -- null: the whole direction
    reason     text,
    itself     boolean not null default false, -- the bridge did it, for its own protection
    paused_at  timestamptz not null default now(),
    paused_by  text not null,
    resumed_at timestamptz,                 -- null: paused now
    resumed_by text,
    released   bigint,                      -- changes that were held until then
    discarded  bigint                       -- of these, deletions that were not to be applied
);
create unique index pause_once on bridge.pause (direction, coalesce(entity, '')) where resumed_at is null;

-- Held changes are letters that wait: code PAUSED until their entity is resumed, STORM until the row has cooled down.
create index dead_letter_held on bridge.dead_letter (entity, error_code) where state = 'retrying' and error_code in ('PAUSED', 'STORM');

alter table bridge.entity add column max_changes_per_second int;
comment on column bridge.entity.max_changes_per_second is 'More than that are not published; null: as many as there are.';
