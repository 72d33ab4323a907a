-- bridge.merge_groups(relation, fields, columns, key_count, counters): the group of each field: those that a CHECK, UNIQUE,
-- EXCLUDE, foreign key or generated column ties together share one, named after all of them; null for keys and counters.
create or replace function bridge.merge_groups(relation text, fields text[], columns text[], key_count int, counters text[])
    returns text[]
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    with recursive field as (
        select u.f as name, a.attnum, u.o
          from unnest(fields, columns) with ordinality as u (f, c, o)
          join pg_attribute a on a.attrelid = relation::regclass and a.attname = u.c and not a.attisdropped),
    tie as (
        select c.conkey as columns from pg_constraint c
         where c.conrelid = relation::regclass and c.contype in ('c', 'u', 'x', 'f') and cardinality(c.conkey) > 1
        union all
        select i.indkey::int2[] from pg_index i where i.indrelid = relation::regclass and i.indisunique and i.indnkeyatts > 1
        union all
        select array_agg(d.refobjsubid::int2) || v.adnum
          from pg_attrdef v
          join pg_attribute a on a.attrelid = v.adrelid and a.attnum = v.adnum and a.attgenerated <> ''
          join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = v.oid and d.refclassid = 'pg_class'::regclass
                          and d.refobjid = v.adrelid and d.refobjsubid > 0 and d.refobjsubid <> v.adnum
         where v.adrelid = relation::regclass
         group by v.adnum),
    free as (select * from field where o > key_count and name <> all (counters)),
    reached as (
        select name, name as other from free
        union
        select r.name, b.name
          from reached r
          join free a on a.name = r.other
          join tie t on a.attnum = any (t.columns)
          join free b on b.attnum = any (t.columns)),
    named as (
        select name, string_agg(other, '+' order by other collate "C") as label from reached group by name)
    select array_agg(case when length(n.label) <= 63 then n.label else md5(n.label) end order by f.o)
      from field f left join named n on n.name = f.name
$$;

-- bridge.merge_expression(entity, node, operation): SQL for the merge state after a write, as bridge/message/merge.c computes it;
-- {V} stands for the state before (null: none) and {TS} for the new version's time.
create or replace function bridge.merge_expression(e bridge.entity, node text, operation text) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    with stamp as (select format('jsonb_build_array({TS}, %L)', node) as s),
    counter as (
        select string_agg(format('%1$L, jsonb_build_object(%2$L, jsonb_build_array({TS}, (new.%3$I)::numeric::text))',
                                 u.f, node, u.c), ', ') as inserted,
               string_agg(format('%1$L, case when new.%3$I <> old.%3$I then
                   coalesce({V} #> array[''c'', %1$L], jsonb_build_object('''', jsonb_build_array(0, old.%3$I::numeric::text)))
                   || jsonb_build_object(%2$L, jsonb_build_array({TS},
                        (coalesce(({V} #>> array[''c'', %1$L, %2$L, ''1''])::numeric, 0) + new.%3$I::numeric - old.%3$I::numeric)::text)) end',
                                 u.f, node, u.c), ', ') as updated
          from unnest(e.fields, e.columns) as u (f, c) where u.f = any (e.counters)),
    changed as (
        select string_agg(format('%L, case when record_image_ne(row(%s), row(%s)) then %s end', g.name, g.olds, g.news, s), ', ') as updated
          from stamp, (select u.g as name, string_agg(format('old.%I', u.c), ', ') as olds, string_agg(format('new.%I', u.c), ', ') as news
                         from unnest(e.groups, e.columns) as u (g, c) where u.g is not null group by u.g) g)
    select case operation
        when 'delete' then format('jsonb_build_object(''d'', %s)', s)
        when 'insert' then format('jsonb_strip_nulls(jsonb_build_object(''d'', coalesce({V} -> ''s'', {V} -> ''d''), ''v'', %s%s))', s,
                                  coalesce(format(', ''c'', jsonb_build_object(%s)', counter.inserted), ''))
        when 'update' then format('nullif(jsonb_strip_nulls(coalesce({V}, ''{}'') || jsonb_build_object('
                                  '''g'', nullif(coalesce({V} -> ''g'', ''{}'') || %s, ''{}'')%s)), ''{}'')',
                                  coalesce(format('jsonb_strip_nulls(jsonb_build_object(%s))', changed.updated), '''{}''::jsonb'),
                                  coalesce(format(', ''c'', nullif(coalesce({V} -> ''c'', ''{}'') || jsonb_strip_nulls(jsonb_build_object(%s)), ''{}'')',
                                                  counter.updated), ''))
        -- Of an update whose counters are counted otherwise.
        when 'groups' then format('nullif(jsonb_strip_nulls(coalesce({V}, ''{}'') || jsonb_build_object('
                                  '''g'', nullif(coalesce({V} -> ''g'', ''{}'') || %s, ''{}''))), ''{}'')',
                                  coalesce(format('jsonb_strip_nulls(jsonb_build_object(%s))', changed.updated), '''{}''::jsonb'))
        when 'assert' then format('jsonb_strip_nulls((coalesce({V}, ''{}'') - ''g'') || jsonb_build_object(''v'', %s))', s)
        end
      from stamp, counter, changed
$$;

-- bridge.count_to(merge, node, ts, fields, counters, row): the merge state in which the counters that anybody counts add up to what the row has:
-- what is missing, or too much, is of this node's counting.
create or replace function bridge.count_to(merge jsonb, node text, ts bigint, fields text[], counters text[], row_fields text[]) returns jsonb
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
declare
    counter text;
    shares  jsonb;
    missing numeric;
begin
    foreach counter in array counters loop
        shares := merge #> array['c', counter];
        missing := row_fields[array_position(fields, counter)]::numeric - (select sum((s.value ->> 1)::numeric) from jsonb_each(shares) s);
        if missing <> 0 then
            merge := jsonb_set(merge, array['c', counter], shares ||
                jsonb_build_object(node, jsonb_build_array(ts, (coalesce((shares #>> array[node, '1'])::numeric, 0) + missing)::text)));
        end if;
    end loop;
    return merge;
end
$$;
