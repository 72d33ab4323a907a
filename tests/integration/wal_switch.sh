#!/usr/bin/env bash
# From triggers to the log and back, while applications write all the time: nothing is lost, and nothing is told twice.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
export POSTGRES_SETTINGS="wal_level=logical track_commit_timestamp=on"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
for cluster in alpha beta; do
    sql $cluster postgres "create database shop"
    sql $cluster shop "create table ledger (id bigint primary key, worker int not null, n int not null); create table total (worker int primary key, n int not null);
        create table flip (id int primary key, n int not null)"
done
entities='  - {name: ledger, table: ledger, key: [id], fields: [worker, n]}
  - {name: total, table: total, key: [worker], fields: [n]}
  - {name: flip, table: flip, key: [id], fields: [n]}'
# configure CAPTURE [ENTITIES]
configure() {
    bridge_node commerce alpha shop operations "capture: $1" <<<"${2:-$entities}"
}
installed() {
    sql alpha shop "select name, active, layout from bridge.entity order by 1; select * from pg_publication_tables order by 1, 2, 3; select * from bridge.fingerprint; select capture from bridge.node"
}
configure outbox
bridge_node operations beta shop commerce <<<"$entities"
bridge_install commerce
bridge_install operations
bridge_start commerce
bridge_start operations

# Each transaction has a line in the ledger and counts in its total; and rows come and go.
cat >"$SERVERS_DIR/load.sql" <<'SQL'
\set come random(1, 20)
\set go random(1, 20)
begin;
insert into flip values (:client_id * 100 + :come, 1) on conflict (id) do update set n = flip.n + 1;
delete from flip where id = :client_id * 100 + :go;
insert into total values (:client_id, 1) on conflict (worker) do update set n = total.n + 1;
insert into ledger select (1 + :client_id) * 10000000 + t.n, t.worker, t.n from total t where t.worker = :client_id;
commit;
SQL
process_start load "$PG_BIN/pgbench" -n -h "$PG_SOCKET_DIR" -p "$PG_PORT_ALPHA" -U postgres -c 3 -R 100 -T 600 -f "$SERVERS_DIR/load.sql" shop
lines() { sql "$1" shop "select count(*) from ledger"; }
more_lines() { (($(lines alpha) > $1 + 100)); }
keeps_writing() { wait_for 60 "applications to go on writing" more_lines "$(lines alpha)"; }
content() { sql "$1" shop "select count(*), sum(n) from ledger; table total order by 1; table flip order by 1"; }
equal() { [[ $(content alpha) == "$(content beta)" ]]; }
arrived_to() { (($(sql beta shop "select count(*) from ledger") >= $1)); }
no_slot() { [[ $(sql alpha shop "select count(*) from pg_replication_slots") == 0 ]]; }
triggers() { sql alpha shop "select count(*) from pg_trigger where tgname in ('bridge_insert', 'bridge_update', 'bridge_delete')"; }

keeps_writing
for round in 1 2; do
    configure wal
    # Changes wait in the outbox at the switch.
    bridge_stop commerce
    keeps_writing
    bridge_install commerce >>"$SERVERS_DIR/install.log"
    assert_equal "0|1" "$(triggers)|$(sql alpha shop "select count(*) from pg_replication_slots")" "row triggers and slots"
    keeps_writing
    bridge_start commerce
    wait_for 60 "what the log tells in round $round" arrived_to "$(lines alpha)"
    keeps_writing
    wait_for 60 "what the log tells" arrived_to "$(lines alpha)"
    assert_equal "0" "$(sql alpha shop "select count(*) from bridge.outbox")" "rows left in the outbox"

    configure outbox
    if ((round == 1)); then
        # Under the running adapter: it goes on with the log until it is restarted.
        bridge_install commerce >>"$SERVERS_DIR/install.log"
        keeps_writing
        bridge_kill commerce
    else
        bridge_stop commerce
        keeps_writing
        bridge_install commerce >>"$SERVERS_DIR/install.log"
        # And not back before the log has told everything; nothing else is installed then either.
        installed_before=$(installed)
        configure wal "${entities%$'\n'*}"
        if bridge_install commerce >"$SERVERS_DIR/out" 2>&1; then fail "a log is begun before the one before it was read"; fi
        [[ $(<"$SERVERS_DIR/out") == *'still being read from the log'*'HINT: Let the adapter run with "capture: outbox"'* ]] || fail "install: $(<"$SERVERS_DIR/out")"
        assert_equal "$installed_before" "$(installed)" "what a refused install has left"
        configure outbox
    fi
    keeps_writing
    bridge_start commerce
    wait_for 240 "the log to be read to its end, and the slot given up" no_slot
    keeps_writing
    wait_for 60 "what the triggers tell" arrived_to "$(lines alpha)"
    printf 'ok - round %s: to the log and back, under load\n' "$round"
done
process_stop load
wait_for 60 "both sides to be equal" equal
assert_equal "0" "$(sql beta shop "select count(*) from bridge.conflict")" "conflicts"
assert_equal "0" "$(sql beta shop "select count(*) from bridge.dead_letter")" "dead letters"
assert_equal "" "$(sql beta shop "select worker, n from total t where n <> (select count(*) from ledger l where l.worker = t.worker)")" "totals that miss lines"
# A crash of the adapter sends again what was not noted as released; nothing else comes twice.
assert_equal "0" "$(sql alpha shop "select count(*) from bridge.gap")" "gaps"
counters_conserve operations
sql beta shop "select received, applied, same, duplicate, stale from bridge.inbound"
printf 'ok - nothing was lost\n'

# ---- an adapter that does not know of a switch applies nothing more: the log would tell it as this node's ----

configure wal
bridge_install commerce >>"$SERVERS_DIR/install.log"
sql beta shop "update total set n = n + 1"
wait_for 60 "the adapter to see that" grep -q 'the config says .*capture: outbox' "$SERVERS_DIR/log/node-commerce.log"
bridge_stop commerce
bridge_start commerce
bridge_quiet commerce operations
wait_for 60 "both sides to be equal" equal
for cluster in alpha beta; do
    assert_equal operations "$(sql $cluster shop "select string_agg(distinct version_node, ' ') from bridge.entity_state where entity = 'total'")" "who wrote, by $cluster"
done
printf 'ok - nothing is applied by an adapter that does not know of the switch\n'

# Nor does one stand still that knows of neither of two switches.
configure outbox
bridge_install commerce >>"$SERVERS_DIR/install.log"
bridge_stop commerce
bridge_start commerce
wait_for 60 "the log to be left" no_slot
configure wal
bridge_install commerce >>"$SERVERS_DIR/install.log"
sql alpha shop "update flip set n = n + 1"
configure outbox
bridge_install commerce >>"$SERVERS_DIR/install.log"
sql alpha shop "update total set n = n + 1"
sql beta shop "update ledger set n = 0 where id % 100 = 0"
wait_for 60 "the log to be left" no_slot
wait_for 60 "both sides to be equal" equal
bridge_quiet commerce operations
assert_equal "0" "$(sql alpha shop "select count(*) from bridge.gap")" "gaps"
printf 'ok - an adapter that runs on through two switches reads the log between them\n'

# ---- a slot begins while others change the catalog ----

# Two transactions that the server waits for, one after the other; the catalog is changed between the two places that it looks for.
waited_for() { [[ $(sql beta shop "select count(*) from pg_locks l join pg_stat_activity a using (pid)
    where l.locktype = 'transactionid' and not l.granted and a.query like '%create_logical_replication_slot%'") == 1 ]]; }
application() { sql beta shop "select $1 from pg_stat_activity where query like 'begin; select pg_current_xact_id()%' and wait_event = 'PgSleep'"; }
applications_are() { [[ $(application "count(*)") == "$1" ]]; }
begins() { process_start "application-$1" "$PG_BIN/psql" -qX -d "$PG_ADMIN_BETA dbname=shop" -c "begin; select pg_current_xact_id(); select pg_sleep(600)"; }
# install that waits for the second of them.
install_waits() {
    local first
    bridge_node operations beta shop commerce 'capture: wal' <<<"$entities"
    begins 1
    wait_for 20 "an application" applications_are 1
    process_start install "$PGBRIDGE" -c "$SERVERS_DIR/operations.yaml" install --admin "$PG_ADMIN_BETA"
    wait_for 60 "install to wait for it" waited_for
    first=$(application pid)
    begins 2
    wait_for 20 "another one" applications_are 2
    sql beta shop "select pg_terminate_backend($first)" >"$SERVERS_DIR/null"
    wait_for 20 "the first one's end" applications_are 1
    wait_for 60 "install to wait for the second" waited_for
}
install_waits
# Another one waits for it, until the server sees that it is given up.
kill -STOP "$(process_id install)"
process_start install-again "$PGBRIDGE" -c "$SERVERS_DIR/operations.yaml" install --admin "$PG_ADMIN_BETA"
waits_for_install() { [[ $(sql beta shop "select count(*) from pg_locks where locktype = 'advisory' and not granted") == 1 ]]; }
wait_for 60 "another install to wait for this one" waits_for_install
process_kill install
makes_slot() { ! waits_for_install && waited_for; }
wait_for 30 "it to make the slot" makes_slot
sql beta shop "create table made (id int)"
sql beta shop "drop table made"
application "pg_terminate_backend(pid)" >"$SERVERS_DIR/null"
installed_again() { ! process_running install && ! process_running install-again; }
wait_for 60 "the end of install" installed_again
assert_equal "database: installed" "$(grep -v '^broker: ' "$SERVERS_DIR/log/install-again.log")" "what install said"
assert_equal "wal|t" "$(sql beta shop "select capture, (select confirmed_flush_lsn is not null from pg_replication_slots) from bridge.node")" "capture, and a slot that is ready"
[[ ! $(<"$SERVERS_DIR/log/postgres-beta.log") == *'not owned by resource owner'* ]] || fail "the slot of an install that was given up"
printf 'ok - a slot begins while others change the catalog, and the install that makes it is given up\n'

# ---- a slot that is given up before it counts is made again ----

back_to_triggers() {
    bridge_node operations beta shop commerce 'capture: outbox' <<<"$entities"
    bridge_install operations >>"$SERVERS_DIR/install.log"
    bridge_stop operations
    bridge_start operations
    wait_for 60 "the log to be left" slots_are 0
}
slots_are() { [[ $(sql beta shop "select count(*) from pg_replication_slots") == "$1" ]]; }
# Longer than any wait for a lock.
back_to_triggers
slot_begun() { sql beta shop "select query_start from pg_stat_activity where query like '%create_logical_replication_slot%' and pid <> pg_backend_pid()"; }
install_waits
began=$(slot_begun)
sleep 11
wait_for 60 "install to wait" waited_for
assert_equal "$began" "$(slot_begun)" "when the slot was begun: what was waited for is not waited for again"
application "pg_terminate_backend(pid)" >"$SERVERS_DIR/null"
wait_for 60 "the end of install" installed_again
assert_equal "wal|1" "$(sql beta shop "select capture, (select count(*) from pg_replication_slots) from bridge.node")" "capture and slots after a long wait"
# Between install's two transactions an adapter that opens anew takes the slot for one that nobody needs.
back_to_triggers
install_waits
process_start writer "$PG_BIN/psql" -qX -d "$PG_ADMIN_BETA dbname=shop" -c "begin; update flip set n = n + 1; select pg_sleep(600)"
writer() { sql beta shop "select $1 from pg_stat_activity where query like 'begin; update flip%' and wait_event = 'PgSleep'"; }
writes() { [[ $(writer "count(*)") == 1 ]]; }
wait_for 20 "one that writes" writes
application "pg_terminate_backend(pid)" >"$SERVERS_DIR/null"
between() { [[ $(sql beta shop "select count(*) from pg_replication_slots where confirmed_flush_lsn is not null and not active") == 1 ]]; }
wait_for 60 "the slot" between
sql beta shop "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgbridge outbound'" >"$SERVERS_DIR/null"
wait_for 60 "the slot to be given up" slots_are 0
writer "pg_terminate_backend(pid)" >"$SERVERS_DIR/null"
wait_for 60 "the end of install" installed_again
assert_equal "wal|1" "$(sql beta shop "select capture, (select count(*) from pg_replication_slots) from bridge.node")" "capture and slots"
sql beta shop "update total set n = n + 1"
bridge_stop operations
bridge_start operations
bridge_quiet commerce operations
wait_for 60 "both sides to be equal" equal
assert_equal "0" "$(sql beta shop "select count(*) from bridge.gap")" "gaps"
printf 'ok - a slot that others keep waiting, or give up before it counts, is made again\n'
bridge_stop commerce
bridge_stop operations
