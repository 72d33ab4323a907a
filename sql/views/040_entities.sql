-- The mapping as installed.
create or replace view bridge.entities as
select e.name as entity, e.relation as "table",
       (select string_agg(case when f = c then f else f || ' = ' || quote_ident(c) end, ', ' order by o)
          from unnest(e.fields[1:e.key_count], e.columns[1:e.key_count]) with ordinality as u (f, c, o)) as key,
       (select string_agg(case when f = c then f else f || ' = ' || quote_ident(c) end, ', ' order by o)
          from unnest(e.fields[e.key_count + 1:], e.columns[e.key_count + 1:]) with ordinality as u (f, c, o)) as fields,
       e.triggers, e.truncate, e.coalesced, e.active, e.policy, e.priority, e.retry_base, e.retry_factor, e.retry_cap, e.max_attempts
  from bridge.entity e
 order by e.name;
