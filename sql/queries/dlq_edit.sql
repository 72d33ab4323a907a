-- Edits letter $1 by $2, because of $3: the row as it is now, or the rows.
select bridge.edit_dead_letter($1::bigint, $2::jsonb, $3)
