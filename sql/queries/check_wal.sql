-- What capture from the WAL needs of the server and of the role. $1 is the config's capture: nothing is found for another.
with wanted as (select $1::text = 'wal' as yes),
     setting as (select name, setting from pg_settings),
     own as (select s.* from pg_replication_slots s where s.database = current_database() and s.slot_name like 'pgbridge\_%')
select 'error' as level, 'database' as "where", format('wal_level is %s: the log does not tell of rows', s.setting) as text,
       'alter system set wal_level = logical; and restart the server' as hint
  from wanted, setting s where yes and s.name = 'wal_level' and s.setting <> 'logical'
union all
select 'error', 'database', 'track_commit_timestamp is off: the log does not tell when a row was written',
       'alter system set track_commit_timestamp = on; and restart the server'
  from wanted, setting s where yes and s.name = 'track_commit_timestamp' and s.setting <> 'on'
union all
select 'error', 'database', format('all %s replication slots are taken', s.setting), 'alter system set max_replication_slots = ...; and restart the server'
  from wanted, setting s where yes and s.name = 'max_replication_slots' and s.setting::int <= (select count(*) from pg_replication_slots)
   and not exists (select from own)
union all
select 'error', 'database', format('all %s WAL senders are at work', s.setting), 'alter system set max_wal_senders = ...; and restart the server'
  from wanted, setting s where yes and s.name = 'max_wal_senders' and s.setting::int <= (select count(*) from pg_stat_get_wal_senders())
   and not exists (select from own where active)
union all
select 'note', 'database', 'max_slot_wal_keep_size is -1: while the adapter is not running, nobody keeps to wal_keep_max',
       'alter system set max_slot_wal_keep_size = ...; the server then gives the slot up by itself, and the adapter notes what was lost'
  from wanted, setting s where yes and s.name = 'max_slot_wal_keep_size' and s.setting = '-1'
union all
select 'error', 'role', format('%I may not read the log: it lacks REPLICATION', current_user), format('as a superuser: alter role %I replication', current_user)
  from wanted, pg_roles r where yes and r.rolname = current_user and not r.rolreplication and not r.rolsuper
