-- How far behind each direction is: changes, bytes and seconds still under way, per peer.
-- Out: what waits in the outbox, for all peers alike; of a node that captures from the WAL, also the bytes of log that it has not released, and how long
-- that has stood still. In: messages in this node's queue; seconds between the newest
-- applied change's commit and now, while messages wait.
create or replace view bridge.lag as
select p.name as peer, 'out' as direction, coalesce(o.changes, 0) as rows,
       coalesce(o.bytes, 0) + case when n.capture = 'wal' then coalesce(pg_current_wal_lsn() - s.confirmed_flush_lsn, 0)::bigint else 0 end as bytes,
       greatest(date_part('epoch', now() - o.oldest), 0,
                -- Also when there is nothing to send, it moves on every ten seconds.
                case when n.capture = 'wal' and b.released_at < now() - interval '15 s' then date_part('epoch', now() - b.released_at) end) as seconds
  from bridge.peer p
 cross join bridge.node n
 cross join bridge.outbound b
  left join pg_replication_slots s on n.capture = 'wal' and s.slot_name = bridge.slot_name(n.name) and s.database = current_database()
  left join (select sum(changes)::bigint as changes, sum(bytes)::bigint as bytes, min(oldest) as oldest
               from bridge.outbox_pending) o on true
union all
select p.name, 'in', coalesce(w.queue_depth, 0), null,
       case when coalesce(w.queue_depth, 0) = 0 then 0
            else coalesce(greatest(date_part('epoch', now() - i.newest), 0), 0) end
  from bridge.peer p
  join bridge.worker w on w.direction = 'in'
  left join bridge.inbound i on i.source = p.name;
