#!/usr/bin/env bash
# Applications write the very rows that are being applied: nothing is overwritten unseen, and nothing waits for ever. A foreign
# source sends by the message contract, so that the moment is ours to choose.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha fsync=off
sql alpha postgres "create database shop"
sql alpha shop "create table item (id int primary key, what text); create table priced (price numeric(10, 2) primary key, what text);
    create table vetoed (id int primary key);
    create function veto() returns trigger language plpgsql as 'begin return null; end';
    create trigger veto before insert on vetoed for each row execute function veto()"
bridge_node commerce alpha shop "legacy" "max_clock_skew: 2 h" <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
  - {name: priced, table: priced, key: [price], fields: [what]}
  - {name: vetoed, table: vetoed, key: [id], triggers: fire}
YAML
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_start commerce -v
rabbit_user watcher secret </dev/null
url=amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge

# send ENTITY OP KEY-FIELD KEY WHAT MICROSECONDS
send() {
    jq -nc --arg entity "$1" --arg op "$2" --arg field "$3" --arg key "$4" --arg what "$5" --argjson ts "$6" '{
        routing_key: "legacy.\($entity).\($op)", headers: {"x-source": "legacy", "x-content-hash": "compute"}, properties: {timestamp: 1},
        body: ({entity: $entity, op: $op, key: [$field], versions: [$ts]} +
            if $op == "deleted" or $what == "-" then {columns: [$field], rows: [[$key]]} else {columns: [$field, "what"], rows: [[$key, $what]]} end)}' |
        /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "$url" bridge.sync >>"$SERVERS_DIR/sent.log"
}
settled() { [[ $(sql alpha shop "select coalesce(sum(received), 0) from bridge.inbound") == "$1" ]]; }
# Later than the application's statement. With capture from the WAL its version is the commit's, which is later still: it stays.
soon() { if [[ $(capture_of commerce) == wal ]]; then echo $(($(date +%s%6N) + 300000)); else echo $(($(date +%s) + 3600))000000; fi; }
past=1000000000000000
by_capture() { if [[ $(capture_of commerce) == wal ]]; then printf '%s' "$2"; else printf '%s' "$1"; fi; }

# ---- a newer remote write of equal content, while the application changes the row ----
sql alpha shop "insert into item values (1, 'X')"
hold "update item set what = 'Y' where id = 1"
send item created id 1 X "$(soon)"
wait_for 60 "apply to wait for the application" blocked
release
wait_for 60 "the change" settled 1
assert_equal "$(by_capture X Y)" "$(sql alpha shop "select what from item where id = 1")" "the newer write wins, also when it equals what was there before"
assert_equal "1|Y|X|$(by_capture remote local)" "$(sql alpha shop "select count(*), max(local_row->>'what'), max(remote_row->>'what'), max(ruling) from bridge.conflicts")" "the conflict"

# ---- an older remote write: the application's stays ----
sql alpha shop "insert into item values (2, 'X')"
hold "update item set what = 'mine' where id = 2"
send item updated id 2 theirs "$past"
wait_for 60 "apply to wait for the application" blocked
release
wait_for 60 "the change" settled 2
assert_equal "mine" "$(sql alpha shop "select what from item where id = 2")" "an older write loses, and the application's update is there"

# ---- a deletion, while the application brings the row back ----
sql alpha shop "insert into item values (3, 'first'); delete from item where id = 3"
hold "insert into item values (3, 'again')"
send item deleted id 3 - "$past"
release
wait_for 60 "the change" settled 3
assert_equal "again" "$(sql alpha shop "select what from item where id = 3")" "an old deletion does not take the row that came back"

# ---- an insert of the same key at the same time ----
hold "insert into item values (4, 'own')"
send item created id 4 theirs "$(soon)"
wait_for 60 "apply to wait for the application" blocked
release
wait_for 60 "the change" settled 4
assert_equal "$(by_capture theirs own)" "$(sql alpha shop "select what from item where id = 4")" "of two inserts the newer wins"

# ---- an insert of the same key, which the same transaction takes back ----
hold "insert into item values (6, 'mine')"
send item created id 6 theirs "$past"
wait_for 60 "apply to wait for the application" blocked
release "delete from item where id = 6"
wait_for 60 "the change" settled 5
# Of a row that came and went in one transaction the log says nothing to anybody: then nothing was deleted.
assert_equal "$(by_capture "0|t" "1|f")" "$(sql alpha shop "select (select count(*) from item where id = 6), deleted from bridge.row_version where key = '6'")" \
    "an older write does not stand on a deletion"
printf 'ok - nothing is overwritten unseen\n'

# ---- a key whose text differs from the row's ----
sql alpha shop "insert into priced values (1.5, 'mine')"
send priced updated price 1.5 old "$past"
wait_for 60 "the change" settled 6
assert_equal "1.50|mine|1" "$(sql alpha shop "select p.*, (select count(*) from bridge.row_version where key like '1.5%') from priced p")" "1.5 is the row 1.50, with its version"
applied=$(sql alpha shop "select applied from bridge.inbound where source = 'legacy'")
jq -nc --argjson ts "$(soon)" '{routing_key: "legacy.priced.updated", headers: {"x-source": "legacy", "x-content-hash": "compute"}, properties: {timestamp: 1},
    body: {entity: "priced", op: "updated", key: ["price"], columns: ["price", "what"], rows: [["1.5", "first"], ["1.50", "second"]], versions: [$ts, $ts + 1]}}' |
    /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "$url" bridge.sync >>"$SERVERS_DIR/sent.log"
wait_for 60 "both changes" settled 8
assert_equal "1.50|second|2|2" "$(sql alpha shop "select p.*, (select count(*) from bridge.conflicts where entity = 'priced'), (select applied from bridge.inbound where source = 'legacy') - $applied from priced p")" \
    "of one row twice in a message the second stands; the old write met a conflict, and the first of these two"
printf 'ok - a key is known by its value\n'

# ---- a trigger that refuses without a word ----
send vetoed created id 1 - "$(soon)"
send item created id 5 "after the veto" "$(soon)"
wait_for 60 "the change after it" settled 10
assert_equal "vetoed|1|permanent" "$(sql alpha shop "select entity, key, class from bridge.dead_letters")" "the letter"
assert_equal "after the veto" "$(sql alpha shop "select what from item where id = 5")" "the neighbour"
counters_conserve commerce
bridge_stop commerce
printf 'ok - a row that cannot be written stops nobody\n'

# ---- what cannot be checked is not mirrored ----
sql alpha shop "alter table item add unique (what) deferrable"
sql alpha shop "update bridge.fingerprint set value = ''"
if bridge_install commerce 2>"$SERVERS_DIR/refused"; then
    fail "a deferrable unique constraint was accepted"
fi
grep -q 'deferrable unique' "$SERVERS_DIR/refused" || fail "$(cat "$SERVERS_DIR/refused")"
printf 'ok - deferrable unique constraints are refused\n'
