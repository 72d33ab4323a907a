-- What is installed: the highest migration, the fingerprint, whether everything that captures is in place (triggers, or publication and slot), the
-- node's name. A schema of an earlier version has neither bridge.node.capture nor bridge.slot_name, so that the slot is found by its publication's name.
with mode as (select coalesce(to_jsonb(n) ->> 'capture', 'outbox') = 'wal' as of_log,
                     (select p.pubname from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
                       where r.prrelid = to_regclass('bridge.capture_switch') and p.pubname like 'pgbridge\_%') as slot from bridge.node n)
select coalesce((select max(number) from bridge.version), -1),
       coalesce((select value from bridge.fingerprint where name = 'install'), ''),
       case when exists (select from mode where of_log) then
           exists (select from mode join pg_replication_slots s on s.slot_name = mode.slot and s.database = current_database() and s.wal_status <> 'lost')
           and not exists (select from bridge.entity e where e.active and not exists (
                   select from pg_publication_tables p join mode on p.pubname = mode.slot
                    where format('%I.%I', p.schemaname, p.tablename) = e.relation))
       else not exists (
           select from bridge.entity e
            cross join (values ('bridge_insert'), ('bridge_update'), ('bridge_delete')) as wanted (name)
            where e.active and not exists (select from pg_trigger t where t.tgrelid = to_regclass(e.relation)
                                              and t.tgname = wanted.name and t.tgenabled in ('O', 'A')))
       end and not exists (
           select from bridge.entity e
            cross join lateral (select relid from pg_partition_tree(to_regclass(e.relation)) where isleaf
                                union select to_regclass(e.relation)
                                 where not exists (select from pg_partition_tree(to_regclass(e.relation)))) leaf
            where e.active and not exists (select from pg_trigger t where t.tgrelid = leaf.relid
                                              and t.tgname = 'bridge_truncate' and t.tgenabled in ('O', 'A'))),
       (select name from bridge.node)
