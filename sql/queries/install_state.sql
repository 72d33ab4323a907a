-- What is installed: the highest migration, the fingerprint, whether every capture trigger is in place, the node's name.
select coalesce((select max(number) from bridge.version), -1),
       coalesce((select value from bridge.fingerprint where name = 'install'), ''),
       not exists (
           select from bridge.entity e
            cross join (values ('bridge_insert'), ('bridge_update'), ('bridge_delete')) as wanted (name)
            where e.active and not exists (select from pg_trigger t where t.tgrelid = to_regclass(e.relation)
                                              and t.tgname = wanted.name and t.tgenabled in ('O', 'A')))
       and not exists (
           select from bridge.entity e
            cross join lateral (select relid from pg_partition_tree(to_regclass(e.relation)) where isleaf
                                union select to_regclass(e.relation)
                                 where not exists (select from pg_partition_tree(to_regclass(e.relation)))) leaf
            where e.active and not exists (select from pg_trigger t where t.tgrelid = leaf.relid
                                              and t.tgname = 'bridge_truncate' and t.tgenabled in ('O', 'A'))),
       (select name from bridge.node)
