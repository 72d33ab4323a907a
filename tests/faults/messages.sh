# shellcheck shell=bash
# Messages are doubled, put in another order, kept back and spoilt on their way: see republish.py.

# republish_begin MODE PERCENT: between PEER's messages and NODE.
republish_begin() {
    rabbit_user spoiler secret </dev/null
    process_start republisher env PYTHONUNBUFFERED=1 /usr/bin/python3 "$SOURCE_DIR/tests/support/republish.py" \
        "amqp://spoiler:secret@127.0.0.1:$RABBIT_PORT/bridge" "$PEER" "$NODE" "$1" "$2" "$SEED"
    wait_for 30 "the republisher" grep -q '^ready' "$SERVERS_DIR/log/republisher.log"
}
# Sets PASSED, COPIES, POISON, PERMANENT.
republish_end() {
    process_stop republisher TERM 60
    grep -q '^passed' "$SERVERS_DIR/log/republisher.log" || fail "the republisher died: $(tail -n 3 "$SERVERS_DIR/log/republisher.log")"
    read -r _ PASSED _ COPIES _ POISON _ PERMANENT < <(grep '^passed' "$SERVERS_DIR/log/republisher.log")
    ((PASSED > 20 && COPIES > 0)) || fail "the republisher had nothing to do: $PASSED messages, $COPIES copies"
    FAULT_DETAIL="$PASSED messages, $COPIES $1"
}

# Letters of a class that have come, some of them perhaps once more: an empty message is like any other.
letters_of() {
    node_sql "$NODE" "select count(*) from bridge.dead_letter where last_seen >= '$SPOILT_SINCE' and class = '$1'"
}

# fault_messages MODE PERCENT SECONDS
fault_messages() {
    # What comes in another order may have to wait for what it refers to.
    local waited="class = 'transient' and state in ('released', 'superseded', 'settled')"
    draw_node
    : >"$SERVERS_DIR/log/republisher.log"
    NOTICED_BEFORE=$(node_sql "$NODE" "select coalesce(sum(gaps), 0) from bridge.inbound")
    SPOILT_SINCE=$(node_sql "$NODE" "select clock_timestamp()")
    republish_begin "$1" "$2"
    LOAD_SESSIONS=1 LOAD_PAUSE_MS=25
    load_begin
    sleep "$3"
    if [[ $1 == lose ]]; then
        load_stop
        republish_end "kept back"
        # What is missing was noticed before it came after all.
        wait_for 30 "the loss to be noticed" gaps_noticed
    else
        republish_end copies
    fi
    # When the way is given back, what is new overtakes what the republisher still has.
    [[ $GAPS_SQL == *filled_at* ]] || FAULT_GAPS=false
    case $1 in
        corrupt | bomb) FAULT_LETTERS="class <> 'poison' and not ($waited)" ;;
        strange) FAULT_LETTERS="class <> 'permanent' and not ($waited)" ;;
        *) FAULT_LETTERS="not ($waited)" ;;
    esac
    healed
    # The numbers by which a queue is known to be empty are old at times: the last copies may still come.
    wait_for 60 "letters for $POISON unreadable copies" has_letters poison "$POISON"
    wait_for 60 "letters for $PERMANENT changes that cannot be applied" has_letters permanent "$PERMANENT"
}
# has_letters CLASS COUNT: or says how many there are.
has_letters() {
    local count
    count=$(letters_of "$1")
    ((count >= $2)) || { printf '%s letters\n' "$count"; return 1; }
}
gaps_noticed() {
    (($(node_sql "$NODE" "select coalesce(sum(gaps), 0) from bridge.inbound") > NOTICED_BEFORE))
}
scenario "messages duplicate 1 5" "1 % of the messages come several times"
scenario "messages duplicate 100 3" "all messages come several times"
scenario "messages reorder 100 3" "messages come in any order"
scenario "messages lose 10 4" "10 % of the messages come late, after a loss was noticed"
scenario "messages corrupt 20 3" "spoilt copies of messages: changed, cut off, with a wrong hash, without headers"
scenario short "messages bomb 5 3" "copies that are too large, deep, wide, with a million keys, with deep headers"
scenario "messages strange 10 3" "copies of an unknown entity, with an unknown column, of a wrong type"
