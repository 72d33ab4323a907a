-- Takes the bridge out of a database: triggers go with their functions. Roles stay where something else needs them.
drop schema if exists bridge cascade;
do $$
declare
    wanted name;
begin
    foreach wanted in array array[coalesce(nullif(current_setting('bridge.role', true), ''), 'pgbridge'), 'pgbridge_operator', 'pgbridge_monitor', 'pgbridge_owner']::name[] loop
        begin
            if exists (select from pg_roles r where rolname = wanted
                          and not exists (select from pg_shdepend d where d.refobjid = r.oid and d.deptype = 'o')) then
                execute format('drop owned by %I', wanted);
                execute format('drop role %I', wanted);
            end if;
        exception when dependent_objects_still_exist or insufficient_privilege or object_in_use then
            raise notice 'role % is kept: something else depends on it', wanted;
        end;
    end loop;
end
$$;
