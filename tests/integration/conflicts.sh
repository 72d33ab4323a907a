#!/usr/bin/env bash
# Both sides write the same rows without having seen each other, under each policy; then what is recorded, and how a human settles
# it. Adapters are stopped while both sides write, so that every conflict is meant.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
tables="create table latest (id int primary key, what text, n int);
    create table ranked (id int primary key, what text, n int);
    create table argued (id int primary key, what text, n int, doubled int generated always as (n * 2) stored);
    create table owned (id int primary key, what text, n int);
    create table pair (a int, b text, what text, primary key (a, b))"
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
sql alpha shop "$tables"
sql beta ops "$tables"
entities() {
    cat <<'YAML'
  - {name: latest, table: latest, key: [id], fields: [what, n]}
  - {name: ranked, table: ranked, key: [id], fields: [what, n], policy: node-priority, priority: [commerce, operations]}
  - {name: argued, table: argued, key: [id], fields: [what, n, doubled], policy: manual}
  - {name: owned, table: owned, key: [id], fields: [what, n], owners: [n = operations]}
  - {name: pair, table: pair, key: [a, b], fields: [what], policy: manual}
YAML
}
bridge_node commerce alpha shop operations < <(entities)
bridge_node operations beta ops commerce < <(entities)
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"

start() { bridge_start commerce && bridge_start operations && bridge_quiet commerce operations; }
stop() { bridge_stop commerce && bridge_stop operations; }
# both TABLE: what both sides hold of it, which must be equal.
both() {
    local here there
    here=$(node_sql commerce "select * from $1 order by 1, 2")
    there=$(node_sql operations "select * from $1 order by 1, 2")
    assert_equal "$here" "$there" "$1 on both sides"
    printf '%s' "$here"
}
conflicts() { node_sql "$1" "select entity, key, kind, ruling, local_row->>'what', local_node, remote_row->>'what', remote_node, state, resolution from bridge.conflicts where entity = '$2' order by key"; }

start
node_sql commerce "insert into latest select i, 'first', i from generate_series(1, 3) i; insert into ranked select i, 'first', i from generate_series(1, 5) i;
    insert into argued select i, 'first', i from generate_series(1, 6) i; insert into pair values (1, 'x y', 'first')"
bridge_quiet commerce operations

# ---- last-write-wins ----
stop
node_sql commerce "update latest set what = 'commerce' where id = 1"
node_sql operations "update latest set what = 'operations' where id = 1"
node_sql operations "update latest set what = 'operations' where id = 2"
node_sql commerce "delete from latest where id = 2"
start
assert_equal $'1|operations|1\n3|first|3' "$(both latest)" "the later write of each"
assert_equal $'latest|1|update_origin_differs|remote|commerce|commerce|operations|operations|resolved|policy\nlatest|2|update_deleted|local||commerce|operations|operations|resolved|policy' \
    "$(conflicts commerce latest)" "the conflicts of commerce"
assert_equal $'latest|1|update_origin_differs|local|operations|operations|commerce|commerce|resolved|policy\nlatest|2|delete_origin_differs|remote|operations|operations||commerce|resolved|policy' \
    "$(conflicts operations latest)" "the conflicts of operations"
printf 'ok - last-write-wins: one conflict a side, the same ruling\n'

# ---- one that hears of the other's write before it has sent its own, and writes again ----
node_sql commerce "select bridge.pause('out')" >/dev/null
paused() { [[ $(node_sql commerce "select state from bridge.status where direction = 'out'") == paused ]]; }
wait_for 30 "commerce to send no more" paused
node_sql commerce "update latest set what = 'before' where id = 3; update ranked set what = 'before' where id = 5"
node_sql operations "update latest set what = 'contested' where id = 3; update ranked set what = 'contested' where id = 5"
heard() { [[ $(node_sql commerce "select count(*) from bridge.conflicts where remote_row->>'what' = 'contested'") == 2 ]]; }
wait_for 60 "commerce to hear of the conflicts" heard
node_sql commerce "update latest set what = 'after' where id = 3"
node_sql commerce "select bridge.resume('out')" >/dev/null
bridge_quiet commerce operations
assert_equal "3|after|3" "$(both latest | tail -n 1)" "the write that has seen both"
assert_equal "5|before|5" "$(both ranked | tail -n 1)" "the write of the node that goes first"
assert_equal $'latest|before|remote|contested\nranked|before|local|contested' \
    "$(node_sql commerce "select entity, local_row->>'what', ruling, remote_row->>'what' from bridge.conflicts where remote_row->>'what' = 'contested' order by 1")" "what commerce was told"
assert_equal $'latest|contested|local|before\nranked|contested|remote|before' \
    "$(node_sql operations "select entity, local_row->>'what', ruling, remote_row->>'what' from bridge.conflicts where local_row->>'what' = 'contested' order by 1")" "what operations was told"
# The same of the node that comes second, and keeps its later write until the first one's word arrives.
for node in commerce operations; do node_sql "$node" "select bridge.pause('out')" >/dev/null; done
silent() { [[ $(node_sql "$1" "select state from bridge.status where direction = 'out'") == paused ]]; }
wait_for 30 "commerce to send no more" silent commerce
wait_for 30 "operations to send no more" silent operations
node_sql commerce "update ranked set what = 'its word' where id = 4"
node_sql operations "update ranked set what = 'unheard' where id = 4"
node_sql commerce "select bridge.resume('out')" >/dev/null
overruled() { [[ $(node_sql operations "select count(*) from bridge.conflicts where entity = 'ranked' and remote_row->>'what' = 'its word'") == 1 ]]; }
wait_for 60 "operations to hear of the conflict" overruled
node_sql operations "update ranked set what = 'again' where id = 4"
node_sql operations "select bridge.resume('out')" >/dev/null
bridge_quiet commerce operations
assert_equal "4|its word|4" "$(both ranked | sed -n 4p)" "the word of the node that goes first"
assert_equal "unheard" "$(node_sql commerce "select min(remote_row->>'what') from bridge.conflicts where entity = 'ranked' and key = '4' and remote_row->>'what' = 'unheard'")" "what commerce was told"
# The same with a restart in between: its write is not sent after what it says of the conflict.
node_sql commerce "select bridge.pause('out')" >/dev/null
wait_for 30 "commerce to send no more" silent commerce
node_sql commerce "update ranked set what = 'before the restart' where id = 4"
node_sql operations "update ranked set what = 'meanwhile' where id = 4"
ruled() { [[ $(node_sql commerce "select count(*) from bridge.conflicts where remote_row->>'what' = 'meanwhile'") == 1 ]]; }
wait_for 60 "commerce to hear of the conflict" ruled
bridge_stop commerce
bridge_start commerce
node_sql commerce "select bridge.resume('out')" >/dev/null
bridge_quiet commerce operations
assert_equal "4|before the restart|4" "$(both ranked | sed -n 4p)" "the write from before the restart"
assert_equal "meanwhile|remote" "$(node_sql operations "select local_row->>'what', ruling from bridge.conflicts where entity = 'ranked' and remote_row->>'what' = 'before the restart'")" "what operations was told after the restart"
node_sql commerce "update ranked set what = 'first' where id = 4"
bridge_quiet commerce operations
for node in commerce operations; do node_sql "$node" "delete from bridge.conflict where entity = 'ranked' and key = '4'"; done
printf 'ok - both sides are told, also when one has written again before it sent anything\n'

# ---- node-priority: commerce wins, also when it wrote first ----
stop
node_sql commerce "update ranked set what = 'commerce' where id in (1, 2); delete from ranked where id = 3"
node_sql operations "update ranked set what = 'operations' where id in (1, 3); insert into ranked values (9, 'operations', 9)"
node_sql commerce "insert into ranked values (9, 'commerce', 9)"
node_sql operations "update ranked set what = 'operations, later', n = 50 where id in (1, 2)"
start
assert_equal $'1|commerce|1\n2|commerce|2\n4|first|4\n5|before|5\n9|commerce|9' "$(both ranked)" "commerce's writes"
assert_equal "0|4|0" "$(node_sql commerce "select count(*) filter (where ruling <> 'local'), count(*), count(*) filter (where state = 'open') from bridge.conflicts where entity = 'ranked' and key <> '5'")" "commerce keeps its own"
assert_equal "0|4|0" "$(node_sql operations "select count(*) filter (where ruling <> 'remote'), count(*), count(*) filter (where state = 'open') from bridge.conflicts where entity = 'ranked' and key <> '5'")" "operations gives way"
# A write on top of the one that won is no conflict, although its node comes second.
node_sql operations "update ranked set what = 'agreed' where id = 1"
bridge_quiet commerce operations
assert_equal "1|agreed|1" "$(both ranked | head -n 1)" "who has seen the other's write may replace it"
printf 'ok - node-priority: the first node wins whatever the clocks say\n'

# ---- manual: each keeps its own ----
stop
node_sql commerce "update argued set what = 'commerce', n = 10 where id <= 5; update pair set what = 'commerce'"
node_sql operations "update argued set what = 'operations', n = 20 where id <= 4; update pair set what = 'operations'; delete from argued where id = 5"
start
for i in 1 2 3; do node_sql operations "update argued set n = n + 1 where id = 1"; done
bridge_quiet commerce operations
assert_equal "commerce|10|20" "$(node_sql commerce "select what, n, doubled from argued where id = 1")" "commerce keeps its own"
assert_equal "operations|23|46" "$(node_sql operations "select what, n, doubled from argued where id = 1")" "operations keeps its own"
for node in commerce operations; do
    assert_equal "6|6" "$(node_sql $node "select count(*), count(distinct (entity, key)) from bridge.conflicts where state = 'open'")" "open conflicts of $node"
done
assert_equal "23" "$(node_sql commerce "select remote_row->>'n' from bridge.conflicts where entity = 'argued' and key = '1'")" "the newest of what the other side wrote"

id() { node_sql "$1" "select id from bridge.conflicts where entity = '$2' and key = '$3'"; }
node_sql commerce "select bridge.resolve_conflict($(id commerce argued 1), 'local')" >/dev/null
node_sql commerce "select bridge.resolve_conflict($(id commerce argued 2), 'remote')" >/dev/null
node_sql operations "select bridge.resolve_conflict($(id operations argued 3), '{\"what\": \"agreed\", \"n\": 7}')" >/dev/null
node_sql operations "select bridge.resolve_conflict($(id operations argued 5), 'local')" >/dev/null
node_sql commerce "select bridge.resolve_conflict($(id commerce pair '{1,"x y"}'), 'remote')" >/dev/null
bridge_quiet commerce operations
assert_equal $'1|commerce|10|20\n2|operations|20|40\n3|agreed|7|14\n6|first|6|12' "$(node_sql commerce "select * from argued where id <> 4 order by id")" "as resolved, commerce"
assert_equal $'1|commerce|10|20\n2|operations|20|40\n3|agreed|7|14\n6|first|6|12' "$(node_sql operations "select * from argued where id <> 4 order by id")" "as resolved, operations"
assert_equal "1|x y|operations" "$(both pair)" "a composite key"
for node in commerce operations; do
    assert_equal "argued|4" "$(node_sql $node "select entity, key from bridge.conflicts where state = 'open'")" "what is still open on $node"
done
assert_equal $'1|local\n2|remote\n3|superseded\n5|superseded' "$(node_sql commerce "select key, resolution from bridge.conflicts where entity = 'argued' and state = 'resolved' order by key")" "how"
printf 'ok - manual: each side keeps its row until a human decides, and that wins everywhere\n'

# ---- undoing what a rule has settled, as the adapter's role and as a superuser ----
node_sql commerce "set session authorization pgbridge; select bridge.resolve_conflict($(id commerce latest 1), 'local')" >/dev/null
node_sql operations "select bridge.resolve_conflict($(id operations latest 2), '{\"what\": \"back\", \"n\": 2}')" >/dev/null
node_sql operations "select bridge.resolve_conflict($(id operations ranked 2), null::jsonb)" >/dev/null
bridge_quiet commerce operations
assert_equal $'1|commerce|1\n2|back|2\n3|after|3' "$(both latest)" "the rulings undone"
assert_equal "0" "$(both ranked | grep -c '^2|' || true)" "a row resolved away"
{ node_sql commerce "select bridge.resolve_conflict(-1, 'local')" 2>&1 || true; } | grep -q 'there is no conflict -1' || fail "an unknown conflict was resolved"
{ node_sql commerce "select bridge.resolve_conflict($(id commerce latest 1), '{\"nonsense\": 1}')" 2>&1 || true; } | grep -q 'has no field "nonsense"' || fail "an unknown field was written"
printf 'ok - a ruling can be undone later\n'

# ---- a field that operations owns ----
node_sql commerce "insert into owned values (1, 'first', 1), (2, 'first', 2), (3, 'first', 3)"
bridge_quiet commerce operations
node_sql commerce "update owned set what = 'commerce', n = 100 where id = 1; update owned set what = 'only this' where id = 2"
bridge_quiet commerce operations
assert_equal $'1|commerce|1\n2|only this|2\n3|first|3' "$(both owned)" "operations keeps its field, takes the other, and commerce's is undone"
node_sql operations "update owned set n = 5"
bridge_quiet commerce operations
assert_equal $'1|commerce|5\n2|only this|5\n3|first|5' "$(both owned)" "what the owner writes"
stop
node_sql operations "update owned set n = 7 where id = 3"
node_sql commerce "update owned set what = 'later', n = 8 where id = 3"
start
assert_equal "3|later|7" "$(both owned | tail -n 1)" "a conflict that commerce wins, but for that field"
assert_equal "2" "$(node_sql operations "select ignored from bridge.inbound where source = 'commerce'")" "changes with an ignored field"
printf 'ok - a field has an owner\n'

# ---- what was seen once is not a conflict when it comes again ----
before=$(node_sql operations "select count(*) from bridge.conflicts")
rabbit_user watcher secret </dev/null
jq -nc '{routing_key: "commerce.latest.updated", headers: {"x-source": "commerce", "x-content-hash": "compute"}, properties: {timestamp: 1},
    body: {entity: "latest", op: "updated", key: ["id"], columns: ["id", "what", "n"], rows: [["3", "first", "3"]], versions: [$ts]}}' \
    --argjson ts "$(node_sql commerce "select ts from bridge.row_version where key = '3' and entity = (select id from bridge.entity where name = 'latest')")" >"$SERVERS_DIR/old.json"
for i in 1 2 3; do node_sql operations "update latest set what = 'newer $i' where id = 3"; done
bridge_quiet commerce operations
/usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge" bridge.sync <"$SERVERS_DIR/old.json" >>"$SERVERS_DIR/sent.log"
bridge_quiet commerce operations
assert_equal "3|newer 3|3" "$(both latest | tail -n 1)" "the newest"
assert_equal "$before" "$(node_sql operations "select count(*) from bridge.conflicts")" "conflicts after an old message came again"
printf 'ok - an old message that comes again is stale\n'

# ---- nodes that settle conflicts in another way are told ----
policies() { node_sql commerce "select status, value, coalesce(hint, '') from bridge.health where \"check\" = 'policies differ'"; }
assert_equal "healthy|0|" "$(policies)" "the policies while they agree"
bridge_stop operations
cp "$SERVERS_DIR/operations.yaml" "$SERVERS_DIR/agreed.yaml"
sed -i 's/priority: \[commerce, operations\]/priority: [operations, commerce]/' "$SERVERS_DIR/operations.yaml"
bridge_install operations >>"$SERVERS_DIR/install.log"
bridge_start operations
node_sql operations "update ranked set n = n + 1 where id = 4; update latest set n = n + 1 where id = 3"
bridge_quiet commerce operations
assert_equal 'critical|1|Conflicts of ranked are settled by "node-priority: operations commerce" on operations and by "node-priority: commerce operations" here, so that both sides end unequal: make them the same in both configs, and run pgbridge install.' \
    "$(policies)" "the policies when they differ"
bridge_stop operations
cp "$SERVERS_DIR/agreed.yaml" "$SERVERS_DIR/operations.yaml"
bridge_install operations >>"$SERVERS_DIR/install.log"
bridge_start operations
node_sql operations "update ranked set n = n + 1 where id = 4"
bridge_quiet commerce operations
assert_equal "healthy|0|" "$(policies)" "the policies when they agree again"
printf 'ok - policies that differ are shown on the node that hears of it\n'

# ---- what is resolved is forgotten after a while, what is open is not ----
kept() { node_sql commerce "select count(*) filter (where resolved_at is not null), count(*) filter (where resolved_at is null) from bridge.conflict"; }
IFS='|' read -r resolved open < <(kept)
((resolved > 3 && open > 0)) || fail "too few conflicts to forget: $(kept)"
sql alpha shop "update bridge.conflict set at = at - interval '91 days', resolved_at = resolved_at - interval '91 days'
    where resolved_at is null or id in (select id from bridge.conflict where resolved_at is not null order by id limit 3)"
forgotten() { [[ $(kept) == "$((resolved - 3))|$open" ]]; }
wait_for 60 "what was resolved 91 days ago to be forgotten" forgotten
printf 'ok - conflicts that are resolved are forgotten after conflict_retention, open ones are not\n'

for node in commerce operations; do
    counters_conserve "$node"
    assert_equal "0" "$(node_sql $node "select count(*) from bridge.dead_letters")" "dead letters of $node"
done
stop
