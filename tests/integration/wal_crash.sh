#!/usr/bin/env bash
# Capture from the WAL survives what may happen to it: the adapter killed, the server killed, a broker that takes nothing for longer than the server waits for
# an answer, a second adapter; a slot that is lost, or keeps too much, becomes an alarm and a gap, and capture goes on.
set -euo pipefail
CAPTURE_COMMERCE=wal
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off wal_sender_timeout=2s wal_writer_delay=200ms
for cluster in alpha beta; do
    sql $cluster postgres "create database shop"
    sql $cluster shop "create table ledger (id bigint primary key, worker int not null, n int not null); create table total (worker int primary key, n int not null)"
done
for node in "commerce alpha operations" "operations beta commerce"; do
    # shellcheck disable=SC2086
    set -- $node
    bridge_node "$1" "$2" shop "$3" "wal_keep_max: 64 MiB" <<YAML
  - {name: ledger, table: ledger, key: [id], fields: [worker, n]}
  - {name: total, table: total, key: [worker], fields: [n]}
YAML
    bridge_install "$1" >>"$SERVERS_DIR/install.log"
done
bridge_start commerce
bridge_start operations

cat >"$SERVERS_DIR/load.sql" <<'SQL'
begin;
insert into total values (:client_id, 1) on conflict (worker) do update set n = total.n + 1;
insert into ledger select (1 + :client_id) * 10000000 + t.n, t.worker, t.n from total t where t.worker = :client_id;
commit;
SQL
load_start() { process_start load "$PG_BIN/pgbench" -n -h "$PG_SOCKET_DIR" -p "$PG_PORT_ALPHA" -U postgres -c 3 -R 150 -T 600 -f "$SERVERS_DIR/load.sql" shop; }
lines() { sql "$1" shop "select count(*) from ledger"; }
more_lines() { (($(lines "$1") > $2)); }
equal() { [[ $(sql alpha shop "select count(*), sum(n) from ledger; table total order by 1") == "$(sql beta shop "select count(*), sum(n) from ledger; table total order by 1")" ]]; }

load_start
for round in 1 2 3 4 5 6; do
    # Somewhere between reading and releasing.
    wait_for 60 "lines to arrive in round $round" more_lines beta $(($(lines beta) + 20 * round))
    bridge_kill commerce
    bridge_start commerce
done
wait_for 60 "lines to arrive" more_lines beta $(($(lines beta) + 100))
postgres_kill alpha
postgres_start alpha
process_stop load
load_start
wait_for 60 "lines to arrive after the crash of the server" more_lines beta $(($(lines beta) + 100))
process_stop load
wait_for 60 "both sides to be equal" equal
printf 'ok - nothing is lost when adapter and server are killed\n'

# Killed with some parts of a transaction confirmed: all of them come again, and are counted once.
counted() { sql alpha shop "select captured, published from bridge.outbound"; }
bridge_stop commerce
before=$(counted)
sql alpha shop "insert into ledger select 200000000 + i, 99, i from generate_series(1, 30000) i"
PGBRIDGE=$(find "$BUILD_DIR" -name pgbridge_hooks -type f -executable | head -n 1) PGBRIDGE_CRASH=after-source.release:3 bridge_start commerce
crashed() { grep -q '^crashed after-source.release' "$SERVERS_DIR/log/node-commerce.log"; }
wait_for 60 "the adapter to die in the midst" crashed
assert_equal "$before" "$(counted)" "what is counted of a transaction that is not confirmed to its end"
bridge_start commerce
wait_for 60 "both sides to be equal" equal
bridge_stop commerce
assert_equal "$((${before%|*} + 30000))|$((${before#*|} + 30000))" "$(counted)" "captured and published"
bridge_start commerce
printf 'ok - of a large transaction that is sent again everything counts once\n'

walsender() { sql alpha shop "select active_pid from pg_replication_slots where active"; }
serves() { [[ -n $(walsender) ]]; }
wait_for 120 "the slot to be read" serves
rabbit_ctl set_vm_memory_high_watermark 0.0000001 >"$SERVERS_DIR/null"
blocked() { [[ $(sql alpha shop "select state from bridge.worker where direction = 'out'") == 'broker blocked' ]]; }
load_start
wait_for 60 "the adapter to see the alarm" blocked
before=$(walsender)
here=$(lines alpha)
# More than is held in memory.
sql alpha shop "insert into ledger select 100000000 + i, 99, i from generate_series(1, 60000) i"
wait_for 60 "three times the server's patience" more_lines alpha $((here + 60900))
assert_equal "$before" "$(walsender)" "the walsender's process after six seconds without a broker"
[[ $(sql alpha shop "select bytes > 100000 from bridge.lag where direction = 'out'") == t ]] || fail "the lag is not seen: $(sql alpha shop "table bridge.lag")"
rabbit_ctl set_vm_memory_high_watermark 0.6 >"$SERVERS_DIR/null"
process_stop load
wait_for 90 "both sides to be equal" equal
printf 'ok - the server is answered while the broker takes nothing\n'

# The second one stands by, and takes over.
process_start node-second "$PGBRIDGE" -c "$SERVERS_DIR/commerce.yaml" run
stands_by() { grep -q 'direction=out state="standby"' "$SERVERS_DIR/log/node-second.log"; }
wait_for 120 "the second adapter to stand by" stands_by
bridge_kill commerce
sql alpha shop "insert into ledger values (1, 0, 0)"
wait_for 60 "the second adapter to take over" equal
process_stop node-second TERM 30
bridge_start commerce
printf 'ok - of two adapters one reads the log\n'

# Somebody drops the slot while the adapter is away.
bridge_stop commerce
slot=$(sql alpha shop "select slot_name from pg_replication_slots")
sql alpha shop "select pg_drop_replication_slot('$slot')" >"$SERVERS_DIR/null"
sql alpha shop "insert into ledger values (2, 0, 0)"
bridge commerce check >"$SERVERS_DIR/check.out" || true
grep -q "there is no replication slot $slot" "$SERVERS_DIR/check.out" || fail "check: $(cat "$SERVERS_DIR/check.out")"
bridge_start commerce
tells() { grep -q 'the server has no more of its log' "$SERVERS_DIR/log/node-commerce.log"; }
wait_for 120 "the adapter to say that its slot is gone" tells
sql alpha shop "insert into ledger values (3, 0, 0)"
arrived() { [[ $(sql beta shop "select count(*) from ledger where id = $1") == 1 ]]; }
wait_for 60 "what was written after it was made anew" arrived 3
assert_equal "commerce|open" "$(sql alpha shop "select source, state from bridge.gaps")" "gaps"
assert_equal "critical" "$(sql alpha shop "select status from bridge.health where \"check\" = 'log lost'")" "health"
sql alpha shop "select bridge.acknowledge_gap(id, 'touched') from bridge.gaps; update ledger set n = n where id = 2" >"$SERVERS_DIR/null"
wait_for 60 "the row that was touched" equal
printf 'ok - a slot that was dropped is noticed, and the gap noted\n'

# Nothing comes through for half a minute, and the log grows: the slot is given up before the disk is full.
rabbit_stop
sql alpha shop "create table filler (what text); alter table filler alter what set storage external"
grow() {
    sql alpha shop "insert into filler select repeat(md5(random()::text), 1000) from generate_series(1, 400)
        where (select pg_current_wal_lsn() - restart_lsn < 100000000 from pg_replication_slots); select pg_switch_wal(); checkpoint" >"$SERVERS_DIR/null"
    [[ $(sql alpha shop "select count(*) from bridge.gaps where state = 'open'") == 1 ]]
}
sql alpha shop "insert into ledger values (4, 0, 0)"
wait_for 120 "the slot to be given up" grow
grep -q 'more than wal_keep_max' "$SERVERS_DIR/log/node-commerce.log" || fail "the log does not say why"
rabbit_start
sql alpha shop "insert into ledger values (5, 0, 0)"
wait_for 90 "what was written after it was given up" arrived 5
assert_equal "" "$(sql beta shop "select id from ledger where id = 4")" "what was lost"
sql alpha shop "select bridge.acknowledge_gap(id, 'touched') from bridge.gaps where state = 'open'; update ledger set n = n where id = 4" >"$SERVERS_DIR/null"
wait_for 60 "the row that was touched" equal
printf 'ok - a slot that keeps too much is given up, with an alarm\n'

# While the adapter is away, the server keeps to its own bound.
bridge_stop commerce
sql alpha shop "alter system set max_slot_wal_keep_size = '32MB'" && sql alpha shop "select pg_reload_conf()" >"$SERVERS_DIR/null"
lost() {
    grow || true
    [[ $(sql alpha shop "select wal_status from pg_replication_slots") == lost ]]
}
sql alpha shop "insert into ledger values (6, 0, 0)"
wait_for 120 "the server to give the slot up" lost
bridge_start commerce
gap_noted() { [[ $(sql alpha shop "select count(*) from bridge.gaps where state = 'open'") == 1 ]]; }
wait_for 60 "the gap to be noted" gap_noted
sql alpha shop "insert into ledger values (7, 0, 0); update ledger set n = n where id = 6"
wait_for 60 "what was written after it, and what was touched" equal
printf 'ok - a slot that the server has given up is made anew\n'

# One entity is paused: everything waits, in its order.
sql alpha shop "select bridge.pause('out', 'ledger')" >"$SERVERS_DIR/null"
paused() { grep -q 'paused.*direction=out.*first=ledger' "$SERVERS_DIR/log/node-commerce.log"; }
wait_for 120 "the pause to be seen" paused
sql alpha shop "insert into ledger values (8, 0, 0)"
alive() { [[ $(sql beta shop "select alive_us > (date_part('epoch', now()) - 4) * 1000000 from bridge.peer") == t ]]; }
wait_for 120 "a sign of life" alive
assert_equal "0" "$(sql beta shop "select count(*) from ledger where id = 8")" "what is held"
sql alpha shop "select bridge.resume('out', 'ledger')" >"$SERVERS_DIR/null"
wait_for 60 "what was held" equal
printf 'ok - a pause holds the log\n'

assert_equal "0|0" "$(sql beta shop "select (select count(*) from bridge.conflict), (select count(*) from bridge.dead_letter)")" "conflicts and dead letters"
counters_conserve operations
bridge_stop commerce
bridge_stop operations
