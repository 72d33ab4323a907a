-- The row of letter $1, for people: field and value; long ones are wrapped, and very long ones cut. What could not be read is shown as
-- text, other bytes as \ooo.
select r.field, case when r.value is null then '(null)' when r.value = '' then '""'
                     else regexp_replace(left(r.value, 2000), '([^\n]{72})(?=[^\n])', E'\\1\n', 'g') ||
                          case when length(r.value) > 2000 then format(E'\n... (%s characters; --json shows all)', length(r.value)) else '' end end
  from bridge.dead_letter_payloads p
 cross join lateral (
    select c.o, c.field, p.payload -> 'rows' -> 0 ->> (c.o::int - 1) as value
      from jsonb_array_elements_text(p.payload -> 'columns') with ordinality as c (field, o)
    union all
    select 0, 'bytes', encode(p.raw, 'escape') where p.raw is not null) r
 where p.id = $1::bigint
 order by r.o
