-- Makes this node's replication slot, unless it is there. It begins when every transaction that runs now has ended.
select pg_create_logical_replication_slot(bridge.slot_name(n.name), 'pgoutput') from bridge.node n
 where not exists (select from pg_replication_slots s where s.slot_name = bridge.slot_name(n.name) and s.database = current_database())
