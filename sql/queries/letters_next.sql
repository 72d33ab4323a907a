-- Milliseconds until the next letter is to be tried; null when none waits. Closes the conflicts about unique values whose change
-- waits no more, nor is parked.
with settled as (
    update bridge.conflict c set resolved_at = now(), resolution = 'settled'
     where c.kind = 'multiple_unique_conflicts' and c.resolved_at is null
       and not exists (select from bridge.dead_letter d where d.state in ('retrying', 'parked') and d.entity = c.entity and d.key = c.key
                                                          and d.source = c.remote_node))
select least(greatest(ceil(1000 * date_part('epoch', min(next_attempt) - now())), 0), 3600000)::int from bridge.dead_letter d where state = 'retrying'
   and not exists (select from bridge.pause p where p.direction = 'in' and p.entity = d.entity and p.resumed_at is null)
