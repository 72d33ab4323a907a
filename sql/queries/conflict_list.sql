-- Conflicts, the newest first, for people: $1 only open ones, of entity $2, of key $3, since $4 (a time, or an interval before now),
-- null for all; at most $5. The day of a version is left out when it is the record's. Then the same as JSON, and how many there are.
with matching as not materialized (
    select c.*
      from bridge.conflicts c
     where (not $1::boolean or c.state = 'open') and ($2::text is null or c.entity = $2) and ($3::text is null or c.key = $3)
       and ($4::text is null or c.at >= case when $4 ~ '^\s*(\d{4}-\d|today|yesterday|now)' then $4::timestamptz
                                             else now() - $4::interval end))
select m.id, to_char(m.at, 'YYYY-MM-DD HH24:MI:SS'), m.entity, m.key, m.kind, m.policy, m.ruling,
       concat_ws(', ', m.state, m.resolution),
       m.local_node || to_char(m.local_time, case when m.local_time::date = m.at::date then '' else ' YYYY-MM-DD' end || ' HH24:MI:SS.MS'),
       m.remote_node || to_char(m.remote_time, case when m.remote_time::date = m.at::date then '' else ' YYYY-MM-DD' end || ' HH24:MI:SS.MS'),
       (select row_to_json(j)
          from (select m.id, m.at, m.entity, m.key, m.kind, m.policy, m.ruling, m.state, m.local_node, m.local_time,
                       m.local_correlation, m.remote_node, m.remote_time, m.remote_correlation, m.resolved_at, m.resolution,
                       m.resolved_by) j),
       (select count(*) from matching)
  from matching m
 order by m.at desc, m.id desc
 limit $5::bigint
