-- bridge.lock_versions(capture, since, behind): what apply begins with. Until its transaction ends rows are captured as when its session began:
-- otherwise the log would tell what it writes as an application's.
--
-- Of a node that captures from the WAL either apply writes row_version or somebody else, who has the first lock alone: what capture notes apply must
-- not judge at the same moment. Of apply's transactions one at a time has the second lock, also where an adapter takes the place of another. One more
-- may stand behind that, about other rows, and has the third: it is begun while the one of session number behind is under way, and nobody else begins
-- with the second lock before it has ended, too. Nobody waits for who waits here: it may last longer than a wait for an application's lock.
create or replace function bridge.lock_versions(capture text, since bigint, behind integer) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp set lock_timeout = '10s'
as $$
begin
    if behind is not null then
        -- Who waits for the first one to end comes before this one.
        if not pg_try_advisory_xact_lock_shared(hashtext('pgbridge'), hashtext('versions')) or
           lock_versions.capture = 'wal' and not (pg_try_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions behind')) and
               exists (select from pg_locks l
                        where l.locktype = 'advisory' and l.pid = behind and l.granted and l.objsubid = 2
                          and (l.classid, l.objid) = (hashtext('pgbridge')::oid, hashtext('versions first')::oid)
                          and l.database = (select d.oid from pg_database d where d.datname = current_database()))) then
            raise exception 'the transaction before this one has ended, or is awaited' using errcode = 'PB004';
        end if;
    else
        perform pg_advisory_xact_lock_shared(hashtext('pgbridge'), hashtext('versions'));
    end if;
    if lock_versions.capture = 'wal' and behind is null then
        perform pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions first'));
        -- Had, and given back by the end of the block.
        begin
            perform pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions behind'));
            raise exception using errcode = 'PB005';
        exception when sqlstate 'PB005' then null;
        end;
    end if;
    if not exists (select from bridge.node n where n.capture = lock_versions.capture and n.versions_since is not distinct from since) then
        raise exception 'capture has been switched since this session began'
            using errcode = 'PB001', hint = 'Restart the adapter if the config was changed.';
    end if;
end
$$;
