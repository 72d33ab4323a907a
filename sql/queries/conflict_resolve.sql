-- Resolves conflict $1 by $2, as bridge.resolve_conflict takes it: a line per field of what the row is now, for people; of which row,
-- and whether there is one. Then all of it as JSON; $3 is whether this is only tried.
with resolved as materialized (select bridge.resolve_conflict($1::bigint, $2::text) as row)
select f.field, case when f.value is null then '(null)' when f.value = '' then '""' else f.value end,
       c.entity || ' ' || c.key, r.row is not null,
       json_build_object('id', c.id, 'entity', c.entity, 'key', c.key,
                         'resolution', case when $2 in ('local', 'remote') then $2 else 'custom' end,
                         'dry_run', $3::boolean, 'row', r.row)
  from resolved r
  left join bridge.conflict c on c.id = $1::bigint
  left join lateral jsonb_each_text(r.row) as f (field, value) on true
 order by array_position(c.fields, f.field)
