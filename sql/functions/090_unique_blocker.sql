-- bridge.unique_blocker(entity, fields, values): a row that has one of the unique values which this one wants, under another key;
-- with its version. Nothing when the values are unique by an expression or by columns that are not mapped.
create or replace function bridge.unique_blocker(entity_id smallint, wanted_fields text[], wanted text[],
                                                 out key text, out fields text[], out ts bigint, out node text,
                                                 out correlation text)
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set intervalstyle = postgres set timezone = 'UTC'
    set extra_float_digits = 1 set bytea_output = hex set lc_monetary = 'C'
as $$
#variable_conflict use_column
declare
    e     bridge.entity;
    texts text[];
    match text;
    xmin_here xid;
begin
    select * into strict e from bridge.entity where id = entity_id;
    texts := (select array_agg(bridge.text_expression(format('t.%I', col), (select a.atttypid from pg_attribute a
                               where a.attrelid = e.relation::regclass and a.attname = col)) order by o) from bridge.columns_of(e));
    for match in
        select string_agg(format('t.%I = ($1)[%s]::%s', c.col, array_position(wanted_fields, c.field), c.kind), ' and ')
          from pg_index i
         cross join lateral unnest(i.indkey::int2[]) with ordinality as k (attnum, position)
          left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
          left join bridge.columns_of(e) c on c.col = a.attname and c.field = any (wanted_fields)
         where i.indrelid = e.relation::regclass and i.indisunique and k.position <= i.indnkeyatts
         group by i.indexrelid
        having bool_and(c.col is not null) and not bool_and(c.o <= e.key_count) loop
        execute format('select %s, array[%s]::text[], t.xmin from %s t where %s limit 1',
                       bridge.key_expression(texts[1:e.key_count]), array_to_string(texts, ', '), e.relation, match)
           into key, fields, xmin_here using wanted;
        if key is not null then
            select h.ts, h.node, v.correlation into ts, node, correlation
              from (values (1)) as one (row)
              left join bridge.row_version v on v.entity = entity_id and v.key = unique_blocker.key
             cross join lateral bridge.version_here(v, v.xmin, xmin_here) h;
            return;
        end if;
    end loop;
end
$$;
