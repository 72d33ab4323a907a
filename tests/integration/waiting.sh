#!/usr/bin/env bash
# Changes that cannot be applied yet, because of what the other side does not know: a parent that is missing, a unique value that is
# taken, a parent deleted there while a child was inserted here, a clock far ahead. They wait, everything else flows, and they
# settle by themselves.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
tables="create table parent (id int primary key, what text);
    create table child (id int primary key, parent int references parent on delete cascade, what text);
    create table account (id int primary key, email text unique, what text);
    create table wide (a int, b int, code text unique, primary key (a, b));
    create table badge (id int primary key, code text unique)"
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
sql alpha shop "$tables"
sql beta ops "$tables; create table note (id int primary key, parent int references parent)"
# One that is older than the bridge, and has no version.
sql alpha shop "insert into parent values (23, 'p')"
sql beta ops "insert into parent values (23, 'p')"
entities() {
    cat <<'YAML'
  - {name: parent, table: parent, key: [id], fields: [what]}
  - {name: child, table: child, key: [id], fields: [parent, what]}
  - {name: account, table: account, key: [id], fields: [email, what]}
  - {name: wide, table: wide, key: [a, b], fields: [code]}
  - {name: badge, table: badge, key: [id], fields: [code], policy: manual}
YAML
}
bridge_node commerce alpha shop "operations legacy" < <(entities)
bridge_node operations beta ops "commerce legacy" < <(entities)
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"
start() { bridge_start commerce && bridge_start operations && bridge_quiet commerce operations; }
stop() { bridge_stop commerce && bridge_stop operations; }
both() {
    local here there
    here=$(node_sql commerce "select * from $1 order by 1, 2")
    there=$(node_sql operations "select * from $1 order by 1, 2")
    assert_equal "$here" "$there" "$1 on both sides"
    printf '%s' "$here"
}
waiting() { node_sql "$1" "select coalesce(string_agg(concat_ws(' ', entity, key, op, error_code), ', ' order by id), '') from bridge.dead_letters where state = 'retrying'"; }
waits() { [[ $(waiting "$1") == "$2" ]]; }
open() { node_sql "$1" "select coalesce(string_agg(concat_ws(' ', entity, key, kind), ', ' order by id), '') from bridge.conflicts where state = 'open'"; }
equal_everywhere() { [[ $(node_sql commerce "select * from $1 order by 1, 2") == "$(node_sql operations "select * from $1 order by 1, 2")" ]]; }
rabbit_user watcher secret </dev/null
# send ENTITY OP COLUMNS ROW MICROSECONDS: as the foreign source "legacy".
send() {
    jq -nc --arg entity "$1" --arg op "$2" --argjson columns "$3" --argjson row "$4" --argjson ts "$5" '{
        routing_key: "legacy.\($entity).\($op)", headers: {"x-source": "legacy", "x-content-hash": "compute"}, properties: {timestamp: 1},
        body: {entity: $entity, op: $op, key: [$columns[0]], columns: $columns, rows: [$row], versions: [$ts]}}' |
        /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge" bridge.sync >>"$SERVERS_DIR/sent.log"
}
start

# ---- child before parent ----
now=$(date +%s)000000
send child created '["id","parent","what"]' '["1","10","early"]' "$now"
send account created '["id","email","what"]' '["90","z@z","neighbour"]' "$now"
wait_for 60 "the child to wait" waits commerce "child 1 created 23503"
bridge_quiet commerce operations
assert_equal "neighbour" "$(node_sql commerce "select what from account where id = 90")" "the neighbour"
send child updated '["id","parent","what"]' '["1","10","early, changed"]' "$((now + 1))"
wait_for 60 "its newer state to wait" waits commerce "child 1 created 23503, child 1 updated 23503"
node_sql operations "insert into parent values (10, 'late')"
wait_for 60 "the child to come with its parent" waits commerce ""
assert_equal "1|10|early, changed" "$(node_sql commerce "select * from child")" "the child in its newest state"
wait_for 60 "the child to come at operations, too" waits operations ""
printf 'ok - a child waits for its parent, and comes with it\n'

# ---- the same unique value on both sides ----
stop
node_sql commerce "insert into account values (1, 'ann@example.com', 'commerce'); insert into wide values (1, 1, 'x')"
node_sql operations "insert into account values (2, 'ann@example.com', 'operations'); insert into wide values (2, 2, 'x')"
start
assert_equal "account 2 created 23505, wide {2,2} created 23505" "$(waiting commerce)" "what waits at commerce"
assert_equal "account 1 created 23505, wide {1,1} created 23505" "$(waiting operations)" "what waits at operations"
assert_equal "account 2 multiple_unique_conflicts, wide {2,2} multiple_unique_conflicts" "$(open commerce)" "the open conflicts of commerce"
assert_equal "account 1 multiple_unique_conflicts, wide {1,1} multiple_unique_conflicts" "$(open operations)" "the open conflicts of operations"
assert_equal "commerce|1|operations|2" "$(node_sql commerce "select local_row->>'what', local_row->>'id', remote_row->>'what', remote_row->>'id' from bridge.conflicts where entity = 'account'")" "both rows"
assert_equal "1" "$(node_sql commerce "select count(*) from account where email = 'ann@example.com'")" "commerce has its own row"
# Other changes of the rows go on; those of the key that waits stay behind it.
node_sql commerce "update account set what = 'commerce, changed' where id = 1"
bridge_quiet commerce operations
assert_equal "commerce, changed" "$(node_sql operations "select remote_row->>'what' from bridge.conflicts where key = '1' and state = 'open'")" "the newest of what waits"
# The value becomes free on one side: both rows are on both sides.
node_sql commerce "update account set email = 'ann@work.example.com' where id = 1; delete from wide"
wait_for 60 "the accounts to be equal" equal_everywhere account
wait_for 60 "the wide rows to be equal" equal_everywhere wide
wait_for 60 "nothing to wait at commerce" waits commerce ""
wait_for 60 "nothing to wait at operations" waits operations ""
assert_equal $'1|ann@work.example.com|commerce, changed\n2|ann@example.com|operations' "$(both account | head -n 2)" "both accounts"
assert_equal "2|2|x" "$(both wide)" "the row that is left"
assert_equal "|" "$(open commerce)|$(open operations)" "what is still open"
assert_equal "settled" "$(node_sql commerce "select distinct resolution from bridge.conflicts where kind = 'multiple_unique_conflicts'")" "how it ended"
printf 'ok - a unique value given twice: both rows stay, and settle when it becomes free\n'

# ---- a human decides about a unique value ----
stop
node_sql commerce "insert into account values (3, 'bob@example.com', 'commerce')"
node_sql operations "insert into account values (4, 'bob@example.com', 'operations')"
start
node_sql commerce "select bridge.resolve_conflict((select id from bridge.conflicts where key = '4' and state = 'open'), 'null')" >/dev/null
wait_for 60 "nothing to wait at operations" waits operations ""
wait_for 60 "nothing to wait at commerce" waits commerce ""
bridge_quiet commerce operations
assert_equal "3|bob@example.com|commerce" "$(both account | grep bob)" "the row that was chosen"
printf 'ok - a unique value given twice: or a human decides\n'

# ---- what waited for a unique value meets another row of its key: a human is to decide ----
stop
node_sql operations "insert into badge values (2, 'another')"
node_sql commerce "insert into badge values (1, 'code')"
bridge_start commerce
send badge created '["id","code"]' '["2","code"]' "$now"
wait_for 60 "the badge to wait" waits commerce "badge 2 created 23505"
assert_equal "badge 2 multiple_unique_conflicts" "$(open commerce)" "what is open while it waits"
bridge_start operations
wait_for 60 "nothing to wait at commerce" waits commerce ""
bridge_quiet commerce operations
assert_equal "badge 2 insert_exists|badge 2 insert_exists" "$(open commerce)|$(open operations)" "what is left to a human"
assert_equal $'1|code\n2|another' "$(both badge)" "the badges"
printf 'ok - what waited for a unique value, and is in dispute then, stays open\n'

# ---- parent deleted against child inserted ----
node_sql commerce "insert into parent values (20, 'p'), (21, 'p'), (22, 'p'); insert into child values (200, 20, 'old'), (210, 21, 'old')"
bridge_quiet commerce operations
stop
node_sql commerce "delete from parent where id in (20, 21, 22, 23)"
node_sql operations "insert into child values (201, 20, 'new'); insert into note values (1, 22), (2, 23)"
start
wait_for 60 "the parents to be equal" equal_everywhere parent
wait_for 60 "the children to be equal" equal_everywhere child
wait_for 60 "nothing to wait at commerce" waits commerce ""
wait_for 60 "nothing to wait at operations" waits operations ""
bridge_quiet commerce operations
assert_equal $'10|late\n20|p\n22|p\n23|p' "$(both parent)" "the parents that are needed came back"
assert_equal $'1|10|early, changed\n201|20|new' "$(both child)" "the new child is there, the old ones are deleted"
assert_equal $'20|delete_origin_differs|local\n22|delete_origin_differs|local\n23|delete_origin_differs|local' "$(node_sql operations "select key, kind, ruling from bridge.conflicts where entity = 'parent' order by key")" "the conflicts"
for node in commerce operations; do
    assert_equal "0" "$(node_sql $node "select count(*) from child c where not exists (select from parent p where p.id = c.parent)")" "orphans of $node"
done
printf 'ok - a parent that is needed there comes back here\n'

# ---- a clock far ahead ----
send account updated '["id","email","what"]' '["90","z@z","from the future"]' "$((now + 3600000000))"
send account created '["id","email","what"]' '["91","y@y","in time"]' "$((now + 2))"
wait_for 60 "the change to wait" waits commerce "account 90 updated CLOCK"
wait_for 60 "the change to wait at operations, too" waits operations "account 90 updated CLOCK"
bridge_quiet commerce operations
assert_equal "neighbour|in time" "$(node_sql commerce "select string_agg(what, '|' order by id) from account where id >= 90")" "the rows meanwhile"
due=$((now + 3600000000))
[[ $(capture_of commerce) == wal ]] || due=$((due - 300000000))
assert_equal t "$(node_sql commerce "select next_attempt = to_timestamp($due / 1000000.0) from bridge.dead_letters where state = 'retrying'")" \
    "that the change waits for its own time, less max_clock_skew where triggers capture"
# Of a row that the log tells of nothing is ahead of its clock.
if [[ $(capture_of commerce)$(capture_of operations) == outboxoutbox ]]; then
    stop
    sed -i 's/^entities:/max_clock_skew: 2 h\nentities:/' "$SERVERS_DIR/commerce.yaml" "$SERVERS_DIR/operations.yaml"
    for node in commerce operations; do
        node_sql $node "update bridge.dead_letter set next_attempt = now() where state = 'retrying'"
    done
    start
    send account created '["id","email","what"]' '["92","x@x","wakes it up"]' "$((now + 3))"
    wait_for 60 "the change to be applied" waits commerce ""
    wait_for 60 "the change to be applied at operations" waits operations ""
    bridge_quiet commerce operations
    both account >/dev/null
    assert_equal "from the future" "$(node_sql commerce "select what from account where id = 90")" "when its time has come"
fi
printf 'ok - a clock far ahead is waited for\n'

for node in commerce operations; do
    counters_conserve "$node"
    assert_equal "0" "$(node_sql $node "select count(*) from bridge.dead_letters where state in ('parked', 'quarantined')")" "letters for a human on $node"
done
stop
