-- bridge.begin_resend(entity, details, person): keeps note of what somebody asks of pgbridge resend; null: he only asks.
create or replace function bridge.begin_resend(entity text, details jsonb, person text) returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if not exists (select from bridge.entity e where e.name = entity and e.active) then
        raise exception 'there is no entity "%"', entity using errcode = '02000', hint = 'See bridge.entities.';
    end if;
    insert into bridge.audit (who, action, details)
    select session_user || coalesce(' for ' || person, ''), 'resend', details where details is not null;
end
$$;

-- bridge.resend(entity, keys): says these rows as they are here now: as this node's word, with a version after all that it knows of. Returns the keys
-- of those that were said, and (held) of those that were left because others hold them, or because their time is one before which the clock has gone back: the
-- log may have yet to tell of them. Rows that are not here are not told of: nothing could be locked to keep them away. Until the transaction ends the rows are
-- locked, and nothing is applied; who may not wait sets lock_timeout.
create or replace function bridge.resend(entity text, keys text[]) returns table (key text, held boolean)
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    e       bridge.entity;
    row_is  text; -- row t is of key k, and not by another text of an equal value
    settled text := '';
    locked  text[];
    row_key text;
begin
    perform bridge.lock_to_note();
    select * into strict e from bridge.entity b where b.name = entity and b.active;
    row_is := format('%s and bridge.%I(t) = k.key', replace(bridge.key_match(e), '$1', 'k.key'), 'row_key_' || e.id);
    if (select n.versions_since is not null from bridge.node n) then
        settled := 'and coalesce(pg_xact_commit_timestamp(t.xmin) < clock_timestamp(), true)';
    end if;
    execute format('select coalesce(array_agg(k.key), ''{}'') from unnest($1) k (key)
                     cross join lateral (select from %s t where %s %s for no key update skip locked) l', e.relation, row_is, settled)
       into locked using keys;
    foreach row_key in array locked loop
        execute format('select bridge.%I($1)', 'assert_' || e.id) using row_key;
    end loop;
    -- Said is what the owner of the bridge sees, and that was all deleted if it sees nothing; listed was what both see.
    if row_security_active(e.relation)
       or exists (select from bridge.row_version v where v.entity = e.id and v.key = any (locked) and v.deleted) then
        raise exception 'entity "%": row security hides rows of table % from the adapter''s role, or from pgbridge_owner', entity, e.relation
            using errcode = '55000', hint = 'alter role ... bypassrls for both; pgbridge check names such tables.';
    end if;
    return query execute format('select k.key, k.key <> all ($2) from unnest($1) k (key)
                                  where k.key = any ($2) or exists (select from %s t where %s)', e.relation, row_is) using keys, locked;
end
$$;
