-- Policy merge: rows that are settled field by field. What is kept of each is bridge/message/merge.h's state, as JSON.
alter table bridge.row_version add column merge jsonb;
alter table bridge.outbox add column merge jsonb;
alter table bridge.entity
    add column groups         text[], -- of policy merge: each field's group, in the order of fields; null: key or counter
    add column counters       text[] not null default '{}',
    add column update_revives boolean not null default false;
comment on column bridge.entity.groups is 'Fields that a constraint ties together are settled together.';
drop function if exists bridge.map_entity(text, text, int, text[], text[], text, text, boolean, text, text[], boolean);
