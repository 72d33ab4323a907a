# shellcheck shell=bash
# The broker ends, and is away.

fault_broker() {
    load_begin
    case $1 in
        restart) rabbit_restart ;;
        kill)
            rabbit_kill
            moment 1500
            rabbit_start
            ;;
    esac
    healed
}
scenario "broker restart" "the broker restarted"
scenario short "broker kill" "the broker killed with kill -9"

fault_closed_connections() {
    local i
    load_begin
    for ((i = 0; i < 8; i++)); do
        moment 500
        broker '[catch rabbit_networking:close_connection(P, "a test") || P <- rabbit_networking:connections()], 0' >>"$SERVERS_DIR/log/prepare.log"
    done
    healed
    FAULT_DETAIL="8 times"
}
scenario short closed_connections "the broker closes all connections"

# tps NODE SECONDS: what one client's transactions do there meanwhile.
tps() {
    local port
    port=$(postgres_port "${CLUSTER[$1]}")
    printf '\\set id random(1, 60)\nupdate faults.item set n = n + 1 where id = :id;\n' >"$SERVERS_DIR/update.sql"
    "$PG_BIN/pgbench" -n -h "$PG_SOCKET_DIR" -p "$port" -U postgres -M prepared -c 2 -j 1 -T "$2" \
        -f "$SERVERS_DIR/update.sql" "${DATABASE[$1]}" 2>&1 | sed -n 's/^tps = \([0-9]*\).*/\1/p'
}

# Applications do not notice that the broker is away, and what they wrote arrives when it is back.
fault_broker_away() {
    local before during after pending
    draw_node
    load_begin
    before=$(tps "$NODE" 5)
    rabbit_kill
    sleep 1
    during=$(tps "$NODE" "$1")
    pending=$(node_sql "$NODE" "select count(*) from bridge.outbox")
    ((pending > 0)) || fail "nothing waited in the outbox"
    rabbit_start
    QUIET_SECONDS=600
    bridge_recovered
    after=$(tps "$NODE" 5)
    healed
    FAULT_DETAIL="tps before $before, during $during, after $after: $(awk -v a="$before" -v b="$during" -v c="$after" 'BEGIN { printf "1 : %.2f : %.2f", b / a, c / a }'), backlog $pending changes"
}
scenario "broker_away 10" "the broker away for 10 s under full load"
scenario "broker_away 300" "the broker away for 5 min under full load"
