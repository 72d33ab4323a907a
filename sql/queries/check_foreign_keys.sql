-- Foreign keys between a mapped table and one that no entity maps. The server does not enforce foreign keys on what the
-- adapter applies, nor run their actions; the adapter checks them, for which it must be able to read the other table.
with mapped as (select distinct entity, relation, nodes
                  from json_to_recordset($1::json) as m (entity text, relation oid, nodes int) where relation is not null),
part as (select entity, relation, nodes from mapped
         union
         select m.entity, p.relid, m.nodes from mapped m cross join lateral pg_partition_tree(m.relation) p),
outward as (
    select p.entity, c.conname, c.conrelid, c.confrelid, c.confrelid as other
      from part p join pg_constraint c on c.contype = 'f' and c.conparentid = 0 and c.conrelid = p.relation
     where p.nodes > 1 and not exists (select from part o where o.relation = c.confrelid)),
inward as (
    select p.entity, c.conname, c.conrelid, c.confrelid, c.conrelid as other,
           concat_ws(' and ', case c.confdeltype when 'c' then 'ON DELETE CASCADE' when 'n' then 'ON DELETE SET NULL'
                                                 when 'd' then 'ON DELETE SET DEFAULT' end,
                     case c.confupdtype when 'c' then 'ON UPDATE CASCADE' when 'n' then 'ON UPDATE SET NULL'
                                        when 'd' then 'ON UPDATE SET DEFAULT' end) as actions
      from part p join pg_constraint c on c.contype = 'f' and c.conparentid = 0 and c.confrelid = p.relation
     where p.nodes > 1 and not exists (select from part o where o.relation = c.conrelid))
select 'warning', 'entity ' || entity, format('foreign key %I refers to %s, which no entity maps: rows of peers wait until their parent row is there', conname, other::regclass),
       format('map %s as an entity, or see to it that this node gets the same rows otherwise', other::regclass)
  from outward
union all
select 'warning', 'entity ' || entity,
       format('foreign key %I of %s, which no entity maps, refers to %s: deletions of peers fail while such rows exist', conname, other::regclass, confrelid::regclass)
       || case when actions <> '' then ', and ' || actions || ' does not run for them' else '' end,
       format('map %s as an entity, or drop the foreign key', other::regclass)
  from inward
union all
select distinct 'error', 'entity ' || entity, format('%I may not read %s, which foreign key %I must be checked with', current_user, other::regclass, conname),
       format('grant select on %s to %I', other::regclass, current_user)
         || case when not has_schema_privilege(c.relnamespace, 'usage')
                 then format('; grant usage on schema %I to %I', n.nspname, current_user) else '' end
  from (select entity, other, conname from outward union all select entity, other, conname from inward) f
  join pg_class c on c.oid = f.other
  join pg_namespace n on n.oid = c.relnamespace
 where not has_table_privilege(other, 'select') or not has_schema_privilege(c.relnamespace, 'usage')
