-- About how many rows the table of entity $1 has: what the statistics know of its leaves; 0 when they know nothing.
select coalesce(sum(greatest(pg_stat_get_live_tuples(c.oid), c.reltuples, 0)), 0)::bigint
  from bridge.entity e
 cross join lateral (select e.relation::regclass as root) r
 cross join lateral (select r.root as relid where not exists (select from pg_partition_tree(r.root))
                     union all select t.relid from pg_partition_tree(r.root) t where t.isleaf) leaf
  join pg_class c on c.oid = leaf.relid
 where e.name = $1
