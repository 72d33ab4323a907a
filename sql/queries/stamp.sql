-- The version of row $2 of entity $1 becomes ($3, $4), its writer having seen $5; the row stays as it is.
update bridge.row_version
   set ts = $3::bigint, node = $4, seen = $5::jsonb, base_ts = ts, base_node = node
 where entity = $1::smallint and key = $2
