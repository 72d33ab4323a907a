# shellcheck shell=bash
# Which way a node captures is changed while both sides write.

log_left() { [[ $(node_sql "$1" "select versions_since is null from bridge.node") == t ]]; }

# switch_capture NODE: from triggers to the log or back, as the README says: the config, install, a restart. Install may be killed at
# any moment, and is run again.
switch_capture() {
    local config=$SERVERS_DIR/$1.yaml from=outbox to=wal admin=PG_ADMIN_${NODE_CLUSTER[$1]^^}
    if grep -q '^capture: wal' "$config"; then from=wal to=outbox; fi
    [[ $to == outbox ]] || wait_for 60 "the log to be left" log_left "$1"
    # Before, or under the running adapter.
    if ((RANDOM % 2)); then
        bridge_kill "$1"
        moment 500
    fi
    sed -i "s/^capture: $from/capture: $to/" "$config"
    if ((RANDOM % 2)); then
        process_start "install-$1" "$PGBRIDGE" -c "$config" install --admin "${!admin}"
        moment 200
        process_kill "install-$1"
    fi
    bridge_install "$1" >>"$SERVERS_DIR/log/prepare.log"
    moment 500
    bridge_kill "$1"
    adapter_start "$1"
}

# In the end each node captures as before.
fault_switched() {
    local i times=$(($1 + RANDOM % 3))
    declare -A changed=()
    if [[ $(node_sql commerce "show wal_level")$(node_sql operations "show wal_level") != logicallogical ]]; then
        printf 'needs servers that may capture from the log: CAPTURE=outbox or wal\n' >"$SERVERS_DIR/skipped"
        return
    fi
    load_begin
    for ((i = 0; i < times; i++)); do
        draw_node
        switch_capture "$NODE"
        if [[ -n ${changed[$NODE]:-} ]]; then unset "changed[$NODE]"; else changed[$NODE]=yes; fi
        moment 3000
    done
    for NODE in "${!changed[@]}"; do
        switch_capture "$NODE"
        moment 1000
    done
    healed
    FAULT_DETAIL="$times times"
}
scenario "switched 3" "from triggers to the log and back, install and adapters killed meanwhile"
scenario "switched 10" "the same, more often"
