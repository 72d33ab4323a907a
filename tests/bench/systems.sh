# shellcheck shell=bash
# The systems that are compared. Each carries the tables of BENCH_TABLES from alpha to beta, in database bench. To be sourced after
# servers.sh and bridge.sh.
#
#   system_missing NAME     why it cannot be measured here; nothing when it can
#   system_setup NAME       with everything installed and running; both clusters are new, and the tables are there and equal
#   peer_halt, peer_go      takes the peer away, and lets it come back
#   system_halt, system_go  the same with whatever stands beside the sender, too
#   system_end              leaves nothing behind that is not in the clusters
#
# SYSTEM_ADAPTERS: the names of processes between the databases, of which SYSTEM_ADAPTERS_ALIKE says whether one stands beside each.

SYSTEMS_ALL=(native outbox wal pglogical bucardo)
BENCH_TABLES=(item marker probe pgbench_accounts pgbench_tellers pgbench_branches pgbench_history)

declare -A SYSTEM_TITLES=([native]="native" [outbox]="pgbridge outbox" [wal]="pgbridge wal" [pglogical]="pglogical" [bucardo]="Bucardo")

system_of_the_bridge() {
    [[ $1 == outbox || $1 == wal ]]
}

system_missing() {
    case $1 in
        wal)
            local said PG_SOCKET_DIR=/none PG_PORT_ALPHA=1 PG_PORT_BETA=1
            system_nodes wal
            # The config is read before anything else is done.
            said=$(bridge alpha status 2>&1) || { (($? != 78)) || sed 's/^.*yaml:[0-9:]* *//; q' <<<"$said"; }
            ;;
        pglogical) [[ -e $("$PG_BIN/pg_config" --pkglibdir)/pglogical.so ]] || echo "postgresql-15-pglogical is not installed" ;;
        bucardo) command -v bucardo >/dev/null || echo "bucardo is not installed" ;;
    esac
}

# Settings of both clusters, the same for all systems, but for what must be loaded.
system_settings() {
    local settings=(wal_level=logical track_commit_timestamp=on max_wal_size=4GB shared_buffers=256MB max_worker_processes=16)
    if [[ $1 == pglogical ]]; then
        settings+=(shared_preload_libraries=pglogical)
        # Current minor releases take only the listed ones.
        if [[ $("$PG_BIN/postgres" --describe-config) == *output_plugin_libraries* ]]; then
            settings+=("output_plugin_libraries=pgoutput, test_decoding, pglogical_output")
        fi
    fi
    printf '%s\n' "${settings[@]}"
}

# conninfo CLUSTER: of the superuser over TCP.
conninfo() {
    printf 'host=127.0.0.1 port=%s dbname=bench user=postgres password=bench' "$(postgres_port "$1")"
}

system_setup() {
    SYSTEM=$1
    SYSTEM_ADAPTERS=()
    SYSTEM_ADAPTERS_ALIKE=yes
    "setup_$1"
}

system_halt() { "halt_$SYSTEM"; }
system_go() { "go_$SYSTEM"; }
system_end() { "end_$SYSTEM"; }
peer_halt() { if system_of_the_bridge "$SYSTEM"; then bridge_stop beta; else system_halt; fi; }
peer_go() { if system_of_the_bridge "$SYSTEM"; then bridge_start beta; else system_go; fi; }

# ---- native ----------------------------------------------------------------------------------------------------------

setup_native() {
    sql alpha bench "create publication bench for table $(IFS=,; echo "${BENCH_TABLES[*]}")"
    sql beta bench "create subscription bench connection '$(conninfo alpha)' publication bench with (copy_data = false)" 2>>"$SERVERS_DIR/log/bench.log"
}
halt_native() {
    sql beta bench "alter subscription bench disable"
    wait_for 60 "the end of the subscription's worker" streams_ended
}
streams_ended() { [[ $(sql alpha postgres "select count(*) from pg_stat_replication") == 0 ]]; }
go_native() { sql beta bench "alter subscription bench enable"; }
end_native() { :; }

# ---- pgbridge --------------------------------------------------------------------------------------------------------

# system_nodes CAPTURE: the configs of both nodes. An adapter runs beside its database and reaches it by the Unix socket, as the example
# config does; the others' stream is one between two machines.
system_nodes() {
    local node PG_TCP_ALPHA="host=$PG_SOCKET_DIR port=$PG_PORT_ALPHA" PG_TCP_BETA="host=$PG_SOCKET_DIR port=$PG_PORT_BETA"
    for node in alpha:beta beta:alpha; do
        bridge_node "${node%:*}" "${node%:*}" bench "${node#*:}" "capture: $1" <<'YAML'
  - {name: item, table: item, key: [id], fields: [a, b, c, d, e, f]}
  - {name: marker, table: marker, key: [id], fields: [n]}
  - {name: probe, table: probe, key: [id], fields: [n]}
  - {name: account, table: pgbench_accounts, key: [aid], fields: [bid, abalance, filler]}
  - {name: teller, table: pgbench_tellers, key: [tid], fields: [bid, tbalance, filler]}
  - {name: branch, table: pgbench_branches, key: [bid], fields: [bbalance, filler]}
  - {name: history, table: pgbench_history, key: [id], fields: [tid, bid, aid, delta, mtime, filler]}
YAML
    done
}
setup_bridge() {
    SYSTEM_ADAPTERS=(node-alpha node-beta)
    system_nodes "$1"
    bridge_install alpha >>"$SERVERS_DIR/log/bench.log"
    bridge_install beta >>"$SERVERS_DIR/log/bench.log"
    bridge_start alpha
    bridge_start beta
}
halt_bridge() {
    bridge_stop alpha
    bridge_stop beta
}
go_bridge() {
    bridge_start beta
    bridge_start alpha
}
end_bridge() {
    local node variable
    halt_bridge
    for node in alpha beta; do
        variable=PG_ADMIN_${node^^}
        bridge "$node" uninstall --admin "${!variable}" >>"$SERVERS_DIR/log/bench.log" 2>&1
    done
}
setup_outbox() { setup_bridge outbox; }
halt_outbox() { halt_bridge; }
go_outbox() { go_bridge; }
end_outbox() { end_bridge; }
setup_wal() { setup_bridge wal; }
halt_wal() { halt_bridge; }
go_wal() { go_bridge; }
end_wal() { end_bridge; }

# ---- pglogical -------------------------------------------------------------------------------------------------------

setup_pglogical() {
    local cluster
    for cluster in alpha beta; do
        sql "$cluster" bench "set client_min_messages = warning; create extension pglogical;
            select pglogical.create_node('$cluster', '$(conninfo "$cluster")')" >>"$SERVERS_DIR/log/bench.log"
    done
    sql alpha bench "select pglogical.replication_set_add_table('default', t::regclass)
        from unnest(string_to_array('${BENCH_TABLES[*]}', ' ')) t" >>"$SERVERS_DIR/log/bench.log"
    sql beta bench "select pglogical.create_subscription('bench', '$(conninfo alpha)', synchronize_structure := false,
        synchronize_data := false)" >>"$SERVERS_DIR/log/bench.log"
    # What is committed before its slot is there does not travel.
    wait_for 60 "the subscription's slot" stream_begun
}
stream_begun() { [[ $(sql alpha postgres "select count(*) from pg_stat_replication where state = 'streaming'") == 1 ]]; }
halt_pglogical() {
    sql beta bench "select pglogical.alter_subscription_disable('bench', true)" >>"$SERVERS_DIR/log/bench.log"
    wait_for 60 "the end of the subscription's worker" streams_ended
}
go_pglogical() { sql beta bench "select pglogical.alter_subscription_enable('bench', true)" >>"$SERVERS_DIR/log/bench.log"; }
end_pglogical() { :; }

# ---- Bucardo ---------------------------------------------------------------------------------------------------------

bucardo_run() {
    HOME=$BUCARDO_DIR bucardo --dbhost="$PG_SOCKET_DIR" --dbport="$PG_PORT_ALPHA" --dbuser=postgres --dbname=bucardo "$@" \
        >>"$SERVERS_DIR/log/bucardo-command.log" 2>&1 </dev/null
}
setup_bucardo() {
    local cluster dir
    # It reads its directory's name in lower case.
    BUCARDO_DIR=/tmp/pgbridge-bucardo-$PG_PORT_ALPHA
    dir=$BUCARDO_DIR
    servers_at_exit rm -rf "$dir"
    SYSTEM_ADAPTERS=(bucardo)
    SYSTEM_ADAPTERS_ALIKE=no
    mkdir -p "$dir"
    sql alpha postgres "create database bucardo"
    sql alpha bucardo "create extension plperlu"
    for cluster in alpha beta; do
        sql "$cluster" bench "create extension plperlu"
    done
    bucardo_run install --batch --pid-dir="$dir"
    bucardo_run set "reason_file=$dir/bucardo.restart.reason.txt" "log_conflict_file=$dir/conflicts" "warning_file=$dir/warnings" log_microsecond=1
    bucardo_run add db source dbname=bench host=127.0.0.1 "port=$PG_PORT_ALPHA" user=postgres pass=bench
    bucardo_run add db drain dbname=bench host=127.0.0.1 "port=$PG_PORT_BETA" user=postgres pass=bench
    bucardo_run add table "${BENCH_TABLES[@]/#/public.}" db=source relgroup=all
    bucardo_run add sync bench relgroup=all dbs=source:source,drain:target
    go_bucardo
}
# Its master leaves whoever started it; servers_stop shall end it all the same.
go_bucardo() {
    local pid
    rm -f "$BUCARDO_DIR"/{fullstopbucardo,bucardo.mcp.pid}
    bucardo_run --log-destination="$BUCARDO_DIR" start
    # A master that ends again takes its file with it.
    wait_for 30 "Bucardo's master" bucardo_leads
    read -r pid <"$SERVERS_DIR/bucardo.pid"
    process_read "$pid"
    printf '%s %s\n' "$pid" "$PROCESS_START" >"$SERVERS_DIR/pids/bucardo"
}
bucardo_leads() {
    local pid
    read -r pid 2>"$SERVERS_DIR/null" <"$BUCARDO_DIR/bucardo.mcp.pid" && process_read "$pid" && printf '%s\n' "$pid" >"$SERVERS_DIR/bucardo.pid"
}
halt_bucardo() {
    bucardo_run stop
    wait_for 60 "the end of Bucardo" process_ended bucardo
}
end_bucardo() {
    halt_bucardo
    rm -rf "$BUCARDO_DIR"
}
