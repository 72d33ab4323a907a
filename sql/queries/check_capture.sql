-- Capture triggers that are missing or do not fire, on every mapped table and partition. Rows are captured where they are
-- stored: row triggers are cloned to partitions, those for TRUNCATE are not, so a new partition lacks its own. With capture from the WAL there are those
-- for TRUNCATE only.
with mapped as (select distinct m.entity, m.relation, e.id
                  from json_to_recordset($1::json) as m (entity text, relation oid)
                  join bridge.entity e on e.name = m.entity and e.active
                  join pg_class c on c.oid = m.relation
                  join pg_namespace n on n.oid = c.relnamespace and format('%I.%I', n.nspname, c.relname) = e.relation),
part as (select m.entity, m.id, m.relation, c.relkind <> 'p' as leaf from mapped m join pg_class c on c.oid = m.relation
         union
         select m.entity, m.id, p.relid, p.isleaf and c.relkind <> 'p'
           from mapped m cross join lateral pg_partition_tree(m.relation) p join pg_class c on c.oid = p.relid),
wanted (name, function, leaf_only) as (
    values ('bridge_insert', 'capture_', false), ('bridge_update', 'capture_', false), ('bridge_delete', 'capture_', false),
           ('bridge_truncate', 'truncate_', true)),
of_log as (select n.capture = 'wal' as yes from bridge.node n),
found as (
    select p.entity, p.relation, w.name,
           case when not w.leaf_only and (select yes from of_log) then case when t.oid is not null then 'needless' end
                when t.oid is null or f.oid is null then 'missing' when t.tgenabled in ('D', 'R') then 'disabled'
                when t.tgenabled = 'A' then 'always' end as flaw
      from part p
     cross join wanted w
      left join pg_trigger t on t.tgrelid = p.relation and t.tgname = w.name
      left join pg_proc f on f.oid = t.tgfoid and f.pronamespace = 'bridge'::regnamespace and f.proname = w.function || p.id
     where p.leaf or not w.leaf_only)
select case flaw when 'always' then 'warning' else 'error' end, 'entity ' || entity,
       format(case flaw when 'missing' then 'capture triggers are missing on %s: %s'
                        when 'needless' then 'capture triggers are there on %s, and the log tells as well: %s'
                        when 'disabled' then 'capture triggers are disabled on %s: %s'
                        else 'capture triggers fire also in replica role on %s: %s' end,
              relation::regclass, string_agg(name, ', ' order by name)),
       case flaw when 'needless' then 'run "pgbridge install"' when 'missing' then 'run "pgbridge install"; what was written meanwhile has not been sent'
                 when 'disabled' then format('alter table %s enable trigger ...; what was written meanwhile has not been sent', relation::regclass)
                 else format('alter table %s enable trigger ... makes them ordinary ones', relation::regclass) end
  from found where flaw is not null
 group by entity, relation, flaw
