-- bridge.note_log(...): what capture from the WAL asks of the changes of this node, in the order of commit, before they are given out,
-- but for those of which queries/wal_known.sql tells that there is nothing to say: its version, and what its writer had seen of the row: the entry of
-- row_version that was there then, and what that had seen. A change that is not told of has the version that was given, and its writer had seen nothing.
-- Apply takes a row that it has no entry of for the same (adapters/postgres/statement_sql.c). commit_us is the commit's time and ts at least the version, later
-- where the clock has gone back; lsn is the commit's place in the log. A transaction that is given out in parts may write a row in several: later is
-- by how much its version is later than in the first, so that each part has the same one whenever it is asked for.
--
-- What a commit does not say is noted: deletions, and a later version. Where apply has written the row since, it has judged without that: a
-- deletion is judged now, as if what was brought came after it; and where the right version would have won, what came of the wrong one becomes this
-- node's word.
--
-- A change whose row an application holds is left, and so are those after it that are not told by row_version alone: they have no version. Who waited
-- for the row would hold others and the versions meanwhile, and make a deadlock of it; its victim may be the application.
create or replace function bridge.note_log(entity smallint[], key text[], op "char"[], commit_us bigint[], ts bigint[], lsn pg_lsn[], xid xid[], later bigint[])
    returns table (n bigint, version_ts bigint, base_ts bigint, base_node text, seen text)
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    this_node text := (select name from bridge.node);
    noted     boolean := exists (select from unnest(note_log.op, note_log.commit_us, note_log.ts) as c (op, commit_us, ts)
                                  where c.op = 'd' or c.ts <> c.commit_us);
    -- Where it counts what the writer of an unknown row has seen.
    attentive smallint[] := array(select e.id from bridge.entity e where e.policy in ('node-priority', 'manual'));
    alone     boolean; -- otherwise triggers write row_version, too
    held      boolean := false;
    c         record;
    k         bridge.known;
begin
    if noted then
        perform bridge.lock_to_note();
    end if;
    -- Asked once nobody can switch it, where something is to be noted.
    select n.capture = 'wal' into alone from bridge.node n;
    for c in
        with given as (
            select g.*, count(*) over (partition by g.entity, g.key collate "C") > 1 as again,
                   bool_or(g.op = 'd' or g.ts <> g.commit_us) over (partition by g.entity, g.key collate "C") as noted
              from unnest(note_log.entity, note_log.key, note_log.op, note_log.commit_us, note_log.ts, note_log.lsn,
                          note_log.xid, note_log.later) with ordinality as g (entity, key, op, commit_us, ts, lsn, xid, later, n)
             -- Of most rows nothing is known, and nothing is to be noted: as in queries/wal_known.sql.
             where (g.entity, g.key) in (select h.entity, h.key
                                           from unnest(note_log.entity, note_log.key, note_log.op, note_log.commit_us, note_log.ts)
                                                as h (entity, key, op, commit_us, ts) where h.op = 'd' or h.ts <> h.commit_us)
                   or g.entity = any (attentive) or exists (select from bridge.row_version r where r.entity = g.entity and r.key = g.key offset 0)),
        found as materialized (
            select g.*, v.ts is not null as here,
                   greatest(g.ts, bridge.version_upon(v.ts, v.at_us, g.commit_us) + g.later,
                            case when v.former is not null then bridge.last_own(v.former, this_node, g.lsn) + 1 end) as version,
                   case when v.ts is not null then bridge.join_seen(v.seen, null, v.ts, v.node, this_node)
                        when g.entity = any (attentive)
                        then bridge.certainly_seen(g.entity, g.key, to_timestamp(g.commit_us / 1000000.0)) end as known,
                   -- Nobody has written row_version since, and it is not about this very change.
                   alone and (v.ts is null or ((v.lsn is null or v.lsn < g.lsn) and v.row_xmin is distinct from g.xid
                                               and bridge.last_replaced(v.former) <= bridge.lsn_number(g.lsn))) as simple
              from given g
              -- Looked up one by one, whatever the statistics say of a table that was empty when they were made.
              left join lateral (select * from bridge.row_version r where r.entity = g.entity and r.key = g.key offset 0) v on true),
        told as (
            -- Neither its commit nor what was given says its version: noted one by one.
            select f.*, not f.noted and f.version <> f.commit_us as unsaid from found f),
        tombstones as (
            insert into bridge.row_version as v (entity, key, ts, node, deleted, seen, row_xmin, lsn, at_us, later_us)
            select f.entity, f.key, f.version, this_node, f.op = 'd', f.known, f.xid, f.lsn, f.commit_us, nullif(f.later, 0)
              from told f where f.noted and f.simple and not f.again and not f.unsaid
            on conflict (entity, key) do update
               set ts = excluded.ts, node = excluded.node, deleted = excluded.deleted, seen = excluded.seen, base_ts = v.ts, base_node = v.node,
                   row_xmin = excluded.row_xmin, lsn = excluded.lsn, at_us = excluded.at_us, later_us = excluded.later_us, over = null, correlation = null,
                   former = bridge.remember(v, excluded.lsn))
        select f.n, f.entity, f.key, f.op, f.commit_us, f.ts, f.lsn, f.xid, f.later, f.version, f.known,
               not (f.noted and f.again) and bool_and(f.simple and not f.unsaid) over (partition by f.entity, f.key collate "C") as done
          from told f order by f.n
    loop
        if c.done then
            n := c.n; version_ts := c.version; seen := c.known;
        else
            k := null;
            if not held then
                k := bridge.note_change(c.entity, c.key, c.op, c.commit_us, c.ts, c.lsn, c.xid, c.later);
            end if;
            n := c.n; version_ts := k.ts; seen := k.seen; held := version_ts is null;
        end if;
        if version_ts is distinct from c.ts or seen is not null then
            return next;
        end if;
    end loop;
end
$$;

-- bridge.last_own(former, node, lsn): the latest version of the node's among the entries of before that place: what it writes comes after that,
-- whatever was brought in between.
create or replace function bridge.last_own(former jsonb, node text, lsn pg_lsn) returns bigint
    language sql immutable
    return (select max((e.value ->> 'ts')::bigint) from jsonb_array_elements(former) e
             where e.value ->> 'node' = node and (e.value ->> 'lsn')::bigint < bridge.lsn_number(lsn));

-- bridge.lock_to_note(): nobody else writes row_version until the transaction ends.
create or replace function bridge.lock_to_note() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not pg_try_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions')) then
        begin
            perform pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions'));
        exception when lock_not_available then
            -- Fewer rows would wait as long.
            raise exception 'what is applied takes long' using errcode = '40001';
        end;
    end if;
    -- What else is waited for: gives way before the server looks for a deadlock. The caller then notes fewer at a time.
    perform set_config('lock_timeout', greatest(1, least(400, date_part('epoch', current_setting('deadlock_timeout')::interval) * 500)::int) || 'ms', true);
end
$$;

-- bridge.note_change(...): one change that cannot be told by a look at row_version alone. No version: its row is held by somebody.
create or replace function bridge.note_change(entity_id smallint, row_key text, op "char", commit_us bigint, given bigint, lsn pg_lsn, xid xid, later bigint)
    returns bridge.known
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    node      bridge.node;
    place     bigint := bridge.lsn_number(lsn);
    v         bridge.row_version;
    f         jsonb;          -- the entry that was there, if it has been replaced since
    at        int;            -- its place in v.former
    upon      jsonb;          -- the entry that the change was written upon, or one before that
    k         bridge.known;
    replaced  bigint;         -- the version that the change was written upon
    replaced_at bigint;       -- and when that was written, by this node's clock
    overtaken boolean;
    noted     boolean;        -- its commit does not say its version
    own       boolean;        -- f is of this very change
    alone     boolean := false; -- nobody else writes row_version
    locked    boolean := false; -- nor the row
begin
    select * into node from bridge.node;
    loop
        select * into v from bridge.row_version r where r.entity = entity_id and r.key = row_key;
        select e.value, e.ordinality - 1 into f, at from jsonb_array_elements(v.former) with ordinality e
         where (e.value ->> 'replaced')::bigint > place order by e.ordinality limit 1;
        overtaken := f is not null or bridge.lsn_number(v.lsn) > place;
        if f is null and v.ts is not null then
            f := jsonb_strip_nulls(jsonb_build_object('lsn', bridge.lsn_number(v.lsn), 'xmin', v.row_xmin::text, 'ts', v.ts, 'node', v.node,
                                                      'at', v.at_us, 'later', v.later_us, 'seen', v.seen));
        end if;
        own := coalesce(f ->> 'xmin' = xid::text and (f ->> 'lsn')::bigint <= place, false);
        upon := f;
        -- Or it was written upon one that is forgotten (queries/stamp.sql), which had seen at least what the one before had.
        if (f ->> 'lsn')::bigint > place then
            select e.value into upon from jsonb_array_elements(v.former) with ordinality e
             where (e.value ->> 'replaced')::bigint <= place order by e.ordinality desc limit 1;
        end if;
        replaced := upon ->> 'ts';
        replaced_at := upon ->> 'at';
        k.ts := greatest(given, bridge.version_upon(replaced, replaced_at, commit_us) + later, bridge.last_own(v.former, node.name, lsn) + 1);
        noted := op = 'd' or k.ts <> commit_us;
        exit when own or not noted or (alone and (locked or not (overtaken or node.capture <> 'wal')));
        -- In the order of everybody: first nobody else writes row_version, then the row, then what is known of it.
        if not alone then
            perform bridge.lock_to_note();
            alone := true;
            continue;
        end if;
        if exists (select from bridge.entity e, bridge.row_here(e, row_key, false) h where e.id = entity_id and h.held) then
            return null;
        end if;
        perform from bridge.row_version r where r.entity = entity_id and r.key = row_key for update;
        locked := true;
    end loop;
    if own then
        -- It was noted before.
        k.ts := (f ->> 'ts')::bigint + later - coalesce((f ->> 'later')::bigint, 0);
        k.seen := bridge.join_seen(f -> 'seen', null, null, null, node.name);
        -- By an earlier part: the row is what this one says.
        update bridge.row_version r set ts = k.ts, deleted = op = 'd', later_us = note_change.later
         where at is null and r.entity = entity_id and r.key = row_key and note_change.later > coalesce(r.later_us, 0);
        return k;
    end if;
    if upon is not null then
        k.seen := bridge.join_seen(upon -> 'seen', null, replaced, upon ->> 'node', node.name);
    elsif (select e.policy from bridge.entity e where e.id = entity_id) in ('node-priority', 'manual') then
        k.seen := bridge.certainly_seen(entity_id, row_key, to_timestamp(commit_us / 1000000.0));
    end if;
    if not noted then
        return k;
    end if;
    if not overtaken then
        insert into bridge.row_version as r (entity, key, ts, node, deleted, seen, row_xmin, lsn, at_us, later_us)
        values (entity_id, row_key, k.ts, node.name, op = 'd', k.seen, xid, lsn, commit_us, nullif(later, 0))
        on conflict (entity, key) do update
           set ts = excluded.ts, node = excluded.node, deleted = excluded.deleted, seen = excluded.seen, base_ts = r.ts, base_node = r.node,
               row_xmin = excluded.row_xmin, lsn = excluded.lsn, at_us = excluded.at_us, later_us = excluded.later_us, over = null, correlation = null,
               former = bridge.remember(r, excluded.lsn)
         where r.lsn is null or r.lsn <= excluded.lsn;
        -- A trigger was quicker, after capture was switched.
        return case when found then k else bridge.note_change(entity_id, row_key, op, commit_us, given, lsn, xid, later) end;
    end if;
    return bridge.note_overtaken(v, op, commit_us, place, xid, k, case when at is not null then f end, at, later);
end
$$;
