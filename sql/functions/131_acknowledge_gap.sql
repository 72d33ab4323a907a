-- bridge.acknowledge_gap(id, reason): somebody has looked into a gap, has compared the tables or knows why it does no harm; it is kept,
-- and counts in bridge.health no longer. Returns how many messages were still missing.
create or replace function bridge.acknowledge_gap(id bigint, reason text) returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    found_gap bridge.gap;
begin
    if coalesce(trim(reason), '') = '' then
        raise exception 'a reason is needed' using errcode = '22023', hint = 'select bridge.acknowledge_gap(7, ''tables compared'')';
    end if;
    select * into found_gap from bridge.gap g where g.id = acknowledge_gap.id for update;
    if not found then
        raise exception 'there is no gap %', id using errcode = 'P0002', hint = 'select * from bridge.gaps';
    elsif found_gap.acknowledged_at is not null then
        raise exception 'gap % was acknowledged by % at %', id, found_gap.acknowledged_by, found_gap.acknowledged_at
            using errcode = '55000';
    end if;
    update bridge.gap g
       set acknowledged_at = now(), acknowledged_by = session_user, reason = acknowledge_gap.reason
     where g.id = acknowledge_gap.id;
    return (select coalesce(sum(upper(r) - lower(r)), 0) from unnest(found_gap.missing) r);
end
$$;
