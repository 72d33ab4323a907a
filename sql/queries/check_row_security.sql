-- Row level security that hides rows from the adapter, or from the owner of the capture functions.
with mapped as (select distinct entity, relation from json_to_recordset($1::json) as m (entity text, relation oid)
                 where relation is not null),
reader as (select oid, rolname, rolname = current_user as adapter from pg_roles
            where rolname in (current_user, 'pgbridge_owner') and not rolsuper and not rolbypassrls)
select case when r.adapter then 'error' else 'warning' end, 'entity ' || m.entity,
       case when r.adapter then format('row level security hides rows of %s from %I', m.relation::regclass, r.rolname)
            else format('row level security hides rows of %s from %I: a TRUNCATE of them is not captured, and with capture from the WAL fails; of a row that a trigger writes again in the same statement an earlier state may be the last that is sent', m.relation::regclass, r.rolname) end,
       format('alter role %I bypassrls; or: create policy bridge on %s to %I using (true)', r.rolname, m.relation::regclass, r.rolname)
  from mapped m
  join pg_class c on c.oid = m.relation and c.relrowsecurity
 cross join reader r
 where not (c.relowner = r.oid and not c.relforcerowsecurity)
   and (not exists (select from pg_policy p
                     where p.polrelid = c.oid and p.polpermissive and p.polcmd = '*'
                       and exists (select from unnest(p.polroles) u (role) where u.role = 0 or pg_has_role(r.oid, u.role, 'usage'))
                       and pg_get_expr(p.polqual, c.oid) = 'true'
                       and coalesce(pg_get_expr(p.polwithcheck, c.oid), 'true') = 'true')
        or exists (select from pg_policy p
                    where p.polrelid = c.oid and not p.polpermissive
                      and exists (select from unnest(p.polroles) u (role) where u.role = 0 or pg_has_role(r.oid, u.role, 'usage'))))
