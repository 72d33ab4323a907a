-- What has become of the letters of replay $1: how many wait to be tried, were released, superseded, failed again; and what the
-- adapter that shall try them does instead; null when it is there.
select count(*) filter (where d.state = 'retrying' and not d.failed_again),
       count(*) filter (where d.state in ('released', 'settled')),
       count(*) filter (where d.state = 'superseded'),
       count(*) filter (where d.state in ('retrying', 'parked') and d.failed_again),
       nullif(coalesce((select s.state from bridge.status s where s.direction = 'in' limit 1), 'stopped'), 'running')
  from bridge.dead_letters d
 where d.replay = $1::bigint
