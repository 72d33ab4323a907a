-- What of the log is mirrored: every field of every active entity, with its table's number and name. Then those that were taken out, the newest first, as
-- far as they can still be read: of their tables the log tells only what was written before.
with mapped as (
    select e.id, e.active, e.name, c.oid::bigint as number, n.nspname, c.relname, e.layout, cardinality(e.columns) as width, f.field, f.col, f.position,
           a.attname is not null as present, a.attgenerated <> '' as generated,
           bool_and(a.attname is not null and has_schema_privilege(n.oid, 'usage') and has_schema_privilege('pgbridge_owner', n.oid, 'usage')
                    and has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete')
                    and has_table_privilege('pgbridge_owner', c.oid, 'select')) over (partition by e.id) as whole
      from bridge.entity e
     cross join lateral unnest(e.fields, e.columns) with ordinality as f (field, col, position)
     cross join lateral parse_ident(e.relation) as named
      left join (pg_class c join pg_namespace n on n.oid = c.relnamespace) on n.nspname = named[1] and c.relname = named[2]
      left join pg_attribute a on a.attrelid = c.oid and a.attname = f.col and a.attnum > 0 and not a.attisdropped)
select m.id, m.name, m.number, m.nspname, m.relname, m.layout, m.width, m.col, m.present, m.generated, m.active
  from mapped m
 where m.active or m.whole
 order by not m.active, case when m.active then m.id else - m.id end, m.position
