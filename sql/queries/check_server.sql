-- Findings about the server and the database as a whole.
select 'error', 'database', format('its encoding is %s, not UTF8', current_setting('server_encoding')),
       'create the database with encoding UTF8 and template template0'
 where current_setting('server_encoding') <> 'UTF8'
union all
select 'error', 'database', 'it is a standby: nothing can be written here',
       'connect to the primary; with several hosts in the conninfo, target_session_attrs=read-write finds it'
 where pg_is_in_recovery()
union all
select 'error', 'database', 'transactions are read-only by default',
       'set default_transaction_read_only = off for the role or the database'
 where not pg_is_in_recovery() and current_setting('transaction_read_only') = 'on'
union all
select 'warning', 'database', 'fsync is off: after a crash of the machine, changes may be lost that the bridge counts as applied',
       'set fsync = on'
 where current_setting('fsync') = 'off'
