-- bridge.lock_versions(): of a node that captures from the WAL one transaction at a time writes row_version: what capture notes apply must
-- not judge at the same moment. Nobody waits for who waits here: it may last longer than a wait for an application's lock.
create or replace function bridge.lock_versions() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp set lock_timeout = '10s'
as $$
begin
    perform pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions'));
    if (select n.capture <> 'wal' from bridge.node n) then
        raise exception 'the config says "capture: wal", and another is installed'
            using errcode = 'F0000', hint = 'Run pgbridge install, or restart the adapter if the config was changed.';
    end if;
end
$$;
