-- Notes the heartbeat that node $1 sent at $2, having heard $3; of ours the one sent at $4, at its $5. -> how far its clock is ahead at
-- least. Of the heartbeats of a minute the one with the shortest way tells best. One that says again what it said before ($6), or that came
-- before messages which it speaks of, says only that its node lives. A way that took less than no time tells of a clock that was set meanwhile.
with sample as (
    select r.received_us, (($5::bigint - $4::bigint) + ($2::bigint - r.received_us)) / 2 as offset_us,
           nullif(greatest((r.received_us - $4::bigint) - ($2::bigint - $5::bigint), -1), -1) as round_trip_us
      from (select (date_part('epoch', clock_timestamp()) * 1000000)::bigint as received_us) r),
heard as (
    select s.*, $2::bigint > coalesce(q.sent_us, 0) and not $6::boolean
                and not exists (select from bridge.gap g where g.source = $1 and g.filled_at is null and g.acknowledged_at is null) as counts,
           coalesce(s.round_trip_us <= q.round_trip_us, s.round_trip_us is not null) as better
      from bridge.peer q cross join sample s
     where q.name = $1)
update bridge.peer p
   set alive_us = h.received_us,
       sent_us = case when h.counts then $2::bigint else p.sent_us end,
       received_us = case when h.counts then h.received_us else p.received_us end,
       heard = case when h.counts then $3::jsonb else p.heard end,
       offset_us = case when h.counts and h.better then h.offset_us else p.offset_us end,
       round_trip_us = case when not h.counts or h.round_trip_us is null then p.round_trip_us
                            when h.better then h.round_trip_us else p.round_trip_us * 5 / 4 + 1 end
  from heard h
 where p.name = $1
returning coalesce(sign(p.offset_us)::int * greatest(abs(p.offset_us) - p.round_trip_us / 2, 0), 0)
