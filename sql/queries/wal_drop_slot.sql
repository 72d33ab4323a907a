-- Gives up the slot $1, when it is there.
select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1 and database = current_database()
