-- bridge.resolve_conflict(id, 'local' | 'remote' | row as jsonb): settles a conflict for good, or undoes what a rule had settled.
-- The row becomes the one chosen ('remote' as bridge.conflicts shows it; 'local' too, but of an open conflict the row as it is here
-- now; a jsonb object of fields, or null to delete it) and is written once more with a version that wins on every node. Returns what
-- the row is now.
-- Runs with the caller's rights: the adapter's role, its members, the tables' owners and superusers.
create or replace function bridge.resolve_conflict(id bigint, chosen jsonb) returns jsonb
    language plpgsql
    set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set intervalstyle = postgres set timezone = 'UTC'
    set extra_float_digits = 1 set bytea_output = hex set lc_monetary = 'C'
as $$
begin
    return bridge.write_resolution(id, chosen, 'custom');
end
$$;

create or replace function bridge.resolve_conflict(id bigint, side text) returns jsonb
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if side not in ('local', 'remote') then
        if side not like '{%' and side <> 'null' then
            raise exception 'a conflict is resolved by ''local'', ''remote'' or a row as jsonb' using errcode = '22023';
        end if;
        return bridge.write_resolution(id, side::jsonb, 'custom');
    end if;
    return bridge.write_resolution(id, null, side);
end
$$;

-- bridge.write_resolution(id, row, how): does it.
create or replace function bridge.write_resolution(id bigint, chosen jsonb, how text) returns jsonb
    language plpgsql
    set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set intervalstyle = postgres set timezone = 'UTC'
    set extra_float_digits = 1 set bytea_output = hex set lc_monetary = 'C'
as $$
declare
    c       bridge.conflict;
    e       bridge.entity;
    stamp   bridge.row_version;
    after   bridge.row_version;
    wrong   text;
    match   text;
    change  text;
    present boolean;
    here    text;
    row_now jsonb;
begin
    select * into c from bridge.conflict where conflict.id = write_resolution.id;
    if not found then
        raise exception 'there is no conflict %', id using errcode = '02000', hint = 'See bridge.conflicts.';
    end if;
    select * into strict e from bridge.entity where name = c.entity;
    if not e.active then
        raise exception 'entity "%" is not mapped any more', e.name using errcode = '55000';
    end if;
    -- The key cannot be changed: that would be another row.
    match := (select string_agg(case when e.key_count = 1 then format('t.%I = $1::%s', col, kind)
                                     else format('t.%I = ($1::text[])[%s]::%s', col, o, kind) end, ' and ' order by o)
                from bridge.columns_of(e) where o <= e.key_count);
    -- What apply and capture do with versions waits.
    if (select n.versions_since is not null from bridge.node n) then
        perform pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions'));
    end if;
    -- Data before metadata, as everybody locks. The row as it is, with all its fields.
    here := (select format('select to_jsonb(json_object($2, array[%s])) from %s t where %s', string_agg(format('t.%I::text', col), ', ' order by o), e.relation, match)
               from bridge.columns_of(e));
    execute here || ' for update' into row_now using c.key, e.fields;
    present := row_now is not null;
    select * into c from bridge.conflict where conflict.id = c.id for update;
    if how = 'local' then
        chosen := case when c.resolved_at is null then row_now else to_jsonb(json_object(c.fields, c.local_row)) end;
    elsif how = 'remote' then
        chosen := to_jsonb(json_object(c.fields, c.remote_row));
    elsif jsonb_typeof(chosen) = 'null' then
        chosen := null;
    end if;
    select string_agg(format('"%s"', k), ', ') into wrong from jsonb_object_keys(chosen) k where k <> all (e.fields);
    if wrong is not null then
        raise exception 'entity "%" has no field %', e.name, wrong using errcode = '42703';
    end if;
    select string_agg(format('"%s"', field), ', ') into wrong from bridge.columns_of(e)
     where o <= e.key_count and chosen ? field
       and (chosen ->> field) is distinct from case when e.key_count = 1 then c.key else (c.key::text[])[o] end;
    if wrong is not null then
        raise exception 'the key (%) cannot be changed', wrong using errcode = '22023', hint = 'Leave it out.';
    end if;
    select * into stamp from bridge.row_version v where v.entity = e.id and v.key = c.key for update;
    if not found then
        -- It never was here: what the other side wrote is all that is known.
        insert into bridge.row_version (entity, key, ts, node, deleted) values (e.id, c.key, c.remote_ts, c.remote_node, true)
        returning * into stamp;
    end if;
    -- Whoever resolves has seen both sides.
    update bridge.row_version v
       set ts = greatest_.ts, node = greatest_.node,
           -- Of a row that is merged, the one chosen comes after the other side's deletion, too.
           merge = case when e.policy = 'merge' and c.remote_row is null and c.remote_ts > coalesce((v.merge -> 'd' ->> 0)::bigint, 0)
                        then coalesce(v.merge, '{}') || jsonb_build_object('d', jsonb_build_array(c.remote_ts, c.remote_node)) else v.merge end,
           seen = bridge.join_seen(bridge.join_seen(v.seen, null, v.ts, v.node, ''), null, c.remote_ts, c.remote_node, greatest_.node)
      from (select ts, node from (values (stamp.ts, stamp.node), (c.remote_ts, c.remote_node)) as w (ts, node)
             order by ts desc, node collate "C" desc limit 1) greatest_
     where v.entity = e.id and v.key = c.key
    returning v.* into stamp;
    if chosen is null then
        execute format('delete from %s t where %s', e.relation, match) using c.key;
    elsif present then
        select format('update %s t set %s where %s', e.relation,
                      string_agg(format('%I = ($2 ->> %L)::%s', col, field, kind), ', '), match) into change
          from bridge.columns_of(e) where o > e.key_count and chosen ? field and not generated having count(*) > 0;
        execute coalesce(change, 'select') using c.key, chosen;
    else
        execute (select format('insert into %s (%s) overriding system value select %s', e.relation,
                               string_agg(quote_ident(col), ', ' order by o),
                               string_agg(case when o > e.key_count then format('($2 ->> %L)::%s', field, kind)
                                               when e.key_count = 1 then format('$1::%s', kind)
                                               else format('($1::text[])[%s]::%s', o, kind) end, ', ' order by o))
                   from bridge.columns_of(e) where o <= e.key_count or (chosen ? field and not generated)) using c.key, chosen;
    end if;
    -- The capture trigger has seen it, unless nothing changed or it is the adapter's role that asks.
    select * into after from bridge.row_version v where v.entity = e.id and v.key = c.key;
    if after.ts = stamp.ts and after.node = stamp.node then
        execute format('select bridge.%I($1)', 'assert_' || e.id) using c.key;
    end if;
    update bridge.conflict set resolved_at = now(), resolution = how, resolved_by = session_user where conflict.id = c.id;
    execute here into row_now using c.key, e.fields;
    return row_now;
end
$$;

-- bridge.columns_of(entity): its fields, columns and types, in order.
create or replace function bridge.columns_of(e bridge.entity)
    returns table (field text, col text, kind text, generated boolean, o bigint)
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select f.field, f.col, format_type(a.atttypid, a.atttypmod), a.attgenerated <> '', f.o
      from unnest(e.fields, e.columns) with ordinality as f (field, col, o)
      join pg_attribute a on a.attrelid = e.relation::regclass and a.attname = f.col and not a.attisdropped
$$;
