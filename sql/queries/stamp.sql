-- The versions of the rows $3 of entity $1 become ($4, $5), their writers having seen $6, their merge states $8 where they have one; the rows
-- stay as they are. $7: there is no row. Only while a version is ($9, $10): nobody has written it since it was judged. Of a node that captures
-- from the WAL ($2) nobody else can have; then this is about rows of xmin $11, which with $12 an application has written.
insert into bridge.row_version as v (entity, key, ts, node, seen, deleted, merge, base_ts, base_node, row_xmin, lsn, at_us, over)
select $1::smallint, s.key, s.ts, s.node, s.seen::jsonb, s.deleted, s.merge::jsonb,
       case when not $2::boolean or s.own then s.judged_ts end, case when not $2::boolean or s.own then s.judged_node end, s.row_xmin::xid,
       case when $2::boolean then pg_current_wal_insert_lsn() end,
       case when $2::boolean then (date_part('epoch', clock_timestamp()) * 1000000)::bigint end, case when s.own then s.row_xmin::xid end
  from unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::boolean[], $8::text[], $9::bigint[], $10::text[], $11::text[], $12::boolean[])
       as s (key, ts, node, seen, deleted, merge, judged_ts, judged_node, row_xmin, own)
on conflict (entity, key) do update
   set ts = excluded.ts, node = excluded.node, seen = excluded.seen,
       -- A row that went without a word about it: that is still to come.
       deleted = excluded.deleted and (not $2::boolean or v.deleted or (v.ts, v.node) <> (excluded.ts, excluded.node)),
       merge = coalesce(excluded.merge, v.merge), base_ts = case when excluded.over is null then v.ts else excluded.base_ts end,
       base_node = case when excluded.over is null then v.node else excluded.base_node end,
       row_xmin = excluded.row_xmin, lsn = excluded.lsn, over = excluded.over,
       at_us = case when $2::boolean and (v.ts, v.node) = (excluded.ts, excluded.node) then v.at_us else excluded.at_us end,
       -- Of one version that is judged again and again the first entry is enough. No write stands upon the others, or it is of a row that came and
       -- went, and has seen a little more than is told of it.
       former = case when $2::boolean then bridge.remember(v, excluded.lsn, (v.ts, v.node) = (excluded.ts, excluded.node)
                         and ((v.former -> -1 ->> 'ts')::bigint, v.former -> -1 ->> 'node') = (v.ts, v.node)
                         and v.row_xmin is not distinct from excluded.row_xmin) end
 where $2::boolean or (v.ts = excluded.base_ts and v.node = excluded.base_node)
