-- bridge.version_upon(replaced, at, ts): the version of a write at ts upon one that was written here at at: where that is ahead of the clock,
-- versions go half as fast as the clock until it has caught up. So they depend on the time alone, whatever else was written in between (of writes of one
-- row 2 us apart or more): that is why each time is halved by itself. The body is parsed here, so it needs no search_path, with which it would cost ten
-- times as much.
create or replace function bridge.version_upon(replaced bigint, at_us bigint, ts bigint) returns bigint
    language sql immutable parallel safe
    return greatest(ts, replaced + greatest(ts / 2 - coalesce(at_us, replaced) / 2, 1));

-- bridge.version_here(entry, xmin of the entry, xmin of the row): the version of a row that is here: what row_version says, or, of a node
-- that captures from the WAL, the commit of the application that has written it since. adapters/postgres/statement_sql.c computes the same.
create or replace function bridge.version_here(v bridge.row_version, v_xmin xid, row_xmin xid, out ts bigint, out node text, out own boolean)
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select case when c.us is null then (v).ts else bridge.version_upon((v).ts, (v).at_us, c.us) end,
           case when c.us is null then (v).node else n.name end, c.us is not null
      from bridge.node n
     cross join lateral (
           select case when n.versions_since is not null and row_xmin is not null and row_xmin is distinct from coalesce((v).row_xmin, v_xmin)
                            -- A transaction's own entry may have its number and the row that of a subtransaction.
                            and ((v).node = n.name and (v).at_us = (date_part('epoch', pg_xact_commit_timestamp(row_xmin)) * 1000000)::bigint) is not true
                       then nullif(greatest((date_part('epoch', pg_xact_commit_timestamp(row_xmin)) * 1000000)::bigint, n.versions_since),
                                   n.versions_since) end as us) c
$$;

-- bridge.keep_versions(entity): writes into row_version what only the commits say: capture by triggers does not look at them. The log has
-- not told them all yet, and may tell of a later version: so they are written as by apply, which has judged by the commit.
create or replace function bridge.keep_versions(entity_name text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    e bridge.entity;
begin
    select * into strict e from bridge.entity where name = entity_name;
    execute format($f$
        insert into bridge.row_version as r (entity, key, ts, node, deleted, seen, base_ts, base_node, row_xmin, over, lsn, at_us)
        select %1$s, k.key, h.ts, h.node, false, bridge.join_seen((k.entry).seen, null, (k.entry).ts, (k.entry).node, h.node), h.ts, h.node,
               k.row_xmin, k.row_xmin, pg_current_wal_insert_lsn(), (date_part('epoch', pg_xact_commit_timestamp(k.row_xmin)) * 1000000)::bigint
          from (select t.xmin as row_xmin, bridge.%2$I(t) as key, v as entry, v.xmin as v_xmin
                  from %3$s t left join bridge.row_version v on v.entity = %1$s and v.key = bridge.%2$I(t)) as k
         cross join lateral bridge.version_here(k.entry, k.v_xmin, k.row_xmin) h
         where h.own
        on conflict (entity, key) do update
           set ts = excluded.ts, node = excluded.node, deleted = false, seen = excluded.seen, base_ts = excluded.base_ts, base_node = excluded.base_node,
               row_xmin = excluded.row_xmin, over = excluded.over, lsn = excluded.lsn, at_us = excluded.at_us, later_us = null,
               former = bridge.remember(r, excluded.lsn) $f$,
        e.id, 'row_key_' || e.id, e.relation);
end
$$;
