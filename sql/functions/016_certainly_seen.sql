-- bridge.certainly_seen(entity, key, before): what this node has certainly seen of a row that it does not know: of each peer everything up
-- to the horizon, or it would not be forgotten; but for what was news when it came and waits here, or waited still at that time.
create or replace function bridge.certainly_seen(entity_id smallint, row_key text, before timestamptz default 'infinity') returns jsonb
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- Two looks, since each has an index of its own; and planned once, since capture asks this of every insert.
    return (select jsonb_object_agg(seen.node, least(seen.ts::bigint, (
               select min(d.version_ts) - 1 from bridge.dead_letter d join bridge.entity e on e.name = d.entity
                where e.id = entity_id and d.key = row_key and d.source = seen.node and d.version_ts > d.horizon_us
                  and d.state in ('retrying', 'parked', 'quarantined')), (
               select min(d.version_ts) - 1 from bridge.dead_letter d join bridge.entity e on e.name = d.entity
                where before < 'infinity' and e.id = entity_id and d.key = row_key and d.source = seen.node and d.version_ts > d.horizon_us
                  and d.state not in ('retrying', 'parked', 'quarantined') and d.last_seen >= before)))
      from bridge.collection c, jsonb_each_text(c.seen) as seen (node, ts));
end
$$;
