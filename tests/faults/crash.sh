# shellcheck shell=bash
# The adapter dies, at a place: see crash_points.c.

# Statements that only one way to capture has.
declare -A OWN_STATEMENTS=([outbox_window]=outbox [outbox_rows]=outbox [claim]=outbox [outbox_release]=outbox
    [wal_visible]=wal [wal_known]=wal [wal_note]=wal [wal_release]=wal [wal_heartbeat]=wal)
# passes POINT NODE: whether the node's adapter comes past it.
passes() {
    local capture=${OWN_STATEMENTS[${1##*.}]:-}
    [[ -z $capture || $capture == "$(capture_of "$2")" ]]
}
# Whether any of the two does.
is_passed() {
    passes "$1" commerce || passes "$1" operations
}
# draw_node_past POINT: as draw_node, of those whose adapter comes past it.
draw_node_past() {
    draw_node
    passes "$1" "$NODE" || { PEER=$NODE NODE=${OTHER[$NODE]}; }
}

# point: what it is
declare -A CRASH_POINTS=(
    [after-source.open]="outbound: leading, nothing read"
    [before-source.next]="outbound: before reading"
    [before-out.outbox_rows]="outbound: window read, its rows not"
    [after-out.claim]="outbound: what was read is durable, and nothing is published"
    [before-out.wal_visible]="outbound: changes of the log read, nothing asked of them"
    [before-out.wal_known]="outbound: changes of the log read that need no note"
    [before-out.wal_note]="outbound: changes of the log read, and not noted"
    [after-out.wal_note]="outbound: changes of the log noted, not committed"
    [sent-out.commit]="outbound: COMMIT of the claim or of what was noted sent, its reply unread"
    [after-source.next]="outbound: read, not sealed"
    [before-outlet.publish]="outbound: sealed, not sent"
    [half-outlet.message]="outbound: half a message sent"
    [after-outlet.publish]="outbound: a message sent, others of its batch perhaps not"
    [before-outlet.confirm]="outbound: published and unconfirmed"
    [after-outlet.confirm]="outbound: confirmed and not known to be"
    [before-source.release]="outbound: confirmed and not released"
    [sent-out.outbox_release]="outbound: release sent, its reply unread"
    [before-out.wal_release]="outbound: confirmed, and the place in the log not noted"
    [sent-out.wal_release]="outbound: the place in the log sent, its reply unread"
    [before-out.wal_heartbeat]="outbound: before a heartbeat is put into the log"
    [after-source.release]="outbound: released"
    [before-out.worker_report]="outbound: before its report"
    [after-inlet.open]="inbound: consuming, nothing delivered yet"
    [after-inlet.receive]="inbound: after a delivery"
    [after-target.begin]="inbound: its transaction begun, and nothing sent of it"
    [before-in.apply]="inbound: before rows are written"
    [sent-in.apply]="inbound: rows being written"
    [after-in.apply]="inbound: some rows written"
    [sent-in.renew]="inbound: rows that their node writes again being written"
    [after-in.renew]="inbound: rows that their node writes again written"
    [before-in.lock]="inbound: before rows are locked that others change"
    [before-in.fetch]="inbound: before a row of both sides is judged"
    [before-in.conflict_record]="inbound: before a conflict is recorded"
    [after-in.conflict_record]="inbound: a conflict recorded"
    [before-in.foreign_keys]="inbound: before foreign keys are looked at"
    [before-in.hear]="inbound: before a heartbeat is noted"
    [after-target.apply]="inbound: a message applied, others of the transaction perhaps not"
    [before-target.commit]="inbound: all applied, nothing checked"
    [before-in.inbound_receipt]="inbound: before the counters are written"
    [before-in.commit]="inbound: before COMMIT"
    [sent-in.commit]="inbound: COMMIT sent, its reply unread"
    [after-target.commit]="inbound: committed and not acknowledged"
    [before-inlet.settle]="inbound: before the acknowledgement"
    [after-inlet.settle]="inbound: acknowledged"
    [before-in.bury]="inbound: before a letter is kept"
    [after-in.bury]="inbound: a letter kept, not committed"
    [before-target.retry]="inbound: before letters are tried again"
    [after-in.savepoint_letter]="inbound: in a letter's retry, nothing written"
    [before-in.letter_ended]="inbound: in a letter's retry, its row written"
    [after-in.letter_ended]="inbound: in a letter's retry, it is crossed out"
    [after-in.letter_again]="inbound: in a letter's retry, which failed"
    [after-target.retry]="inbound: after a letter's retry"
)
# Those that only a letter passes.
is_of_letters() {
    [[ $1 == *bury || $1 == *letter* || $1 == *retry ]]
}

# Branches come before the regions that they need: letters on both sides, until the region is there.
branches_begin() {
    rm -f "$SERVERS_DIR/branches.stop"
    branches_write &
    BRANCHES_JOB=$!
}
branches_write() {
    local id
    while branches_go_on; do
        id=$((SRANDOM % 1000000000))
        node_sql commerce "insert into faults.region values ($id); insert into faults.branch values ($id, $id, 'of commerce')" || true
        node_sql operations "insert into faults.region values (-$id); insert into faults.branch values (-$id, -$id, 'of operations')" || true
        branch_waits operations "$id"
        node_sql operations "insert into faults.region values ($id)" || true
        branch_waits commerce "-$id"
        node_sql commerce "insert into faults.region values (-$id)" || true
        sleep 0.1
    done 2>>"$SERVERS_DIR/log/branches.log"
}
branches_go_on() { [[ ! -e $SERVERS_DIR/branches.stop && ! -e $SERVERS_DIR/load.stop ]]; }
# branch_waits NODE ID: until that branch has come there, as a letter.
branch_waits() {
    while branches_go_on && [[ $(node_sql "$1" "select count(*) from bridge.dead_letter where entity = 'branch' and key = '$2'") != 1 ]]; do
        sleep 0.1
    done
}
branches_end() {
    : >"$SERVERS_DIR/branches.stop"
    wait "$BRANCHES_JOB"
}

# Sets COUNT: the number of the passing, drawn; small for what is seldom passed.
draw_count() {
    case $1 in
        *open) COUNT=1 ;;
        *worker_report | *hear | *heartbeat | *out.commit | *letter* | *retry | *bury | *conflict_record) COUNT=$((1 + RANDOM % 2)) ;;
        *) COUNT=$((1 + RANDOM % 12)) ;;
    esac
}

# crash_at POINT NODE: the adapter of the node starts, and dies there.
crash_at() {
    draw_count "$1"
    process_stop "node-$2" TERM 30
    adapter_start "$2" "PGBRIDGE_CRASH=$1:$COUNT"
    wait_for 60 "the crash $1:$COUNT of $2" process_ended "node-$2"
    grep -q "^crashed $1\$" "$SERVERS_DIR/log/node-$2.log" || fail "$2 has ended, and not at $1"
    : >"$SERVERS_DIR/log/node-$2.log"
}

fault_crash() {
    local point=$1
    ! is_of_letters "$point" || FAULT_LETTERS="class <> 'transient' or state not in ('released', 'superseded', 'settled')"
    draw_node_past "$point"
    load_begin
    ! is_of_letters "$point" || branches_begin
    crash_at "$point" "$NODE"
    moment 300
    adapter_start "$NODE"
    ! is_of_letters "$point" || branches_end
    healed
}
for point in "${!CRASH_POINTS[@]}"; do
    is_passed "$point" || { unset "CRASH_POINTS[$point]"; continue; }
    scenario "crash $point" "${CRASH_POINTS[$point]}"
done

# In the drain of what the broker has delivered too often: of a message that has nothing to do with it, so that none is quarantined.
declare -A DRAIN_POINTS=(
    [after-dead.open]="consuming, nothing delivered yet"
    [after-dead.receive]="after a delivery"
    [before-target.suspect]="nothing noted yet"
    [after-target.suspect]="noted, and not read"
    [before-target.acquit]="applied, and still a suspect"
    [after-target.acquit]="applied and acquitted"
    [before-dead.settle]="not acknowledged"
    [after-dead.settle]="acknowledged"
)
fault_drained() {
    FAULT_LETTERS="class <> 'transient' or state not in ('released', 'superseded', 'settled')"
    draw_node
    rabbit_ctl set_policy -p bridge often "^bridge\\.sync\\.$NODE\$" '{"delivery-limit":0}' --apply-to queues >>"$SERVERS_DIR/log/prepare.log"
    load_begin
    locked_begin "$NODE"
    wait_for 60 "messages in hand that cannot be applied" apply_waits
    network broker "$NODE" drop
    wait_for 60 "messages that were delivered too often" dead_queue_is_filled
    # Nothing that is in hand can be applied: that is no death.
    process_stop "node-$NODE" TERM 30
    rabbit_ctl clear_policy -p bridge often >>"$SERVERS_DIR/log/prepare.log"
    adapter_start "$NODE" "PGBRIDGE_CRASH=$1:1"
    locked_end
    wait_for 60 "the crash $1 of $NODE" process_ended "node-$NODE"
    grep -q "^crashed $1\$" "$SERVERS_DIR/log/node-$NODE.log" || fail "$NODE has ended, and not at $1"
    : >"$SERVERS_DIR/log/node-$NODE.log"
    moment 300
    adapter_start "$NODE"
    healed
    assert_equal 0 "$(node_sql "$NODE" "select count(*) from bridge.suspect")" "suspects that are left"
}
apply_waits() {
    [[ $(node_sql "$NODE" "select count(*) from pg_stat_activity where application_name = 'pgbridge inbound' and wait_event_type = 'Lock'") != 0 ]]
}
dead_queue_is_filled() {
    (($(broker "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"bridge\">>, queue, <<\"bridge.dead.$NODE\">>)),
        {ok, M, _} = ra:consistent_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_total/1), M") > 0))
}
for point in "${!DRAIN_POINTS[@]}"; do
    scenario "drained $point" "killed in the drain of the broker's dead letters: ${DRAIN_POINTS[$point]}"
done

# fault_crashes [MOST]: every point once, or so many of them, one after the other, in any order and on either side, under the same load.
fault_crashes() {
    local point passed=0
    local -a points
    FAULT_LETTERS="class <> 'transient' or state not in ('released', 'superseded', 'settled')"
    mapfile -t points < <(printf '%s\n' "${!CRASH_POINTS[@]}" | sort | shuf -n "${1:-1000}" --random-source=<(yes "$SEED"))
    load_begin
    branches_begin
    for point in "${points[@]}"; do
        draw_node_past "$point"
        crash_at "$point" "$NODE"
        adapter_start "$NODE"
        passed=$((passed + 1))
    done
    branches_end
    healed
    FAULT_DETAIL="$passed crash points"
}
scenario crashes "each crash point once, one after the other"
scenario short "crashes 6" "some crash points, one after the other"

# The adapter lives, and its session ends before a statement, or after it with the answer unread.
SEVERED_POINTS=()
for statement in out.outbox_window out.outbox_rows out.claim out.wal_visible out.wal_known out.wal_note out.commit out.outbox_release out.wal_release \
    out.wal_heartbeat out.worker_report \
    in.begin in.apply in.renew in.lock in.fetch in.conflict_record in.hear in.inbound_receipt in.commit in.worker_report \
    in.bury in.letters_due in.savepoint_letter in.letter_ended in.letter_again in.letters_next; do
    ! is_passed "$statement" || SEVERED_POINTS+=("before-$statement" "sent-$statement")
done

# severed_at POINT NODE
severed_at() {
    draw_count "$1"
    process_stop "node-$2" TERM 30
    : >"$SERVERS_DIR/log/node-$2.log"
    adapter_start "$2" "PGBRIDGE_SEVER=$1:$COUNT"
    wait_for 60 "the end of the session of $2 at $1:$COUNT" grep -q "^severed $1\$" "$SERVERS_DIR/log/node-$2.log"
}

fault_severed() {
    FAULT_LETTERS="class <> 'transient' or state not in ('released', 'superseded', 'settled')"
    draw_node_past "$1"
    load_begin
    ! is_of_letters "$1" || branches_begin
    severed_at "$1" "$NODE"
    ! is_of_letters "$1" || branches_end
    healed
}
for point in "${SEVERED_POINTS[@]}"; do
    scenario "severed $point" "the database session lost: ${point/-/ }"
done

# fault_all_severed [MOST]: so many of them, drawn.
fault_all_severed() {
    local point
    local -a points
    FAULT_LETTERS="class <> 'transient' or state not in ('released', 'superseded', 'settled')"
    mapfile -t points < <(printf '%s\n' "${SEVERED_POINTS[@]}" | shuf -n "${1:-1000}" --random-source=<(yes "$SEED"))
    load_begin
    branches_begin
    for point in "${points[@]}"; do
        draw_node_past "$point"
        severed_at "$point" "$NODE"
    done
    branches_end
    healed
    FAULT_DETAIL="${#points[@]} places"
}
scenario all_severed "the database session lost before and in each statement, one after the other"
scenario short "all_severed 4" "the database session lost before or in some statements, one after the other"
