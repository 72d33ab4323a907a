-- bridge.lock_versions(capture, since): what apply begins with. Until its transaction ends rows are captured as when its session began: otherwise the
-- log would tell what it writes as an application's. Of a node that captures from the WAL one transaction at a time writes row_version: what capture
-- notes apply must not judge at the same moment. Nobody waits for who waits here: it may last longer than a wait for an application's lock.
create or replace function bridge.lock_versions(capture text, since bigint) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp set lock_timeout = '10s'
as $$
begin
    if lock_versions.capture = 'wal' then
        perform pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions'));
    else
        perform pg_advisory_xact_lock_shared(hashtext('pgbridge'), hashtext('versions'));
    end if;
    if not exists (select from bridge.node n where n.capture = lock_versions.capture and n.versions_since is not distinct from since) then
        raise exception 'capture has been switched since this session began'
            using errcode = 'PB001', hint = 'Restart the adapter if the config was changed.';
    end if;
end
$$;
