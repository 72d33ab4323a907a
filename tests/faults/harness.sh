# shellcheck shell=bash
# What all faults have in common: the servers, the load on both sides, the end of a scenario and what must hold then. To be sourced
# after servers.sh, bridge.sh and load.sh by tests/faults/run.
#
# A scenario is a function fault_NAME. It finds both adapters running and nothing under way, and does:
#
#   load_begin                     # both sides write, disjoint and shared keys, until healed
#   ...                            # the fault, while they write
#   healed                         # measures how long until a change of now has arrived on both sides; then ends the load,
#                                  # waits for quiet and checks everything
#
# It draws its moments from RANDOM, which is seeded. It ends with 0, or by fail. FAULT_DETAIL is shown behind the result.

# shellcheck disable=SC2034 # for load.sh and bridge.sh
QUIET_SECONDS=120
NODES=(commerce operations)
declare -A OTHER=([commerce]=operations [operations]=commerce) CLUSTER=([commerce]=alpha [operations]=beta)
declare -A DATABASE=([commerce]=shop [operations]=ops)
FAULT_DETAIL=
FAULTS_SANITIZED=no
FAULTS_TOOLS=${BUILD_DIR:?}/tests

# ---- moments -------------------------------------------------------------------------------------------------------

# moment MAX [MIN]: milliseconds, drawn.
moment() {
    local milliseconds=$((${2:-0} + RANDOM % ($1 - ${2:-0} + 1)))
    sleep "$((milliseconds / 1000)).$(printf '%03d' $((milliseconds % 1000)))"
}

# Sets NODE to one of the two, and PEER to the other.
draw_node() {
    NODE=${NODES[RANDOM % 2]}
    PEER=${OTHER[$NODE]}
}

now_ms() {
    printf '%s\n' $((${EPOCHREALTIME/[.,]/} / 1000))
}

# ---- the world -----------------------------------------------------------------------------------------------------

# Between each adapter and its broker and its database stands a proxy that can spoil the link.
proxy_start() {
    local name=$1 port
    port=$(port_reserve)
    process_start "proxy-$name" "$FAULTS_TOOLS/tcp_proxy" "$port" 127.0.0.1 "$2" "$SERVERS_DIR/proxy-$name.control"
    wait_for 10 "the proxy $name" grep -q "^listening $port" "$SERVERS_DIR/log/proxy-$name.log"
    PROXY_PORT=$port
}

proxy_obeyed() {
    (($(grep -c . "$SERVERS_DIR/log/proxy-$1.log") > $2))
}

# network broker|database NODE COMMAND: spoils the link of that node's adapter, or heals it; see tcp_proxy.c.
network() {
    local name=$1-$2 lines
    lines=$(grep -c . "$SERVERS_DIR/log/proxy-$name.log")
    printf '%s\n' "$3" >"$SERVERS_DIR/proxy-$name.control"
    wait_for 10 "the proxy $name to $3" proxy_obeyed "$name" "$lines"
}

# An Erlang node that stays, and asks the broker: rabbitmqctl takes a second a call.
broker_shell() {
    rabbit_environment
    mkfifo "$SERVERS_DIR/broker.ask"
    # shellcheck disable=SC2016 # expands in the new shell
    process_start broker-shell env -i "${RABBIT_ENVIRONMENT[@]}" bash -c 'exec erl -noshell -hidden -sname "$1" -eval "$2" <>"$3"' bash \
        "probe-$RABBIT_PORT@localhost" "F = fun(G) ->
            case io:get_line(\"\") of
                eof -> halt();
                Line ->
                    {N, Rest} = string:to_integer(Line),
                    {ok, Tokens, _} = erl_scan:string(Rest),
                    {ok, Parsed} = erl_parse:parse_exprs(Tokens),
                    Answer = case rpc:call('$RABBIT_NODE', erl_eval, exprs, [Parsed, []], 10000) of
                        {value, Value, _} -> Value;
                        Failed -> Failed
                    end,
                    io:format(\"~w ~0p~n\", [N, Answer]),
                    G(G)
            end end, F(F)." "$SERVERS_DIR/broker.ask"
}

# broker EXPRESSION: prints what the Erlang expression is worth in the broker.
BROKER_ASKED=0
broker() {
    # From any subshell: a number nobody else has.
    BROKER_ASKED=$((SRANDOM % 1000000000 + 1))
    printf '%s %s.\n' "$BROKER_ASKED" "$(tr '\n' ' ' <<<"$1")" >"$SERVERS_DIR/broker.ask"
    wait_for 20 "an answer of the broker" grep -q "^$BROKER_ASKED " "$SERVERS_DIR/log/broker-shell.log" || return 1
    sed -n "s/^$BROKER_ASKED //p" "$SERVERS_DIR/log/broker-shell.log" | grep -v badrpc
}

# Messages in the nodes' queues, delivered and unsettled ones too, and in those of the dead.
broker_holds() {
    broker 'lists:sum([begin {ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"bridge">>, queue, N)),
        {ok, M, _} = ra:consistent_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_total/1), M end
        || N <- [<<"bridge.sync.commerce">>, <<"bridge.sync.operations">>, <<"bridge.dead.commerce">>, <<"bridge.dead.operations">>]])'
}

faults_servers() {
    servers_init
    servers_start alpha beta fsync=off deadlock_timeout=100ms autovacuum_naptime=5s wal_writer_delay=10s
    servers_at_exit load_stop
    servers_at_exit disk_away "$SERVERS_DIR/postgres/full"
    proxy_start database-commerce "$(postgres_port alpha)"
    DATABASE_PORT_commerce=$PROXY_PORT
    proxy_start database-operations "$(postgres_port beta)"
    DATABASE_PORT_operations=$PROXY_PORT
    proxy_start broker-commerce "$RABBIT_PORT"
    BROKER_PORT_commerce=$PROXY_PORT
    proxy_start broker-operations "$RABBIT_PORT"
    BROKER_PORT_operations=$PROXY_PORT
    broker_shell
    faults_bridge
}

# Beside the load's own tables: items that both sides write, and branches whose region is no entity, so that a branch may have
# to wait for a row that this side alone can make.
faults_bridge() {
    local node port
    load_prepare >>"$SERVERS_DIR/log/prepare.log"
    for node in "${NODES[@]}"; do
        node_sql "$node" <<'SQL'
create schema faults;
create table faults.item (id int primary key, n int, who text);
create table faults.region (code int primary key);
create table faults.branch (id int primary key, region int references faults.region, who text);
alter function load.change() rename to change_own;
create function load.change() returns void language plpgsql as $$
declare
    k int := load.draw(1, 60);
begin
    case load.draw(0, 11)
    when 0, 1 then
        update faults.item set n = n + 1, who = load.words() where id = k;
    when 2 then
        insert into faults.item values (k, 0, load.words()) on conflict (id) do update set n = item.n + 1;
    when 3 then
        delete from faults.item where id = k;
    else
        perform load.change_own();
    end case;
end $$;
SQL
        cat >>"$SERVERS_DIR/$node.yaml" <<'YAML'
  - {name: item, table: faults.item, key: [id], fields: [n, who]}
  - {name: branch, table: faults.branch, key: [id], fields: [region, who]}
YAML
        port=DATABASE_PORT_$node
        sed -i "s/^database: host=127.0.0.1 port=[0-9]*/database: host=127.0.0.1 port=${!port}/" "$SERVERS_DIR/$node.yaml"
        port=BROKER_PORT_$node
        sed -i "s,:$RABBIT_PORT/bridge,:${!port}/bridge,; s/^broker:\$/&\n  heartbeat: 5/" "$SERVERS_DIR/$node.yaml"
        bridge_install "$node" >>"$SERVERS_DIR/log/prepare.log"
        load_count "$node" faults.item id
        load_count "$node" faults.branch id
        adapter_start "$node"
    done
    # Of what is missing it is known when it comes after all, where the bridge keeps gaps.
    if [[ $(node_sql commerce "select to_regclass('bridge.gap') is not null") == t ]]; then
        GAPS_SQL="select count(*) from bridge.gap where filled_at is null"
    fi
    bridge_recovered
}

# After a scenario that failed: everything anew, but for the servers.
faults_reset() {
    local node
    load_stop
    for node in "${NODES[@]}"; do
        # What the scenario's applications hold, nobody else would end.
        sql "${CLUSTER[$node]}" postgres "select pg_terminate_backend(pid) from pg_stat_activity where datname = '${DATABASE[$node]}'" \
            >>"$SERVERS_DIR/log/prepare.log" 2>&1 || true
    done
    load_end
    for node in "${NODES[@]}"; do
        process_kill "node-$node"
        process_kill "node-$node-second"
        network broker "$node" heal
        network database "$node" heal
    done
    process_running rabbit || rabbit_start
    for node in "${NODES[@]}"; do
        process_running "postgres-${CLUSTER[$node]}" || postgres_start "${CLUSTER[$node]}"
        sql "${CLUSTER[$node]}" postgres "drop database if exists ${DATABASE[$node]} with (force)"
        for queue in sync dead; do
            rabbit_ctl delete_queue -p bridge "bridge.$queue.$node" >>"$SERVERS_DIR/log/prepare.log" 2>&1 || true
        done
        rm -f "$SERVERS_DIR/log/node-$node"*.log
    done
    faults_bridge
}

# evidence_keep DIRECTORY: everything that may tell why a scenario failed, before all is made anew.
evidence_keep() {
    local node
    rm -rf "$1"
    mkdir -p "$1"
    cp -a "$SERVERS_DIR/log" "$SERVERS_DIR/scenario.log" "$1"
    for node in "${NODES[@]}"; do
        PGCONNECT_TIMEOUT=5 PGOPTIONS='-c statement_timeout=10s' node_sql "$node" - -x -v ON_ERROR_STOP=0 >"$1/$node" 2>&1 <<'SQL' || true
select pid, usename, application_name, state, wait_event_type, wait_event, now() - xact_start as transaction, pg_blocking_pids(pid) as blocked_by,
       left(query, 200) as query from pg_stat_activity where backend_type = 'client backend';
table bridge.health; table bridge.status; table bridge.dead_letters; table bridge.gaps; table bridge.pauses;
table bridge.inbound; table bridge.outbound; table bridge.worker;
select txid, count(*), min(seq), max(seq) from bridge.outbox group by 1 order by 1 limit 50;
table bridge.node; table bridge.capture_switch; select *, xmin from bridge.row_version;
SQL
    done
    (broker '[{amqqueue:get_name(Q), rabbit_amqqueue:info(Q, [messages_ready, messages_unacknowledged, consumers, consumer_details, state])}
        || Q <- rabbit_amqqueue:list(<<"bridge">>)]') >"$1/broker" 2>&1 || true
    printf 'evidence: %s\n' "$1" >&2
}

# adapter_start NODE [SETTING=VALUE]: perhaps with a point to die at; without one, with sanitizers where they are asked for.
adapter_start() {
    local PGBRIDGE=$PGBRIDGE
    [[ -n ${2:-} || $FAULTS_SANITIZED == no ]] || PGBRIDGE=$FAULTS_TOOLS/pgbridge_sanitized
    # shellcheck disable=SC2034 # for bridge.sh
    BRIDGE_WRAPPER=(env ${2:+"$2"} ASAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=print_stacktrace=1)
    bridge_start "$1"
}

# ---- the load ------------------------------------------------------------------------------------------------------

# Remembers what earlier scenarios have left in the tables that only grow.
declare -A LETTERS_BEFORE=() GAPS_BEFORE=()
GAPS_SQL="select coalesce(sum(gaps), 0) from bridge.inbound"
scenario_begin() {
    local node
    for node in "${NODES[@]}"; do
        process_running "node-$node" || adapter_start "$node"
        LETTERS_BEFORE[$node]=$(node_sql "$node" "select coalesce(max(id), 0) from bridge.dead_letter")
        GAPS_BEFORE[$node]=$(node_sql "$node" "$GAPS_SQL")
    done
    LOAD_JOBS=()
    rm -f "$SERVERS_DIR/load.stop"
}

load_begin() {
    scenario_begin
    load_start "${LOAD_SESSIONS:-2}" 1000000 "${LOAD_PAUSE_MS:-20}"
    # The fault shall hit a bridge at work.
    moment 600 200
}

# Also of a scenario that failed, whose processes are not this shell's.
load_end() {
    load_stop
    wait_for 60 "the end of the load" load_ended
}

load_ended() {
    [[ $(node_sql commerce "select count(*) from pg_stat_activity where query like 'call load.run%' and pid <> pg_backend_pid()" 2>&1) =~ ^(0|.*refused.*|.*No such file.*)$ ]] &&
        [[ $(node_sql operations "select count(*) from pg_stat_activity where query like 'call load.run%' and pid <> pg_backend_pid()" 2>&1) =~ ^(0|.*refused.*|.*No such file.*)$ ]]
}

# ---- the end of a scenario -----------------------------------------------------------------------------------------

# marker_arrived NODE ID: waits inside the server, to know it within some milliseconds.
marker_arrived() {
    node_sql "$1" "do \$\$ begin
        for i in 1 .. 18000 loop
            exit when exists (select from faults.item where id = $2);
            if i = 18000 then raise exception 'marker $2 did not arrive'; end if;
            perform pg_sleep(0.01);
            commit;
        end loop;
    end \$\$"
}

# A change of now has arrived on both sides. Sets RECOVERY_MS.
bridge_recovered() {
    local id=$((1000000 + SRANDOM % 1000000000)) began arrival
    began=$(now_ms)
    node_sql commerce "insert into faults.item values ($id, 0, 'marker')"
    node_sql operations "insert into faults.item values ($id + 1, 0, 'marker')"
    marker_arrived operations "$id" &
    arrival=$!
    marker_arrived commerce $((id + 1)) || fail "changes of operations do not arrive"
    wait "$arrival" || fail "changes of commerce do not arrive"
    RECOVERY_MS=$(($(now_ms) - began))
}

faults_still() {
    nodes_still nothing_waits "${NODES[@]}"
}
nothing_waits() {
    [[ $(broker_holds) == 0 && $(node_sql commerce "$WAITING_SQL") == 0 && $(node_sql operations "$WAITING_SQL") == 0 ]]
}
WAITING_SQL="select count(*) from bridge.dead_letter where state = 'retrying'"

# What must not be found on a node: one line each.
faults_violations() {
    node_sql "$1" <<SQL
select 'in the outbox: ' || count(*) from bridge.outbox having count(*) > 0
union all select 'a conflict of ' || entity || ', which one side alone writes' from bridge.conflict where entity <> 'item'
union all select 'dead letter ' || id || ': ' || class || ', ' || state || ', ' || coalesce(entity, '') || ', ' || error from bridge.dead_letter
    where (${FAULT_LETTERS:-true}) and id > ${LETTERS_BEFORE[$1]}
union all select 'counters of ' || source || ' do not conserve' from bridge.inbound
    where received <> applied + same + duplicate + stale + echo + kept + dead_letters
union all select 'refused or echoes of ' || source || ': ' || refused || ', ' || echo from bridge.inbound where refused + echo > 0
union all select n || ' gaps' from ($GAPS_SQL) s (n) where ${FAULT_GAPS:-n > ${GAPS_BEFORE[$1]}}
-- With capture from the log what the node says itself of a row goes through the outbox, and is captured, too.
union all select published || ' published of ' || captured || ' captured of ' || c.n || ' committed, own words at most ' || own.n
    from bridge.outbound, (select sum(changes) as n from load.committed) c,
         (select case when capture = 'wal' then coalesce(pg_sequence_last_value(pg_get_serial_sequence('bridge.outbox', 'seq')), 0) else 0 end as n
            from bridge.node) own
    where published > captured or captured > c.n + own.n
union all select messages || ' messages for ' || published || ' changes' from bridge.outbound where messages > published
union all select 'twice in the ledger: ' || session || ', ' || step from load.ledger group by session, step having count(*) > 1
union all select 'session ' || session || ' has ' || count(*) || ' of ' || max(step) from load.ledger group by session having count(*) <> max(step)
union all select 'not written exactly once: ' || session || ', ' || run || ', ' || step || ': ' || count(a.*) from load.ledger l
    left join load.arrival a using (session, run, step) group by session, run, step having count(a.*) <> 1
union all select 'entry ' || e.id || ' has no account' from load.entry e where not exists (select from load.account a where a.id = e.account)
union all select 'branch ' || b.id || ' has no region' from faults.branch b where not exists (select from faults.region r where r.code = b.region)
limit 5
SQL
}

# Deliveries that said nothing new are bounded by what a message may be delivered at most.
faults_bounded() {
    local published received
    published=$(node_sql "$1" "select published from bridge.outbound")
    received=$(node_sql "${OTHER[$1]}" "select coalesce(sum(received), 0) from bridge.inbound where source = '$1'")
    ((received <= 50 * published + 1000)) || fail "${OTHER[$1]} received $received for $published changes of $1"
}

faults_check() {
    local node found
    for node in "${NODES[@]}"; do
        process_running "node-$node" || fail "the adapter of $node has ended"
        # shellcheck disable=SC2144 # one file at least
        ! grep -hE '(Address|Leak|Thread)Sanitizer|runtime error:|Assertion .* failed|FAULT_BUG' "$SERVERS_DIR/log/node-$node"*.log ||
            fail "a sanitizer or an assertion reported in $node"
    done
    load_same accounts "select * from load.account order by id"
    load_same entries "select * from load.entry order by id"
    load_same ledger "select * from load.ledger order by session, run, step"
    load_same items "select * from faults.item order by id"
    load_same branches "select 0, 0, '' union all select * from faults.branch order by 1"
    load_same "keys, versions, deletions and hashes" \
        "select entity, key, version_time, version_node, deleted, content_hash from bridge.entity_state order by entity, key collate \"C\""
    for node in "${NODES[@]}"; do
        found=$(faults_violations "$node")
        [[ -z $found ]] || fail "on $node: $found"
        faults_bounded "$node"
    done
}

# The fault is over.
healed() {
    bridge_recovered
    load_stop
    load_wait
    wait_for "$QUIET_SECONDS" "quiet" faults_still
    faults_check
    printf '%s\n' "$RECOVERY_MS" >"$SERVERS_DIR/recovery"
}
