-- bridge.origin_name(node, number): what the replication origins are called under which a node's adapter writes what is not its
-- applications'. Capture passes over all whose names begin so. One session at a time may use one: in1 and in2 are for inbound (a second
-- adapter may stand by, and a lost session lingers), in3 and in4 for its transactions that stand behind others, out is for capture.
create or replace function bridge.origin_name(node text, number text) returns text
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select bridge.slot_name(node) || '_' || number
$$;

-- bridge.make_origins(): makes them, and lets the adapter use them.
create or replace function bridge.make_origins() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    n      bridge.node;
    origin text;
begin
    select * into strict n from bridge.node;
    foreach origin in array array['in1', 'in2', 'in3', 'in4', 'out'] loop
        if pg_replication_origin_oid(bridge.origin_name(n.name, origin)) is null then
            perform pg_replication_origin_create(bridge.origin_name(n.name, origin));
        end if;
    end loop;
    execute format('grant execute on function pg_replication_origin_session_setup(text), pg_replication_origin_session_is_setup() to %I', n.adapter_role);
end
$$;
