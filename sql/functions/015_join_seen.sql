-- bridge.join_seen(mine, theirs, ts, node, writer): what a writer knows who knows both, and version (ts, node): of each other
-- node the newest version; null when there is none. bridge/message/version.c computes the same.
-- Asked in applications' transactions, of every row that both sides write: hence no query, which would be planned each time.
create or replace function bridge.join_seen(mine jsonb, theirs jsonb, ts bigint, node text, writer text) returns jsonb
    language plpgsql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
declare
    known jsonb := coalesce(mine, theirs, '{}');
    pairs jsonb;
    pair  jsonb;
begin
    if mine <> theirs then
        pairs := jsonb_path_query_array(theirs, '$.keyvalue()');
        for i in 0 .. jsonb_array_length(pairs) - 1 loop
            pair := pairs -> i;
            if ((known ->> (pair ->> 'key'))::bigint >= (pair ->> 'value')::bigint) is not true then
                known := known || jsonb_build_object(pair ->> 'key', pair -> 'value');
            end if;
        end loop;
    end if;
    if ts is not null and ((known ->> node)::bigint >= ts) is not true then
        known := known || jsonb_build_object(node, ts);
    end if;
    return nullif(known - writer, '{}');
end
$$;
