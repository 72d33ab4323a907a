#!/usr/bin/env bash
# Races between two nodes, each with its moment chosen: both adapters stand still while both sides write, so neither has seen the
# other. Both sides end equal, the later version wins, the conflict has PostgreSQL 18's name, and both sides record the same one.
# Then: triggers that change what is applied, clocks that are an hour apart (where commerce captures from the WAL: seconds), and old messages that come once more and change nothing.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
# shellcheck source=tests/support/clock.sh
source "$SOURCE_DIR/tests/support/clock.sh"

servers_init
FAKETIME_LIBRARY=$(clock_library)
servers_start alpha beta fsync=off
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
for place in alpha:shop beta:ops; do
    sql "${place%:*}" "${place#*:}" <<'SQL'
create table item (id text collate "C" primary key, what text);
create table stamped (id int primary key, what text, updated_at timestamptz);
create function stamp() returns trigger language plpgsql as $$ begin new.updated_at := clock_timestamp(); return new; end $$;
create trigger stamp before insert or update on stamped for each row execute function stamp();
SQL
done
bridge_node commerce alpha shop operations "max_clock_skew: 2 h" <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
  - {name: stamped, table: stamped, key: [id], fields: [what, updated_at], triggers: fire}
YAML
bridge_node operations beta ops commerce "max_clock_skew: 2 h" <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
  - {name: stamped, table: stamped, key: [id], fields: [what, updated_at], triggers: fire}
YAML
for node in commerce operations; do
    bridge_install "$node" >>"$SERVERS_DIR/install.log"
    bridge_start "$node"
done

quiet() {
    bridge_quiet commerce operations
}
# both SQL: on both sides at the same time, with the side's name for %w.
both() {
    local node
    local -A writers=()
    for node in commerce operations; do
        node_sql "$node" "${1//%w/$node}" &
        writers[$node]=$!
    done
    for node in commerce operations; do
        wait "${writers[$node]}" || fail "the writer of $node ended with $?"
    done
}
# other NODE
other() {
    if [[ $1 == commerce ]]; then echo operations; else echo commerce; fi
}
# same WHAT SQL: the same answer on both sides.
same() {
    local node
    for node in commerce operations; do
        node_sql "$node" "$2" >"$SERVERS_DIR/$node.rows"
    done
    [[ -s $SERVERS_DIR/commerce.rows ]] || fail "nothing to compare: $1"
    if ! diff "$SERVERS_DIR/commerce.rows" "$SERVERS_DIR/operations.rows" >"$SERVERS_DIR/difference"; then
        head -n 20 "$SERVERS_DIR/difference" >&2
        fail "$1 differ (< commerce, > operations)"
    fi
}
# equal ENTITY: content, versions and deletions.
equal() {
    same "rows of $1" "select * from $1 order by id"
    same "versions of $1" "select key, version_time, version_node, deleted, content_hash from bridge.entity_state
        where entity = '$1' order by key collate \"C\""
}
# The conflicts as facts that do not depend on who tells them: key, winner, loser.
RULINGS="select key, case ruling when 'local' then (local_ts, local_node) else (remote_ts, remote_node) end as winner,
        case ruling when 'local' then (remote_ts, remote_node) else (local_ts, local_node) end as loser
    from bridge.conflict where entity = 'item'"
# clean: nothing went wrong on the way.
clean() {
    local node
    for node in commerce operations; do
        counters_conserve "$node"
        assert_equal "0|0|0" "$(node_sql "$node" "select (select count(*) from bridge.outbox), (select count(*) from bridge.dead_letter where state in ('retrying', 'parked', 'quarantined')),
            (select sum(gaps) + sum(refused) + sum(echo) from bridge.inbound)")" "outbox, dead letters, gaps and strangers of $node"
    done
}

# ---- races ----

# race NAME BEFORE ONE OTHER OUTCOME...: BEFORE is known to both sides; then one side runs ONE and its other side OTHER. Each race
# is run in four ways: commerce is the one or the other, and writes before or after operations. In SQL, %k is the race's key
# and %w the side that writes. Each outcome is "KEY|WHOSE|KIND AT ONE|KIND AT OTHER": whose state of the key stays (that of the
# later, of one, or both's), and the conflict that each side records, - for none.
declare -A WHOSE=() KINDS=()
race() {
    local name=$1 role late key outcome suffix whose at_one at_other mine theirs
    for role in one other; do
        for late in commerce operations; do
            key="$ROUND: $name; commerce is $role, $late is later"
            printf '%s;\n' "${2//%k/$key}" >>"$SERVERS_DIR/before.sql"
            if [[ $role == one ]]; then mine=$3 theirs=$4; else mine=$4 theirs=$3; fi
            mine=${mine//%k/$key} theirs=${theirs//%k/$key}
            if [[ $late == commerce ]]; then
                printf '%s;\n' "${mine//%w/commerce}" >>"$SERVERS_DIR/third.sql"
            else
                printf '%s;\n' "${mine//%w/commerce}" >>"$SERVERS_DIR/first.sql"
            fi
            printf '%s;\n' "${theirs//%w/operations}" >>"$SERVERS_DIR/second.sql"
            for outcome in "${@:5}"; do
                IFS='|' read -r suffix whose at_one at_other <<<"$outcome"
                case $whose in
                    later) WHOSE[$key$suffix]=$late ;;
                    one) if [[ $role == one ]]; then WHOSE[$key$suffix]=commerce; else WHOSE[$key$suffix]=operations; fi ;;
                    both) WHOSE[$key$suffix]=both ;;
                esac
                if [[ $role == one ]]; then mine=$at_one theirs=$at_other; else mine=$at_other theirs=$at_one; fi
                # A conflict is settled for the later, on both sides.
                if [[ $late == commerce ]]; then mine+=" local" theirs+=" remote"; else mine+=" remote" theirs+=" local"; fi
                KINDS[commerce,$key$suffix]=${mine/#- */-}
                KINDS[operations,$key$suffix]=${theirs/#- */-}
            done
        done
    done
}

# contents NODE NAME: the rows into the array of that name.
contents() {
    local key what
    local -n into=$2
    # shellcheck disable=SC2034 # the caller's array
    into=()
    while IFS='|' read -r key what; do
        # shellcheck disable=SC2004,SC2034
        into[$key]=$what
    done < <(node_sql "$1" "select id, what from item where id like '$ROUND: %'")
}

races() {
    local row="insert into item values ('%k', 'before')" none="select" update="update item set what = '%w' where id = '%k'"
    local insert="insert into item values ('%k', '%w')" delete="delete from item where id = '%k'"
    local move="update item set id = '%k new' where id = '%k'"
    race "update, update" "$row" "$update" "$update" "|later|update_origin_differs|update_origin_differs"
    race "many updates, many updates" "$row" "$update; update item set what = what || ' again' where id = '%k'" \
        "$update; $delete; $insert; update item set what = 'last of %w' where id = '%k'" "|later|update_origin_differs|update_origin_differs"
    race "updates to equal content" "$row" "update item set what = 'equal' where id = '%k'" "$update; update item set what = 'equal' where id = '%k'" "|both|-|-"
    race "update, delete" "$row" "$update" "$delete" "|later|delete_origin_differs|update_deleted"
    race "delete, delete" "$row" "$delete" "$delete" "|both|-|-"
    race "insert, insert" "$none" "$insert" "$insert" "|later|insert_exists|insert_exists"
    race "insert, equal insert" "$none" "insert into item values ('%k', 'equal')" "insert into item values ('%k', 'equal')" "|both|-|-"
    race "insert, insert and delete" "$none" "$insert" "$insert; $delete" "|later|delete_origin_differs|update_deleted"
    race "insert after a deletion that both know" "insert into item values ('%k', 'before'); $delete" "$insert" "$insert" "|later|insert_exists|insert_exists"
    race "delete and insert, update" "$row" "$delete; $insert" "$update" "|later|update_origin_differs|update_origin_differs"
    race "delete and insert, delete" "$row" "$delete; $insert" "$delete" "|later|delete_origin_differs|update_deleted"
    race "delete and insert, delete and insert" "$row" "$delete; $insert" "begin; $delete; $insert; commit" "|later|update_origin_differs|update_origin_differs"
    race "new key, update" "$row" "$move" "$update" "|later|update_deleted|delete_origin_differs" " new|one|-|-"
    race "new key, delete" "$row" "$move" "$delete" "|both|-|-" " new|one|-|-"
    race "the same new key of one row" "$row" "update item set id = '%k new', what = '%w' where id = '%k'" \
        "$move; update item set what = '%w' where id = '%k new'" "|both|-|-" " new|later|insert_exists|insert_exists"
    race "the same new key of two rows" "insert into item values ('%k', 'before'), ('%k 2', 'before')" \
        "update item set id = '%k new', what = 'first' where id = '%k'" "update item set id = '%k new', what = 'second' where id = '%k 2'" \
        "|one|-|-" " new|later|insert_exists|insert_exists"
}

# run_races NAME HOLD GO: with the adapters held by one command and let go by the other.
run_races() {
    local node key
    local -A before_commerce before_operations after
    ROUND=$1 WHOSE=() KINDS=()
    rm -f "$SERVERS_DIR"/{before,first,second,third}.sql
    races
    sql alpha shop - <"$SERVERS_DIR/before.sql" >"$SERVERS_DIR/null"
    quiet
    $2
    sql alpha shop - <"$SERVERS_DIR/first.sql" >"$SERVERS_DIR/null"
    sql beta ops - <"$SERVERS_DIR/second.sql" >"$SERVERS_DIR/null"
    sql alpha shop - <"$SERVERS_DIR/third.sql" >"$SERVERS_DIR/null"
    contents commerce before_commerce
    contents operations before_operations
    $3
    quiet
    equal item
    same "conflicts, each with its winner and loser," "$RULINGS order by 1, 2, 3"
    for node in commerce operations; do
        contents "$node" after
        local -A kinds=()
        while IFS='|' read -r key what; do
            kinds[$key]=$what
        done < <(node_sql "$node" "select key, string_agg(kind || ' ' || ruling, ', ') from bridge.conflict where key like '$ROUND: %' group by 1")
        for key in "${!WHOSE[@]}"; do
            case ${WHOSE[$key]} in
                commerce) wanted=${before_commerce[$key]-gone} ;;
                operations) wanted=${before_operations[$key]-gone} ;;
                both)
                    wanted=${before_commerce[$key]-gone}
                    assert_equal "$wanted" "${before_operations[$key]-gone}" "the other side's state before, of \"$key\""
                    ;;
            esac
            assert_equal "$wanted" "${after[$key]-gone}" "$node: \"$key\" in the end"
            assert_equal "${KINDS[$node,$key]}" "${kinds[$key]--}" "$node: conflict of \"$key\""
        done
    done
    clean
    printf 'ok - %s: %s keys in %s races end as they should, with %s conflicts, the same on both sides\n' "$1" "${#WHOSE[@]}" \
        "$(grep -c . "$SERVERS_DIR/second.sql")" "$(node_sql commerce "select count(*) from bridge.conflict where key like '$ROUND: %'")"
}

stop_both() {
    bridge_stop commerce
    bridge_stop operations
}
start_both() {
    bridge_start commerce
    bridge_start operations
}
# signal_both SIGNAL
signal_both() {
    local node
    for node in commerce operations; do
        processes_signal "$1" "$(process_find "node-$node")"
    done
}

run_races "stopped" stop_both start_both
run_races "halted" "signal_both STOP" "signal_both CONT"

# ---- triggers that change what is applied ----

# Each side's trigger sets a time of its own, also in what is applied: that must not travel on.
sql alpha shop "insert into stamped select g, 'before' from generate_series(1, 10) g"
quiet
before=$(nodes_progress commerce operations)
both "do \$\$ begin
    for i in 1 .. 50 loop
        update stamped set what = '%w ' || i where id = 1 + i % 10;
        commit;
        perform pg_sleep(0.01);
    end loop;
end \$\$"
quiet
# captured|published|messages applied, per node
mapfile -t was <<<"$before"
mapfile -t is < <(nodes_progress commerce operations)
for i in 0 1; do
    IFS='|' read -r captured published _ <<<"${was[i]}"
    IFS='|' read -r captured_now published_now _ <<<"${is[i]}"
    assert_equal 50 $((captured_now - captured)) "changes captured in 50 updates, line $i of nodes_progress"
    ((published_now - published <= 50)) || fail "50 updates were published as $((published_now - published)) changes"
done
same "what the applications wrote" "select id, what from stamped order by id"
same "versions of it" "select key, version_time, version_node from bridge.entity_state where entity = 'stamped' order by key collate \"C\""
clean
printf 'ok - triggers on both sides: 50 updates each become 50 changes and no more\n'
node_sql commerce "select id, updated_at from stamped order by id" >"$SERVERS_DIR/commerce.rows"
node_sql operations "select id, updated_at from stamped order by id" >"$SERVERS_DIR/operations.rows"
printf '# rows whose trigger-made time differs between the sides: %s of 10\n' \
    "$(diff "$SERVERS_DIR/commerce.rows" "$SERVERS_DIR/operations.rows" | grep -c '^<' || true)"

# ---- a clock that is an hour ahead ----

# move_clock OFFSET: of beta and of the adapter beside it; nothing: the real time.
move_clock() {
    local -a clock=()
    [[ -z $1 ]] || clock=("LD_PRELOAD=$FAKETIME_LIBRARY" "FAKETIME=$1" FAKETIME_DONT_FAKE_MONOTONIC=1)
    bridge_stop operations
    clock_cluster beta "${clock[@]}"
    process_start node-operations env "${clock[@]}" "$PGBRIDGE" -c "$SERVERS_DIR/operations.yaml" run
    clock_forget node-operations
}
# How far beta's clock is ahead of alpha's, in minutes.
ahead() {
    local here there
    here=$(sql alpha shop "select extract(epoch from clock_timestamp())::int")
    there=$(sql beta ops "select extract(epoch from clock_timestamp())::int")
    printf '%s\n' $(((there - here + 30) / 60))
}
what_is() {
    local node
    for node in commerce operations; do
        assert_equal "$2" "$(node_sql "$node" "select what from item where id = '$1'")" "\"$1\" of $node"
    done
}
conflicts() {
    node_sql "$1" "select count(*) from bridge.conflict where key like 'clock%'"
}

# Versions of the log are commit times: what a peer has written ahead of our clock waits here until its time has come.
clock_waits() {
    move_clock +6
    sql beta ops "insert into item select 'clock ' || g, 'ahead' from generate_series(1, 20) g"
    in_time() {
        [[ $(node_sql commerce "select count(*), bool_and(version_time <= clock_timestamp()) from bridge.entity_state
            where entity = 'item' and key like 'clock %' and not deleted") == "20|t" ]]
    }
    put_aside() { (($(node_sql commerce "select count(*) from bridge.dead_letter where error_code = 'CLOCK' and state = 'retrying'") > 0)); }
    wait_for 60 "what is ahead of the clock to be put aside" put_aside
    wait_for 60 "its time" in_time
    what_is "clock 7" ahead
    sql alpha shop "update item set what = 'commerce knows' where id like 'clock %'"
    quiet
    what_is "clock 7" "commerce knows"
    assert_equal "0 0" "$(conflicts commerce) $(conflicts operations)" "conflicts where each has seen the other's write"
    move_clock ""
    sql beta ops "update item set what = 'operations knows' where id like 'clock %'"
    quiet
    what_is "clock 7" "operations knows"
    assert_equal "0 0" "$(conflicts commerce) $(conflicts operations)" "conflicts since the clock went back"
    equal item
    printf 'ok - a clock some seconds ahead: its changes wait until their time has come\n'
}

clock_decides() {
    local i before
    move_clock +1h
    assert_equal 60 "$(ahead)" "minutes that beta's clock is ahead"
    sql beta ops "insert into item values ('clock', 'operations'), ('clock 2', 'operations'), ('clock 3', 'operations')"
    quiet
    for i in 1 2 3; do
        sql alpha shop "update item set what = 'commerce $i' where id = 'clock'"
        quiet
        what_is clock "commerce $i"
        sql beta ops "update item set what = 'operations $i' where id = 'clock'"
        quiet
        what_is clock "operations $i"
    done
    sql alpha shop "delete from item where id in ('clock', 'clock 2')"
    quiet
    what_is clock ""
    sql beta ops "insert into item values ('clock', 'operations again')"
    sql alpha shop "insert into item values ('clock 2', 'commerce again')"
    quiet
    what_is clock "operations again"
    what_is "clock 2" "commerce again"
    assert_equal "0 0" "$(conflicts commerce) $(conflicts operations)" "conflicts where each has seen the other's write"
    printf 'ok - a clock an hour ahead: who has seen a version beats it\n'

    signal_both STOP
    sql beta ops "update item set what = 'an hour ahead' where id = 'clock 3'"
    sql alpha shop "update item set what = 'commerce, and later' where id = 'clock 3'"
    signal_both CONT
    quiet
    # Nobody can know better than the clocks.
    what_is "clock 3" "an hour ahead"
    assert_equal "1 1" "$(conflicts commerce) $(conflicts operations)" "conflicts where neither has seen the other's write"
    sql alpha shop "update item set what = 'commerce knows' where id = 'clock 3'"
    quiet
    what_is "clock 3" "commerce knows"
    assert_equal "1 1" "$(conflicts commerce) $(conflicts operations)" "conflicts after that"
    sql alpha shop "insert into item select 'clock many ' || g, 'before' from generate_series(1, 20) g"
    quiet
    both "do \$\$ begin
        for i in 1 .. 300 loop
            update item set what = '%w ' || i where id = 'clock many ' || 1 + i * 7 % 20;
            commit;
            perform pg_sleep(0.005);
        end loop;
    end \$\$"
    quiet
    equal item
    clean
    printf 'ok - a clock an hour ahead: both sides write the same rows and end equal; %s and %s conflicts\n' "$(conflicts commerce)" "$(conflicts operations)"

    # ---- and back again ----

    move_clock ""
    assert_equal 0 "$(ahead)" "minutes that beta's clock is ahead"
    before=$(conflicts commerce)
    sql beta ops "update item set what = 'after the hour' where id like 'clock%'"
    quiet
    assert_equal 23 "$(sql alpha shop "select count(*) from item where id like 'clock%' and what = 'after the hour'")" \
        "rows after the clock went back"
    sql alpha shop "delete from item where id like 'clock%'"
    quiet
    assert_equal 0 "$(sql beta ops "select count(*) from item where id like 'clock%'")" "rows after their deletion"
    assert_equal "$before" "$(conflicts commerce)" "conflicts since the clock went back"
    equal item
    clean
    printf 'ok - a clock that goes back an hour: its writes are still the newest\n'
}

if [[ $(capture_of commerce) == wal ]]; then clock_waits; else clock_decides; fi

# ---- old messages that come again ----

url=amqp://commerce:secret-commerce@127.0.0.1:$RABBIT_PORT/bridge
for node in commerce operations; do
    process_start "watch-$node" /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" peek "$url" bridge.sync "$node.item.*" 1000000
    wait_for 60 "the watcher of $node" grep -q ready "$SERVERS_DIR/log/watch-$node.log"
done
# Each side writes, with its own keys, what the other then changes; and in the end both write without having seen each other.
for node in commerce operations; do
    node_sql "$node" "insert into item select '$node again ' || g, 'old' from generate_series(1, 11) g"
done
quiet
for node in commerce operations; do
    node_sql "$(other "$node")" "update item set what = 'new' where id in ('$node again 1', '$node again 2', '$node again 8');
        delete from item where id in ('$node again 3', '$node again 4'); delete from item where id = '$node again 9'"
    node_sql "$node" "update item set what = 'new' where id in ('$node again 5'); delete from item where id in ('$node again 6', '$node again 7')"
done
quiet
for node in commerce operations; do
    node_sql "$(other "$node")" "insert into item values ('$node again 4', 'newest'), ('$node again 7', 'newest');
        update item set what = 'old' where id = '$node again 8'"
    node_sql "$node" "update item set what = 'newest' where id = '$node again 2'; insert into item values ('$node again 9', 'newest')"
done
quiet
signal_both STOP
for node in commerce operations; do
    node_sql "$node" "update item set what = '$node' where id in ('commerce again 10', 'operations again 10', 'commerce again 11')"
done
signal_both CONT
quiet
equal item

# Rows, versions, conflicts.
REMEMBERED="select * from (
        select 'row' as what, id as key, what as value from item
        union all select 'version', key, (ts, node, deleted)::text from bridge.row_version
        union all select 'conflict', key, kind || ' ' || ruling || ' ' || (local_ts, remote_ts)::text from bridge.conflict) r
    order by r.what, r.key collate \"C\", r.value"
# replay SOURCE FILTER: sends all its messages again, through this filter (tac: the last one first).
replay() {
    local receiver rows received
    receiver=$(other "$1")
    node_sql "$receiver" "$REMEMBERED" >"$SERVERS_DIR/remembered"
    received=$(node_sql "$receiver" "select received from bridge.inbound where source = '$1'")
    grep '^{' "$SERVERS_DIR/log/watch-$1.log" | $2 | jq -c 'del(.properties.delivery_mode)' >"$SERVERS_DIR/again.json"
    rows=$(jq -s 'map(.body.rows | length) | add' "$SERVERS_DIR/again.json")
    ((rows > 15)) || fail "only $rows changes of $1 to send again"
    /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "amqp://$1:secret-$1@127.0.0.1:$RABBIT_PORT/bridge" bridge.sync \
        <"$SERVERS_DIR/again.json" >>"$SERVERS_DIR/sent.log"
    quiet
    assert_equal $((received + rows)) "$(node_sql "$receiver" "select received from bridge.inbound where source = '$1'")" "changes of $1 that came again"
    node_sql "$receiver" "$REMEMBERED" >"$SERVERS_DIR/now"
    if ! diff "$SERVERS_DIR/remembered" "$SERVERS_DIR/now" >"$SERVERS_DIR/difference"; then
        head -n 40 "$SERVERS_DIR/difference" >&2
        fail "$rows old changes of $1 changed $(grep -c '^[<>]' "$SERVERS_DIR/difference") lines (> now)"
    fi
    clean
    printf 'ok - %s changes of %s that come again (%s) change nothing and are no conflict\n' "$rows" "$1" "$2"
}
for node in commerce operations; do
    # Its own replays must not be watched as new messages.
    process_stop "watch-$node" KILL
done
replay operations cat
replay operations tac
replay commerce cat
replay commerce tac
bridge_stop commerce
bridge_stop operations
