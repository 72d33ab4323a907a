-- Roles: the owner of the schema, which nobody can log in as; the monitor, which may read the views; the operator, who may also
-- see and mend what waits for a human; and the adapter's.
-- Run with bridge.role set to the adapter's role name.
do $$
declare
    adapter name := current_setting('bridge.role');
    wanted  name;
begin
    foreach wanted in array array['pgbridge_owner', 'pgbridge_monitor', 'pgbridge_operator']::name[] loop
        if not exists (select from pg_roles where rolname = wanted) then
            execute format('create role %I nologin', wanted);
        end if;
    end loop;
    if not pg_has_role('pgbridge_operator', 'pgbridge_monitor', 'member') then
        grant pgbridge_monitor to pgbridge_operator;
    end if;
    if not exists (select from pg_roles where rolname = adapter) then
        -- The password, if the config has one, is handed over in a setting, so that no log shows it.
        execute format('create role %I login%s', adapter,
                       coalesce(' password ' || quote_literal(nullif(current_setting('bridge.password', true), '')), ''));
    end if;
    -- An admin who is no superuser must be a member of the owner to give objects to it.
    if not pg_has_role(current_user, 'pgbridge_owner', 'member') then
        execute format('grant pgbridge_owner to %I', current_user);
    end if;
end
$$;
