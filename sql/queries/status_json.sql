-- All of `pgbridge status` as one JSON object: $1 is the program's version.
select json_build_object(
           'node', n.name,
           'program', $1::text,
           'schema', (select coalesce(max(number), 0) from bridge.version),
           'health', (select case when bool_or(status = 'critical') then 'critical'
                                  when bool_or(status = 'warning') then 'warning' else 'healthy' end
                        from bridge.health),
           'peers', coalesce((select json_agg(row_to_json(s) order by s.peer, s.direction desc) from bridge.status s),
                             '[]'),
           'lag', coalesce((select json_agg(row_to_json(l) order by l.peer, l.direction desc) from bridge.lag l), '[]'),
           'checks', coalesce((select json_agg(row_to_json(h) order by h."check") from bridge.health h), '[]'),
           'workers', coalesce((select json_agg(row_to_json(w) order by w.direction desc) from bridge.worker w), '[]'),
           'outbound', (select row_to_json(o)
                          from (select epoch, sequence, captured, published, messages, bytes, last_message
                                  from bridge.outbound) o),
           'inbound', coalesce((select json_agg(row_to_json(i) order by i.source)
                                  from (select source, epoch, sequence, messages, bytes, gaps, refused, received, applied,
                                               same, duplicate, stale, echo, kept, dead_letters, conflicts, unchanged, ignored,
                                               last_message, newest
                                          from bridge.inbound) i), '[]'))
  from bridge.node n
