#!/usr/bin/env bash
# pgbridge resend: rows that a peer lacks are sent once more, from a node that captures from the WAL and from one with triggers: what was there before
# install, what a restored database has lost, deletions too; beside applications that write the same rows, or hold them.
set -euo pipefail
CAPTURE_COMMERCE=wal
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
tables="create table item (id int primary key, what text, n int default 0);
    create table pair (a int, b text, what text, primary key (a, b))"
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
sql alpha shop "$tables; insert into item select g, 'before' from generate_series(1, 1200) g"
sql beta ops "$tables; insert into pair select g, 'x, \"y\"', 'before' from generate_series(1, 20) g"
entities() { printf '  - {name: item, table: item, key: [id], fields: [what, n]}\n  - {name: pair, table: pair, key: [a, b], fields: [what]}\n'; }
bridge_node commerce alpha shop operations < <(entities)
bridge_node operations beta ops commerce < <(entities)
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"
bridge_start commerce
bridge_start operations

# asks EXIT-CODE NODE ARGUMENT...: output in OUT, messages in ERR.
asks() {
    local expected=$1 code=0
    bridge "$2" resend "${@:3}" >"$SERVERS_DIR/out" 2>"$SERVERS_DIR/err" </dev/null || code=$?
    OUT=$(<"$SERVERS_DIR/out") ERR=$(<"$SERVERS_DIR/err")
    ((code == expected)) || fail "resend ${*:3}: exit code $code, expected $expected: $OUT $ERR"
}
rows() { node_sql "$1" "select * from item order by 1; select * from pair order by 1, 2"; }
equal() { [[ $(rows commerce) == "$(rows operations)" ]]; }

# ---- the command line ----
asks 64 commerce
[[ $ERR == *"needs --entity"* ]] || fail "$ERR"
asks 1 commerce --entity nonsense
[[ $ERR == *'there is no entity "nonsense"'*$'\nHINT: '* ]] || fail "$ERR"
asks 64 commerce --entity item --since nonsense
[[ $ERR == *"--since takes"*nonsense* ]] || fail "$ERR"
asks 1 commerce --entity item --key 7777
assert_equal "no row is like that" "$OUT" "a key that is not there"
asks 0 commerce --entity item --dry-run
assert_equal "nothing is done; 1200 rows would be sent again" "$OUT" "--dry-run"
asks 0 commerce --entity item --dry-run --json
assert_equal "true 1200 0 0" "$(jq -r '"\(.dry_run) \(.rows) \(.sent) \(.held)"' <<<"$OUT")" "--dry-run --json"
assert_equal 0 "$(node_sql operations "select count(*) from item")" "rows that came of a dry run"
printf 'ok - the command line\n'

# ---- what was there before ----
asks 0 commerce --entity item
assert_equal "1200 rows are sent again, in their turn" "$OUT" "all rows of an entity"
asks 0 operations --entity pair --json
assert_equal "false 20 20 0" "$(jq -r '"\(.dry_run) \(.rows) \(.sent) \(.held)"' <<<"$OUT")" "--json"
wait_for 60 "what was there before" equal
assert_equal "resend {\"entity\": \"item\"}" "$(node_sql commerce "select action || ' ' || details from bridge.audit_log where action = 'resend' order by at desc limit 1")" "the audit log"
printf 'ok - what was there before install\n'

# ---- a database that is restored from a backup ----
# What it and its peer wrote since, and what is known of it, is gone there. What was deleted since is deleted again, by hand.
DIRECTORY=$SERVERS_DIR/postgres
restored() {
    local node=$1 peer=$2 cluster=${NODE_CLUSTER[$1]} since k=$3
    bridge_stop "$node"
    postgres_stop "$cluster"
    cp -a "$DIRECTORY/$cluster" "$SERVERS_DIR/backup"
    postgres_start "$cluster"
    bridge_start "$node"
    since=$(node_sql "$peer" "select now()")
    node_sql "$peer" "update item set what = '$k' where id <= 300; delete from item where id between 300 + $k and 304 + $k; insert into item select g, '$k' from generate_series(2000 + $k, 2009 + $k) g"
    node_sql "$node" "update item set what = 'own $k' where id between 501 and 600; insert into item select g, '$k' from generate_series(2010 + $k, 2019 + $k) g"
    bridge_quiet commerce operations
    equal || fail "they are not equal before anything is lost"
    bridge_kill "$node"
    postgres_stop "$cluster"
    rm -r "${DIRECTORY:?}/$cluster"
    mv "$SERVERS_DIR/backup" "$DIRECTORY/$cluster"
    postgres_start "$cluster"
    bridge_start "$node"
    node_sql "$node" "insert into item values (3000 + $k, 'after'); update item set n = n + 1 where id between 551 and 560"
    node_sql "$peer" "insert into item values (3001 + $k, 'after'); update item set n = n + 1 where id between 571 and 580"
    bridge_quiet commerce operations
    ! equal || fail "nothing was lost"
    asks 0 "$peer" --entity item --since "$since"
    # 300, 100 and 20 of before, of which ten were written after it, and two new ones.
    assert_equal "422 rows are sent again, in their turn" "$OUT" "what was written since"
    assert_equal "$((300 + k)) $((301 + k)) $((302 + k)) $((303 + k)) $((304 + k))" \
        "$(node_sql "$peer" "select key from bridge.entity_state where entity = 'item' and deleted and version_time >= '$since'" | sort -n | paste -sd ' ')" "what was deleted since"
    node_sql "$node" "delete from item where id between 300 + $k and 304 + $k"
    bridge_quiet commerce operations
    wait_for 60 "what was lost" equal
    # It has seen that by the numbers of its peer's messages.
    assert_equal "$peer" "$(node_sql "$node" "select distinct source from bridge.gaps where state = 'open'")" "of whom messages are missing"
    node_sql "$node" "select bridge.acknowledge_gap(id, 'sent again') from bridge.gaps where state = 'open'" >"$SERVERS_DIR/null"
    assert_equal "" "$(node_sql "$peer" "select source, reason from bridge.gaps where state = 'open'")" "gaps of its peer"
}
restored operations commerce 100
restored commerce operations 150
node_sql commerce "$UNSEEN delete from pair where a = 7"
asks 0 operations --entity pair --key '{7,"x, \"y\""}'
assert_equal "1 row is sent again, in its turn" "$OUT" "one key"
wait_for 60 "one row" equal
# Rows that the bridge's owner does not see are not said to be deleted.
node_sql operations "alter role pgbridge bypassrls; alter table pair enable row level security"
asks 1 operations --entity pair
[[ $ERR == *'row security hides rows'*$'\nHINT: '* ]] || fail "$ERR"
node_sql operations "alter role pgbridge nobypassrls; alter role pgbridge_owner bypassrls"
asks 1 operations --entity pair
[[ $ERR == *'row security hides rows'*$'\nHINT: '* ]] || fail "$ERR"
node_sql operations "alter role pgbridge_owner nobypassrls; alter table pair disable row level security"
bridge_quiet commerce operations
equal || fail "rows that are hidden are said to be deleted"
asks 64 operations --entity pair --limit 3
printf 'ok - what a restored database has lost, from triggers and from the log\n'

# ---- beside applications ----
version() { node_sql operations "select ts from bridge.row_version where entity = 1 and key = '$1'"; }
held=$(version 5) free=$(version 6)
hold "update item set what = 'held' where id = 5"
bridge commerce resend --entity item >"$SERVERS_DIR/out" 2>&1 &
resend=$!
said_anew() { (($(version 6) > free)); }
wait_for 30 "a row that nobody holds" said_anew
assert_equal "$held" "$(version 5)" "the version of a row that an application holds"
release
wait "$resend" || fail "resend beside an application: $(<"$SERVERS_DIR/out")"
assert_equal "1234 rows are sent again, in their turn" "$(<"$SERVERS_DIR/out")" "rows of which one was held"
wait_for 60 "what the application wrote" equal
# Who holds a row for long is not waited for.
hold "select from item where id = 5 for update"
asks 75 commerce --entity item --key 5 --json
assert_equal "1 0 1" "$(jq -r '"\(.rows) \(.sent) \(.held)"' <<<"$OUT")" "a row that is held for long"
[[ $ERR == *"not sent: 1 of the rows"*$'\nHINT: '* ]] || fail "$ERR"
release
for node in commerce operations; do
    (for ((i = 0; i < 60; i++)); do
        node_sql $node "update item set n = n + 1 where id % 60 = $i; delete from item where id = 700 + $i; insert into item values (700 + $i, '$node') on conflict do nothing"
    done) &
    writers+=($!)
done
for node in commerce operations commerce; do asks 0 $node --entity item; done
wait "${writers[@]}"
bridge_quiet commerce operations
wait_for 60 "both sides to be equal" equal
for node in commerce operations; do
    counters_conserve $node
    assert_equal 0 "$(node_sql $node "select count(*) from bridge.dead_letters")" "letters of $node"
done
printf 'ok - beside applications that write the same rows, or hold them\n'
