-- bridge.note_changes(...): what capture from the WAL asks of every change of this node, in order of commit, before it is given out:
-- its version, the version it replaced, and what its writer had seen. Keeps tombstones of deletions.
create or replace function bridge.note_changes(entity smallint[], key text[], op "char"[], commit_us bigint[], ts bigint[], lsn pg_lsn[], xid xid[])
    returns table (n bigint, version_ts bigint, base_ts bigint, base_node text, seen text)
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    insert into bridge.row_version as v (entity, key, ts, node, deleted)
    select distinct on (c.entity, c.key) c.entity, c.key, c.ts, (select name from bridge.node), true
      from unnest(note_changes.entity, note_changes.key, note_changes.op, note_changes.ts) with ordinality as c (entity, key, op, ts, n)
     where c.op = 'd'
     order by c.entity, c.key, c.n desc
    on conflict (entity, key) do update set ts = excluded.ts, node = excluded.node, deleted = true
     where v.ts < excluded.ts;
    return query select c.n, c.ts, null::bigint, null::text, null::text from unnest(note_changes.ts) with ordinality as c (ts, n) order by c.n;
end
$$;
