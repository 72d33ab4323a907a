-- Findings about keys: each must be what a unique index says it is, and never null.
with key_column as (
    select m.entity, m.relation, m.attnum, m.position, a.attname, a.attnotnull or t.typnotnull as never_null,
           coalesce(b.typname, t.typname) as type_name, a.atttypmod, a.attcollation
      from json_to_recordset($1::json) as m (entity text, relation oid, attnum int2, position int, is_key bool)
      join pg_attribute a on a.attrelid = m.relation and a.attnum = m.attnum
      join pg_type t on t.oid = a.atttypid
      left join pg_type b on b.oid = t.typbasetype
     where m.is_key),
key as (
    select entity, relation, array_agg(attnum order by attnum) as attnums,
           string_agg(quote_ident(attname), ', ' order by position) as names
      from key_column group by entity, relation),
candidate as ( -- unique indexes over exactly the key, and what is wrong with them
    select k.entity, i.indexrelid, i.indisprimary,
           nullif(concat_ws(', ', case when i.indpred is not null then 'partial' end,
                            case when not i.indimmediate then 'deferrable' end,
                            case when not (i.indisvalid and i.indisready and i.indislive) then 'invalid' end), '') as flaw
      from key k
      join pg_index i on i.indrelid = k.relation and i.indisunique and i.indexprs is null
     where (select array_agg(n order by n) from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) n) = k.attnums)
select 'error', 'entity ' || k.entity,
       format('no unique index covers exactly the key (%s)', k.names)
       || coalesce((select '; ' || string_agg(format('%s is %s', c.indexrelid::regclass, c.flaw), '; ') from candidate c
                     where c.entity = k.entity), ''),
       format('alter table %s add unique (%s); or correct "key" in the config', k.relation::regclass, k.names)
  from key k
 where not exists (select from candidate c where c.entity = k.entity and c.flaw is null)
union all
select 'error', 'entity ' || entity, format('key column %I may be null', attname),
       format('alter table %s alter column %I set not null', relation::regclass, attname)
  from key_column where not never_null
union all
select 'warning', 'entity ' || entity, format('key column %I is of type %s, where equal values can be written differently: they would count as different rows', attname, type_name),
       'use an integer, uuid, text or numeric with a scale as key'
  from key_column
 where (type_name = 'numeric' and atttypmod = -1) or type_name in ('float4', 'float8', 'interval', 'citext')
    or exists (select from pg_collation c where c.oid = attcollation and not c.collisdeterministic)
