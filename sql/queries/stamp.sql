-- The version of row $2 of entity $1 becomes ($3, $4), its writer having seen $5; the row stays as it is. $6: there is no row.
insert into bridge.row_version as v (entity, key, ts, node, seen, deleted)
values ($1::smallint, $2, $3::bigint, $4, $5::jsonb, $6::boolean)
on conflict (entity, key) do update
   set ts = excluded.ts, node = excluded.node, seen = excluded.seen, base_ts = v.ts, base_node = v.node
