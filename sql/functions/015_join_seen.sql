-- bridge.join_seen(mine, theirs, ts, node, writer): what a writer knows who knows both, and version (ts, node): of each other
-- node the newest version; null when there is none. bridge/message/version.c computes the same.
create or replace function bridge.join_seen(mine jsonb, theirs jsonb, ts bigint, node text, writer text) returns jsonb
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select jsonb_object_agg(known.node, known.ts)
      from (select each.node, max(each.ts) as ts
              from (select key as node, value::bigint as ts from jsonb_each_text(mine)
                    union all select key, value::bigint from jsonb_each_text(theirs)
                    union all select join_seen.node, join_seen.ts where join_seen.ts is not null) each
             where each.node <> writer
             group by each.node) known
$$;
