-- Of the rows of entities $1 with keys $2, of which the log tells of several writes of this node's, the first at $3 and the last at $4: where in
-- between somebody else has written them, or has been judged against -> n, place; each in the order of places. Where apply did so several times between two
-- writes of this node's at least the first and the last of them are among the earlier entries: bridge.remember.
select g.n, w.place
  from unnest($1::smallint[], $2::text[], $3::pg_lsn[], $4::pg_lsn[]) with ordinality as g (entity, key, first, last, n)
  cross join lateral (select bridge.lsn_number(v.lsn) as place, v.former from bridge.row_version v
                       where v.entity = g.entity and v.key = g.key and v.lsn > g.first offset 0) v
  cross join lateral (select v.place union select (e ->> 'lsn')::bigint from jsonb_array_elements(v.former) e) w
 where w.place > bridge.lsn_number(g.first) and w.place < bridge.lsn_number(g.last)
 order by g.n, w.place
