-- The entities of which changes that the log has told of wait in the outbox. Looked up layout by layout in the index of those that are aside.
select distinct e.name
  from bridge.layout l
  join bridge.entity e on e.id = l.entity
 where exists (select from bridge.outbox o where o.layout = l.id and o.lsn is not null offset 0)
