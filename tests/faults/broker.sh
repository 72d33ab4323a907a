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
scenario "broker kill" "the broker killed with kill -9"

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
scenario closed_connections "the broker closes all connections"

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
    local before during after backlog
    draw_node
    load_begin
    before=$(tps "$NODE" 5)
    rabbit_kill
    sleep 1
    during=$(tps "$NODE" "$1")
    ! outboxes_empty "$NODE" || fail "nothing waited in the outbox or the log"
    backlog=$(node_sql "$NODE" "select case when n.capture = 'wal' then pg_size_pretty(pg_current_wal_lsn() - o.released_lsn) || ' of the log'
        else (select count(*) from bridge.outbox) || ' changes' end from bridge.node n, bridge.outbound o")
    rabbit_start
    QUIET_SECONDS=600
    bridge_recovered
    after=$(tps "$NODE" 5)
    healed
    FAULT_DETAIL="tps before $before, during $during, after $after: $(awk -v a="$before" -v b="$during" -v c="$after" 'BEGIN { printf "1 : %.2f : %.2f", b / a, c / a }'), backlog $backlog"
}
scenario "broker_away 20" "the broker away for 20 s under full load"
scenario "broker_away 300" "the broker away for 5 min under full load"

# The broker begins anew with nothing. What was in its queues is lost, and noted as a gap; what is in an outbox comes.
fault_wiped() {
    local id=$((2000000 + RANDOM)) noticed node i
    draw_node
    scenario_begin
    bridge_recovered
    process_stop "node-$NODE" TERM 30
    for i in 1 2 3 4 5 6; do
        node_sql "$PEER" "insert into faults.item values ($id, 0, 'lost') on conflict (id) do update set n = item.n + 1"
    done
    wait_for 60 "all of it to be in the queue" outboxes_empty "$PEER"
    rabbit_kill
    rm -r "$SERVERS_DIR/rabbit/mnesia"
    node_sql "$PEER" "update faults.item set n = n + 1, who = 'not lost' where id = $id"
    noticed=$(node_sql "$NODE" "select coalesce(sum(gaps), 0) from bridge.inbound")
    load_begin
    moment 2000
    rabbit_start
    for node in "${NODES[@]}"; do
        rabbit_user "$node" "secret-$node" </dev/null
    done
    moment 2000
    for node in "${NODES[@]}"; do
        bridge_install "$node" >>"$SERVERS_DIR/log/prepare.log"
    done
    # shellcheck disable=SC2034 # for harness.sh
    FAULT_GAPS=false
    healed
    FAULT_DETAIL="$(($(node_sql "$NODE" "select sum(gaps) from bridge.inbound") - noticed)) messages noted as missing"
    ((${FAULT_DETAIL%% *} > 0)) || fail "what was lost is not noted"
}
scenario wiped "the broker's directory removed, with messages in a queue; users and pgbridge install again"

# ---- what somebody does to the broker ------------------------------------------------------------------------------

# An alarm lets nobody publish; what is committed waits in the outbox.
fault_alarm() {
    load_begin
    case $1 in
        memory) broker 'vm_memory_monitor:set_vm_memory_high_watermark(0.000001), 0' ;;
        disk) broker 'rabbit_disk_monitor:set_disk_free_limit(1000000000000000), 0' ;;
    esac >>"$SERVERS_DIR/log/prepare.log"
    wait_for 60 "the alarm" alarm_is_on
    moment 6000 3000
    broker 'vm_memory_monitor:set_vm_memory_high_watermark(0.8), rabbit_disk_monitor:set_disk_free_limit(50000000), 0' \
        >>"$SERVERS_DIR/log/prepare.log"
    healed
}
alarm_is_on() {
    [[ $(broker 'length(rabbit_alarm:get_alarms())') != 0 ]]
}
scenario "alarm memory" "the broker's memory alarm"
scenario "alarm disk" "the broker's disk alarm"

# Nothing is in the queues when it is taken away: what was in a queue that is deleted is lost, and no bridge can help that.
fault_topology() {
    local resource='rabbit_misc:r(<<"bridge">>,'
    draw_node
    load_begin
    case $1 in
        exchange)
            broker "rabbit_exchange:delete($resource exchange, <<\"bridge.sync\">>), false, <<\"a test\">>), 0"
            ;;
        binding)
            broker "rabbit_binding:remove({binding, $resource exchange, <<\"bridge.sync\">>), <<\"$PEER.#\">>, $resource queue, <<\"bridge.sync.$NODE\">>), []},
                fun(_, _) -> ok end, <<\"a test\">>), 0"
            ;;
        queue)
            process_stop "node-$PEER" TERM 30
            wait_for 60 "an empty queue" queue_of_is_empty "$NODE"
            broker "{ok, Q} = rabbit_amqqueue:lookup($resource queue, <<\"bridge.sync.$NODE\">>)), rabbit_amqqueue:delete(Q, false, false, <<\"a test\">>), 0"
            adapter_start "$PEER"
            ;;
    esac >>"$SERVERS_DIR/log/prepare.log"
    moment 4000 2000
    bridge_install commerce >>"$SERVERS_DIR/log/prepare.log"
    bridge_install operations >>"$SERVERS_DIR/log/prepare.log"
    healed
}
queue_of_is_empty() {
    [[ $(broker "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"bridge\">>, queue, <<\"bridge.sync.$1\">>)),
        {ok, M, _} = ra:consistent_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_total/1), M") == 0 ]]
}
scenario "topology exchange" "the exchange deleted, and made again by pgbridge install"
scenario "topology binding" "a peer's binding removed, and made again by pgbridge install"
scenario "topology queue" "a queue deleted under its consumer, and made again by pgbridge install"

fault_permission() {
    draw_node
    load_begin
    broker "rabbit_auth_backend_internal:clear_permissions(<<\"$NODE\">>, <<\"bridge\">>, <<\"a test\">>), 0" >>"$SERVERS_DIR/log/prepare.log"
    moment 6000 3000
    rabbit_user "$NODE" "secret-$NODE" </dev/null
    healed
}
scenario permission "a node's permission in the broker revoked, and given back"

# The peer's queue takes no more: its messages are refused.
fault_queue_full() {
    NODE=operations PEER=commerce
    load_begin
    : >"$SERVERS_DIR/log/node-$PEER.log"
    rabbit_ctl set_policy -p bridge full '^bridge\.sync\.operations$' '{"max-length":10}' --apply-to queues
    process_stop "node-$NODE" TERM 30
    wait_for 60 "a message to be refused" grep -q 'code=nack' "$SERVERS_DIR/log/node-$PEER.log"
    moment 3000
    rabbit_ctl clear_policy -p bridge full
    adapter_start "$NODE"
    healed
}
scenario queue_full "a queue at its limit refuses messages"
