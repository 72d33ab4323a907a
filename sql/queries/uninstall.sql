-- Takes the bridge out of a database: triggers go with their functions, the slot, its publication and the replication origins go first. Roles stay where something else needs them.
do $$
declare
    slot   record;
    origin name;
begin
    if to_regprocedure('bridge.slot_name(text)') is null then
        return;
    end if;
    for slot in execute 'select bridge.slot_name(n.name) as name, s.active, s.slot_name is not null as present
                           from bridge.node n left join pg_replication_slots s on s.slot_name = bridge.slot_name(n.name)
                                                              and s.database = current_database()
                          where s.slot_name is not null or exists (select from pg_publication p where p.pubname = bridge.slot_name(n.name))' loop
        if slot.active then
            raise exception 'the adapter of this node is running' using errcode = '55006', hint = 'Stop it first.';
        end if;
        if slot.present then
            perform pg_drop_replication_slot(slot.name);
        end if;
        begin
            execute format('drop publication if exists %I', slot.name);
            for origin in select o.roname from pg_replication_origin o
                           where o.roname = any (select slot.name || '_' || number from unnest(array['in1', 'in2', 'in3', 'in4', 'out']) number) loop
                perform pg_replication_origin_drop(origin);
            end loop;
        exception when insufficient_privilege then
            raise notice 'publication % and the replication origins of that name are left: only a superuser can drop them', slot.name;
        end;
    end loop;
end
$$;
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
