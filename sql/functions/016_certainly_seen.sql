-- bridge.certainly_seen(entity, key): what this node has certainly seen of a row that it does not know: of each peer everything up to the
-- horizon, or it would not be forgotten; but for what waits here, and was news when it came.
create or replace function bridge.certainly_seen(entity_name text, row_key text) returns jsonb
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select jsonb_object_agg(seen.node, least(seen.ts::bigint, (
               select min(d.version_ts) - 1 from bridge.dead_letter d
                where d.entity = entity_name and d.key = row_key and d.source = seen.node and d.version_ts > d.horizon_us
                  and d.state in ('retrying', 'parked', 'quarantined'))))
      from bridge.collection c, jsonb_each_text(c.seen) as seen (node, ts)
$$;
