-- Records that row $3 (fields $4, of entity $2 with id $1, written by $6 at $5) cannot be here because another row has one of its
-- unique values; both rows stay where they are until one of them changes.
insert into bridge.conflict as c (entity, key, kind, policy, ruling, fields, local_row, local_ts, local_node, local_correlation,
                                  remote_row, remote_ts, remote_node, remote_correlation)
select $2, case when $9::boolean then $3::text::text[]::text else $3::text end, 'multiple_unique_conflicts', $8, 'open', e.fields,
       b.fields, coalesce(b.ts, 0), coalesce(b.node, n.name), b.correlation,
       (select array_agg(($10::text[])[array_position($4::text[], f)] order by o) from unnest(e.fields) with ordinality as u (f, o)),
       $5::bigint, $6, $7
  from bridge.entity e
 cross join bridge.node n
  left join lateral bridge.unique_blocker(e.id, $4::text[], $10::text[]) b on true
 where e.id = $1::smallint
on conflict (entity, md5(key), remote_node) where resolved_at is null do update
   set at = excluded.at, kind = excluded.kind, local_row = excluded.local_row, local_ts = excluded.local_ts,
       local_node = excluded.local_node, remote_row = excluded.remote_row, remote_ts = excluded.remote_ts,
       remote_correlation = excluded.remote_correlation
 where excluded.remote_ts > c.remote_ts
