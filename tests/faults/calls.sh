# shellcheck shell=bash
# One call of the adapter fails, each in its turn: preload/fail_calls.c. A small exchange in both directions must come through all the
# same, nothing be acknowledged that is not applied, and, where the program has sanitizers, no memory be lost.
#
# Out of memory the program ends with abort(), and is started again: what it had begun is not committed, and comes again.

# call_failed CALL N: one exchange with that call failing. Sets CALL_REACHED, and CALL_ENDED to how the program ended.
call_failed() {
    local program=$PGBRIDGE preload=$FAULTS_TOOLS/libfail_calls.so log=$SERVERS_DIR/log/node-$NODE.log id=$((1000000 + SRANDOM % 1000000000)) node process status=0 first second
    if [[ $1 != malloc ]]; then
        program=$FAULTS_TOOLS/pgbridge_sanitized
        # The sanitizer wants to be first, and has an allocator of its own.
        preload="$(ldd "$program" | awk '/libasan/ { print $3 }') $preload"
    fi
    : >"$log"
    for node in "${NODES[@]}"; do
        node_sql "$node" "call load.run($([[ $node == commerce ]] && echo 501 || echo 601), 1, $((SEED + $2)), 1000000, 2, 0)"
    done
    node_sql commerce "insert into faults.item values ($id, 0, 'marker')"
    node_sql operations "insert into faults.item values ($id + 1, 0, 'marker')"
    env LD_PRELOAD="$preload" FAIL_CALL="$1" FAIL_AT="$2" ASAN_OPTIONS=exitcode=99 \
        "$program" -c "$SERVERS_DIR/$NODE.yaml" run >>"$log" 2>&1 </dev/null &
    process=$!
    # As process_start does: whoever stops the servers knows it.
    process_read "$process"
    printf '%s %s\n' "$process" "$PROCESS_START" >"$SERVERS_DIR/pids/node-$NODE"
    marker_arrived operations "$id" &
    first=$!
    marker_arrived commerce $((id + 1)) &
    second=$!
    while kill -0 "$first" 2>/dev/null || kill -0 "$second" 2>/dev/null; do
        process_running "node-$NODE" || break
        sleep 0.05
    done
    ! process_running "node-$NODE" || kill -TERM "$process"
    wait "$process" || status=$?
    CALL_ENDED=$status
    # 134 is abort(); the others say that it could not start.
    case $status in
        0) ;;
        134 | 69 | 70 | 75 | 78) [[ $1 == malloc ]] || fail "$1 number $2: the program ended with $status" ;;
        139) # OpenSSL 3.0 does not survive it when an allocation of its beginning fails; nothing has begun then.
            [[ $1 == malloc ]] && grep -q 'libcrypto.so[^ ]*(CRYPTO_THREAD' "$log" || fail "$1 number $2: a segmentation fault"
            CALL_CRASHES=$((CALL_CRASHES + 1))
            ;;
        *) fail "$1 number $2: the program ended with $status" ;;
    esac
    if kill -0 "$first" 2>/dev/null || kill -0 "$second" 2>/dev/null; then
        adapter_start "$NODE"
    fi
    wait "$first" || fail "$1 number $2: changes of commerce do not arrive"
    wait "$second" || fail "$1 number $2: changes of operations do not arrive"
    process_stop "node-$NODE" TERM 30
    assert_equal 0 "$(node_sql "$NODE" "select count(*) from bridge.dead_letter")" "$1 number $2: dead letters of $NODE"
    ! grep -hE '(Address|Leak)Sanitizer|runtime error:' "$log" || fail "$1 number $2: a sanitizer reported"
    CALL_REACHED=no
    ! grep -q "^failed $1 $2\$" "$log" || CALL_REACHED=yes
}

# fault_calls CALL STRIDE [MOST]: every STRIDE-th number, until the exchange needs no so many; at most so many runs.
fault_calls() {
    local number=$((1 + SEED % $2)) runs=0 aborted=0 node
    NODE=${NODES[SEED % 2]}
    CALL_CRASHES=0
    scenario_begin
    for node in "${NODES[@]}"; do
        node_sql "$node" "call load.run($([[ $node == commerce ]] && echo 501 || echo 601), 1, $SEED, 1000000, 30, 0)"
    done
    process_stop "node-$NODE" TERM 30
    [[ $(node_sql "$NODE" "select count(*) from bridge.dead_letter") == 0 ]] || node_sql "$NODE" "delete from bridge.dead_letter"
    while ((runs < ${3:-100000})); do
        call_failed "$1" "$number"
        [[ $CALL_REACHED == yes ]] || break
        runs=$((runs + 1))
        aborted=$((aborted + (CALL_ENDED != 0)))
        number=$((number + $2))
    done
    ((runs > 0)) || fail "no call failed"
    adapter_start "$NODE"
    healed
    FAULT_DETAIL="$runs calls failed, up to number $((number - $2)); $aborted times the program ended$( ((CALL_CRASHES == 0)) || printf ', %s of them in OpenSSL' "$CALL_CRASHES")"
}
scenario "calls send 1" "each send() of the adapter failing in its turn"
scenario "calls recv 1" "each recv() of the adapter failing in its turn"
scenario "calls malloc 499" "every 499th allocation of the adapter failing in its turn"
scenario short "calls send 9 4" "some send() of the adapter failing"
scenario short "calls recv 17 4" "some recv() of the adapter failing"
scenario short "calls malloc 2003 4" "some allocations of the adapter failing"
