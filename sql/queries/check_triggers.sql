-- What the tables' own triggers do on changes of peers. A partition's clone of its parent's trigger is not told again.
with mapped as (select distinct entity, relation, triggers
                  from json_to_recordset($1::json) as m (entity text, relation oid, triggers text, nodes int)
                 where relation is not null and nodes > 1),
part as (select m.entity, m.triggers, m.relation from mapped m
         union
         select m.entity, m.triggers, p.relid from mapped m cross join lateral pg_partition_tree(m.relation) p),
own_trigger as (
    select p.entity, p.triggers, p.relation, t.tgname, t.tgenabled
      from part p
      join pg_trigger t on t.tgrelid = p.relation and not t.tgisinternal and t.tgparentid = 0 and t.tgenabled <> 'D'
      join pg_proc f on f.oid = t.tgfoid
      join pg_namespace n on n.oid = f.pronamespace and n.nspname <> 'bridge')
select 'note', 'entity ' || entity, format('trigger %I of %s does not fire for changes of peers', tgname, relation::regclass),
       'where the change was made it has fired; if it must fire here as well, set "triggers: fire"'
  from own_trigger where triggers = 'suppress' and tgenabled = 'O'
union all
select 'note', 'entity ' || entity, format('trigger %I of %s fires also for changes of peers; what it writes then is not sent on', tgname, relation::regclass),
       'make sure that it does not do again what it did where the change was made'
  from own_trigger where triggers = 'fire' and tgenabled in ('O', 'A')
union all
select 'warning', 'entity ' || entity, format('trigger %I of %s fires for changes of peers, although the config says "triggers: suppress"', tgname, relation::regclass),
       format('alter table %s enable trigger %I makes it an ordinary trigger', relation::regclass, tgname)
  from own_trigger where triggers = 'suppress' and tgenabled in ('A', 'R')
