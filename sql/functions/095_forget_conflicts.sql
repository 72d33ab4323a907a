-- bridge.forget_conflicts(retention): deletes conflicts that were resolved longer ago than that, a thousand at most; returns how many.
create or replace function bridge.forget_conflicts(retention interval) returns bigint
    language sql security definer
    set search_path = pg_catalog, pg_temp
as $$
    with forgotten as (
        delete from bridge.conflict c
         where c.id = any (array(select r.id from bridge.conflict r where r.resolved_at < now() - retention
                                  order by r.resolved_at limit 1000))
        returning 1)
    select count(*) from forgotten
$$;
