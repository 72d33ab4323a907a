-- Findings about policies: counters that do not add up, and a merge that would tear apart what another table ties together.
with mapped as (
    select m.entity, m.relation, m.attnum, m."column", m.field, m.policy, m.counter
      from json_to_recordset($1::json) as m (entity text, relation oid, attnum int2, "column" text, field text, policy text, counter bool)
     where m.relation is not null and m.attnum is not null)
select 'error', 'entity ' || m.entity, format('counter %s: column %I is %s, which does not add up exactly', m.field, m."column", format_type(a.atttypid, a.atttypmod)),
       'counters are smallint, integer, bigint, or numeric with a declared scale'
  from mapped m join pg_attribute a on a.attrelid = m.relation and a.attnum = m.attnum
 where m.counter and a.atttypid not in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
   and format_type(a.atttypid, a.atttypmod) !~ '^numeric\('
union all
select 'error', 'entity ' || m.entity, format('counter %s: column %I may be null', m.field, m."column"),
       format('alter table %s alter column %I set not null', m.relation::regclass, m."column")
  from mapped m join pg_attribute a on a.attrelid = m.relation and a.attnum = m.attnum
  join pg_type t on t.oid = a.atttypid
 where m.counter and not a.attnotnull and not t.typnotnull
union all
select 'warning', 'entity ' || m.entity, format('counter %s has a CHECK constraint (%s): two nodes that each keep to it may break it together', m.field, quote_ident(c.conname)),
       'a change that would break it here waits as a dead letter; leave room, or do not use a counter'
  from mapped m join pg_constraint c on c.conrelid = m.relation and c.contype = 'c' and m.attnum = any (c.conkey)
 where m.counter
union all
select distinct 'note', 'entity ' || m.entity, format('constraint %s ties columns together that are not all mapped: they are not settled together', quote_ident(c.conname)),
       'map all of its columns, or none'
  from mapped m join pg_constraint c on c.conrelid = m.relation and c.contype in ('c', 'u', 'x', 'f') and cardinality(c.conkey) > 1
 where m.policy = 'merge'
   and exists (select from mapped o where o.relation = m.relation and o.attnum = any (c.conkey))
   and exists (select from unnest(c.conkey) k where k not in (select o.attnum from mapped o where o.relation = m.relation))
