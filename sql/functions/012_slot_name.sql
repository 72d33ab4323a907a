-- bridge.slot_name(node): what this node's replication slot and publication are called. A slot's name has less signs to choose from than
-- a node's, and two nodes must not share one.
create or replace function bridge.slot_name(node text) returns name
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select case when node ~ '^[a-z0-9_]{1,54}$' then 'pgbridge_' || node
                else 'pgbridge_' || left(translate(lower(node), '-', '_'), 45) || '_' || left(md5(node), 8) end::name
$$;
