-- One line per peer and direction, for people: how it is, what waits, how long ago something came through.
select s.peer, s.direction, s.state,
       coalesce(nullif(concat_ws(', ', 'database ' || nullif(s.database_circuit, 'closed'), 'broker ' || nullif(s.broker_circuit, 'closed')), ''), 'closed'), s.pending::text, round(coalesce(s.lag_seconds, 0)::numeric, 1) || ' s',
       coalesce(s.changes, 0)::text,
       case when s.last_message is null then 'never'
            when a.seconds < 120 then a.seconds || ' s ago'
            when a.seconds < 7200 then a.seconds / 60 || ' min ago'
            when a.seconds < 172800 then a.seconds / 3600 || ' h ago'
            else to_char(s.last_message, 'YYYY-MM-DD') end
  from bridge.status s
 cross join lateral (select greatest(extract(epoch from now() - s.last_message), 0)::bigint as seconds) a
 order by s.peer, s.direction desc
