-- bridge.forget_dead_letters(retention): deletes letters that have ended longer ago than that, a thousand at most; returns how many.
-- What people did with them stays in bridge.audit, and how many there were in bridge.inbound.
create or replace function bridge.forget_dead_letters(retention interval) returns bigint
    language sql security definer
    set search_path = pg_catalog, pg_temp
as $$
    with forgotten as (
        delete from bridge.dead_letter d
         where d.id = any (array(select e.id from bridge.dead_letter e
                                  where e.state not in ('retrying', 'parked', 'quarantined') and e.last_seen < now() - retention
                                  order by e.last_seen limit 1000))
        returning 1)
    select count(*) from forgotten
$$;
