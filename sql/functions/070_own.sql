-- bridge.own(): gives everything in the schema to pgbridge_owner, whoever installed it.
create or replace function bridge.own() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    o record;
begin
    for o in select format('%s %s', case relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end, c.oid::regclass) as name
               from pg_class c
              where relnamespace = 'bridge'::regnamespace and relkind in ('r', 'v', 'S')
                and pg_get_userbyid(relowner) <> 'pgbridge_owner'
                and not exists (select from pg_depend d where d.objid = c.oid and d.deptype in ('i', 'a') and relkind = 'S')
             union all
             select format('function %s', oid::regprocedure) from pg_proc
              where pronamespace = 'bridge'::regnamespace and pg_get_userbyid(proowner) <> 'pgbridge_owner' loop
        execute format('alter %s owner to pgbridge_owner', o.name);
    end loop;
    if (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'bridge') <> 'pgbridge_owner' then
        alter schema bridge owner to pgbridge_owner;
    end if;
end
$$;
