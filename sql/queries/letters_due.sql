-- At most $2 of the letters that wait and whose time has come, and no more than it takes to reach 4 MiB; with $1 then others that have
-- been tried before and do not wait for a clock, those first that were tried longest ago.
with next as materialized (
    select id, next_attempt > now() as early, last_seen, octet_length(payload) as bytes
      from bridge.dead_letter
     where state = 'retrying'
       and (next_attempt <= now() or ($1::boolean and attempts > 0 and error_code is distinct from 'CLOCK'))
     order by 2, last_seen, id
     limit $2::int),
due as materialized (
    select id, row_number() over turn as place, sum(bytes) over turn as bytes from next window turn as (order by early, last_seen, id))
select d.id, d.source, d.payload, d.attempts, d.error_code
  from due
  join bridge.dead_letter d on d.id = due.id
 where d.state = 'retrying' and (due.bytes <= 4 << 20 or due.place = 1)
 order by due.place
   for update of d skip locked
