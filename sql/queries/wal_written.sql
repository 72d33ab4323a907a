-- Of the rows of entities $1 with keys $2, of which the log tells of two writes of this node's, the first at $3: those that somebody else has
-- written since, or has been judged against -> n.
select g.n
  from unnest($1::smallint[], $2::text[], $3::pg_lsn[]) with ordinality as g (entity, key, lsn, n)
 where exists (select from bridge.row_version v where v.entity = g.entity and v.key = g.key and v.lsn > g.lsn offset 0)
