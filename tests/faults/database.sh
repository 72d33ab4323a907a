# shellcheck shell=bash
# The databases end, refuse, and make one wait.

fault_database() {
    local cluster
    draw_node
    cluster=${CLUSTER[$NODE]}
    load_begin
    case $1 in
        kill) postgres_kill "$cluster" ;;
        *) postgres_stop "$cluster" "$1" ;;
    esac
    moment 1200
    postgres_start "$cluster"
    healed
}
scenario "database fast" "a database restarted (fast)"
scenario "database immediate" "a database restarted (immediate)"
scenario "database kill" "a database killed with kill -9"

fault_terminated_sessions() {
    local i
    load_begin
    for ((i = 0; i < 8; i++)); do
        draw_node
        moment 500
        node_sql "$NODE" "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'pgbridge'" >>"$SERVERS_DIR/log/prepare.log"
    done
    healed
    FAULT_DETAIL="8 times"
}
scenario terminated_sessions "the adapters' sessions terminated"

fault_cancelled_statements() {
    local i
    load_begin
    for ((i = 0; i < 40; i++)); do
        draw_node
        moment 50
        node_sql "$NODE" "select pg_cancel_backend(pid) from pg_stat_activity where usename = 'pgbridge'" >>"$SERVERS_DIR/log/prepare.log"
    done
    healed
    FAULT_DETAIL="40 times"
}
scenario cancelled_statements "the adapters' statements cancelled"

# locked_begin NODE: an application's transaction holds what apply wants, until locked_end.
locked_begin() {
    rm -f "$SERVERS_DIR/lock.pid"
    node_sql "$1" "begin; lock table faults.item, ${2:-$([[ $1 == commerce ]] && printf 'shop.accounts, shop.ledger' || printf 'crm.holder, crm.journal')} in exclusive mode;
        select pg_sleep(600); commit" >>"$SERVERS_DIR/log/lock.log" 2>&1 &
    LOCKER=$!
    LOCKED=$1
    wait_for 120 "the lock" locked_now
}
locked_now() {
    [[ $(node_sql "$LOCKED" "select count(*) from pg_locks where mode = 'ExclusiveLock' and granted and relation = 'faults.item'::regclass") == 1 ]]
}
locked_end() {
    node_sql "$LOCKED" "select pg_cancel_backend(l.pid) from pg_locks l where mode = 'ExclusiveLock' and granted and relation = 'faults.item'::regclass" \
        >>"$SERVERS_DIR/log/prepare.log"
    wait "$LOCKER" || true
}

fault_locked() {
    draw_node
    load_begin
    locked_begin "$NODE"
    sleep "$1"
    locked_end
    healed
}
scenario "locked 4" "tables of a database locked by an application for 4 s"
scenario "locked 60" "tables of a database locked by an application for a minute"

# Applications that lock rows in an order of their own, slowly: they and apply want each other's rows.
fault_deadlock() {
    local node i
    local -a jobs=()
    load_begin
    for node in "${NODES[@]}"; do
        for i in 1 2; do
            node_sql "$node" "do \$\$
                declare k int;
                begin
                    for i in 1 .. 12 loop
                        for j in 1 .. 4 loop
                            update faults.item set n = n + 1 where id = 1 + floor(random() * 60);
                            perform pg_sleep(0.06);
                        end loop;
                        commit;
                    end loop;
                end \$\$" >>"$SERVERS_DIR/log/deadlock.log" 2>&1 &
            jobs+=($!)
        done
    done
    # One that the server has ended for the sake of another application is no fault of the bridge.
    for i in "${jobs[@]}"; do wait "$i" || true; done
    healed
    FAULT_DETAIL="$(cat "$SERVERS_DIR"/log/postgres-{alpha,beta}.log | grep -c 'pgbridge@.*canceling statement due to lock timeout' || true) lock waits given up by apply so far"
}
scenario deadlock "applications lock rows against apply's order"

# A transaction that has written and does not end holds back nobody but itself.
fault_idle_transaction() {
    local job
    draw_node
    load_begin
    node_sql "$NODE" "begin; insert into faults.item values (2000000 + ($RANDOM), 0, 'slow'); select pg_sleep(6); commit" >>"$SERVERS_DIR/log/prepare.log" &
    job=$!
    sleep 1
    bridge_recovered
    wait "$job"
    healed
}
scenario idle_transaction "an application's transaction that wrote and stays open for 6 s"

fault_large_transaction() {
    draw_node
    load_begin
    node_sql "$NODE" "insert into faults.item select g, 0, 'large' from generate_series(3000000, 3000000 + $1) g"
    moment 1500
    bridge_kill "$PEER"
    adapter_start "$PEER"
    moment 1500
    bridge_kill "$NODE"
    adapter_start "$NODE"
    node_sql "$NODE" "delete from faults.item where id between 3000000 and 3000000 + $1"
    healed
}
scenario "large_transaction 100000" "a transaction of 100,000 rows, and one that deletes them; both adapters killed meanwhile"

# The tables of apply and capture are on a small file system that is filled up.
fault_disk_full() {
    local cluster directory table tables refused
    draw_node
    cluster=${CLUSTER[$NODE]}
    directory=$SERVERS_DIR/postgres/full
    mkdir "$directory"
    if ((EUID != 0)) || ! mount -t tmpfs -o size=48m tmpfs "$directory" 2>>"$SERVERS_DIR/log/prepare.log"; then
        rmdir "$directory"
        printf 'needs root and the right to mount\n' >"$SERVERS_DIR/skipped"
        return 0
    fi
    chown postgres: "$directory"
    # shellcheck disable=SC2064 # the name is known now
    trap "disk_away '$directory'" EXIT
    sql "$cluster" "${DATABASE[$NODE]}" "create tablespace small location '$directory'"
    tables=$(node_sql "$NODE" "select c.oid::regclass from pg_class c where relkind = 'r' and relnamespace in ('bridge'::regnamespace, 'faults'::regnamespace)")
    for table in $tables; do
        node_sql "$NODE" "alter table $table set tablespace small"
    done
    refused=$(disk_refusals "$cluster")
    load_begin
    postgres_user dd if=/dev/zero of="$directory/filling" bs=64k status=none 2>>"$SERVERS_DIR/log/prepare.log" || true
    # Until somebody needs a page more.
    wait_for 60 "the disk to be full for the adapter or the applications" disk_was_full "$cluster" "$refused"
    sleep 3
    rm "$directory/filling"
    bridge_recovered
    healed
    # Moved back while nothing runs in it.
    for table in $tables; do
        node_sql "$NODE" "alter table $table set tablespace pg_default"
    done
    sql "$cluster" "${DATABASE[$NODE]}" "drop tablespace small"
}
disk_away() {
    if mountpoint -q "$1"; then
        umount -l "$1"
        rmdir "$1"
    fi
}
disk_refusals() {
    grep -c 'No space left on device' "$SERVERS_DIR/log/postgres-$1.log" || true
}
disk_was_full() {
    (($(disk_refusals "$1") > $2))
}
scenario disk_full "no room on the disk of a database's tables"
