# shellcheck shell=bash
# Nodes of the bridge on the private servers of servers.sh, for integration tests and benchmarks. To be sourced after it.
#
#   bridge_node commerce alpha shop "operations" <<'YAML'     # entities as in the config file
#     - name: customer
#       ...
#   YAML
#   bridge_install commerce; bridge_start commerce
#
# $CAPTURE, or for one node $CAPTURE_<NODE>, says how it captures: outbox, unless wal is given.
#
# The program is $PGBRIDGE, by default the one of BUILD_DIR. Exported per node: nothing; its files are
# $SERVERS_DIR/<node>.yaml and log/<node>.log.

PGBRIDGE=${PGBRIDGE:-${BUILD_DIR:?}/pgbridge}
BRIDGE_WRAPPER=("${BRIDGE_WRAPPER[@]:-env}")
[[ -z ${!CAPTURE*} ]] || export POSTGRES_SETTINGS="wal_level=logical track_commit_timestamp=on ${POSTGRES_SETTINGS:-}"

fail() {
    printf 'not ok: %s\n' "$*" >&2
    exit 1
}

# What a test that fails leaves for whoever reads of it: how the nodes were, and what they said last.
nodes_last_words() {
    local node
    # shellcheck disable=SC2154 # of servers_exit
    ((status != 0)) || return 0
    for node in "${!NODE_CLUSTER[@]}"; do
        timeout 20 "$PGBRIDGE" -c "$SERVERS_DIR/$node.yaml" status | grep -v " healthy " || true
    done
    tail -n 15 "$SERVERS_DIR"/log/node-*.log 2>/dev/null || true
    # Who waited for whom.
    grep -A2 -E 'still waiting for|lock timeout|deadlock detected' "$SERVERS_DIR"/log/postgres-*.log | sed 's|.*/||' | tail -n 30 || true
} >&2
servers_at_exit nodes_last_words

# assert_equal WANTED GOT WHAT
assert_equal() {
    [[ $1 == "$2" ]] || fail "$3: wanted $(printf '%q' "${1:0:600}"), got $(printf '%q' "${2:0:600}")"
}

# capture_of NODE: outbox or wal.
capture_of() {
    local variable=CAPTURE_${1^^}
    printf '%s\n' "${!variable:-${CAPTURE:-outbox}}"
}

# bridge_node NODE CLUSTER DATABASE "PEER..." [LINE...]: writes the config; entities come from stdin, further top-level lines
# as arguments. The database must exist. The adapter's role connects over TCP with a password.
bridge_node() {
    local node=$1 cluster=$2 database=$3 peers=$4 port_variable
    shift 4
    port_variable=PG_TCP_${cluster^^}
    declare -gA NODE_CLUSTER NODE_DATABASE
    NODE_CLUSTER[$node]=$cluster NODE_DATABASE[$node]=$database
    # The database's role is the cluster's, the broker's user the node's.
    (umask 077; printf 'secret-%s\n' "$node" >"$SERVERS_DIR/$node.password"; printf 'secret-%s\n' "$cluster" >"$SERVERS_DIR/$cluster.password")
    rabbit_user "$node" "secret-$node" </dev/null
    {
        printf 'node: %s\n' "$node"
        printf 'database: %s dbname=%s user=pgbridge\n' "${!port_variable}" "$database"
        printf 'database_password_file: %s.password\n' "$cluster"
        printf 'broker:\n  url: amqp://%s@127.0.0.1:%s/bridge\n  password_file: %s.password\n' "$node" "$RABBIT_PORT" "$node"
        printf 'peers: [%s]\n' "${peers// /, }"
        [[ -z ${!CAPTURE*} ]] || printf 'capture: %s\n' "$(capture_of "$node")"
        if (($#)); then printf '%s\n' "$@"; fi
        printf 'entities:\n'
        cat
    } >"$SERVERS_DIR/$node.yaml"
}

# bridge NODE ARGUMENT...: the program with the node's config.
bridge() {
    local node=$1
    shift
    "$PGBRIDGE" -c "$SERVERS_DIR/$node.yaml" "$@"
}

bridge_install() {
    local admin=PG_ADMIN_${NODE_CLUSTER[$1]^^}
    bridge "$1" install --admin "${!admin}" "${@:2}"
}

bridge_start() {
    process_start "node-$1" "${BRIDGE_WRAPPER[@]}" "$PGBRIDGE" -c "$SERVERS_DIR/$1.yaml" run "${@:2}"
}

bridge_stop() {
    process_stop "node-$1" TERM 30
    ! grep -E 'ERROR: (Address|Leak)Sanitizer|runtime error:' "$SERVERS_DIR/log/node-$1.log" || fail "a sanitizer reported in $1"
}

bridge_kill() {
    process_kill "node-$1"
}

# node_sql NODE SQL: as superuser in the node's database.
node_sql() {
    sql "${NODE_CLUSTER[$1]}" "${NODE_DATABASE[$1]}" "${@:2}"
}

# Before SQL of a superuser's: what it writes is captured neither by triggers nor from the log, as if apply had written it.
# shellcheck disable=SC2034 # for tests
UNSEEN="do \$\$ begin
        if not exists (select from pg_replication_origin where roname = 'pgbridge_unseen') then
            perform pg_replication_origin_create('pgbridge_unseen');
        end if;
        perform pg_replication_origin_session_setup('pgbridge_unseen');
    end \$\$; set session_replication_role = replica;"

# hold SQL: an application's transaction in alpha's database shop that keeps its locks until release. One at a time.
hold() {
    mkfifo "$SERVERS_DIR/application"
    sql alpha shop - <"$SERVERS_DIR/application" >>"$SERVERS_DIR/log/application.log" &
    HOLDER=$!
    exec {APPLICATION}>"$SERVERS_DIR/application"
    rm "$SERVERS_DIR/application"
    printf 'begin; %s; select pg_notify($$held$$, $$$$);\n' "$1" >&"$APPLICATION"
    wait_for 60 "the application's locks" holds
}

# Idle in its transaction it is after each statement, also before the one that locks: the last one counts.
holds() {
    [[ $(sql alpha shop "select count(*) from pg_stat_activity
        where state = 'idle in transaction' and query like '%pg_notify%' and datname = 'shop' and usename = 'postgres'") == 1 ]]
}

# Whether one session of the adapter waits for a lock.
blocked() {
    [[ $(sql alpha shop "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and usename = 'pgbridge'") == 1 ]]
}

# release [SQL]: runs that in the transaction, and commits it.
release() {
    printf '%s; commit;\n' "${1:-}" >&"$APPLICATION"
    exec {APPLICATION}>&-
    wait "$HOLDER" || fail "the application had to give way"
}

# Also the log: of a node that captures from it, everything that is in it now is confirmed.
outboxes_empty() {
    local node
    for node in "$@"; do
        [[ $(node_sql "$node" "select count(*) from bridge.outbox") == 0 ]] && logs_read "$node" || return 1
    done
}

logs_read() {
    local node
    for node in "$@"; do
        [[ ! $(<"$SERVERS_DIR/$node.yaml") =~ $'\n'capture:\ wal ]] || log_read "$node" || return 1
    done
}

log_read() {
    local upto
    upto=$(node_sql "$1" "select pg_current_wal_insert_lsn()")
    log_read_upto() { [[ $(node_sql "$1" "select bool_or(r.write_lsn >= '$upto') from pg_stat_replication r
        join pg_replication_slots s on s.active_pid = r.pid and s.database = current_database()") == t ]]; }
    wait_for 10 "the log of $1 to be read" log_read_upto "$1" 2>/dev/null
}

# No message is in a queue of these nodes, or delivered and not settled. The queue itself is asked: what the management
# commands list is some seconds old.
queues_empty() {
    local names
    names=$(printf ', <<"bridge.sync.%s">>' "$@")
    [[ $(rabbit_eval "lists:sum([begin
            {ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"bridge\">>, queue, N)),
            {ok, M, _} = ra:consistent_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_total/1), M
            end || N <- [${names:2}]])") == 0 ]]
}

# What moved so far, and last what waits in the outbox: it stands still when nothing is under way.
nodes_progress() {
    local node
    for node in "$@"; do
        node_sql "$node" "select o.captured, o.published, (select sum(messages) from bridge.inbound), (select count(*) from bridge.outbox)
            from bridge.outbound o"
    done
}

# nodes_still QUEUES-EMPTY NODE...: before and after the queues are found empty, nothing waits and nothing has moved.
nodes_still() {
    local queues=$1 before
    shift
    before=$(nodes_progress "$@")
    [[ ! $before =~ \|[1-9][0-9]*($'\n'|$) ]] && logs_read "$@" && "$queues" "$@" && logs_read "$@" &&
        [[ $(nodes_progress "$@") == "$before" ]]
}

nodes_quiet() {
    nodes_still queues_empty "$@"
}

# bridge_quiet NODE...: waits until nothing is under way between them.
bridge_quiet() {
    wait_for "${QUIET_SECONDS:-240}" "quiet between $*" nodes_quiet "$@"
}

# counters_conserve NODE: received is the sum of what came of it (design section 9.10).
counters_conserve() {
    local bad
    bad=$(node_sql "$1" "select source from bridge.inbound
        where received <> applied + same + duplicate + stale + echo + kept + dead_letters")
    assert_equal "" "$bad" "counters of $1 that do not conserve"
}
