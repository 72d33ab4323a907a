-- bridge.collect_tombstones(retention): forgets deletions that every peer knows and that are older than retention; returns the
-- horizon: an unknown row whose version is not after it may be one that was deleted and forgotten.
--
-- A mark is set; when every peer has heard a heartbeat of every other node, this one included, that was sent after the mark, all of
-- them have committed the deletions that were here when it was set, and nothing they wrote before that is still under way.
create or replace function bridge.collect_tombstones(retention interval) returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    c     bridge.collection;
    gone  bigint;
    until bigint;
    now_us bigint := (date_part('epoch', clock_timestamp()) * 1000000)::bigint;
    -- By everybody's clock: whatever a node writes from now on is later, also where the clock is behind.
    oldest_us bigint := least(now_us, (select min(coalesce(sent_us, 0)) from bridge.peer));
begin
    select * into c from bridge.collection for update;
    if c.checked_at > now() - least(interval '1 min', retention) then
        return c.horizon_us;
    end if;
    -- A peer that came after the mark was not asked: it is set anew.
    if c.marked_us is null or exists (select from bridge.peer p where not c.heard ? p.name) then
        update bridge.collection
           set checked_at = now(), marked_us = now_us, mark_xmin = pg_snapshot_xmin(pg_current_snapshot()),
               heard = (select coalesce(jsonb_object_agg(name, coalesce(sent_us, 0)), '{}') from bridge.peer)
                       || jsonb_build_object((select name from bridge.node), greatest(now_us, (select said_us from bridge.outbound)));
        return c.horizon_us;
    end if;
    update bridge.collection set checked_at = now();
    if exists (select from bridge.peer p
                cross join jsonb_each_text(c.heard) as of_node (name, sent_us)
                where of_node.name <> p.name
                  and (of_node.name = (select name from bridge.node) or exists (select from bridge.peer o where o.name = of_node.name))
                  and coalesce((p.heard ->> of_node.name)::bigint, 0) <= of_node.sent_us::bigint) then
        return c.horizon_us;
    end if;
    with forgotten as (
        delete from bridge.row_version v
         where v.ctid in (select o.ctid from bridge.row_version o join bridge.entity e on e.id = o.entity
                           -- A row that is merged must know the last deletion that it came after, for good.
                           where o.deleted and e.policy <> 'merge' and o.ts < oldest_us - (date_part('epoch', retention) * 1000000)::bigint
                             and age(o.xmin) > age(c.mark_xmin::xid)
                             and not exists (select from bridge.dead_letter d where d.entity = e.name and d.key = o.key
                                                and d.state in ('retrying', 'parked', 'quarantined'))
                             and not exists (select from bridge.conflict f where f.entity = e.name and md5(f.key) = md5(o.key)
                                                and f.resolved_at is null)
                           limit 50000)
           and v.deleted
        returning v.ts)
    select count(*), max(ts) into gone, until from forgotten;
    update bridge.collection
       set collected = collected + gone, horizon_us = greatest(horizon_us, until),
           marked_us = case when gone = 50000 then marked_us end,
           -- Who makes a row anew that may have been forgotten has seen all up to there.
           seen = (select jsonb_object_agg(p.name, greatest(c.horizon_us, until)) from bridge.peer p
                    having greatest(c.horizon_us, until) > 0)
    returning horizon_us into until;
    return until;
end
$$;
