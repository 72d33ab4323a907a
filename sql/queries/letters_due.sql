-- At most $2 of the letters that wait and whose time has come; with $1 any, except those that wait for a clock.
select id, source, payload, attempts, error_code
  from bridge.dead_letter
 where state = 'retrying' and (next_attempt <= now() or ($1::boolean and error_code is distinct from 'CLOCK'))
 order by next_attempt
 limit $2::int
   for update skip locked
