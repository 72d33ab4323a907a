-- One line per peer and direction, as the leading adapter of this node says. state: running, database away, broker away, broker
-- blocked (it has an alarm), stopped; silent when it has not reported for half a minute. Circuits: closed, open, half-open.
create or replace view bridge.status as
select n.name as node, p.name as peer, w.direction,
       case when w.state <> 'stopped' and w.reported_at < now() - interval '30 s' then 'silent' else w.state end as state,
       case w.direction when 'out' then o.last_message else i.last_message end as last_message,
       case w.direction when 'out' then o.published else i.received end as changes,
       l.rows as pending, l.seconds as lag_seconds,
       w.last_error, w.last_error_code, w.last_error_at, w.database_circuit, w.broker_circuit
  from bridge.node n
 cross join bridge.peer p
 cross join bridge.worker w
  left join bridge.outbound o on true
  left join bridge.inbound i on i.source = p.name
  left join bridge.lag l on l.peer = p.name and l.direction = w.direction
 order by p.name, w.direction desc;
