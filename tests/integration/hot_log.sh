#!/usr/bin/env bash
# Sixteen sessions on both sides write the same ten rows, and capture is from the log: what a statement has replaced is nowhere told, and apply
# writes rows of whose latest writes the adapter has not read yet. No committed write is lost unnoticed all the same, and no conflict is invented.
#
# The court knows nothing of versions. A trigger of the test's notes each state that a row has on a side, in the order of its locks, whoever made
# it; the name of its writer tells where it came from. A writer had seen all that his row has been on his side before. Deletions have no
# name: conflicts about one are known by their versions, which are the times of commits.
#
# HOT_CLOCK: how many seconds the clock of operations is ahead of the machine's, in turns, as "0 -2 1".
set -euo pipefail
[[ -n ${!CAPTURE*} ]] || CAPTURE=wal
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
# shellcheck source=tests/support/hot_rows.sh
source "$SOURCE_DIR/tests/support/hot_rows.sh"
# shellcheck source=tests/support/clock.sh
source "$SOURCE_DIR/tests/support/clock.sh"

hot_nodes
if [[ -n ${HOT_CLOCK:-} ]]; then
    clock=("LD_PRELOAD=$(clock_library)" "FAKETIME_TIMESTAMP_FILE=$SERVERS_DIR/clock" FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_CACHE_DURATION=1)
    printf '+0\n' >"$SERVERS_DIR/clock"
    chmod 644 "$SERVERS_DIR/clock"
    clock_cluster beta "${clock[@]}"
fi
for node in commerce operations; do
    hot_sessions "$node"
    bridge_install "$node" >>"$SERVERS_DIR/install.log"
    node_sql "$node" <<'SQL'
create table note.state (moment bigint default nextval('note.moment'), at bigint default date_part('epoch', clock_timestamp()) * 1000000,
    key text, who text, applied boolean); -- who: null when it was deleted
create function note.see_state() returns trigger language plpgsql security definer as $$
begin
    insert into note.state (key, who, applied) values (coalesce(new.id, old.id), new.who, session_user = 'pgbridge');
    return null;
end $$;
create trigger see after insert or update or delete on item for each row execute function note.see_state();
alter table item enable always trigger see;
SQL
    if [[ -n ${HOT_CLOCK:-} && $node == operations ]]; then
        process_start node-operations env "${clock[@]}" "$PGBRIDGE" -c "$SERVERS_DIR/operations.yaml" run
        clock_forget node-operations
    else
        bridge_start "$node"
    fi
done
jump_clock() {
    local seconds
    while [[ ! -e $SERVERS_DIR/jumped ]]; do
        for seconds in $HOT_CLOCK; do
            printf '%+g\n' "$seconds" >"$SERVERS_DIR/clock.new"
            mv "$SERVERS_DIR/clock.new" "$SERVERS_DIR/clock"
            sleep 1.7
        done
    done
    printf '+0\n' >"$SERVERS_DIR/clock"
}
[[ -z ${HOT_CLOCK:-} ]] || { jump_clock & jumping=$!; }
hot_write
if [[ -n ${HOT_CLOCK:-} ]]; then
    : >"$SERVERS_DIR/jumped"
    wait "$jumping"
    waits() { [[ $(node_sql commerce "$1")$(node_sql operations "$1") == ff ]]; }
    wait_for 120 "clocks that are waited for" waits "select exists (select from bridge.dead_letter where state = 'retrying')"
    bridge_quiet commerce operations
fi

# ---- the court ----

hot_court "
create table state (side text, moment bigint, at bigint, key text, who text, applied boolean);
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
-- When a row was this on a side for the first time.
create function first_time(on_side text, of_key text, this text) returns bigint language sql stable as $$
    select min(s.moment) from state s where s.side = on_side and s.key = of_key and s.who = this $$;
-- What apply put in a state's place. there: the side where that was written, unless it is a deletion of this side's that was read late. upto: until
-- when a conflict about a deletion of this side's can only be about this one. following: what came from there next; after: what was written here next.
create view replaced as
select s.*, case s.side when 'commerce' then 'operations' else 'commerce' end as there,
       coalesce((select min(d.at) from state d where d.side = s.side and d.key = s.key and d.who is null and not d.applied and d.moment > s.moment), 'infinity'::float) as upto,
       (select f.who from state f where f.side = s.side and f.key = s.key and f.moment > s.moment and f.applied and f.who is not null order by f.moment limit 1) as following,
       (select f.who from state f where f.side = s.side and f.key = s.key and f.moment > s.moment and not f.applied and f.who is not null order by f.moment limit 1) as after
  from (select side, moment, at, key, who, applied, lag(who) over row as before, lead(who) over row as next, lead(applied) over row as next_applied
          from state window row as (partition by side, key order by moment)) s
 where s.next_applied;
-- And why that is right.
create table verdict as
select r.*, case
       when r.who is not null then case
           when exists (select from conflict c where c.side = r.side and c.key = r.key and c.local = r.who and c.remote is not distinct from r.next
                and c.ruling = 'remote') then 'lost, as recorded here'
           when first_time(home(r.next), r.key, r.who) < first_time(home(r.next), r.key, r.next) then 'seen by the next writer'
           when r.next is null and exists (select from state d where d.side = r.there and d.key = r.key and d.who is null and not d.applied
                and d.moment > first_time(r.there, r.key, r.who) and (r.following is null or d.moment < first_time(r.there, r.key, r.following)))
                then 'seen by who deleted it'
           when r.next is null and exists (select from conflict c where c.side = r.side and c.key = r.key and c.local is null and c.remote = r.who
                and c.ruling = 'local') then 'lost to a deletion here that was read later'
           when exists (select from conflict c where c.side = r.there and c.key = r.key and c.remote = r.who and c.ruling = 'local')
                then 'lost, as recorded there'
           -- To what was here before, which its own side then said anew.
           when home(r.next) = r.side and exists (select from conflict c where c.side = r.there and c.key = r.key and c.local = r.who and c.remote = r.next
                and c.ruling = 'remote') then 'lost there, and said anew' end
       when r.applied then case
           when exists (select from state d where d.side = r.there and d.key = r.key and d.who is null and not d.applied
                and d.moment < first_time(r.there, r.key, r.next)) then 'seen by the next writer'
           when exists (select from conflict c where c.side = r.side and c.key = r.key and c.local is null and c.remote = r.before and c.ruling = 'local')
                then 'a deletion here that was read later' end
       -- A deletion of this side's.
       when exists (select from conflict c where c.side = r.side and c.key = r.key and c.local is null
                    and (c.remote = r.next or (c.local_ts >= r.at and c.local_ts < r.upto))) then 'a deletion, as recorded here'
       when exists (select from conflict c where c.side = r.there and c.key = r.key and c.remote is null and c.remote_ts >= r.at and c.remote_ts < r.upto)
            then 'a deletion, as recorded there'
       when exists (select from state d where d.side = r.there and d.key = r.key and d.who is null and d.moment < first_time(r.there, r.key, r.next)
                    and (r.before is null or not d.moment < first_time(r.there, r.key, r.before))) then 'deleted there, too'
       -- It is gone again before long: by what came, or applications here went on with that and deleted it.
       when exists (select from state d where d.side = r.side and d.key = r.key and d.who is null and d.moment > r.moment
                    and (not exists (select from state f where f.side = r.side and f.key = r.key and not f.applied and f.moment > r.moment and f.moment < d.moment)
                         or not d.applied and 1 = (select count(*) from state f where f.side = r.side and f.key = r.key and f.applied
                                                      and f.moment between r.moment and d.moment)))
            then 'gone again'
       -- For a moment what loses to it was here.
       when exists (select from state d where d.side = r.there and d.key = r.key and d.who is null and d.applied and d.at > r.at
                    and (r.after is null or not d.moment > first_time(r.there, r.key, r.after))) then 'deleted there in the end' end as reason
  from replaced r;
SQL

judged "" "writes (updates, inserts) that no state shows" "select d.side, d.who, d.key from done d
    left join state s on s.side = d.side and s.key = d.key and s.who = d.who and not s.applied where d.op <> 'd' and s.who is null limit 5"
judged "" "rows that a side has had of the other, and the other has not" "select s.* from state s where s.applied and s.who is not null
    and not exists (select from state o where o.side = home(s.who) and o.key = s.key and o.who = s.who) limit 5"
judged "" "writes that came before what their own writer had replaced" "select s.side, s.key, s.who, s.next from verdict s where home(s.who) = home(s.next)
    and s.who <> s.next and first_time(home(s.who), s.key, s.next) < first_time(home(s.who), s.key, s.who) and reason is distinct from 'lost, as recorded here' limit 5"
judged "" "states replaced by what had not seen them, without a conflict" "select * from verdict where reason is null and who is not null order by side, moment limit 5"
# Of a deletion the court does not always find why what had not seen it came in its place: no more than one in twenty.
judged t "deletions after which something came" "select 20 * count(*) filter (where reason is null) <= count(*) from verdict where who is null"
judged t "each side lost something" "select count(distinct side) filter (where reason = 'lost, as recorded here') = 2 from verdict"
printf 'ok - no write is lost unnoticed\n'

judged "" "conflicts recorded more than once" "select side, key, local_ts, local_node, remote_ts, remote_node, count(*) from conflict
    group by 1, 2, 3, 4, 5, 6 having count(*) > 1 limit 5"
# With clocks that jump a node says a row anew that it has judged by the wrong time: that has not been written by whom the row tells.
[[ -n ${HOT_CLOCK:-} ]] || judged "" "rows that were said anew" "select * from conflict c
    where home(c.local) <> c.local_node or c.local is not null and home(c.remote) <> c.remote_node limit 5"
judged "" "conflicts with a change that was built on the row here" "select * from conflict c
    where home(c.local) = c.local_node and home(c.remote) = c.remote_node and first_time(home(c.remote), c.key, c.local) < first_time(home(c.remote), c.key, c.remote) limit 5"
judged "" "conflicts with a change that the row here was built on" "select * from conflict c
    where home(c.remote) = c.remote_node and home(c.local) = c.local_node and home(c.local) = c.side and first_time(c.side, c.key, c.remote) < first_time(c.side, c.key, c.local) limit 5"
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
