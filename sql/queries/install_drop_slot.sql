-- Gives up the slot of a node that captures by triggers: when the server has lost what it kept, or, with $1, in any case.
select pg_drop_replication_slot(s.slot_name) from pg_replication_slots s
 where s.slot_name = (select bridge.slot_name(n.name) from bridge.node n where n.capture = 'outbox' and n.versions_since is null)
   and s.database = current_database() and s.plugin = 'pgoutput' and not s.active and (s.wal_status = 'lost' or $1::boolean)
