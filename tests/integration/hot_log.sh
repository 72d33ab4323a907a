#!/usr/bin/env bash
# Sixteen sessions on both sides write the same ten rows, and capture is from the log: what a statement has replaced is nowhere told, and apply
# writes rows of whose latest writes the adapter has not read yet. No committed write is lost unnoticed all the same, and no conflict is invented.
#
# The court knows nothing of versions. A trigger of the test's notes each state that a row has on a side, in the order of its locks, whoever made
# it; the name of its writer tells where it came from. A writer had seen all that his row has been on his side before. Deletions have no name:
# what was lost to one, or which one was lost, is told less sharply than of rows.
set -euo pipefail
[[ -n ${!CAPTURE*} ]] || CAPTURE=wal
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
# shellcheck source=tests/support/hot_rows.sh
source "$SOURCE_DIR/tests/support/hot_rows.sh"

hot_nodes
for node in commerce operations; do
    hot_sessions "$node"
    bridge_install "$node" >>"$SERVERS_DIR/install.log"
    node_sql "$node" <<'SQL'
create table note.state (moment bigint default nextval('note.moment'), key text, who text, applied boolean); -- who: null when it was deleted
create function note.see_state() returns trigger language plpgsql security definer as $$
begin
    insert into note.state (key, who, applied) values (coalesce(new.id, old.id), new.who, session_user = 'pgbridge');
    return null;
end $$;
create trigger see after insert or update or delete on item for each row execute function note.see_state();
alter table item enable always trigger see;
SQL
    bridge_start "$node"
done
hot_write

# ---- the court ----

hot_court "
create table state (side text, moment bigint, key text, who text, applied boolean);
create table conflict (side text, id bigint, key text, local text, local_ts bigint, local_node text, remote text, remote_ts bigint, remote_node text, ruling text);
create table row (side text, key text, n bigint, who text, over text);
create table known (side text, key text, version_time timestamptz, version_node text, deleted boolean, content_hash text)"
plead state "select * from note.state"
plead conflict "select id, key, local_row[array_position(fields, 'who')], local_ts, local_node, remote_row[array_position(fields, 'who')], remote_ts, remote_node, ruling
    from bridge.conflict"
plead row "select * from item"
plead known "select key, version_time, version_node, deleted, content_hash from bridge.entity_state"
sql alpha court <<'SQL'
create index on state (side, key, who, moment);
create index on conflict (side, key, local);
create index on conflict (side, key, remote);
analyze;
create function home(who text) returns text language sql immutable as $$ select case when who = 'start' then 'commerce' else split_part(who, '.', 1) end $$;
-- Whether a row was this on a side before it was that for the first time.
create function was_before(on_side text, of_key text, this text, that text) returns boolean language sql stable as $$
    select exists (select from state s where s.side = on_side and s.key = of_key and s.who is not distinct from this
        and s.moment < (select min(t.moment) from state t where t.side = on_side and t.key = of_key and t.who = that)) $$;
-- Whether the row was gone on a side before it was that for the first time, and after the last of the other side's states, up to a moment there,
-- that it had had.
create function was_gone_before(on_side text, of_key text, since bigint, that text) returns boolean language sql stable as $$
    select exists (select from state g where g.side = on_side and g.key = of_key and g.who is null
        and g.moment < (select min(t.moment) from state t where t.side = on_side and t.key = of_key and t.who = that)
        and g.moment > coalesce((select min(h.moment) from state o join state h on h.side = on_side and h.key = of_key and h.who = o.who
                                  where o.side <> on_side and o.key = of_key and o.moment < since group by o.moment order by o.moment desc limit 1), 0)) $$;
-- What apply put in a state's place, and why that is right.
create table verdict as
select s.*, case
           when exists (select from conflict c where c.side = s.side and c.key = s.key and c.local is not distinct from s.who
                and c.remote is not distinct from s.next and c.ruling = 'remote') then 'lost, as recorded here'
           when s.who is not null and s.next is not null and was_before(home(s.next), s.key, s.who, s.next) then 'seen by the next writer'
           when s.who is null and was_gone_before(home(s.next), s.key, s.moment, s.next) then 'deleted there, too'
           -- A deletion has no name: some deletion there that came after it.
           when s.next is null and exists (select from state d where d.side <> s.side and d.key = s.key and d.who is null and not d.applied
                and d.moment > (select min(t.moment) from state t where t.side = d.side and t.key = s.key and t.who = s.who)) then 'seen by who deleted it'
           when s.next is null and exists (select from conflict c where c.side = s.side and c.key = s.key and c.local is null and c.remote = s.who
                and c.ruling = 'local') then 'lost to a deletion here that was read later'
           when exists (select from conflict c where c.side <> s.side and c.key = s.key and c.remote is not distinct from s.who
                and c.ruling = 'local') then 'lost, as recorded there'
       end as reason
  from (select side, moment, key, who, applied, lead(who) over row as next, lead(applied) over row as next_applied
          from state window row as (partition by side, key order by moment)) s
 where s.next_applied;
SQL

judged "" "writes (updates, inserts) that no state shows" "select d.side, d.who, d.key from done d
    left join state s on s.side = d.side and s.key = d.key and s.who = d.who and not s.applied where d.op <> 'd' and s.who is null limit 5"
judged "" "rows that a side has had of the other, and the other has not" "select s.* from state s where s.applied and s.who is not null
    and not exists (select from state o where o.side = home(s.who) and o.key = s.key and o.who = s.who) limit 5"
judged "" "writes that came before what their own writer had replaced" "select s.side, s.key, s.who, s.next from verdict s where home(s.who) = home(s.next)
    and s.who <> s.next and was_before(home(s.who), s.key, s.next, s.who) and reason is distinct from 'lost, as recorded here' limit 5"
judged "" "states replaced by what had not seen them, without a conflict" "select * from verdict where reason is null order by side, moment limit 5"
judged t "each side lost something" "select count(distinct side) filter (where reason = 'lost, as recorded here') = 2 from verdict"
printf 'ok - no write is lost unnoticed\n'

judged "" "conflicts recorded more than once" "select side, key, local_ts, local_node, remote_ts, remote_node, count(*) from conflict
    group by 1, 2, 3, 4, 5, 6 having count(*) > 1 limit 5"
judged "" "conflicts with a change that was built on the row here" "select * from conflict c
    where c.local is not null and was_before(home(c.remote), c.key, c.local, c.remote) limit 5"
judged "" "conflicts with a change that the row here was built on" "select * from conflict c
    where c.remote is not null and home(c.local) = c.side and was_before(c.side, c.key, c.remote, c.local) limit 5"
judged "" "conflicts that the earlier version won" "select * from conflict where (ruling = 'remote') <>
    ((remote_ts, remote_node collate \"C\") > (local_ts, local_node collate \"C\")) limit 5"
printf 'ok - no conflict is invented\n'

for table in row known; do
    judged "" "what only one side has in its $table" "select * from (select to_jsonb(r) - 'side' as it from \"$table\" r where side = 'commerce') a full join
        (select to_jsonb(r) - 'side' as it from \"$table\" r where side = 'operations') b on a.it = b.it where a.it is null or b.it is null"
done
hot_settled
printf 'ok - both sides are equal\n'
sql alpha court "select '# ' || side || ': ' || string_agg(reason || ' ' || n, ', ' order by reason) from
    (select side, reason, count(*) as n from verdict group by 1, 2) r group by side order by side"
sql alpha court "select '# ' || side || ': ' || count(*) || ' conflicts, lost here ' || count(*) filter (where ruling = 'remote') from conflict group by side order by side"
hot_retried
