#!/usr/bin/env bash
# Nothing is published that its own database can still forget: transactions with synchronous_commit = off that have arrived at the
# other side are still there after kill -9 of the server.
# shellcheck disable=SC2119 # the libraries' functions have arguments of their own
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
# shellcheck source=tests/support/load.sh
source "$SOURCE_DIR/tests/support/load.sh"

servers_init
# The WAL writer is slow, so that what is not flushed for its own sake stays in memory and dies with the server.
servers_start alpha beta fsync=off deadlock_timeout=100ms wal_writer_delay=10s autovacuum=off
load_prepare
bridge_start commerce
bridge_start operations
declare -A CLUSTERS=([commerce]=alpha [operations]=beta)

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

for node in commerce operations; do
    bridge_stop "$node"
done
