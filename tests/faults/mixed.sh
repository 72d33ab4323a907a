# shellcheck shell=bash
# One fault after the other under the same load: some hit a bridge that runs, some one that is still recovering from the one before.

mixed_adapter() {
    bridge_kill "$1"
    moment 700
    adapter_start "$1"
}

mixed_broker() {
    case $1 in
        restart) rabbit_stop ;;
        kill) rabbit_kill ;;
    esac
    moment 500
    rabbit_start
}

mixed_database() {
    case $2 in
        kill) postgres_kill "$1" ;;
        *) postgres_stop "$1" "$2" ;;
    esac
    moment 500
    postgres_start "$1"
}

mixed_sessions() {
    sql "$1" postgres "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'pgbridge'" >>"$SERVERS_DIR/log/prepare.log"
}

# mixed_pause NODE ENTITY: nothing of it goes out any more; the second time it does again.
mixed_pause() {
    local verb=pause
    [[ $(node_sql "$1" "select count(*) from bridge.pauses where resumed_at is null and entity = '$2'") == 0 ]] || verb=resume
    node_sql "$1" "select bridge.$verb('out', '$2')" >>"$SERVERS_DIR/log/prepare.log"
}

# Nobody is there at all; the database comes back first.
mixed_everything() {
    rabbit_kill
    postgres_stop alpha immediate
    postgres_kill beta
    moment 500
    bridge_kill commerce
    postgres_start beta
    adapter_start commerce
    postgres_start alpha
    rabbit_start
}

MIXED=("adapter commerce" "adapter operations" "adapter commerce" "adapter operations" "broker restart" "broker kill"
    "database alpha fast" "database beta immediate" "database alpha immediate" "database beta kill" "database alpha kill"
    "sessions alpha" "sessions beta" "everything"
    "pause commerce ledger" "pause commerce ledger" "pause operations ledger" "pause operations ledger")

mixed_applied() {
    node_sql "$1" "select coalesce(sum(applied), 0) from bridge.inbound"
}

# Both directions have applied something since.
mixed_flows() {
    (($(mixed_applied commerce) > $1 && $(mixed_applied operations) > $2))
}

fault_mixed() {
    local fault
    local -a faults words
    mapfile -t faults < <(printf '%s\n' "${MIXED[@]}" | shuf --random-source=<(yes "$SEED"))
    load_begin
    for fault in "${faults[@]}"; do
        ((RANDOM % 2)) || wait_for 120 "changes to flow again before: $fault" mixed_flows "$(mixed_applied commerce)" "$(mixed_applied operations)"
        moment 400
        printf '# %s\n' "$fault"
        read -ra words <<<"$fault"
        "mixed_${words[0]}" "${words[@]:1}"
    done
    healed
    FAULT_DETAIL="${#faults[@]} faults"
}
scenario short mixed "adapters, broker and databases killed, restarted and cut off, one after the other"
