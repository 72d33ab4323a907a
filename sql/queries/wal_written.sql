-- Of the rows of entities $1 with keys $2, of which the log tells of several writes of this node's, the first at $3 and the last at $4: those that
-- somebody else has written in between, or has been judged against -> n. Of what apply did in between at least the last is among the earlier entries:
-- bridge.remember.
select g.n
  from unnest($1::smallint[], $2::text[], $3::pg_lsn[], $4::pg_lsn[]) with ordinality as g (entity, key, first, last, n)
 where exists (select from bridge.row_version v
                where v.entity = g.entity and v.key = g.key and v.lsn > g.first
                  and (v.lsn < g.last
                       or exists (select from jsonb_array_elements(v.former) e
                                   where (e ->> 'lsn')::bigint > bridge.lsn_number(g.first) and (e ->> 'lsn')::bigint < bridge.lsn_number(g.last))) offset 0)
