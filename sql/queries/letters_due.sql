-- At most $2 of the letters that wait and whose time has come; with $1 then others that have been tried before and do not wait for a
-- clock, those first that were tried longest ago.
select id, source, payload, attempts, error_code
  from bridge.dead_letter
 where state = 'retrying'
   and (next_attempt <= now() or ($1::boolean and attempts > 0 and error_code is distinct from 'CLOCK'))
 order by next_attempt > now(), last_seen, id
 limit $2::int
   for update skip locked
