-- Whether what captures from the WAL is in place: the config's capture is $1. Of capture by triggers only what is left over of the other.
with node as (select n.*, bridge.slot_name(n.name) as slot_name from bridge.node n),
     slot as (select s.* from pg_replication_slots s join node n on s.slot_name = n.slot_name),
     publication as (select p.* from pg_publication p join node n on p.pubname = n.slot_name)
select 'error' as level, 'schema bridge' as "where", format('it is installed with capture %s, the config says %s', capture, $1::text) as text,
       'run "pgbridge install", then restart the adapter' as hint
  from node where capture <> $1
union all
select 'error', 'database', format('there is no replication slot %I: nothing is captured', slot_name), 'start the adapter: it makes the slot anew, and notes in bridge.gaps what was lost'
  from node where capture = 'wal' and not exists (select from slot)
union all
select 'error', 'database', format('replication slot %I is lost: the server has removed log that was not read', slot_name),
       'restart the adapter: it makes the slot anew, and notes in bridge.gaps what was lost'
  from slot where wal_status = 'lost' and database = current_database()
union all
select 'warning', 'database', format('the server soon removes log that slot %I has not read', slot_name), 'start the adapter, or raise max_slot_wal_keep_size'
  from slot where wal_status = 'unreserved' and database = current_database()
union all
select 'error', 'database', format('replication slot %I has plugin %s in database %s', slot_name, plugin, coalesce(database, '(none)')),
       'it belongs to something else: two nodes of one server need different names'
  from slot where (plugin is distinct from 'pgoutput' or database is distinct from current_database()) and exists (select from node where capture = 'wal')
union all
select 'note', 'database', format('replication slot %I is left over from capture by the log', slot_name), 'start the adapter: it reads the rest and gives the slot up'
  from slot where database = current_database() and exists (select from node where capture = 'outbox')
union all
select 'error', 'database', format('there is no publication %I: the log tells of no table', slot_name), 'run "pgbridge install"'
  from node where capture = 'wal' and not exists (select from publication)
union all
select 'error', 'database', format('publication %I is without table %s: nothing of it is captured', n.slot_name, t.name),
       'run "pgbridge install"; what was written meanwhile has not been sent'
  from node n
 cross join lateral (select e.relation as name from bridge.entity e where e.active
                     union all select 'bridge.outbox' union all select 'bridge.capture_switch') t
 where n.capture = 'wal' and exists (select from publication)
   and not exists (select from pg_publication_tables p where p.pubname = n.slot_name and format('%I.%I', p.schemaname, p.tablename) = t.name)
union all
select 'error', 'database', format('publication %I leaves out what it should tell', pubname),
       format('alter publication %I set (publish = ''insert, update, delete, truncate'', publish_via_partition_root = true)', pubname)
  from publication where not (pubinsert and pubupdate and pubdelete and pubviaroot) and exists (select from node where capture = 'wal')
union all
select 'error', 'entity ' || e.name, f.flaw, f.remedy
  from node
 cross join bridge.entity e
 cross join lateral bridge.identity_flaw(to_regclass(e.relation), e.columns[1:e.key_count]) f
 where node.capture = 'wal' and e.active and to_regclass(e.relation) is not null
