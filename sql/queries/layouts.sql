-- Every shape that outbox rows may have.
select l.id, e.name, l.key_count, l.schema, e.coalesced, array_length(l.fields, 1), f.field
  from bridge.layout l
  join bridge.entity e on e.id = l.entity
 cross join lateral unnest(l.fields) with ordinality as f (field, position)
 order by l.id, f.position
