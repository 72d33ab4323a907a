-- bridge.lsn_number(lsn): a place in the log as a number, as JSON can compare it; what was written before capture from the WAL began comes
-- first.
create or replace function bridge.lsn_number(lsn pg_lsn) returns bigint
    language sql immutable parallel safe
    return coalesce((lsn - '0/0'::pg_lsn)::bigint, 0);

-- bridge.remember(entry, replaced_at): what is kept of an entry of row_version that is replaced, and of those before it, for capture from
-- the WAL: changes that stand upon it may not have been read yet. What all changes that are to come were written after is forgotten.
-- With forget_this, the entry itself is.
create or replace function bridge.remember(entry bridge.row_version, replaced_at pg_lsn, forget_this boolean default false) returns jsonb
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    entries jsonb := coalesce(entry.former, '[]');
begin
    if not exists (select from bridge.node n where n.versions_since is not null) then
        return null;
    end if;
    if forget_this is not true then
        entries := entries || jsonb_strip_nulls(jsonb_build_object(
            'replaced', bridge.lsn_number(replaced_at), 'lsn', bridge.lsn_number(entry.lsn), 'xmin', entry.row_xmin::text, 'over', entry.over::text,
            'base', case when entry.over is not null then entry.base_ts end, 'ts', entry.ts, 'node', entry.node, 'at', entry.at_us,
            'later', entry.later_us, 'seen', entry.seen));
    end if;
    return nullif(jsonb_path_query_array(entries, '$[*] ? (@.replaced > $released)', jsonb_build_object(
        'released', coalesce((select bridge.lsn_number(o.released_lsn) from bridge.outbound o), 0))), '[]');
end
$$;

-- bridge.last_replaced(former): where in the log the last of the entries before was replaced, as a number.
create or replace function bridge.last_replaced(former jsonb) returns bigint
    language sql immutable parallel safe
    return coalesce((former -> -1 ->> 'replaced')::bigint, 0);
