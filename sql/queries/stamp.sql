-- The version of row $2 of entity $1 becomes ($3, $4), its writer having seen $5, its merge state $7 if it has one; the row stays as it is.
-- $6: there is no row. Only while its version is ($8, $9): nobody has written it since it was judged. Of a node that captures from the WAL ($11)
-- nobody else can have; then this is about the row of xmin $10, which with $12 an application has written.
insert into bridge.row_version as v (entity, key, ts, node, seen, deleted, merge, row_xmin, lsn, at_us, over)
values ($1::smallint, $2, $3::bigint, $4, $5::jsonb, $6::boolean, $7::jsonb, $10::xid, case when $11::boolean then pg_current_wal_insert_lsn() end,
        case when $11::boolean then (date_part('epoch', clock_timestamp()) * 1000000)::bigint end, case when $12::boolean then $10::xid end)
on conflict (entity, key) do update
   set ts = excluded.ts, node = excluded.node, seen = excluded.seen,
       -- A row that went without a word about it: that is still to come.
       deleted = excluded.deleted and (not $11::boolean or v.deleted or (v.ts, v.node) <> (excluded.ts, excluded.node)),
       merge = coalesce(excluded.merge, v.merge), base_ts = v.ts, base_node = v.node,
       row_xmin = excluded.row_xmin, lsn = excluded.lsn, at_us = excluded.at_us, over = excluded.over,
       former = case when $11::boolean then bridge.remember(v, excluded.lsn) end
 where $11::boolean or (v.ts = $8::bigint and v.node = $9)
