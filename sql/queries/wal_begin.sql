-- Where capture from the WAL begins, unless it has begun: what is lost after that is a gap.
update bridge.outbound o
   set released_lsn = s.confirmed_flush_lsn,
       captures_log = coalesce((select w.capture = 'wal' and w.lsn < s.confirmed_flush_lsn from bridge.capture_switch w order by w.id desc limit 1), false)
  from pg_replication_slots s
  join bridge.node n on s.slot_name = bridge.slot_name(n.name)
 where o.released_lsn is null and s.database = current_database() and n.capture = 'wal'
