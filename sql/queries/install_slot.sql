-- Makes this node's replication slot, unless it is there. It begins when every transaction that runs now has ended. What is asked for it is read to its
-- end before: where others change the catalog meanwhile, the server forgets on whose behalf the statement holds its buffers.
select pg_create_logical_replication_slot((select bridge.slot_name(n.name) from bridge.node n), 'pgoutput')
 where not exists (select from pg_replication_slots s where s.slot_name = (select bridge.slot_name(n.name) from bridge.node n)
                                                        and s.database = current_database())
