#!/usr/bin/env bash
# Sixteen sessions on both sides write the same ten rows, while what the other side wrote is applied to these very rows. No
# committed write is lost unnoticed: whatever took its place had seen it, or a conflict is recorded that shows it lost.
#
# Each row tells who wrote it and, from the very row version that the statement overwrote, whom it overwrote. Triggers of the test
# note, in the order of each row's locks, every version that a row has on a side, every change captured and every conflict; a
# court that has both sides' notes judges. Writes of the two sides on one row happen at once there if neither had been noted at
# the home of the other before the other was written.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
# shellcheck disable=SC2034 # for hot_rows.sh
HOT_SECONDS=${HOT_SECONDS:-6}
# shellcheck source=tests/support/hot_rows.sh
source "$SOURCE_DIR/tests/support/hot_rows.sh"

hot_nodes

# witness NODE: the notes, besides those of its applications.
witness() {
    hot_sessions "$1"
    bridge_install "$1" >>"$SERVERS_DIR/install.log"
    node_sql "$1" <<'SQL'
create table note.version (moment bigint default nextval('note.moment'), key text, ts bigint, node text, deleted boolean);
create table note.captured (key text, ts bigint, op text, who text, base_ts bigint, base_node text, seen jsonb);
create table note.conflict (moment bigint default nextval('note.moment'), key text, local_ts bigint, local_node text,
    remote_ts bigint, remote_node text, ruling text);
create function note.see_version() returns trigger language plpgsql security definer as $$
begin
    if tg_op = 'INSERT' or (old.ts, old.node) is distinct from (new.ts, new.node) then
        insert into note.version (key, ts, node, deleted) values (new.key, new.ts, new.node, new.deleted);
    end if;
    return null;
end $$;
create function note.see_captured() returns trigger language plpgsql security definer as $$
begin
    insert into note.captured values (new.fields[1], new.ts, new.op, new.fields[3], new.base_ts, new.base_node, new.seen);
    return null;
end $$;
create function note.see_conflict() returns trigger language plpgsql security definer as $$
begin
    insert into note.conflict (key, local_ts, local_node, remote_ts, remote_node, ruling)
    values (new.key, new.local_ts, new.local_node, new.remote_ts, new.remote_node, new.ruling);
    return null;
end $$;
create trigger see after insert or update on bridge.row_version for each row execute function note.see_version();
create trigger see after insert on bridge.outbox for each row execute function note.see_captured();
create trigger see after insert on bridge.conflict for each row execute function note.see_conflict();
-- Also for what is applied.
alter table bridge.row_version enable always trigger see;
alter table bridge.conflict enable always trigger see;
SQL
}
for node in commerce operations; do
    witness "$node"
    bridge_start "$node"
done
hot_write

# ---- the court ----

hot_court "
create table version (side text, moment bigint, key text, ts bigint, node text, deleted boolean);
create table captured (side text, key text, ts bigint, op text, who text, base_ts bigint, base_node text, seen jsonb);
create table conflict (side text, moment bigint, key text, local_ts bigint, local_node text, remote_ts bigint, remote_node text, ruling text);
create table row (side text, key text, n bigint, who text, over text, ts bigint, node text, deleted boolean)"
for table in version captured conflict; do
    plead "$table" "select * from note.$table"
done
plead row "select v.key, i.n, i.who, i.over, v.ts, v.node, v.deleted from bridge.row_version v left join item i on i.id = v.key::int"
sql alpha court <<'SQL'
create index on version (side, key, ts, node);
create index on captured (side, key, who);
create index on captured (side, key, ts);
create index on conflict (side, key, remote_ts, remote_node);
analyze;
-- What a writer of a side had seen of a row when it wrote a version: what the row was there before, and what a conflict there
-- had judged before.
create function had_seen(writer text, of_key text, writer_ts bigint, seen_ts bigint, seen_node text) returns boolean language sql stable as $$
    select exists (select from version w where w.side = writer and w.node = writer and w.key = of_key and w.ts = writer_ts
        and (exists (select from version v where v.side = writer and v.key = of_key and v.ts = seen_ts and v.node = seen_node and v.moment < w.moment)
          or exists (select from conflict c where c.side = writer and c.key = of_key and c.remote_ts = seen_ts and c.remote_node = seen_node
                     and c.moment < w.moment))) $$;
-- Each version that a row had on a side with the one that took its place, and why that is right.
create table verdict as
select s.*, case
           when s.next_ts is null then 'last'
           when s.next_node = s.side and exists (select from captured c where c.side = s.side and c.key = s.key and c.ts = s.next_ts
                and c.base_ts = s.ts and c.base_node = s.node) then 'seen by the next writer here'
           when s.next_node = s.side then null
           when exists (select from conflict c where c.side = s.side and c.key = s.key and (c.local_ts, c.local_node) = (s.ts, s.node)
                and (c.remote_ts, c.remote_node) = (s.next_ts, s.next_node) and c.ruling = 'remote') then 'lost, as recorded here'
           when s.deleted and s.next_deleted then 'deleted by both'
           when exists (select from version w where w.side = s.next_node and w.key = s.key and (w.ts, w.node) = (s.ts, s.node)
                and had_seen(s.next_node, s.key, s.next_ts, s.ts, s.node)) then 'seen by the next writer there'
           when had_seen(s.next_node, s.key, s.next_ts, s.ts, s.node) then 'lost, as recorded there'
           -- A deletion that came to a deletion left no note there: that the next writer had seen it must be believed.
           when s.deleted and exists (select from captured c where c.side = s.next_node and c.key = s.key and c.ts = s.next_ts
                and (c.seen ->> s.node)::bigint >= s.ts) and exists (select from version v where v.side = s.next_node and v.key = s.key
                and v.deleted and v.ts < s.next_ts) then 'deleted by both'
       end as reason
  from (select side, moment, key, ts, node, deleted, lead(ts) over row as next_ts, lead(node) over row as next_node,
               lead(deleted) over row as next_deleted
          from version window row as (partition by side, key order by moment)) s;
SQL
# ---- each write is known ----

judged "" "writes (updates, inserts) without exactly one version of their own" "select d.side, d.who, d.key, count(c.ts) from done d
    left join captured c on c.side = d.side and c.key = d.key and c.who = d.who and c.op in ('u', 'c')
    where d.op <> 'd' group by 1, 2, 3 having count(c.ts) <> 1 limit 5"
judged "" "versions without a write" "select c.* from captured c left join done d on d.side = c.side and d.key = c.key and d.who = c.who
    where c.op <> 'd' and d.who is null limit 5"
judged t "as many deletions captured as done" "select (select count(*) from done where op = 'd') = (select count(*) from captured where op = 'd')"
judged "" "writes whose version is not in the row's history" "select c.* from captured c left join version v on v.side = c.side and v.key = c.key
    and (v.ts, v.node) = (c.ts, c.side) where v.ts is null limit 5"
# What the statement overwrote is what its version says. Nothing slipped in between.
judged "" "updates that overwrote another version than they say" "select d.*, c.*, o.side, o.ts from done d
    join captured c on c.side = d.side and c.key = d.key and c.who = d.who and c.op in ('u', 'c')
    left join captured o on o.key = d.key and o.who = d.over and o.op in ('u', 'c')
    where d.op = 'u' and (o.ts, o.side) is distinct from (c.base_ts, c.base_node) limit 5"
judged "" "deletions that removed another version than they say" "select d.*, o.side, o.ts from done d
    left join captured o on o.key = d.key and o.who = d.over and o.op in ('u', 'c')
    where d.op = 'd' and not exists (select from captured c where c.side = d.side and c.key = d.key and c.op = 'd'
        and (c.base_ts, c.base_node) = (o.ts, o.side)) limit 5"
judged "" "inserts over a row that was there" "select c.*, v.* from captured c
    join done d on d.side = c.side and d.key = c.key and d.who = c.who and d.op = 'i'
    left join version v on v.side = c.side and v.key = c.key and (v.ts, v.node) = (c.base_ts, c.base_node)
    where c.base_ts is not null and v.deleted is distinct from true limit 5"
judged "" "rows that do not hold what their version wrote" "select r.*, c.* from row r
    left join captured c on c.side = r.node and c.key = r.key and c.ts = r.ts
    where not coalesce(case when r.deleted then r.who is null and c.op = 'd' else c.who = r.who and c.op <> 'd' end, false) limit 5"
printf 'ok - each committed write has its version, and overwrote the version that it says\n'

# ---- none is lost unnoticed ----

judged "" "versions replaced by a change that had not seen them, without a conflict" "select * from verdict where reason is null order by moment limit 5"
judged "$HOT_ROWS|$HOT_ROWS" "last versions of the two sides" "select count(*) filter (where side = 'commerce'), count(*) filter (where side = 'operations') from verdict where reason = 'last'"
judged t "each side lost something" "select
    count(distinct side) filter (where reason = 'lost, as recorded here') = 2 from verdict where node = side"
printf 'ok - no write is lost unnoticed\n'

# ---- no conflict is invented ----

judged "" "conflicts recorded more than once" "select side, key, local_ts, local_node, remote_ts, remote_node, count(*) from conflict
    group by 1, 2, 3, 4, 5, 6 having count(*) > 1 limit 5"
judged "" "conflicts with a change that was built on the row here" "select c.* from conflict c where exists (select from version w
    join version v on v.side = w.side and v.key = w.key and v.moment < w.moment and (v.ts, v.node) = (c.local_ts, c.local_node)
    where w.side = c.remote_node and w.key = c.key and (w.ts, w.node) = (c.remote_ts, c.remote_node)) limit 5"
judged "" "conflicts with a change that the row here was built on" "select c.* from conflict c where c.local_node = c.side
    and had_seen(c.side, c.key, c.local_ts, c.remote_ts, c.remote_node) limit 5"
judged "" "conflicts that the earlier version won" "select * from conflict where (ruling = 'remote') <>
    ((remote_ts, remote_node collate \"C\") > (local_ts, local_node collate \"C\")) limit 5"
printf 'ok - no conflict is invented\n'

# ---- and both sides are equal ----

judged "" "rows that differ" "select * from (select key, n, who, over, ts, node, deleted from row where side = 'commerce') a full join
    (select key, n, who, over, ts, node, deleted from row where side = 'operations') b on a = b where a.key is null or b.key is null"
hot_settled
printf 'ok - both sides are equal\n'
sql alpha court "select '# ' || side || ': ' || string_agg(reason || ' ' || n, ', ' order by reason) from
    (select side, reason, count(*) as n from verdict where node = side group by 1, 2) r group by side order by side"
sql alpha court "select '# ' || side || ': ' || count(*) || ' conflicts, lost here ' || count(*) filter (where ruling = 'remote') from conflict group by side order by side"
hot_retried
