-- Every peer: when it was last heard, how far its clock is ahead of this one's, and which deletions wait for it.
create or replace view bridge.peers as
select p.name as peer, to_timestamp(greatest(p.received_us, p.alive_us) / 1000000.0) as last_heard,
       round(p.offset_us / 1000.0, 1) as clock_ahead_ms, round(p.round_trip_us / 1000.0, 1) as round_trip_ms,
       (select array_agg(k order by k) from jsonb_object_keys(c.heard) k
         where k <> p.name and coalesce((p.heard ->> k)::bigint, 0) <= (c.heard ->> k)::bigint) as has_not_heard
  from bridge.peer p
 cross join bridge.collection c
 order by p.name;
