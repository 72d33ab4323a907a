-- bridge.detach(entity): takes the capture triggers and generated functions of an entity away again, but for assert_: what the log still has to tell
-- of it may need this node's word.
create or replace function bridge.detach(entity_name text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    e       bridge.entity;
    routine record;
begin
    select * into strict e from bridge.entity where name = entity_name;
    -- The triggers go with their functions, from partitions too; the view is rebuilt by bridge.refresh_entity_state.
    for routine in select p.oid::regprocedure as signature from pg_proc p
                    where p.pronamespace = 'bridge'::regnamespace
                      and p.proname in ('capture_' || e.id, 'truncate_' || e.id, 'row_key_' || e.id, 'row_hash_' || e.id) loop
        execute format('drop function %s cascade', routine.signature);
    end loop;
end
$$;

-- bridge.map_entity(...): installs or changes the mapping of one entity and attaches its table.
-- relation is schema-qualified; fields are canonical names and columns this table's, the key_count key fields first.
create or replace function bridge.map_entity(entity_name text, relation text, key_count int, fields text[], columns text[],
                                             triggers text, truncate text, coalesced boolean, policy text,
                                             priority text[], counters text[], update_revives boolean,
                                             guarded boolean default true) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    entity_id   smallint;
    layout_id   int;
    table_oid   oid := relation::regclass;
    fingerprint text;
    adapter     name := (select adapter_role from bridge.node);
    related     record;
begin
    if exists (select from bridge.entity e where e.active and e.name <> entity_name and to_regclass(e.relation) = table_oid) then
        raise exception 'table % is mapped by two entities, "%" and "%"', relation,
            (select e.name from bridge.entity e where e.active and e.name <> entity_name and to_regclass(e.relation) = table_oid limit 1), entity_name
            using errcode = '42710', hint = 'Map each table once: one row cannot have two versions.';
    end if;
    if exists (select from pg_constraint where conrelid = table_oid and contype in ('p', 'u', 'x') and condeferrable) then
        raise exception 'table % has a deferrable unique or exclusion constraint', relation
            using errcode = '0A000',
                  hint = 'Make it not deferrable: what is applied would not be checked against it.';
    end if;
    for related in select u.f as field, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull or t.typnotnull as filled, t.typname
                     from unnest(fields, columns) as u (f, c)
                     join pg_attribute a on a.attrelid = table_oid and a.attname = u.c
                     join pg_type t on t.oid = a.atttypid
                    where u.f = any (counters) loop
        if related.typname not in ('int2', 'int4', 'int8') and related.type !~ '^numeric\(' then
            raise exception 'entity "%": field "%" cannot be a counter: its type is %', entity_name, related.field, related.type
                using errcode = '42804', hint = 'Counters are smallint, integer, bigint, or numeric with a declared scale: others do not add up exactly.';
        elsif not related.filled then
            raise exception 'entity "%": field "%" cannot be a counter: it may be null', entity_name, related.field
                using errcode = '42804', hint = 'Make the column NOT NULL.';
        end if;
    end loop;
    select substr(encode(sha256(convert_to(string_agg(f || ':' || format_type(a.atttypid, a.atttypmod), E'\n'
                                                      order by f collate "C"), 'UTF8')), 'hex'), 1, 16)
      into fingerprint
      from unnest(fields, columns) as u (f, c)
      left join pg_attribute a on a.attrelid = table_oid and a.attname = u.c and not a.attisdropped;
    insert into bridge.entity as e (name, relation, key_count, fields, columns, layout, triggers, truncate, coalesced,
                                    policy, priority, counters, update_revives, groups)
    values (entity_name, relation, map_entity.key_count, map_entity.fields, map_entity.columns, 0,
            map_entity.triggers, map_entity.truncate, map_entity.coalesced, map_entity.policy, map_entity.priority,
            map_entity.counters, map_entity.update_revives,
            case when map_entity.policy = 'merge'
                 then bridge.merge_groups(relation, map_entity.fields, map_entity.columns, map_entity.key_count, map_entity.counters) end)
    on conflict (name) do update
       set relation = excluded.relation, key_count = excluded.key_count, fields = excluded.fields,
           columns = excluded.columns, triggers = excluded.triggers, truncate = excluded.truncate,
           coalesced = excluded.coalesced,
           policy = excluded.policy, priority = excluded.priority, counters = excluded.counters,
           update_revives = excluded.update_revives, groups = excluded.groups, active = true
    returning id into entity_id;
    insert into bridge.layout as l (entity, key_count, fields, schema)
    values (entity_id, map_entity.key_count, map_entity.fields, fingerprint)
    on conflict (entity, key_count, fields, schema) do update set schema = excluded.schema
    returning id into layout_id;
    update bridge.entity set layout = layout_id where id = entity_id;
    execute format('grant select, insert, update, delete on %s to %I', relation, adapter);
    execute format('grant select on %s to pgbridge_owner', relation);
    execute format('grant usage on schema %s to %I, pgbridge_owner',
                   (select quote_ident(n.nspname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                     where c.oid = table_oid), adapter);
    -- Apply checks foreign keys itself: it must see what refers to this table and what this table refers to.
    for related in select distinct unnest(array[conrelid, confrelid])::regclass as name from pg_constraint
                    where contype = 'f' and conparentid = 0 and table_oid in (conrelid, confrelid) loop
        execute format('grant select on %s to %I', related.name, adapter);
        execute format('grant usage on schema %I to %I',
                       (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = related.name), adapter);
    end loop;
    -- Input is cast to the columns' types by name.
    for related in select distinct n.nspname as name from pg_attribute a join pg_type t on t.oid = a.atttypid
                     join pg_namespace n on n.oid = t.typnamespace
                    where a.attrelid = table_oid and a.attname = any (columns) and n.nspname <> 'pg_catalog' loop
        execute format('grant usage on schema %I to %I', related.name, adapter);
    end loop;
    perform bridge.detach(entity_name);
    perform bridge.attach(entity_name, guarded);
end
$$;

-- bridge.unmap_entity(entity): stops capturing an entity that the config no longer names. What is known of its rows
-- stays, so that it can be mapped again.
create or replace function bridge.unmap_entity(entity_name text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform bridge.detach(entity_name);
    update bridge.entity set active = false where name = entity_name;
end
$$;

-- bridge.refresh_entity_state(): rebuilds the view over all mapped tables.
create or replace function bridge.refresh_entity_state() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    e     bridge.entity;
    parts text[] := array[$part$
select null::text as entity, null::text as key, null::timestamptz as version_time, null::text as version_node,
       null::boolean as deleted, null::text as content_hash, null::text as correlation_id where false $part$];
    joined text;
    types  text[];
    wal    boolean := (select n.capture = 'wal' from bridge.node n); -- what an application has written has the version of its commit
begin
    for e in select * from bridge.entity where active order by id loop
        select array_agg(format_type(a.atttypid, a.atttypmod) order by o) into types
          from unnest(e.columns[1:e.key_count]) with ordinality as u (c, o)
          join pg_attribute a on a.attrelid = e.relation::regclass and a.attname = u.c and not a.attisdropped;
        select string_agg(case when e.key_count = 1 then format('t.%I = v.key::%s', c, types[o])
                               else format('t.%I = (v.key::text[])[%s]::%s', c, o, types[o]) end, ' and ')
          into joined from unnest(e.columns[1:e.key_count]) with ordinality as u (c, o);
        parts := parts || format($part$
select %1$L::text, v.key, to_timestamp(h.ts / 1000000.0), h.node, v.deleted and t.%2$I is null,
       case when t.%2$I is not null then bridge.%3$I(t) end, case when h.own then null else v.correlation end
  from bridge.row_version v left join %4$s t on %5$s %8$s
 where v.entity = %6$s
union all
select %1$L::text, bridge.%7$I(t), to_timestamp(h.ts / 1000000.0), h.node, false, bridge.%3$I(t), null::text
  from %4$s t %9$s
 where not exists (select from bridge.row_version v where v.entity = %6$s and v.key = bridge.%7$I(t)) $part$,
            e.name, e.columns[1], 'row_hash_' || e.id, e.relation, joined, e.id, 'row_key_' || e.id,
            case when wal then 'cross join lateral bridge.version_here(v, v.xmin, t.xmin) h'
                 else 'cross join lateral (select v.ts, v.node, false as own) h' end,
            case when wal then 'cross join lateral bridge.version_here(null, null, t.xmin) h'
                 else 'cross join lateral (select null::bigint as ts, null::text as node) h' end);
    end loop;
    drop view if exists bridge.entity_state;
    execute 'create view bridge.entity_state as ' || array_to_string(parts, E'\nunion all\n');
    execute $c$comment on view bridge.entity_state is
        'Every mapped row: its version, who wrote it, and the content hash it has now.'$c$;
    alter view bridge.entity_state owner to pgbridge_owner;
    grant select on bridge.entity_state to pgbridge_monitor;
    -- bridge.version_here runs as whoever looks.
    grant select (name, versions_since) on bridge.node to pgbridge_monitor;
end
$$;
