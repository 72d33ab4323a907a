# shellcheck shell=bash
# Nodes are installed again while both sides write, with another config. Install may be killed at any moment, and is run again.

install_again() {
    local admin=PG_ADMIN_${NODE_CLUSTER[$1]^^}
    if ((RANDOM % 2)); then
        process_start "install-$1" "$PGBRIDGE" -c "$SERVERS_DIR/$1.yaml" install --admin "${!admin}"
        moment 300
        process_kill "install-$1"
    fi
    bridge_install "$1" >>"$SERVERS_DIR/log/prepare.log"
}

# The adapters go on as they are.
fault_installed() {
    local i times=$((4 + RANDOM % 4))
    load_begin
    for ((i = 1; i <= times; i++)); do
        draw_node
        sed -i "/^retry:/d; s/^entities:/retry: {base: $i s}\n&/" "$SERVERS_DIR/$NODE.yaml"
        install_again "$NODE"
        moment 1000
    done
    healed
    FAULT_DETAIL="$times times"
}
scenario installed "installed again, install killed meanwhile"

# ---- an entity is taken out and put in ----

map_extra() { printf '  - {name: extra, table: faults.extra, key: [id], fields: [n]}\n' >>"$SERVERS_DIR/$1.yaml"; }
unmap_extra() { sed -i '/name: extra,/d' "$SERVERS_DIR/$1.yaml"; }
extra_written() {
    node_sql commerce "insert into faults.extra select distinct load.draw(1, 200), 0 from generate_series(1, 20) on conflict (id) do update set n = extra.n + 1"
}
extra_equal() { [[ $(node_sql commerce "select * from faults.extra order by 1") == "$(node_sql operations "select * from faults.extra order by 1")" ]]; }

# What is written while either side does not know the entity does not come, as the README says, or waits as a letter; once both do, touching
# the rows makes them equal. Everybody else's changes are not concerned.
fault_mapped() {
    local i times=$((4 + RANDOM % 5)) node
    FAULT_LETTERS="entity is distinct from 'extra'"
    if [[ -z $(node_sql commerce "select to_regclass('faults.extra')") ]]; then
        for node in "${NODES[@]}"; do node_sql "$node" "create table faults.extra (id int primary key, n int)"; done
        load_count commerce faults.extra id
    fi
    load_begin
    for ((i = 1; i <= times; i++)); do
        draw_node
        if grep -q 'name: extra,' "$SERVERS_DIR/$NODE.yaml"; then unmap_extra "$NODE"; else map_extra "$NODE"; fi
        extra_written
        install_again "$NODE"
        extra_written
        moment 500
        bridge_kill "$NODE"
        extra_written
        adapter_start "$NODE"
        moment 1000
    done
    for node in "${NODES[@]}"; do
        unmap_extra "$node"
        map_extra "$node"
        install_again "$node"
        bridge_kill "$node"
        adapter_start "$node"
    done
    node_sql commerce "update faults.extra set n = n + 1"
    healed
    wait_for 60 "the entity's rows to be equal" extra_equal
    FAULT_DETAIL="$times times"
}
scenario mapped "an entity is taken out and put in, install and adapters killed meanwhile"

# ---- from triggers to the log and back ----

log_left() { [[ $(node_sql "$1" "select versions_since is null from bridge.node") == t ]]; }

direction_out() { node_sql "$1" "select bridge.$2('out')" >>"$SERVERS_DIR/log/prepare.log"; }

# switch_capture NODE: as the README says: the config, install, a restart. Much may be unread.
switch_capture() {
    local config=$SERVERS_DIR/$1.yaml from=outbox to=wal
    if grep -q '^capture: wal' "$config"; then from=wal to=outbox; fi
    [[ $to == outbox ]] || wait_for 60 "the log to be left" log_left "$1"
    if ((RANDOM % 3 == 0)); then
        direction_out "$1" pause
        moment 1500
    fi
    # Before, or under the running adapter.
    if ((RANDOM % 2)); then
        bridge_kill "$1"
        moment 500
    fi
    sed -i "s/^capture: $from/capture: $to/" "$config"
    install_again "$1"
    moment 500
    bridge_kill "$1"
    adapter_start "$1"
    moment 500
    direction_out "$1" resume
}

# In the end each node captures as before. Where the outbox was not empty yet at the switch back, what waited there is told after the log:
# what refers to it waits for that.
fault_switched() {
    local i times=$(($1 + RANDOM % 3))
    declare -A changed=()
    FAULT_LETTERS="class <> 'transient' or state not in ('released', 'superseded', 'settled')"
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
