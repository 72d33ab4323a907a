-- Both rows of conflict $1, for people: field, a mark where they differ, the local value and the remote one; long ones are wrapped,
-- and very long ones cut.
select f.field, case when f.here and f.there and f.local is not distinct from f.remote then '' else '*' end, s.shown[1], s.shown[2]
  from bridge.conflicts c
 cross join lateral (select o, field, l.o is not null as here, l.value as local, r.o is not null as there, r.value as remote
                       from json_each_text(c.local_row) with ordinality as l (field, value, o)
                       full join json_each_text(c.remote_row) with ordinality as r (field, value, o) using (o, field)) f
 cross join lateral (select array_agg(case when not v.present then ''
                                           when v.value is null then '(null)'
                                           when v.value = '' then '""'
                                           else regexp_replace(left(v.value, 1000), '([^\n]{48})(?=[^\n])', E'\\1\n', 'g') ||
                                                case when length(v.value) > 1000
                                                     then format(E'\n... (%s characters; --json shows all)', length(v.value))
                                                     else '' end
                                      end order by v.side) as shown
                       from (values (1, f.here, f.local), (2, f.there, f.remote)) as v (side, present, value)) s
 where c.id = $1::bigint
 order by f.o
