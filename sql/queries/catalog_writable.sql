-- Every column of every mapped table that an insert may name: also those that are not mapped.
select e.id, quote_ident(a.attname)
  from bridge.entity e
  join pg_attribute a on a.attrelid = to_regclass(e.relation) and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
 where e.active
 order by e.id, a.attnum
