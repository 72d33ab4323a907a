-- Conflicts that a rule settles or a human: what each write had seen of the others, the rule of each entity, and what
-- became of a conflict.
alter table bridge.row_version add column seen jsonb;
comment on column bridge.row_version.seen is
    'The newest versions of other nodes that this row''s writer had seen: {"node": microseconds}. Null: of none.';
update bridge.row_version set seen = jsonb_build_object(base_node, base_ts) where base_node <> node;
alter table bridge.outbox add column seen jsonb;

alter table bridge.entity add column policy text not null default 'last-write-wins',
                          add column priority text[] not null default '{}';
drop function if exists bridge.map_entity(text, text, int, text[], text[], text, text, boolean, boolean);

alter table bridge.conflict drop constraint conflict_ruling_check,
                            add constraint conflict_ruling_check check (ruling in ('local', 'remote', 'open')),
                            add column resolved_at timestamptz,
                            add column resolution  text,
                            add column resolved_by text;
update bridge.conflict set resolved_at = at, resolution = 'policy';
comment on column bridge.conflict.resolution is
    'policy: at once, by the entity''s rule; local, remote, custom: by resolve_conflict; superseded: by a later write that had seen both.';
-- One that stays open is one conflict, whatever the other side goes on writing without having seen this row.
create unique index conflict_open on bridge.conflict (entity, md5(key), remote_node) where resolved_at is null;
