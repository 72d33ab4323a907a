-- bridge.note_lost_log(): when this node's slot begins after what was read of the log so far, what is between is lost: it is noted as a
-- gap of this node's own, with the log's positions as numbers. So it is where the place that was read up to is of another server's log, because
-- the database was restored here. Returns from where to where; nulls when nothing is missing.
create or replace function bridge.note_lost_log(out from_lsn pg_lsn, out to_lsn pg_lsn)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    node text := (select n.name from bridge.node n);
begin
    select o.released_lsn, s.confirmed_flush_lsn into from_lsn, to_lsn
      from bridge.outbound o
      join pg_replication_slots s on s.slot_name = bridge.slot_name(node) and s.database = current_database()
     where s.confirmed_flush_lsn > o.released_lsn or o.released_lsn > pg_current_wal_insert_lsn()
       for update of o;
    if from_lsn is null then
        return;
    end if;
    insert into bridge.gap (source, epoch, first_number, last_number, missing, reason)
    values (node, 'log', from_lsn - '0/0', to_lsn - '0/0', int8multirange(int8range((from_lsn - '0/0')::bigint, (from_lsn - '0/0')::bigint + 1)),
            format('the server has no more of its log from %s to %s: what was written then has not been sent', from_lsn, to_lsn));
    -- What was put aside of it stays.
    update bridge.outbox set lsn = '0/0' where lsn > '0/0';
    update bridge.outbound
       set released_lsn = to_lsn, drains = true,
           captures_log = coalesce((select w.capture = 'wal' and (w.lsn < to_lsn or w.lsn > pg_current_wal_insert_lsn())
                                      from bridge.capture_switch w order by w.id desc limit 1), false);
end
$$;
