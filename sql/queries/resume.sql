-- Resumes direction $1 (null: both) of entity $2 (null: whole directions), or the row $3 of it; $4: held deletions are undone; for person
-- $5. -> what is resumed by that, and as JSON.
select p.direction, coalesce(p.entity, '(all)'), coalesce(p.released::text, ''), coalesce(p.discarded::text, ''), row_to_json(p)
  from bridge.resume($1, $2, $3, $4::boolean, $5) p
 order by p.id
