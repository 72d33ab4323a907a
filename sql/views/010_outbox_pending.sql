-- What applications committed and the broker has not confirmed yet, per entity.
create or replace view bridge.outbox_pending as
select e.name as entity, count(*) as changes, count(distinct o.txid) as transactions,
       sum(pg_column_size(o.fields)) as bytes,
       to_timestamp(min(o.ts) / 1000000.0) as oldest, to_timestamp(max(o.ts) / 1000000.0) as newest
  from bridge.outbox o
  left join bridge.layout l on l.id = o.layout
  left join bridge.entity e on e.id = l.entity
 group by e.name;
