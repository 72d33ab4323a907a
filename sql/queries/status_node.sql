-- The header: node, version of the schema, the worst health, which checks are not healthy, and the adapter's program.
select n.name, coalesce((select max(number) from bridge.version), 0),
       case when bool_or(h.status = 'critical') then 'critical' when bool_or(h.status = 'warning') then 'warning'
            else 'healthy' end,
       string_agg(h."check", ', ' order by h.status, h."check") filter (where h.status <> 'healthy'),
       (select max(program) from bridge.worker)
  from bridge.node n
 cross join bridge.health h
 group by n.name
