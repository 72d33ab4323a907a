-- How far behind each direction is: changes, bytes and seconds still under way, per peer.
-- Out: what waits in the outbox, for all peers alike. In: messages in this node's queue; seconds between the newest
-- applied change's commit and now, while messages wait.
create or replace view bridge.lag as
select p.name as peer, 'out' as direction, coalesce(o.changes, 0) as rows, coalesce(o.bytes, 0) as bytes,
       coalesce(greatest(date_part('epoch', now() - o.oldest), 0), 0) as seconds
  from bridge.peer p
  left join (select sum(changes)::bigint as changes, sum(bytes)::bigint as bytes, min(oldest) as oldest
               from bridge.outbox_pending) o on true
union all
select p.name, 'in', coalesce(w.queue_depth, 0), null,
       case when coalesce(w.queue_depth, 0) = 0 then 0
            else coalesce(greatest(date_part('epoch', now() - i.newest), 0), 0) end
  from bridge.peer p
  join bridge.worker w on w.direction = 'in'
  left join bridge.inbound i on i.source = p.name;
