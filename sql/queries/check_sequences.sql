-- Keys that come from a sequence: two nodes that count alike give the same key to different rows.
with key_column as (
    select m.entity, m.relation, m.attnum, m."column", m.nodes
      from json_to_recordset($1::json) as m (entity text, relation oid, attnum int2, "column" text, is_key bool, nodes int)
     where m.is_key and m.attnum is not null and m.nodes > 1),
source as (
    select k.*, d.objid as sequence
      from key_column k
      join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = k.relation and d.refobjsubid = k.attnum
                      and d.classid = 'pg_class'::regclass and d.deptype = 'i'
    union
    select k.*, d.refobjid
      from key_column k
      join pg_attrdef v on v.adrelid = k.relation and v.adnum = k.attnum
      join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = v.oid and d.refclassid = 'pg_class'::regclass)
select 'warning', 'entity ' || s.entity, format('key column %I takes its values from sequence %s: if a peer counts as well, both give the same key to different rows', s."column", s.sequence::regclass),
       format('on every node: alter sequence %s increment by %s restart with <a start that no other node counts through>', s.sequence::regclass, s.nodes)
  from source s
  join pg_sequence q on q.seqrelid = s.sequence
 where abs(q.seqincrement) < s.nodes
