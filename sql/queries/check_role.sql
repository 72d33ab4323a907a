-- Findings about the adapter's role; $1 is the config's capture.
select 'error', 'role', format('%I may not set session_replication_role, which keeps triggers quiet while changes are applied', current_user),
       format('as a superuser: grant set on parameter session_replication_role to %I', current_user)
 where not has_parameter_privilege('session_replication_role', 'set')
union all
select 'warning', 'role', format('%I is a superuser; the bridge needs none', current_user),
       format('let "pgbridge install" make a role of its own, or: alter role %I nosuperuser', current_user)
  from pg_roles where rolname = current_user and rolsuper
union all
select 'note', 'role', format('%I has rights the bridge does not need: %s', current_user, right_.names),
       format('alter role %I %s', current_user, right_.takes)
  from pg_roles r
 cross join lateral (select string_agg(name, ', ') as names, string_agg('no' || name, ' ') as takes
                       from (values ('createrole', r.rolcreaterole), ('createdb', r.rolcreatedb),
                                    ('replication', r.rolreplication and $1::text <> 'wal')) as v (name, has) where has) right_
 where r.rolname = current_user and not r.rolsuper and right_.names is not null
union all
select 'warning', 'role', format('%I is a member of pgbridge_owner and may change what it should only use', current_user),
       format('revoke pgbridge_owner from %I', current_user)
  from pg_roles r
 where r.rolname = 'pgbridge_owner' and pg_has_role(r.oid, 'member')
   and not (select rolsuper from pg_roles where rolname = current_user)
