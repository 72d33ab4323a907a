# shellcheck shell=bash
# What it costs: processor time and memory of the adapters, the broker and both databases apart. To be sourced after servers.sh.
#
# Everything is read from /proc, of whole process trees: a server's dead children are in its own account.

# account_roots GROUP: process ids. SYSTEM_ADAPTERS are the names of the processes that stand between broker or databases.
account_roots() {
    local name names=()
    case $1 in
        adapters) names=("${SYSTEM_ADAPTERS[@]}") ;;
        broker) names=(rabbit) ;;
        databases) names=(postgres-alpha postgres-beta) ;;
    esac
    for name in "${names[@]}"; do
        process_id "$name" 2>>"$SERVERS_DIR/log/bench.log" || true
    done
}

# account_tree ROOT...: prints each process below, with the 1/100 s of processor time that it and its dead children have had.
account_tree() {
    { cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v roots="$*" '
        { pid = $1; sub(/^.*\) /, ""); parent[pid] = $2; time[pid] = $12 + $13 + $14 + $15 }
        END {
            n = split(roots, root, " ")
            for (i = 1; i <= n; i++) wanted[root[i]] = 1
            for (pid in parent) {
                for (at = pid; at > 1 && !(at in wanted); at = parent[at]);
                if (at in wanted) print pid, time[pid]
            }
        }'
}

# account_processor GROUP: its processor time so far, in 1/100 s.
account_processor() {
    local -a roots
    mapfile -t roots < <(account_roots "$1")
    account_tree "${roots[@]}" | awk '{ sum += $2 } END { print sum + 0 }'
}

# account_memory GROUP: MB. Of databases what their processes have for themselves; of the others the most that they ever had, since
# account_memory_begin.
account_memory() {
    local field=VmHWM pid
    local -a roots
    [[ $1 != databases ]] || field=RssAnon
    mapfile -t roots < <(account_roots "$1")
    account_tree "${roots[@]}" | while read -r pid _; do
        awk -v field="$field:" '$1 == field { print $2 }' "/proc/$pid/status" 2>>"$SERVERS_DIR/log/bench.log" || true
    done | awk -v each="$([[ $1 == adapters ]] && echo "$SYSTEM_ADAPTERS_ALIKE" || echo no)" '
        { sum += $1; most = $1 > most ? $1 : most } END { printf "%.1f\n", (each == "yes" ? most : sum) / 1024 }'
}

account_memory_begin() {
    local group pid
    local -a roots
    for group in adapters broker; do
        mapfile -t roots < <(account_roots "$group")
        account_tree "${roots[@]}" | while read -r pid _; do
            { echo 5 >"/proc/$pid/clear_refs"; } 2>>"$SERVERS_DIR/log/bench.log" || true
        done
    done
}

# Of the whole machine: busy time so far, and stolen time, in 1/100 s.
account_machine() {
    awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8, $9 }' /proc/stat
}

# account_begin, account_end CASE CHANGES: what happened in between, per million changes; and how busy others kept the machine.
account_begin() {
    local group
    declare -gA ACCOUNT
    account_memory_begin
    for group in adapters broker databases; do
        ACCOUNT[$group]=$(account_processor "$group")
    done
    read -r ACCOUNT[busy] ACCOUNT[stolen] < <(account_machine)
    ACCOUNT[time]=$EPOCHREALTIME
    account_memory databases >"$SERVERS_DIR/memory"
    account_watch &
    ACCOUNT[watch]=$!
}

# The databases' processes come and go, and remember nothing: looked at once a second.
account_watch() {
    while sleep 1; do
        account_memory databases >>"$SERVERS_DIR/memory"
    done
}

account_end() {
    local case=$1 changes=$2 group spent sum=0 busy stolen
    account_memory databases >>"$SERVERS_DIR/memory"
    kill "${ACCOUNT[watch]}" 2>>"$SERVERS_DIR/log/bench.log" || true
    wait "${ACCOUNT[watch]}" 2>>"$SERVERS_DIR/log/bench.log" || true
    for group in adapters broker databases; do
        spent=$(($(account_processor "$group") - ACCOUNT[$group]))
        ((sum += spent)) || true
        note "$case" "processor_s_per_million_$group" "$(awk -v s="$spent" -v n="$changes" 'BEGIN { printf "%.1f", s / 100 / n * 1000000 }')"
    done
    note "$case" processor_s_per_million "$(awk -v s="$sum" -v n="$changes" 'BEGIN { printf "%.1f", s / 100 / n * 1000000 }')"
    note "$case" memory_mb_adapter "$(account_memory adapters)"
    note "$case" memory_mb_broker "$(account_memory broker)"
    note "$case" memory_mb_databases "$(sort -g "$SERVERS_DIR/memory" | tail -n 1)"
    # What the machine did beside our servers: the applications, and whoever else is here.
    read -r busy stolen < <(account_machine)
    note "$case" others_busy_processors "$(awk -v b="$((busy - ACCOUNT[busy] - sum))" -v s="${ACCOUNT[time]}" -v e="$EPOCHREALTIME" \
        'BEGIN { printf "%.2f", b / 100 / (e - s) }')"
    note "$case" stolen_processors "$(awk -v b="$((stolen - ACCOUNT[stolen]))" -v s="${ACCOUNT[time]}" -v e="$EPOCHREALTIME" \
        'BEGIN { printf "%.2f", b / 100 / (e - s) }')"
}
