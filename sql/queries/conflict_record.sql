-- Records conflicts about rows of entity $1 between this node and $5, each with both rows, both versions and the ruling; $4 lists the fields
-- the changes had, by number: the others are as they are here. An open one that is recorded again only moves on to the newest of what the
-- other side wrote, or takes the place of one about a unique value: what waited for that waits no more.
insert into bridge.conflict as c (entity, key, kind, policy, ruling, fields, local_row, local_ts, local_node, local_correlation,
                                  remote_row, remote_ts, remote_node, remote_correlation, resolved_at, resolution)
select $1, r.key, r.kind, $2, r.ruling, $3::text[], l.fields, r.local_ts, r.local_node, r.local_correlation,
       (select array_agg(case when position = any ($4::int[]) then value else l.fields[position] end order by position)
          from unnest(r.remote_row::text[]) with ordinality as f (value, position)),
       r.remote_ts, $5, r.remote_correlation,
       case when r.ruling <> 'open' then now() end, case when r.ruling <> 'open' then 'policy' end
  from unnest($6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::text[])
       as r (key, kind, ruling, local_row, local_ts, local_node, local_correlation, remote_row, remote_ts, remote_correlation)
 cross join lateral (select r.local_row::text[] as fields offset 0) l
on conflict (entity, md5(key), remote_node) where resolved_at is null do update
   set at = excluded.at, kind = excluded.kind, local_row = excluded.local_row, local_ts = excluded.local_ts,
       local_node = excluded.local_node, local_correlation = excluded.local_correlation,
       remote_row = excluded.remote_row, remote_ts = excluded.remote_ts, remote_correlation = excluded.remote_correlation
 where excluded.remote_ts > c.remote_ts or excluded.local_ts > c.local_ts or c.kind = 'multiple_unique_conflicts'
