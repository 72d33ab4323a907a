-- Whether schema bridge is there and can be looked into: without it, the checks of what is installed make no sense.
select 'error', 'schema bridge', case when n.oid is null then 'the bridge is not installed in this database'
                                      when not has_schema_privilege(n.oid, 'usage') then format('%I may not use it', current_user)
                                      when c.oid is null then 'it has no table "version": something else made it'
                                      else format('%I may not read its tables', current_user) end,
       case when n.oid is not null and c.oid is null then 'drop or rename it, then run "pgbridge install"'
            when n.oid is not null then 'run "pgbridge install" with the role of this config; or, as an admin: select bridge.grant_adapter()'
            else 'run "pgbridge install"' end
  from (values (1)) as one (row)
  left join pg_namespace n on n.nspname = 'bridge'
  left join pg_class c on c.relnamespace = n.oid and c.relname = 'version'
 where n.oid is null or c.oid is null or not has_schema_privilege(n.oid, 'usage') or not has_table_privilege(c.oid, 'select')
