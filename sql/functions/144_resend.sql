-- bridge.begin_resend(entity, details, person): keeps note of what somebody asks of pgbridge resend.
create or replace function bridge.begin_resend(entity text, details jsonb, person text) returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if not exists (select from bridge.entity e where e.name = entity and e.active) then
        raise exception 'there is no entity "%"', entity using errcode = '02000', hint = 'See bridge.entities.';
    end if;
    insert into bridge.audit (who, action, details) values (session_user || coalesce(' for ' || person, ''), 'resend', details);
end
$$;

-- bridge.resend(entity, keys): says these rows as they are here now: as this node's word, with a version after all that it knows of. Returns the keys
-- of those that others hold, which are left. Rows that are not here are not told of: nothing could be locked to keep them away. Until the transaction ends
-- the rows are locked, and nothing is applied; who may not wait sets lock_timeout.
create or replace function bridge.resend(entity text, keys text[]) returns setof text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    e       bridge.entity;
    locked  text[];
    row_key text;
begin
    select * into strict e from bridge.entity b where b.name = entity and b.active;
    perform bridge.lock_to_note();
    execute format('select array_agg(k.key) from unnest($1) k (key) cross join lateral (select from %s t where %s for update skip locked) l',
                   e.relation, replace(bridge.key_match(e), '$1', 'k.key')) into locked using keys;
    foreach row_key in array coalesce(locked, '{}') loop
        execute format('select bridge.%I($1)', 'assert_' || e.id) using row_key;
    end loop;
    return query execute format('select k.key from unnest($1) k (key) where k.key <> all ($2) and exists (select from %s t where %s)',
                                e.relation, replace(bridge.key_match(e), '$1', 'k.key')) using keys, coalesce(locked, '{}');
end
$$;
