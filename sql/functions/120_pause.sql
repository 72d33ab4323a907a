-- bridge.pause(direction, entity, reason): pauses a direction ('in', 'out'; null: both), of one entity or of all. The adapter obeys
-- within about a second and after every restart, until bridge.resume. Returns what this call has paused: nothing that was paused
-- before. person: for whom the caller asks; recorded beside the session's user.
create or replace function bridge.pause(direction text default null, entity text default null, reason text default null,
                                        person text default null, itself boolean default false)
    returns setof bridge.pause
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if direction is not null and direction not in ('in', 'out') then
        raise exception 'a direction is ''in'' or ''out'', not ''%''', direction using errcode = '22023';
    end if;
    if entity is not null and not exists (select from bridge.entity e where e.name = entity and e.active) then
        raise exception 'there is no entity "%"', entity using errcode = '02000', hint = 'See bridge.entities.';
    end if;
    return query
        insert into bridge.pause as p (direction, entity, reason, itself, paused_by)
        select d, entity, reason, itself, session_user || coalesce(' for ' || person, '')
          from unnest(array['out', 'in']) d where d = coalesce(direction, d)
            on conflict do nothing
        returning p.*;
end
$$;
