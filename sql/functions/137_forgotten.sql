-- bridge.forgotten(entity, key, before): what a node has certainly seen of a row that it knows nothing of: all that is forgotten, but for a
-- change that waits here, or waited still at that time.
create or replace function bridge.forgotten(entity_id smallint, row_key text, before timestamptz default 'infinity') returns jsonb
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select c.seen
      from bridge.collection c
     where c.seen is not null
       and not exists (select from bridge.dead_letter d join bridge.entity e on e.name = d.entity
                        where e.id = entity_id and d.key = row_key and d.version_ts <= c.horizon_us
                          and (d.state in ('retrying', 'parked', 'quarantined') or d.last_seen >= before))
$$;
