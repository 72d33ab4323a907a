-- bridge.put_aside(...): puts changes that the log has told of, and that are held, into bridge.outbox, in their order: of layouts, without the fields
-- that are not among names, where those are given. They go out from there once nothing holds them, before what the log tells later of their entities.
create or replace function bridge.put_aside(layout int[], names text[], op "char"[], fields text[], ts bigint[], node text[], base_ts bigint[], base_node text[],
                                            correlation text[], traceparent text[], seen text[], lsn pg_lsn[]) returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    insert into bridge.layout (entity, key_count, fields, schema)
    select distinct w.entity, w.key_count, g.names::text[], w.schema
      from unnest(put_aside.layout, put_aside.names) as g (layout, names)
      join bridge.layout w on w.id = g.layout
     where g.names is not null
       and not exists (select from bridge.layout s
                        where s.entity = w.entity and s.key_count = w.key_count and s.fields = g.names::text[] and s.schema = w.schema)
    on conflict do nothing;
    insert into bridge.outbox (layout, op, fields, ts, node, base_ts, base_node, correlation, traceparent, seen, lsn)
    select coalesce(s.id, g.layout), g.op, g.fields::text[], g.ts, g.node, g.base_ts, g.base_node, g.correlation, g.traceparent, g.seen::jsonb, g.lsn
      from unnest(put_aside.layout, put_aside.names, put_aside.op, put_aside.fields, put_aside.ts, put_aside.node, put_aside.base_ts, put_aside.base_node,
                  put_aside.correlation, put_aside.traceparent, put_aside.seen, put_aside.lsn) with ordinality
           as g (layout, names, op, fields, ts, node, base_ts, base_node, correlation, traceparent, seen, lsn, n)
      left join bridge.layout w on g.names is not null and w.id = g.layout
      left join bridge.layout s on s.entity = w.entity and s.key_count = w.key_count and s.fields = g.names::text[] and s.schema = w.schema
     order by g.n;
end
$$;
