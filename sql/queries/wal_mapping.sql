-- What of the log is mirrored: every field of every active entity, with its table's name as the log writes it.
select e.id, e.name, n.nspname, c.relname, e.layout, cardinality(e.columns), f.field, f.col, a.attname is not null as present, a.attgenerated <> '' as generated
  from bridge.entity e
 cross join lateral unnest(e.fields, e.columns) with ordinality as f (field, col, position)
  left join pg_class c on c.oid = to_regclass(e.relation)
  left join pg_namespace n on n.oid = c.relnamespace
  left join pg_attribute a on a.attrelid = c.oid and a.attname = f.col and a.attnum > 0 and not a.attisdropped
 where e.active
 order by e.id, f.position
