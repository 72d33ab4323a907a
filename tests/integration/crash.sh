#!/usr/bin/env bash
# Nothing is lost, doubled or different, whatever dies: under the load of load.sh, adapters, broker and databases are killed,
# restarted and cut off in random order at random moments. And nothing is published that its own database can still forget:
# transactions with synchronous_commit = off that have arrived at the other side are still there after kill -9 of the server.
# LOAD_SEED repeats the order and the pauses; CRASH_ROUNDS goes through the faults more than once.
# shellcheck disable=SC2119 # the libraries' functions have arguments of their own
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
# shellcheck source=tests/support/load.sh
source "$SOURCE_DIR/tests/support/load.sh"
QUIET_SECONDS=120

servers_init
# The WAL writer is slow, so that what is not flushed for its own sake stays in memory and dies with the server.
servers_start alpha beta fsync=off deadlock_timeout=100ms wal_writer_delay=10s autovacuum=off
load_prepare
bridge_start commerce
bridge_start operations
declare -A CLUSTERS=([commerce]=alpha [operations]=beta) STARTS=([commerce]=1 [operations]=1)

# ---- what was published is safe at home ----

# arrived NODE ID: waits inside the server, to know it within a millisecond.
arrived() {
    node_sql "$1" "do \$\$ begin
        for i in 1 .. 60000 loop
            exit when exists (select from load.account where id = $2);
            if i = 60000 then raise exception 'account $2 did not arrive'; end if;
            perform pg_sleep(0.001);
            commit;
        end loop;
    end \$\$"
}

for round in 1 2 3 4 5 6; do
    if ((round % 2)); then home=commerce away=operations; else home=operations away=commerce; fi
    # Above the keys of the load, and of the side's own parity.
    id=$((1000000 * round + (round % 2 ? 0 : 1)))
    # More than one: a synchronous commit of somebody else, by chance, makes what came before it safe.
    for id in $((id + 2)) $((id + 4)); do
        PGOPTIONS='-c synchronous_commit=off' node_sql "$home" "begin; insert into load.account (id, owner) values ($id, 'at risk');
            insert into load.entry values ($id, $id, 1, 'at risk too'); commit"
        arrived "$away" "$id" || fail "a transaction did not arrive before the kill"
    done
    postgres_kill "${CLUSTERS[$home]}"
    postgres_start "${CLUSTERS[$home]}"
    for table in account entry; do
        there=$(node_sql "$away" "select id from load.$table where id > 1000000 order by 1")
        here=$(node_sql "$home" "select id from load.$table where id > 1000000 order by 1")
        missing=$(comm -13 <(sort <<<"$here") <(sort <<<"$there") | xargs)
        assert_equal "" "$missing" "round $round: rows of $table published by $home and unknown to it after its crash"
    done
done
printf 'ok - what was published outlives the crash of its source, with synchronous_commit = off\n'

# ---- faults ----

RANDOM=$LOAD_SEED

# A moment, up to so many milliseconds.
moment() {
    local milliseconds=$((RANDOM % $1))
    sleep "$((milliseconds / 1000)).$(printf '%03d' $((milliseconds % 1000)))"
}

kill_adapter() {
    bridge_kill "$1"
    moment 700
    bridge_start "$1"
    STARTS[$1]=$((STARTS[$1] + 1))
}

restart_broker() {
    rabbit_restart
}

kill_broker() {
    rabbit_kill
    moment 500
    rabbit_start
}

restart_database() {
    postgres_stop "$1" "$2"
    moment 500
    postgres_start "$1"
}

kill_database() {
    postgres_kill "$1"
    moment 500
    postgres_start "$1"
}

terminate_sessions() {
    sql "$1" postgres "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'pgbridge'" >"$SERVERS_DIR/null"
}

# Nobody is there at all; the database comes back first.
lose_everything() {
    rabbit_kill
    postgres_stop alpha immediate
    postgres_kill beta
    moment 500
    bridge_kill commerce
    postgres_start beta
    bridge_start commerce
    STARTS[commerce]=$((STARTS[commerce] + 1))
    postgres_start alpha
    rabbit_start
}

FAULTS=(
    "kill_adapter commerce" "kill_adapter operations" "kill_adapter commerce" "kill_adapter operations"
    "restart_broker" "kill_broker"
    "restart_database alpha fast" "restart_database beta immediate" "restart_database alpha immediate"
    "kill_database beta" "kill_database alpha"
    "terminate_sessions alpha" "terminate_sessions beta"
    "lose_everything"
)

# shuffle WORD...: into SHUFFLED, the same for the same seed.
shuffle() {
    local i other
    SHUFFLED=("$@")
    for ((i = ${#SHUFFLED[@]} - 1; i > 0; i--)); do
        other=$((RANDOM % (i + 1)))
        set -- "${SHUFFLED[i]}"
        SHUFFLED[i]=${SHUFFLED[other]}
        SHUFFLED[other]=$1
    done
}

applied() {
    node_sql "$1" "select coalesce(sum(applied), 0) from bridge.inbound"
}

# Both directions have applied something since.
flowing() {
    (($(applied commerce) > $1 && $(applied operations) > $2))
}

# shellcheck disable=SC2034 # for load.sh
LOAD_STEPS_A_CALL=20
load_start 3 1000000 40
for ((round = 1; round <= ${CRASH_ROUNDS:-1}; round++)); do
    shuffle "${FAULTS[@]}"
    for fault in "${SHUFFLED[@]}"; do
        # Some faults hit a bridge that runs, some one that is still recovering.
        if ((RANDOM % 2)); then
            wait_for 60 "changes to flow again before: $fault" flowing "$(applied commerce)" "$(applied operations)"
        fi
        moment 400
        printf '# %s\n' "$fault"
        # shellcheck disable=SC2086 # a command with its arguments
        $fault
    done
done
wait_for 60 "changes to flow again" flowing "$(applied commerce)" "$(applied operations)"
load_stop
load_wait
printf '# steps: %s\n' "$(sql alpha shop "select string_agg(session || ': ' || n, ', ' order by session)
    from (select session, count(*) as n from load.ledger group by 1) s")"
load_verify
# Neither did an unlucky link send a message to the broker's dead letters. While both adapters run: a heartbeat stays in the queue of a
# node that is stopped before its peer. The list may be some seconds old.
listed_empty() { [[ -z $(rabbit_ctl list_queues -p bridge name messages | awk '$2 != 0') ]]; }
wait_for 120 "every queue, the dead letters' too, to be listed as empty" listed_empty

# Nobody went away but those who were killed.
for node in "${!STARTS[@]}"; do
    process_running "node-$node" || fail "the adapter of $node has ended"
    assert_equal "${STARTS[$node]}" "$(grep -c ' started ' "$SERVERS_DIR/log/node-$node.log")" "starts of the adapter of $node"
    bridge_stop "$node"
done
printf 'ok - nothing is lost or doubled after %s faults\n' $((${#FAULTS[@]} * ${CRASH_ROUNDS:-1}))
