-- Pauses direction $1 (null: both) of entity $2 (null: of all) for reason $3, for person $4. -> what is paused by that, and as JSON.
select p.direction, coalesce(p.entity, '(all)'), coalesce(p.reason, ''), p.paused_by, row_to_json(p)
  from bridge.pause($1, $2, $3, $4) p
 order by p.id
