-- bridge.confirm(confirmed, incarnation, number): what the broker has confirmed of the latest sixteen incarnations, oldest first, when it has
-- confirmed this one's messages up to that number: of 0, when its first one has not been sent, nothing.
create or replace function bridge.confirm(confirmed jsonb, incarnation text, number bigint) returns jsonb
    language sql immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case when number = 0 then confirmed
                else (case when confirmed -> -1 ->> 0 = incarnation then confirmed - -1
                           when jsonb_array_length(confirmed) >= 16 then confirmed - 0 else confirmed end)
                     || jsonb_build_array(jsonb_build_array(incarnation, number)) end
$$;
