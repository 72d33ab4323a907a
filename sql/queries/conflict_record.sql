-- Records a conflict with both rows, both versions and the ruling; $12 lists the fields the change had, by number: the others are
-- as they are here. An open one that is recorded again only moves on to the newest of what the other side wrote, or takes the
-- place of one about a unique value: what waited for that waits no more.
insert into bridge.conflict as c (entity, key, kind, policy, ruling, fields, local_row, local_ts, local_node, local_correlation,
                                  remote_row, remote_ts, remote_node, remote_correlation, resolved_at, resolution)
values ($1, $2, $3, $4, $5, $6::text[], $7::text[], $8::bigint, $9, $10,
        (select array_agg(case when position = any ($12::int[]) then value else ($7::text[])[position] end order by position)
           from unnest($11::text[]) with ordinality as r (value, position)),
        $13::bigint, $14, $15, case when $5 <> 'open' then now() end, case when $5 <> 'open' then 'policy' end)
on conflict (entity, md5(key), remote_node) where resolved_at is null do update
   set at = excluded.at, kind = excluded.kind, local_row = excluded.local_row, local_ts = excluded.local_ts,
       local_node = excluded.local_node, local_correlation = excluded.local_correlation,
       remote_row = excluded.remote_row, remote_ts = excluded.remote_ts, remote_correlation = excluded.remote_correlation
 where excluded.remote_ts > c.remote_ts or excluded.local_ts > c.local_ts or c.kind = 'multiple_unique_conflicts'
