-- At most $2 of the letters that wait and whose time has come, and no more than it takes to reach 4 MiB; of a row that has cooled down the
-- latest first, which makes the others old news; with $1 then others that have been tried before and do not wait for a time alone, those
-- first that were tried longest ago; what only a human can mend nobody's change has mended. None of an entity that is paused.
with next as materialized (
    select id, next_attempt > now() as early, case error_code when 'STORM' then next_attempt else last_seen end as since,
           case error_code when 'STORM' then - id else id end as rank, octet_length(payload) as bytes
      from bridge.dead_letter d
     where state = 'retrying'
       and (next_attempt <= now() or ($1::boolean and attempts > 0 and not until_mended
                                                  and coalesce(error_code, '') not in ('CLOCK', 'PAUSED', 'STORM')))
       and not exists (select from bridge.pause p where p.direction = 'in' and p.entity = d.entity and p.resumed_at is null)
     order by 2, 3, 4
     limit $2::int),
due as materialized (
    select id, row_number() over turn as place, sum(bytes) over turn as bytes from next window turn as (order by early, since, rank))
select d.id, d.source, d.payload, d.horizon_us
  from due
  join bridge.dead_letter d on d.id = due.id
 where d.state = 'retrying' and (due.bytes <= 4 << 20 or due.place = 1)
 order by due.place
   for update of d skip locked
