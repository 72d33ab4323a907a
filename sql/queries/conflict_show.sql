-- Conflict $1, for people, but for its rows: what, when, the policy, the ruling, what became of it, and a later write here; then of
-- both sides node, time, whether there is a row, and correlation id. Then all of it as JSON.
select format('conflict %s: %s of %s %s', c.id, c.kind, c.entity, c.key),
       to_char(c.at, 'YYYY-MM-DD HH24:MI:SS UTC'), c.policy, c.ruling,
       case when c.resolved_at is null then 'open'
            when c.resolution = 'policy' then 'resolved at once, by the policy'
            when c.resolution = 'superseded'
            then format('resolved %s by a later write of %s, which had seen both', r.at, c.resolved_by)
            else format('resolved %s by %s: %s', r.at, c.resolved_by, c.resolution) end,
       (select format('%s by %s', to_char(to_timestamp(v.ts / 1000000.0), 'YYYY-MM-DD HH24:MI:SS.US UTC'), v.node)
          from bridge.row_version v
          join bridge.entity e on e.id = v.entity
         where e.name = c.entity and v.key = c.key and c.resolved_at is null and to_timestamp(v.ts / 1000000.0) > c.local_time),
       c.local_node, c.remote_node,
       to_char(c.local_time, 'YYYY-MM-DD HH24:MI:SS.US'), to_char(c.remote_time, 'YYYY-MM-DD HH24:MI:SS.US'),
       case when c.local_row is null then 'deleted' else 'as below' end,
       case when c.remote_row is null then 'deleted' else 'as below' end,
       c.local_correlation, c.remote_correlation,
       row_to_json(c)
  from bridge.conflicts c
 cross join lateral (select to_char(c.resolved_at, 'YYYY-MM-DD HH24:MI:SS UTC') as at) r
 where c.id = $1::bigint
