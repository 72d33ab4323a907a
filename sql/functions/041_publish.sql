-- bridge.identity_flaw(relation, columns): why an update or deletion in the table's log does not tell which row it was, and what mends it;
-- null when it does. columns: those of the key. Of a partitioned table every leaf is looked at: rows are written there.
create or replace function bridge.identity_flaw(relation regclass, columns text[]) returns table (flaw text, remedy text)
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    with leaf as (
        select relation as id where not exists (select from pg_partition_tree(relation))
        union all
        select p.relid from pg_partition_tree(relation) p where p.isleaf),
    known as (
        select l.id, c.relreplident, array(
                   select a.attname::text from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
                    where i.indrelid = l.id and i.indisvalid
                      and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end) as columns
          from leaf l join pg_class c on c.oid = l.id)
    select case when k.relreplident = 'n' then format('table %s has REPLICA IDENTITY NOTHING', k.id)
                when k.columns = '{}' then format('table %s has no replica identity', k.id)
                else format('the replica identity of %s is without its key (%s)', k.id, array_to_string(identity_flaw.columns, ', ')) end,
           coalesce((select format('alter table %s replica identity using index %I', k.id, x.relname)
                       from pg_index i join pg_class x on x.oid = i.indexrelid
                      where i.indrelid = k.id and i.indisunique and i.indimmediate and i.indisvalid and i.indpred is null and i.indexprs is null
                        and not exists (select from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) n
                                          join pg_attribute a on a.attrelid = k.id and a.attnum = n where not a.attnotnull)
                        and identity_flaw.columns <@ array(select a.attname::text from pg_attribute a
                                                            where a.attrelid = k.id and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
                      order by i.indnkeyatts, x.relname limit 1),
                    format('alter table %s replica identity full', k.id))
      from known k
     where k.relreplident <> 'f' and not (identity_flaw.columns <@ k.columns)
$$;

-- bridge.publish(): of a node that captures from the WAL: makes its publication hold exactly the mapped tables, bridge.outbox, through
-- which this node's own word goes, and bridge.capture_switch.
create or replace function bridge.publish() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    slot   name := (select bridge.slot_name(n.name) from bridge.node n);
    flawed record;
begin
    if current_setting('wal_level') <> 'logical' or current_setting('track_commit_timestamp') <> 'on' then
        raise exception 'capture from the WAL needs wal_level = logical and track_commit_timestamp = on'
            using errcode = '55000', hint = 'alter system set wal_level = logical; alter system set track_commit_timestamp = on; and restart the server';
    end if;
    for flawed in select e.name, f.flaw, f.remedy from bridge.entity e
                   cross join lateral bridge.identity_flaw(e.relation::regclass, e.columns[1:e.key_count]) f
                   where e.active loop
        -- Published all the same, its updates would fail.
        raise exception 'entity "%": %', flawed.name, flawed.flaw
            using errcode = '55000', hint = flawed.remedy || '; the log must say which row was updated or deleted';
    end loop;
    if not (select r.rolreplication or r.rolsuper from pg_roles r join bridge.node n on r.rolname = n.adapter_role) then
        execute format('alter role %I replication', (select adapter_role from bridge.node));
    end if;
    perform bridge.make_origins();
    -- For TRUNCATE, whose deletions fire nothing.
    grant set on parameter session_replication_role to pgbridge_owner;
    if not exists (select from pg_publication where pubname = slot) then
        execute format('create publication %I with (publish_via_partition_root = true)', slot);
    end if;
    execute format('alter publication %I set table bridge.outbox, bridge.capture_switch%s', slot,
                   (select coalesce(string_agg(', ' || e.relation, '' order by e.id), '') from bridge.entity e where e.active));
end
$$;

-- bridge.floor_after_log(): a time after those that the log has told and has yet to tell (us). Where they are ahead of the clock it is a second after
-- them, because the log gives times of its own after the last one, and rows that are written again go on from theirs; bridge.note_overtaken mends
-- what goes further. Nobody writes now. Each transaction that may be unread is asked, half a microsecond each.
create or replace function bridge.floor_after_log() returns bigint
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    next  bigint; -- numbers of transactions, of which xid is the lower half
    first bigint;
    ahead bigint;
    now   bigint;
begin
    select pg_snapshot_xmax(pg_current_snapshot())::text::bigint, s.catalog_xmin::text::bigint into next, first
      from bridge.node n
      join pg_replication_slots s on s.slot_name = bridge.slot_name(n.name) and s.database = current_database() and s.wal_status is distinct from 'lost';
    first := next - ((next - first) & 4294967295);
    -- What the slot has passed since it was looked at, the adapter has noted before.
    ahead := greatest((select given_us from bridge.outbound),
                      (select (date_part('epoch', max(pg_xact_commit_timestamp((t.number::text::xid8)::xid))) * 1000000)::bigint
                         from generate_series(first, next) as t (number) where t.number & 4294967295 > 2));
    now := (date_part('epoch', clock_timestamp()) * 1000000)::bigint;
    return case when ahead > now then ahead + 1000000 else now end;
end
$$;

-- bridge.leave_log(): the log tells no more, and another time begins anew. What it had to tell and nobody has read is noted as a gap. False:
-- it is installed again, so that nothing was done.
create or replace function bridge.leave_log() returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions'));
    if (select n.capture <> 'outbox' from bridge.node n) then
        return false;
    end if;
    insert into bridge.gap (source, epoch, first_number, last_number, missing, reason)
    select n.name, 'log', o.released_lsn - '0/0', w.lsn - '0/0', int8multirange(int8range((o.released_lsn - '0/0')::bigint, (o.released_lsn - '0/0')::bigint + 1)),
           format('the slot was gone before the log was read from %s to %s: what was written then has not been sent', o.released_lsn, w.lsn)
      from bridge.node n, bridge.outbound o, (select lsn from bridge.capture_switch order by id desc limit 1) w
     where o.released_lsn < w.lsn;
    update bridge.outbound set released_lsn = null, given_us = 0, captures_log = false where released_lsn is not null;
    -- What is aside of it was told to its end.
    update bridge.outbox set lsn = '0/0' where lsn > '0/0';
    update bridge.node set versions_since = null, floor_us = null where versions_since is not null;
    return true;
end
$$;

-- bridge.check_switch(capture): refuses a switch to the log while another is being left: of a log that is still being told nobody could say whether it
-- will tell a row's last write.
create or replace function bridge.check_switch(capture text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if check_switch.capture = 'wal' and (select n.capture <> 'wal' and n.versions_since is not null from bridge.node n) then
        raise exception 'what was written before capture went over to triggers is still being read from the log'
            using errcode = '55000', hint = 'Let the adapter run with "capture: outbox", and nothing paused, until its log says "left", then install again.';
    end if;
end
$$;

-- bridge.switch_capture(capture): rows are captured from now on as the config says; what was told before is told, and nothing is told twice. The
-- locks of the tables' triggers order it among all other transactions.
create or replace function bridge.switch_capture(capture text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    entity text;
begin
    -- Nothing is applied, and nothing captured, as if it were still as before.
    perform pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions'));
    -- A slot that was made anew begins later than the one before it ended.
    if capture = 'wal' and (select n.capture = 'wal' from bridge.node n) then
        perform bridge.note_lost_log();
    end if;
    if (select n.capture = capture from bridge.node n) then
        return;
    end if;
    perform bridge.check_switch(capture);
    -- An adapter that knows of none gives up the slot that it finds.
    if capture = 'wal' and not exists (select from pg_replication_slots s join bridge.node n on s.slot_name = bridge.slot_name(n.name)
                                        where s.database = current_database() and s.wal_status is distinct from 'lost'
                                          and s.plugin = 'pgoutput' and s.confirmed_flush_lsn is not null) then
        raise exception 'the slot is not there any more, or is not ready, or lost'
            using errcode = 'PB002', hint = format('See pg_replication_slots; if it is there, select pg_drop_replication_slot(%L), and install again.',
                                                   (select bridge.slot_name(n.name) from bridge.node n));
    end if;
    update bridge.node n
       set capture = capture,
           versions_since = coalesce(n.versions_since, (date_part('epoch', clock_timestamp()) * 1000000)::bigint),
           floor_us = case when capture = 'outbox' then bridge.floor_after_log() end;
    if capture = 'wal' then
        -- What is lost of the log from here on is a gap. The slot is older.
        update bridge.outbound set released_lsn = pg_current_wal_insert_lsn(), captures_log = false, drains = true;
        -- What is left there of a log that was left long ago is no word about this one. Nobody writes now.
        update bridge.row_version set row_xmin = null, lsn = null, at_us = null, later_us = null, over = null, former = null
         where row_xmin is not null or lsn is not null or at_us is not null or over is not null or former is not null;
    end if;
    for entity in select e.name from bridge.entity e where e.active order by e.id loop
        perform bridge.detach(entity);
        perform bridge.attach(entity);
        if capture = 'outbox' then
            perform bridge.keep_versions(entity);
        end if;
    end loop;
    perform bridge.refresh_entity_state();
    insert into bridge.capture_switch (capture) values (capture);
end
$$;
