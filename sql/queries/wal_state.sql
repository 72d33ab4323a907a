-- Where to go on in the log, and what the server says of the slot: its name, whether it is there, whether it is of no use;
-- after how many milliseconds of silence the server gives a reader up (0: never), up to where the log is durable now, and whether the outbox has rows that
-- the log may not tell of.
select bridge.slot_name(n.name), o.released_lsn - '0/0'::pg_lsn, o.given_us,
       case when o.released_lsn is not null then o.captures_log
            else coalesce((select w.capture = 'wal' and w.lsn < s.confirmed_flush_lsn from bridge.capture_switch w order by w.id desc limit 1), false) end as captures,
       n.capture,
       s.slot_name is not null as present, s.wal_status = 'lost' as lost,
       (select setting::bigint from pg_settings where name = 'wal_sender_timeout') as timeout_ms,
       pg_current_wal_flush_lsn() - '0/0'::pg_lsn as until,
       o.drains
  from bridge.node n
 cross join bridge.outbound o
  left join pg_replication_slots s on s.slot_name = bridge.slot_name(n.name) and s.database = current_database()
