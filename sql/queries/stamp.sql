-- The version of row $2 of entity $1 becomes ($3, $4), its writer having seen $5, its merge state $7 if it has one; the row stays as it is.
-- $6: there is no row. Only while its version is ($8, $9): nobody has written it since it was judged.
insert into bridge.row_version as v (entity, key, ts, node, seen, deleted, merge)
values ($1::smallint, $2, $3::bigint, $4, $5::jsonb, $6::boolean, $7::jsonb)
on conflict (entity, key) do update
   set ts = excluded.ts, node = excluded.node, seen = excluded.seen, deleted = excluded.deleted,
       merge = coalesce(excluded.merge, v.merge), base_ts = v.ts, base_node = v.node
 where v.ts = $8::bigint and v.node = $9
