-- The versions of the rows $2 of entity $1 become ($3, $4), their writers having seen $5, their merge states $7 where they have one; the rows
-- stay as they are. $6: there is no row. Only while a version is ($8, $9): nobody has written it since it was judged.
insert into bridge.row_version as v (entity, key, ts, node, seen, deleted, merge, base_ts, base_node)
select $1::smallint, s.key, s.ts, s.node, s.seen::jsonb, s.deleted, s.merge::jsonb, s.judged_ts, s.judged_node
  from unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::boolean[], $7::text[], $8::bigint[], $9::text[])
       as s (key, ts, node, seen, deleted, merge, judged_ts, judged_node)
on conflict (entity, key) do update
   set ts = excluded.ts, node = excluded.node, seen = excluded.seen, deleted = excluded.deleted,
       merge = coalesce(excluded.merge, v.merge), base_ts = v.ts, base_node = v.node
 where v.ts = excluded.base_ts and v.node = excluded.base_node
