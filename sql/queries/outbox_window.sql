-- The transactions visible now and not in the snapshot $1 (null: none was taken yet), from number $6 on, each with its number of rows. Rows of
-- the layouts $4 are left where they are, and with $5 all but those that were put aside. Ordered by last sequence number: whoever saw
-- another's commit wrote its own rows after it, so this order never puts an effect before its cause.
-- cut: there are more; these are the first $2, and a margin. Then it is the turn of those alone whose last row was written before the last row
-- of each in the margin. When a transaction got a number higher than all of these, one of the margin had ended, being more than can be under
-- way at once; so nothing that is left out was written before.
-- durable: all that is visible has reached the disk. heartbeat, when $3 asks for it, and nothing is cut: a time before this snapshot was taken,
-- later than that of any heartbeat before, and the newest heartbeats heard, whose nodes' changes are therefore visible in it; none of those
-- whose deletions are put aside, since they must be remembered for this node. While rows are left, or a log has anything to tell, it is the
-- latest one again: everything committed before a heartbeat must have been sent.
with margin as (
    -- A server restarted with fewer may have a backlog of when it had more.
    select greatest(2000, current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int
                          + current_setting('max_worker_processes')::int + current_setting('max_wal_senders')::int
                          + current_setting('autovacuum_max_workers')::int + 2) as transactions),
found as materialized (
    select o.txid, max(o.seq) as last_seq, count(*) as changes
      from bridge.outbox o
     where o.txid >= coalesce(pg_snapshot_xmin($1::pg_snapshot), '0'::xid8) and o.txid >= $6::xid8
       and not coalesce(pg_visible_in_snapshot(o.txid, $1::pg_snapshot), false)
       and o.layout <> all ($4::int[])
       and (o.lsn is not null or not $5::boolean)
     group by o.txid
     order by o.txid
     limit $2::bigint + (select transactions from margin)),
size as materialized (
    select count(*) = $2::bigint + (select transactions from margin) as cut from found),
complete as (
    select (cardinality($4::int[]) = 0 or not exists (select from bridge.outbox o where o.layout = any ($4::int[])))
           and (select n.versions_since is null from bridge.node n) as yes),
said as (
    update bridge.outbound
       set said_us = greatest(said_us + 1, (date_part('epoch', statement_timestamp()) * 1000000)::bigint)
     where $3::boolean and not (select cut from size) and (select yes from complete)
    returning said_us)
-- What is of the window as a whole stands in its first row.
select case when t.place > 1 then null else pg_current_snapshot() end as snapshot,
       case when t.place > 1 then null
            else current_setting('synchronous_standby_names') = '' and pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() end as durable,
       case when not $3::boolean or (select cut from size) or t.place > 1 then null
            when not (select yes from complete) then json_build_object(
                'time', (select greatest(said_us, 1) from bridge.outbound), 'heard', '[]'::json, 'again', true)::text
            else json_build_object('time', (select said_us from said),
           'heard', coalesce((select json_agg(json_build_array(p.name, p.sent_us, p.received_us))
                                from bridge.peer p
                               where p.sent_us is not null
                                 and not exists (select from bridge.dead_letter d where d.state = 'retrying' and d.error_code = 'PAUSED'
                                                                                    and d.op = 'deleted' and d.source = p.name)), '[]'),
           'confirmed', (select confirmed from bridge.outbound))::text end as heartbeat,
       (select cut from size) as cut, t.txid, t.changes,
       not (select cut from size) or t.last_seq <= (select min(l.last_seq)
                                                      from (select f.last_seq from found f order by f.txid desc
                                                             limit (select transactions from margin)) l) as turn
  from (values (1)) as one (row)
  left join (select f.*, row_number() over (order by f.last_seq) as place from found f) t on true
 order by t.place
