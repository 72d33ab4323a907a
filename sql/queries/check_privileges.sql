-- What the adapter's role lacks on the mapped tables and their schemas; and the owner of the capture functions, which reads
-- the rows that a TRUNCATE removes.
with mapped as (select distinct entity, relation from json_to_recordset($1::json) as m (entity text, relation oid)
                 where relation is not null),
wanted (role, role_oid, privileges) as (
    select r.rolname, r.oid, array['select', 'insert', 'update', 'delete'] from pg_roles r where r.rolname = current_user
    union all
    select r.rolname, r.oid, array['select'] from pg_roles r where r.rolname = 'pgbridge_owner')
select 'error', 'entity ' || m.entity, format('%I may not %s %s', w.role, lacking.privileges, m.relation::regclass),
       format('grant %s on %s to %I', lacking.privileges, m.relation::regclass, w.role)
  from mapped m cross join wanted w
 cross join lateral (select string_agg(p, ', ' order by o) as privileges from unnest(w.privileges) with ordinality as u (p, o)
                      where not has_table_privilege(w.role_oid, m.relation, p)) lacking
 where lacking.privileges is not null
union all
select 'error', 'entity ' || m.entity, format('%I may not use schema %I', w.role, n.nspname),
       format('grant usage on schema %I to %I', n.nspname, w.role)
  from mapped m cross join wanted w
  join pg_class c on c.oid = m.relation
  join pg_namespace n on n.oid = c.relnamespace
 where not has_schema_privilege(w.role_oid, n.oid, 'usage')
