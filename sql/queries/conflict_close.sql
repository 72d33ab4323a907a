-- Closes the open conflicts of entity $1 (id $2) whose two sides the row's writer has seen meanwhile: somebody has resolved them.
update bridge.conflict c
   set resolved_at = now(), resolution = 'superseded', resolved_by = v.node
  from bridge.row_version v
 where c.entity = $1 and c.resolved_at is null and v.entity = $2::smallint and v.key = c.key
   and (case when v.node = c.remote_node then v.ts else (v.seen ->> c.remote_node)::bigint end) >= c.remote_ts
