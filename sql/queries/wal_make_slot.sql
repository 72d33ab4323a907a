-- Makes the slot $1; it begins when every transaction that runs now has ended.
select pg_create_logical_replication_slot($1, 'pgoutput')
