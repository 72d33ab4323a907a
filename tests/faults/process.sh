# shellcheck shell=bash
# The adapter's process is ended, halted, doubled.

fault_terminated() {
    local i times=$((2 + RANDOM % 3))
    load_begin
    for ((i = 0; i < times; i++)); do
        draw_node
        moment 500
        process_stop "node-$NODE" TERM 30
        adapter_start "$NODE"
    done
    healed
    FAULT_DETAIL="$times times"
}
scenario terminated "SIGTERM at random times"

fault_killed() {
    local i times=$((3 + RANDOM % 4))
    load_begin
    for ((i = 0; i < times; i++)); do
        draw_node
        moment 500
        bridge_kill "$NODE"
        adapter_start "$NODE"
    done
    healed
    FAULT_DETAIL="$times times"
}
scenario killed "kill -9 at random times"

fault_killed_both() {
    load_begin
    bridge_kill commerce
    bridge_kill operations
    moment 1500
    adapter_start operations
    moment 500
    adapter_start commerce
    healed
}
scenario killed_both "both adapters killed, and away for a while"

# second_start NODE: another adapter of the same node.
second_start() {
    process_start "node-$1-second" env "$PGBRIDGE" -c "$SERVERS_DIR/$1.yaml" run
}

fault_two_adapters() {
    local i
    draw_node
    load_begin
    second_start "$NODE"
    for i in 1 2 3; do
        moment 1500 300
        # Whoever leads, and whoever stands by.
        if ((RANDOM % 2)); then
            bridge_kill "$NODE"
            adapter_start "$NODE"
        else
            process_kill "node-$NODE-second"
            second_start "$NODE"
        fi
    done
    moment 500
    process_stop "node-$NODE-second" TERM 30
    healed
}
scenario short two_adapters "two adapters of one node, either killed"

# The halted one keeps its sessions, and its lead with them, until the database or the broker gives it up: that is done here as a
# dead host's would be. Then the other leads, and the first goes on as if nothing had happened.
fault_halted() {
    local seconds=$1 process
    draw_node
    load_begin
    second_start "$NODE"
    process=$(process_find "node-$NODE")
    processes_signal STOP "$process"
    sleep "$seconds"
    if ((seconds > 1)); then
        node_sql "$NODE" "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pgbridge%'
            and client_port in ($(halted_ports "${process% *}"))" >>"$SERVERS_DIR/log/prepare.log"
        bridge_recovered
        FAULT_DETAIL="the other one had taken over after $RECOVERY_MS ms"
    fi
    processes_signal CONT "$process"
    moment 2000
    process_stop "node-$NODE-second" TERM 30
    healed
}
# halted_ports PID: the server's side of its sessions has the proxy's ports; the sessions that are older than the other adapter's
# are told by their start.
halted_ports() {
    node_sql "$NODE" "select string_agg(client_port::text, ', ') from (select client_port, row_number() over
        (partition by application_name order by backend_start) as n from pg_stat_activity where application_name like 'pgbridge%') s where n = 1"
}
scenario "halted 1" "SIGSTOP for a second beside a second adapter, then SIGCONT"
scenario "halted 30" "SIGSTOP for 30 s, another adapter leads meanwhile, then SIGCONT"

fault_halted_alone() {
    local process
    draw_node
    load_begin
    process=$(process_find "node-$NODE")
    processes_signal STOP "$process"
    sleep "$1"
    processes_signal CONT "$process"
    healed
}
scenario "halted_alone 2" "SIGSTOP for 2 s"
scenario "halted_alone 20" "SIGSTOP for longer than the broker's heartbeat"
