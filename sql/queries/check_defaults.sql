-- Columns that are not mapped and must have a value: inserts of peers cannot give them one.
with mapped as (select entity, relation, attnum, nodes
                  from json_to_recordset($1::json) as m (entity text, relation oid, attnum int2, nodes int)
                 where relation is not null and nodes > 1)
select 'error', 'entity ' || m.entity, format('column %I is NOT NULL, has no default and is not mapped: inserts of peers fail', a.attname),
       format('map it, or: alter table %s alter column %I set default ...', m.relation::regclass, a.attname)
  from (select distinct entity, relation from mapped) m
  join pg_attribute a on a.attrelid = m.relation and a.attnum > 0 and not a.attisdropped
  join pg_type t on t.oid = a.atttypid
 where (a.attnotnull or t.typnotnull) and not a.atthasdef and a.attidentity = '' and t.typdefault is null
   and not exists (select from mapped o where o.relation = m.relation and o.attnum = a.attnum)
