-- The foreign keys from and to every mapped table (of a partitioned one its own, not its partitions'), for the checks that
-- replace the triggers which session_replication_role = replica switches off. direction: child (the mapped table refers
-- to another) or parent (another refers to it). Lists of quoted columns, and SQL texts for the referenced values.
select e.id, d.direction, quote_ident(c.conname),
       format('%I.%I', cn.nspname, cr.relname) as child, format('%I.%I', pn.nspname, pr.relname) as parent,
       k.position, quote_ident(ca.attname) as child_column, quote_ident(pa.attname) as parent_column,
       format_type(pa.atttypid, -1) as parent_type,
       bridge.text_expression('p.' || quote_ident(pa.attname), pa.atttypid) as parent_text,
       cardinality(c.conkey) as width,
       has_table_privilege(pr.oid, 'update') as lockable, pa.attname = any (e.columns[1:e.key_count]) as is_key
  from bridge.entity e
  join pg_constraint c on c.contype = 'f' and c.conparentid = 0 and to_regclass(e.relation) in (c.conrelid, c.confrelid)
  join pg_class cr on cr.oid = c.conrelid join pg_namespace cn on cn.oid = cr.relnamespace
  join pg_class pr on pr.oid = c.confrelid join pg_namespace pn on pn.oid = pr.relnamespace
 cross join lateral (select 'child' as direction where c.conrelid = to_regclass(e.relation)
                     union all select 'parent' where c.confrelid = to_regclass(e.relation)) d
 cross join lateral unnest(c.conkey, c.confkey) with ordinality as k (child_number, parent_number, position)
  join pg_attribute ca on ca.attrelid = cr.oid and ca.attnum = k.child_number
  join pg_attribute pa on pa.attrelid = pr.oid and pa.attnum = k.parent_number
 where e.active
 order by e.id, d.direction, c.oid, k.position
