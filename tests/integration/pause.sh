#!/usr/bin/env bash
# Pause and resume: of a direction and of one entity, out and in, with kill -9 and restarts between. What is paused stays where it is,
# everything else flows, and after resume both sides are equal.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
tables="create table parent (id int primary key, what text);
    create table child (id int primary key, parent int references parent, what text);
    create table stock (id int primary key, what text, n int default 0)"
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
sql alpha shop "$tables"
sql beta ops "$tables"
entities() {
    cat <<'YAML'
  - {name: parent, table: parent, key: [id], fields: [what]}
  - {name: child, table: child, key: [id], fields: [parent, what]}
  - {name: stock, table: stock, key: [id], fields: [what, n]}
YAML
}
bridge_node commerce alpha shop operations "max_held_changes: 500" "http: 127.0.0.1:$(port_reserve)" < <(entities)
bridge_node operations beta ops commerce < <(entities)
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"
bridge_start commerce
bridge_start operations
bridge_quiet commerce operations

state() { node_sql "$1" "select state from bridge.status where direction = '$2'"; }
state_is() { [[ $(state "$1" "$2") == "$3" ]]; }
row_is() { [[ $(node_sql "$1" "$2") == "$3" ]]; }
published() { node_sql "$1" "select published from bridge.outbound"; }
held() { node_sql "$1" "select count(*) from bridge.dead_letters where state = 'retrying' and error_code = 'PAUSED'"; }
# Of these rows; changes of one row may have become one before they were sent.
held_are() { [[ $(node_sql "$1" "select string_agg(distinct key, ',') from bridge.dead_letters where state = 'retrying' and error_code = 'PAUSED'") == "$2" ]]; }
held_more() { (($(held "$1") > $2)); }
both() {
    local table
    for table in parent child stock; do
        assert_equal "$(node_sql commerce "select * from $table order by 1")" "$(node_sql operations "select * from $table order by 1")" "$table on both sides: $1"
    done
}
again() {
    bridge_kill "$1"
    bridge_start "$1"
}
seen() { log_has "$1" "$2"; }
log_has() { grep -q "$2" "$SERVERS_DIR/log/node-$1.log"; }
# Both workers of the node have reported since: what they do now, they do with the pauses there are. The first report of a new process
# says only that it starts.
reported() {
    local at
    at=$(node_sql "$1" "select clock_timestamp()")
    wait_for 60 "a report of $1" row_is "$1" "select count(*) from bridge.worker where reported_at > '$at' and state in ('running', 'paused')" 2
}

node_sql commerce "insert into parent values (1, 'one'); insert into child values (1, 1, 'one'); insert into stock select g, 'old' from generate_series(1, 20) g"
bridge_quiet commerce operations
both "at the beginning"

# ---- everything out ----
bridge commerce pause --direction out --reason "moving house" >"$SERVERS_DIR/said"
grep -q "moving house" "$SERVERS_DIR/said" || fail "pause does not show what is paused"
wait_for 60 "outbound to be paused" state_is commerce out paused
before=$(published commerce)
for i in $(seq 50); do printf "update stock set n = %d where id = %d;\n" "$i" $((1 + i % 20)); done | sql alpha shop
node_sql operations "update stock set what = 'from operations' where id = 20"
wait_for 60 "the other direction to flow" row_is commerce "select what from stock where id = 20" "from operations"
again commerce
wait_for 60 "outbound to be paused after a restart" state_is commerce out paused
reported commerce
assert_equal "$before" "$(published commerce)" "changes published while paused"
# Of a node that captures from the log they wait there.
[[ ${CAPTURE:-outbox} == wal ]] || assert_equal 50 "$(node_sql commerce "select count(*) from bridge.outbox where node is null")" "changes in the outbox"
assert_equal running "$(state commerce in)" "the other direction"
curl -sf "http://127.0.0.1:$(sed -n 's/^http: 127.0.0.1://p' "$SERVERS_DIR/commerce.yaml")/readyz" >"$SERVERS_DIR/ready" || fail "a paused node is not ready"
grep -q '^outbound: paused' "$SERVERS_DIR/ready" || fail "readyz does not say what is paused: $(cat "$SERVERS_DIR/ready")"
curl -sf "http://127.0.0.1:$(sed -n 's/^http: 127.0.0.1://p' "$SERVERS_DIR/commerce.yaml")/metrics" >"$SERVERS_DIR/metrics"
grep -q 'pgbridge_worker_state{node="commerce",direction="out",state="paused"} 1' "$SERVERS_DIR/metrics" || fail "metrics do not show the pause"
bridge commerce status >"$SERVERS_DIR/said" || true
grep -q 'out *paused' "$SERVERS_DIR/said" || fail "status does not show the pause"
assert_equal "warning|pgbridge resume --direction out" "$(node_sql commerce "select status, regexp_replace(hint, '^.*: ', '') from bridge.health where \"check\" = 'paused'")" "the health row"
bridge commerce pause --direction out | grep -q 'paused already' || fail "a second pause is not told"
bridge commerce resume --direction out >"$SERVERS_DIR/said"
wait_for 60 "outbound to go on" state_is commerce out running
bridge_quiet commerce operations
both "after everything out"
assert_equal "t|moving house" "$(node_sql commerce "select resumed_at > paused_at and paused_by like 'pgbridge%' and resumed_by is not null, reason from bridge.pauses")" "the history"
printf 'ok - everything out: the outbox keeps it, through kill -9, and sends it after resume\n'

# ---- one entity out ----
bridge commerce pause --entity stock --direction out --json | jq -e '.[0].entity == "stock"' >/dev/null || fail "pause --json"
wait_for 60 "the pause to be seen" log_has commerce 'paused.*direction=out.*first=stock'
sql alpha shop "begin; insert into parent values (2, 'two'); update stock set n = 100 where id = 1; insert into child values (2, 2, 'two'); commit"
for i in $(seq 30); do printf "update stock set n = %d where id = 2; update parent set what = '%d' where id = 2;\n" "$i" "$i"; done | sql alpha shop
wait_for 60 "other entities to flow" row_is operations "select what from parent where id = 2" 30
again commerce
sql alpha shop "update stock set n = 101 where id = 1; update parent set what = 'after the restart' where id = 2"
wait_for 60 "other entities to flow after a restart" row_is operations "select what from parent where id = 2" "after the restart"
# What the log tells at once of a row is joined before it is put aside.
least=$([[ ${CAPTURE:-outbox} == wal ]] && echo 3 || echo 32)
assert_equal "stock t" "$(node_sql commerce "select entity || ' ' || (changes between $least and 32)::text::char from bridge.outbox_pending")" "what waits"
assert_equal "20" "$(node_sql operations "select count(*) from stock where n <= 50")" "the paused entity there"
assert_equal running "$(state commerce out)" "the direction, of which one entity is paused"
# A heartbeat says that everything before it has been sent.
wait_for 60 "the time of a heartbeat to pass" row_is commerce "select clock_timestamp() - min(oldest) > interval '7 s' from bridge.outbox_pending" t
oldest=$(node_sql commerce "select min(ts) from bridge.outbox")
assert_equal "t" "$(node_sql operations "select sent_us < $oldest from bridge.peer")" "no promise after the oldest change that waits"
lives() { [[ $(node_sql operations "select last_heard > clock_timestamp() - interval '12 s' and last_heard > to_timestamp($oldest / 1000000.0) from bridge.peers") == t ]]; }
wait_for 60 "operations to hear that commerce lives" lives
bridge commerce resume --entity stock >/dev/null
bridge_quiet commerce operations
both "after one entity out"
assert_equal "101|30" "$(node_sql operations "select string_agg(n::text, '|' order by id) from stock where id <= 2")" "the newest states"
printf 'ok - one entity out: its rows stay in the outbox, others flow\n'

# ---- everything in ----
bridge commerce pause --direction in >/dev/null
wait_for 60 "inbound to be paused" state_is commerce in paused
received=$(node_sql commerce "select received from bridge.inbound")
for i in $(seq 40); do printf "update stock set what = 'in %d' where id = %d;\n" "$i" $((1 + i % 20)); done | sql beta ops
sql alpha shop "update parent set what = 'out goes on' where id = 1"
wait_for 60 "the other direction to flow" row_is operations "select what from parent where id = 1" "out goes on"
again commerce
wait_for 60 "inbound to be paused after a restart" state_is commerce in paused
wait_for 60 "the messages to wait in the queue" row_is commerce "select queue_depth > 0 from bridge.worker where direction = 'in'" t
reported commerce
assert_equal healthy "$(node_sql commerce "select status from bridge.health where \"check\" = 'workers away'")" "the workers' health"
assert_equal "$received" "$(node_sql commerce "select received from bridge.inbound")" "changes received while paused"
assert_equal "0" "$(node_sql commerce "select count(*) from stock where what like 'in %'")" "rows changed while paused"
bridge commerce resume >/dev/null
bridge_quiet commerce operations
both "after everything in"
wait_for 60 "inbound to go on" state_is commerce in running
wait_for 60 "outbound to go on" state_is commerce out running
assert_equal 0 "$(node_sql commerce "select sum(gaps) from bridge.inbound")" "gaps"
printf 'ok - everything in: messages stay in the queue, through kill -9\n'

# ---- one entity in, and its children ----
bridge commerce pause --entity parent --direction in >/dev/null
wait_for 60 "the pause to be seen" log_has commerce 'paused.*direction=in.*first=parent'
sql beta ops "begin; insert into parent values (3, 'three'); insert into child values (3, 3, 'three'); commit; update stock set what = 'neighbour' where id = 3;
    update parent set what = 'newer' where id = 3; update parent set what = 'first' where id = 1"
wait_for 60 "other entities to flow" row_is commerce "select what from stock where id = 3" neighbour
wait_for 60 "the changes to be held" held_are commerce 1,3
again commerce
wait_for 60 "the child to wait for its parent" row_is commerce "select string_agg(key, ',') from bridge.dead_letters where state = 'retrying' and error_code = '23503'" 3
count=$(held commerce)
sql beta ops "update parent set what = 'newest' where id = 3"
wait_for 60 "a further change to be held" held_more commerce "$count"
assert_equal "out goes on|" "$(node_sql commerce "select (select what from parent where id = 1), (select what from parent where id = 3)")" "the paused entity"
# Something else is applied: that does not let go what is held.
sql beta ops "update stock set what = 'neighbour 2' where id = 3"
wait_for 60 "other entities to flow on" row_is commerce "select what from stock where id = 3" "neighbour 2"
reported commerce
assert_equal $((count + 1)) "$(held commerce)" "changes that are held"
assert_equal 1 "$(node_sql commerce "select sum(window_failed) from bridge.inbound")" "failures, of which the child alone is one"
bridge commerce resume --entity parent >"$SERVERS_DIR/said"
grep -q "$((count + 1)) held changes" "$SERVERS_DIR/said" || fail "resume does not say what it lets go: $(cat "$SERVERS_DIR/said")"
wait_for 60 "no letter to wait" row_is commerce "select count(*) from bridge.dead_letters where state = 'retrying'" 0
bridge_quiet commerce operations
both "after one entity in"
assert_equal newest "$(node_sql commerce "select what from parent where id = 3")" "the newest state"
printf 'ok - one entity in: its changes are held in the database, its children wait, others flow\n'

# ---- children deleted with their parent while deletions of children are held ----
sql alpha shop "insert into parent values (4, 'four'); insert into child values (4, 4, 'four')"
bridge_quiet commerce operations
bridge commerce pause --entity child --direction in >/dev/null
wait_for 60 "the pause to be seen" log_has commerce 'paused.*direction=in.*first=child'
sql beta ops "delete from child where id = 4; delete from parent where id = 4"
wait_for 60 "the deletion of the parent to wait" row_is commerce "select count(*) from bridge.dead_letters where state = 'retrying' and entity = 'parent' and last_seen > first_seen + interval '2 s'" 1
bridge commerce resume --entity child >/dev/null
wait_for 60 "no letter to wait" row_is commerce "select count(*) from bridge.dead_letters where state = 'retrying'" 0
bridge_quiet commerce operations
both "after a parent's deletion"
assert_equal "" "$(node_sql commerce "select what from parent where id = 4")" "the parent is gone"
printf 'ok - a parent is not brought back by a child whose deletion is held\n'

# ---- too much is held ----
bridge commerce pause --entity stock --direction in >/dev/null
wait_for 60 "the pause to be seen" log_has commerce 'paused.*direction=in.*first=stock'
sql beta ops "insert into stock select g, 'much' from generate_series(1001, 1700) g"
wait_for 60 "inbound to pause itself" state_is commerce in paused
assert_equal "critical" "$(node_sql commerce "select status from bridge.health where \"check\" = 'paused by itself'")" "its health row"
count=$(held commerce)
((count > 500)) || fail "$count changes are held, and may be 500"
sql beta ops "insert into stock select g, 'more' from generate_series(2001, 2700) g"
again commerce
wait_for 60 "inbound to be paused after a restart" state_is commerce in paused
wait_for 60 "the rest to wait in the queue" row_is commerce "select queue_depth > 0 from bridge.worker where direction = 'in'" t
assert_equal "$count" "$(held commerce)" "changes that are held"
bridge commerce resume --entity stock >/dev/null
bridge commerce resume --direction in >/dev/null
bridge_quiet commerce operations
wait_for 60 "no letter to wait" row_is commerce "select count(*) from bridge.dead_letters where state = 'retrying'" 0
both "after too much"
printf 'ok - when too much is held, the direction pauses itself, and goes on after resume\n'

# ---- what is put aside after the resume, of which the adapter learns a little later ----
bridge commerce pause --entity stock --direction in >/dev/null
for i in $(seq 600); do printf "update stock set n = %d where id = %d; select pg_sleep(0.005);\n" "$i" $((1 + i % 20)); done | sql beta ops >/dev/null &
writer=$!
wait_for 60 "changes to be held" held_more commerce 20
node_sql commerce "select bridge.resume('in', 'stock')" >/dev/null
wait "$writer"
wait_for 60 "no letter to wait" row_is commerce "select count(*) from bridge.dead_letters where state = 'retrying'" 0
bridge_quiet commerce operations
both "after a resume amid changes"
printf 'ok - what is put aside after the resume is let go as well\n'

# ---- who may, and what is refused ----
sql alpha postgres "create role operator login in role pgbridge_operator; create role stranger login"
sql alpha shop "set role operator; select bridge.pause('out', 'stock', 'by an operator'); select bridge.resume('out', 'stock')" >/dev/null
if sql alpha shop "set role stranger; select bridge.pause()" 2>/dev/null; then fail "a stranger may pause"; fi
if sql alpha shop "set role pgbridge; insert into bridge.pause (direction, paused_by) values ('in', 'me')" 2>/dev/null; then fail "the adapter may write pauses by itself"; fi
if bridge commerce pause --entity nothing 2>"$SERVERS_DIR/said"; then fail "an unknown entity is paused"; fi
grep -q 'no entity "nothing"' "$SERVERS_DIR/said" || fail "$(cat "$SERVERS_DIR/said")"
if bridge commerce pause --direction sideways 2>"$SERVERS_DIR/said"; then fail "an unknown direction"; fi
if bridge commerce resume --discard-deletions 2>"$SERVERS_DIR/said"; then fail "deletions of what?"; fi
if bridge commerce pause >/dev/null && bridge commerce resume --json | jq -e 'length == 2' >/dev/null; then :; else fail "both directions"; fi
printf 'ok - operators may pause, strangers and the adapter by itself may not\n'

for node in commerce operations; do
    counters_conserve "$node"
    assert_equal "0" "$(node_sql $node "select count(*) from bridge.dead_letters where state in ('parked', 'quarantined')")" "letters for a human on $node"
    bridge_stop "$node"
done
