-- How many bytes of log the server keeps for this node, and whether that is more than it may.
select pg_current_wal_lsn() - s.restart_lsn, pg_current_wal_lsn() - s.restart_lsn > n.wal_keep_max
  from bridge.node n
  join pg_replication_slots s on s.slot_name = bridge.slot_name(n.name) and s.database = current_database()
