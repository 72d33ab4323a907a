-- Every shape that outbox rows may have, but for $1.
select l.id, e.name, l.key_count, l.schema, e.coalesced, array_length(l.fields, 1), f.field
  from bridge.layout l
  join bridge.entity e on e.id = l.entity and l.id <> all ($1::int[])
 cross join lateral unnest(l.fields) with ordinality as f (field, position)
 order by l.id, f.position
