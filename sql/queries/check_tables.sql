-- Findings about the mapped tables: that they exist, and can be mirrored.
with mapped as (select distinct entity, schema, "table", relation
                  from json_to_recordset($1::json) as m (entity text, schema text, "table" text, relation oid))
select 'error', 'entity ' || m.entity,
       case c.relkind when 'v' then format('%s is a view', n.name) when 'm' then format('%s is a materialized view', n.name)
                      when 'f' then format('%s is a foreign table', n.name) when 'S' then format('%s is a sequence', n.name)
                      else format('there is no table %s', n.name) end,
       case when c.oid is null then 'names are folded to lower case unless they stand in double quotes; without a schema, "public" is meant'
            else 'map the table behind it' end
  from mapped m
 cross join lateral (select format('%I.%I', m.schema, m."table") as name) n
  left join pg_class c on c.relname = m."table" and c.relkind in ('v', 'm', 'f', 'S', 'c')
        and c.relnamespace = (select oid from pg_namespace where nspname = m.schema)
 where m.relation is null
union all
select 'error', 'entity ' || min(m.entity), format('table %s is mapped by %s entities: %s', m.relation::regclass, count(*), string_agg(m.entity, ', ')),
       'map each table once'
  from mapped m where m.relation is not null group by m.relation having count(*) > 1
union all
select 'error', 'entity ' || m.entity, format('table %s is a partition of %s', m.relation::regclass, i.inhparent::regclass),
       'map the partitioned table'
  from mapped m join pg_class c on c.oid = m.relation and c.relispartition join pg_inherits i on i.inhrelid = c.oid
union all
select 'warning', 'entity ' || m.entity, format('table %s has child tables by inheritance: what is written there is not captured', m.relation::regclass),
       'map the child tables as entities of their own, or use partitions'
  from mapped m
 where exists (select from pg_inherits i join pg_class c on c.oid = i.inhrelid
                where i.inhparent = m.relation and not c.relispartition)
union all
select 'warning', 'entity ' || m.entity, format('table %s is unlogged: a crash empties it, and nobody tells the peers', m.relation::regclass),
       format('alter table %s set logged', m.relation::regclass)
  from mapped m join pg_class c on c.oid = m.relation and c.relpersistence = 'u'
