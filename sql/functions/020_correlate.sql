-- bridge.correlate(id, traceparent): names the changes of this transaction, so that they can be followed through the
-- messages and into the other system. A label and nothing else: any role may call it.
create or replace function bridge.correlate(id text, traceparent text default null) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if octet_length(id) > 255 or octet_length(traceparent) > 255 then
        raise exception 'a correlation id has at most 255 bytes' using errcode = '22001';
    end if;
    perform set_config('bridge.correlation_id', coalesce(id, ''), true);
    perform set_config('bridge.traceparent', coalesce(traceparent, ''), true);
    -- Where this node captures from the WAL.
    if current_setting('wal_level') = 'logical' and not pg_is_in_recovery()
       and exists (select from pg_publication_rel where prrelid = to_regclass('bridge.capture_switch')) then
        perform pg_logical_emit_message(true, 'pgbridge.correlation', coalesce(id, ''));
        perform pg_logical_emit_message(true, 'pgbridge.traceparent', coalesce(traceparent, ''));
    end if;
end
$$;
