#!/usr/bin/env bash
# Tests servers.sh itself: servers start, survive kill -9, can be stopped from elsewhere, and never outlive their script.
# shellcheck disable=SC2119 # functions whose arguments may be left out
set -euo pipefail

# shellcheck source=tests/support/servers.sh
source "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

expect() {
    [[ $2 == "$3" ]] || fail "$1: expected \"$3\", got \"$2\""
}

began=$EPOCHREALTIME
# Prints what was reached and when, in seconds since the start.
passed() {
    printf '%6.2f s  %s\n' "$(((${EPOCHREALTIME/[.,]/} - ${began/[.,]/}) / 10000))e-2" "$*"
}

# Prints every process that was started for the directory, with descendants.
servers_processes() {
    local record pid
    for record in "$1"/pids/*; do
        read -r pid _ <"$record"
        process_tree "$pid"
    done
}

amqp() {
    local program=$1
    shift
    "amqp-$program" --url="amqp://tester:p%2Fw@127.0.0.1:$RABBIT_PORT/$RABBIT_VHOST" "$@"
}

test_both_clusters_answer() {
    expect "sql on alpha" "$(sql alpha postgres "select 1, 'ä'")" "1|ä"
    expect "sql on beta from stdin" "$(echo "show port" | sql beta postgres)" "$PG_PORT_BETA"
    ! sql alpha postgres "select 1/0" 2>/dev/null || fail "an SQL error went unnoticed"
    expect "fsync of alpha" "$(sql alpha postgres "show fsync")" off
}

test_tcp_asks_for_the_password() {
    sql alpha postgres "create role guest login password 'secret'"
    expect "login by TCP" "$(PGPASSWORD=secret "$PG_BIN/psql" -XAtc "select current_user" \
        "$PG_TCP_ALPHA dbname=postgres user=guest")" guest
    ! PGPASSWORD=wrong "$PG_BIN/psql" -XAtc "select 1" "$PG_TCP_ALPHA dbname=postgres user=guest" 2>/dev/null ||
        fail "a wrong password was accepted"
}

# kill -9 may lose messages not yet confirmed (amqp-publish does not ask) and even a durable queue declared a moment before: so
# only a clean restart is expected to keep them.
test_rabbit_survives_kill() {
    rabbit_user tester p/w
    message_travels first
    rabbit_kill
    rabbit_start
    message_travels second
    amqp publish -p -r errand -b third
    wait_for 60 "the message in its queue" queue_holds errand 1
    rabbit_restart
    wait_for 60 "the message after a restart" queue_holds errand 1
}

# Not persistent: whether that it was consumed outlives a kill is not known either.
message_travels() {
    amqp declare-queue -d -q errand >/dev/null
    amqp publish -r errand -b "$1"
    expect "message" "$(amqp consume -q errand -c 1 cat 2>/dev/null)" "$1"
}

queue_holds() {
    local name messages
    read -r name messages < <(rabbit_ctl list_queues -p "$RABBIT_VHOST" name messages)
    [[ $name == "$1" && $messages == "$2" ]]
}

test_rows_survive_kill_of_postgres() {
    local name
    for name in alpha beta; do
        sql "$name" postgres "create table kept as select 42 as answer"
        postgres_kill "$name"
        ! sql "$name" postgres "select 1" 2>/dev/null || fail "$name answers after kill -9"
        postgres_start "$name"
        expect "row of $name after kill -9" "$(sql "$name" postgres "select answer from kept")" 42
    done
    postgres_restart beta
    postgres_stop alpha
    postgres_start alpha
    expect "row of alpha after a stop" "$(sql alpha postgres "select answer from kept")" 42
}

test_another_process_can_attach() {
    # shellcheck disable=SC2016 # expands in the new shell
    expect "sql from another process" "$(env -i PATH="$PATH" bash -euc '
        source "$0"
        servers_attach "$1"
        sql beta postgres "select answer from kept"' "$SERVERS_LIBRARY" "$SERVERS_DIR")" 42
}

# A script of its own, in which COMMAND comes after the start of a cluster; prints its directory.
script_with_cluster() {
    # shellcheck disable=SC2016 # expands in the new shell
    bash -euc '
        source "$0"
        servers_init
        postgres_start solo >&2
        printf "%s\n" "$SERVERS_DIR"
        eval "$1"' "$SERVERS_LIBRARY" "$1"
}

test_killed_script_leaves_nothing() {
    local directory
    directory=$(script_with_cluster 'kill -s KILL $$' 2>/dev/null) || true
    wait_for 60 "the guard to clean up" test ! -e "$directory"
}

test_kept_servers_are_stopped_from_elsewhere() {
    local directory
    local -a processes
    directory=$(script_with_cluster servers_keep)
    mapfile -t processes < <(servers_processes "$directory")
    expect "cluster that was kept" "$(servers_attach "$directory" && sql solo postgres "select 7")" 7
    servers_stop_from "$directory"
    processes_gone "${processes[@]}" || fail "kept servers outlived servers_stop_from"
    [[ ! -e $directory ]] || fail "$directory is still there"
}

test_stop_leaves_nothing() {
    local directory=$SERVERS_DIR port
    local -a processes ports
    mapfile -t processes < <(servers_processes "$directory")
    mapfile -t ports <"$directory/ports"
    ((${#processes[@]} >= 15)) || fail "only ${#processes[@]} processes were found"
    servers_stop
    processes_gone "${processes[@]}" || fail "a process outlived servers_stop"
    [[ ! -e $directory ]] || fail "$directory is still there"
    for port in "${ports[@]}"; do
        ! port_taken "$port" || fail "port $port is still in use"
        [[ ! -e $(port_reservation "$port") ]] || fail "port $port is still reserved"
    done
}

servers_init
passed "directory $SERVERS_DIR"
servers_start alpha beta fsync=off
passed "servers started"
for test in test_both_clusters_answer test_tcp_asks_for_the_password test_rabbit_survives_kill \
    test_rows_survive_kill_of_postgres test_another_process_can_attach test_killed_script_leaves_nothing \
    test_kept_servers_are_stopped_from_elsewhere test_stop_leaves_nothing; do
    "$test"
    passed "$test"
done
