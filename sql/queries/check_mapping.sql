-- Whether the mapping as installed is the config's.
with mapped as (
    select m.entity, m.relation, max(m.key_count) as key_count, array_agg(m.field order by m.position) as fields,
           array_agg(m."column" order by m.position) as columns, max(m.triggers) as triggers, max(m.truncate) as truncate,
           bool_or(m.coalesced) as coalesced, max(m.policy) as policy, bool_or(m.update_revives) as update_revives, max(m.retry) as retry,
           coalesce(array_agg(m.field order by m.position) filter (where m.counter), '{}') as counters,
           substr(encode(sha256(convert_to(string_agg(m.field || ':' || format_type(a.atttypid, a.atttypmod), E'\n'
                                                      order by m.field collate "C"), 'UTF8')), 'hex'), 1, 16) as types
      from json_to_recordset($1::json) as m (entity text, relation oid, attnum int2, field text, "column" text, position int,
                                             key_count int, triggers text, truncate text, coalesced bool, policy text,
                                             counter bool, update_revives bool, retry text)
      left join pg_attribute a on a.attrelid = m.relation and a.attnum = m.attnum
     group by m.entity, m.relation),
compared as (
    select m.entity, e.active,
           concat_ws(', ', case when e.relation <> format('%I.%I', n.nspname, c.relname) then 'table' end,
                     case when e.fields <> m.fields or e.columns <> m.columns or e.key_count <> m.key_count then 'key and fields'
                          when l.schema <> m.types then 'types of columns' end,
                     case when e.triggers <> m.triggers then 'triggers' end,
                     case when e.truncate <> m.truncate then 'truncate' end,
                     case when e.coalesced <> m.coalesced then 'coalesce' end,
                     case when e.policy <> m.policy then 'policy' end,
                     case when e.counters <> m.counters then 'counters' end,
                     case when e.update_revives <> m.update_revives then 'update_revives' end,
                     case when format('%s %s %s %s', date_part('epoch', e.retry_base), e.retry_factor, date_part('epoch', e.retry_cap),
                                      e.max_attempts) <> m.retry then 'retry' end,
                     case when e.policy = 'merge' and e.groups is distinct from
                               bridge.merge_groups(e.relation, e.fields, e.columns, e.key_count, e.counters)
                          then 'the constraints that tie fields together' end) as differences
      from mapped m
      left join pg_class c on c.oid = m.relation
      left join pg_namespace n on n.oid = c.relnamespace
      left join bridge.entity e on e.name = m.entity
      left join bridge.layout l on l.id = e.layout)
select 'error', 'entity ' || entity, 'it is in the config and not installed', 'run "pgbridge install"'
  from compared where active is not true
union all
select 'error', 'entity ' || entity, 'what is installed differs from the config: ' || differences, 'run "pgbridge install"'
  from compared where active and differences <> ''
union all
select 'error', 'entity ' || e.name, 'it is installed and not in the config', 'run "pgbridge install"'
  from bridge.entity e where e.active and not exists (select from mapped m where m.entity = e.name)
