#!/usr/bin/env bash
# What nodes say of themselves in between: clocks and how far they have come; and what that is for: deletions are forgotten when
# everybody knows them, not before, and deleted rows never come back, by whatever old message.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
for database in "alpha one" "beta two" "alpha three"; do
    # shellcheck disable=SC2086
    set -- $database
    sql "$1" postgres "create database $2"
    sql "$1" "$2" "create table item (id int primary key, what text)"
done
# By a rule that does not ask for the time: what is old is not told by it.
entities() { printf '  - {name: item, table: item, key: [id], fields: [what], policy: node-priority, priority: [one, two, three]}\n'; }
bridge_node one alpha one "two three" "tombstone_retention: 1 s" < <(entities)
bridge_node two beta two "one three" "tombstone_retention: 1 s" < <(entities)
bridge_node three alpha three "one two" "tombstone_retention: 1 s" < <(entities)
for node in one two three; do
    bridge_install $node >>"$SERVERS_DIR/install.log"
done
rabbit_user watcher secret </dev/null
url=amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge
for node in one two three; do bridge_start $node; done

heard() { [[ $(node_sql "$1" "select count(*) from bridge.peers where last_heard > now() - interval '20 s' and clock_ahead_ms is not null") == "$2" ]]; }
for node in one two three; do
    wait_for 40 "$node to hear the others and know their clocks" heard $node 2
    node_sql $node "select bool_and(abs(clock_ahead_ms) < 250 + round_trip_ms / 2) from bridge.peers" | grep -qx t ||
        fail "clocks of one machine differ: $(node_sql $node "table bridge.peers")"
done
# What took its time tells little: a clock is ahead only as far as that is certain.
clocks_are() {
    node_sql one "begin; update bridge.peer set offset_us = $1, round_trip_us = $2; select status from bridge.health where \"check\" = 'peer clock offset'; rollback"
}
assert_equal healthy "$(clocks_are -28000000 57000000)" "clocks when a heartbeat was a minute on its way"
assert_equal warning "$(clocks_are -28000000 55000000)" "clocks that differ by half a second at least"
printf 'ok - nodes hear each other, and know the others'"'"' clocks\n'

tombstones() { node_sql "$1" "select count(*) from bridge.row_version where deleted"; }
collected() { [[ $(tombstones "$1") == 0 ]]; }
node_sql one "insert into item select i, 'first' from generate_series(1, 100) i"
bridge_quiet one two three
# keep KEY: the message of a row, as it will come again later.
keep() {
    jq -nc '{routing_key: "one.item.updated", headers: {"x-source": "one", "x-content-hash": "compute"}, properties: {timestamp: 1},
        body: {entity: "item", op: "updated", key: ["id"], columns: ["id", "what"], rows: [[$key, "first"]], versions: [$ts]}}' \
        --arg key "$1" --argjson ts "$(node_sql one "select (extract(epoch from version_time) * 1000000)::bigint from bridge.entity_state where key = '$1'")" >"$SERVERS_DIR/old-$1.json"
}
keep 7
keep 8
# replay KEY NODE
replay() {
    local before
    before=$(node_sql "$2" "select received from bridge.inbound where source = 'one'")
    /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "$url" bridge.sync <"$SERVERS_DIR/old-$1.json" >>"$SERVERS_DIR/sent.log"
    arrived() { [[ $(node_sql "$1" "select received from bridge.inbound where source = 'one'") == "$((before + 1))" ]]; }
    wait_for 20 "the old message to arrive" arrived "$2"
    assert_equal "0" "$(node_sql "$2" "select count(*) from item where id = $1")" "row $1 on $2 after an old message of it"
}

# Two is away: nobody forgets what it has not acknowledged.
bridge_stop two
node_sql one "delete from item where id <= 50"
node_sql three "delete from item where id > 90"
bridge_quiet_of() { outboxes_empty one three && [[ $(tombstones one) == 60 && $(tombstones three) == 60 ]]; }
wait_for 30 "the deletions to arrive" bridge_quiet_of
# A mark that was set before two went away may still end as two left it; the next one cannot. What two had heard by then of the
# others counts, and is nobody's fault.
waits_for_two() {
    [[ $(node_sql one "select (select has_not_heard <> '{}' from bridge.peers where peer = 'two')
        and (select coalesce(has_not_heard, '{}') <@ '{two}' from bridge.peers where peer = 'three')") == t ]]
}
wait_for 120 "one to wait for two alone: $(node_sql one "table bridge.peers")" waits_for_two
checked=$(node_sql one "select checked_at from bridge.collection")
checked_again() { [[ $(node_sql one "select checked_at > '$checked' from bridge.collection") == t ]]; }
wait_for 120 "one to ask itself once more whether it may forget" checked_again
assert_equal "60|60" "$(tombstones one)|$(tombstones three)" "deletions remembered while a peer is away"
replay 7 three
bridge_start two
for node in one two three; do
    wait_for 90 "$node to forget the deletions" collected $node
done
printf 'ok - deletions are forgotten when everybody has acknowledged them, not before\n'

replay 7 two
replay 7 three
# Also where it is put aside, unseen, and tried later; when the row has been made anew in the meantime as well.
bridge three pause --entity item --direction in >/dev/null
paused() { grep -q 'paused.*direction=in.*first=item' "$SERVERS_DIR/log/node-three.log"; }
wait_for 10 "the pause to be seen" paused
replay 7 three
replay 8 three
letters_are() { [[ $(node_sql three "select string_agg(state, ',') from bridge.dead_letters") == "$1" ]]; }
letters_are retrying,retrying || fail "the old messages are not put aside: $(node_sql three "table bridge.dead_letters")"
node_sql three "insert into item values (8, 'again')"
bridge three resume --entity item >/dev/null
wait_for 30 "the old messages to be old news" letters_are superseded,superseded
resumed() { grep -q 'resumed.*direction=in' "$SERVERS_DIR/log/node-three.log"; }
wait_for 30 "the resume to be seen" resumed
assert_equal "0" "$(node_sql three "select count(*) from item where id = 7")" "row 7 on three after an old message that was put aside"
assert_equal "0" "$(node_sql two "select count(*) from bridge.conflicts")" "conflicts"
node_sql two "insert into item values (7, 'again')"
bridge_quiet one two three
for node in one two three; do
    assert_equal "7|again,8|again" "$(node_sql $node "select id, what from item where id in (7, 8) order by id" | paste -sd,)" "what was made anew, on $node"
done
here=$(node_sql one "select * from item order by 1")
assert_equal "$here" "$(node_sql two "select * from item order by 1")" "two"
assert_equal "$here" "$(node_sql three "select * from item order by 1")" "three"
assert_equal "0" "$(node_sql three "select count(*) from bridge.conflicts")" "conflicts of three"
printf 'ok - a deleted row does not come back by an old message, and can be made anew\n'

for node in one two three; do
    counters_conserve $node
    assert_equal "0" "$(node_sql $node "select count(*) from bridge.dead_letters where state <> 'superseded'")" "dead letters of $node"
    assert_equal "0" "$(node_sql $node "select coalesce(sum(gaps), 0) from bridge.inbound")" "gaps of $node"
    bridge_stop $node
done
