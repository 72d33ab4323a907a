-- The versions of those of this node's changes of which there is anything to say, in order of commit, and what they stand upon: see
-- bridge.note_log. Of entities $1 the keys $2, the operations $3 (c, u, d), the commit times $4, the times given to their transactions $5, the places of their commits $6 and their transactions $7;
-- $8: by how much their versions are later than in an earlier part of the same transaction. Those whose
-- rows applications hold have no version.
select n, version_ts, seen
  from bridge.note_log($1::smallint[], $2::text[], $3::"char"[], $4::bigint[], $5::bigint[], $6::pg_lsn[], $7::xid[], $8::bigint[])
 order by n
