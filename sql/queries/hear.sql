-- Notes the heartbeat that node $1 sent at $2, having heard $3; of ours the one sent at $4, at its $5. -> how far its clock is ahead. Of
-- the heartbeats of a minute the one with the shortest way tells best.
with sample as (
    select r.received_us, (($5::bigint - $4::bigint) + ($2::bigint - r.received_us)) / 2 as offset_us,
           case when $4 is not null then greatest((r.received_us - $4::bigint) - ($2::bigint - $5::bigint), 0) end as round_trip_us
      from (select (date_part('epoch', clock_timestamp()) * 1000000)::bigint as received_us) r)
update bridge.peer p
   set sent_us = $2::bigint, received_us = s.received_us, heard = $3::jsonb,
       offset_us = case when s.round_trip_us is null then p.offset_us
                        when better.yes then s.offset_us else p.offset_us end,
       round_trip_us = case when s.round_trip_us is null then p.round_trip_us
                            when better.yes then s.round_trip_us else p.round_trip_us * 5 / 4 end
  from sample s
 cross join lateral (select coalesce(s.round_trip_us <= q.round_trip_us, true) as yes from bridge.peer q where q.name = $1) better
 where p.name = $1 and $2::bigint > coalesce(p.sent_us, 0)
returning coalesce(p.offset_us, 0)
