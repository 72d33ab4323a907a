-- What of the log is mirrored: every field of every active entity, with its table's name as the log writes it. Then those that were taken out, as far as they
-- can still be read: of their tables the log tells only what was written before.
with mapped as (
    select e.id, e.active, e.name, c.oid::bigint as number, n.nspname, c.relname, e.layout, cardinality(e.columns) as width, f.field, f.col, f.position,
           a.attname is not null as present, a.attgenerated <> '' as generated, bool_and(a.attname is not null) over (partition by e.id) as whole
      from bridge.entity e
     cross join lateral unnest(e.fields, e.columns) with ordinality as f (field, col, position)
      left join pg_class c on c.oid = to_regclass(e.relation)
      left join pg_namespace n on n.oid = c.relnamespace
      left join pg_attribute a on a.attrelid = c.oid and a.attname = f.col and a.attnum > 0 and not a.attisdropped)
select m.id, m.name, m.number, m.nspname, m.relname, m.layout, m.width, m.col, m.present, m.generated
  from mapped m
 where m.active or m.whole
 order by not m.active, m.id, m.position
