#!/usr/bin/env bash
# Changes that wait for each other, and each for nothing else, are applied together: rows that exchange unique values, and a parent
# that goes when its child has gone to another one, which takes its unique value. What waits for something else besides goes on
# waiting. And a row to blame is found among merged rows of a foreign source, too: its neighbours do not wait.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha fsync=off
sql alpha postgres "create database shop"
sql alpha shop "create table parent (id int primary key, code text unique);
    create table child (id int primary key, parent int references parent, what text);
    create table part (id int primary key, parent int references parent, what text)"
bridge_node commerce alpha shop legacy <<'YAML'
  - {name: parent, table: parent, key: [id], fields: [code]}
  - {name: child, table: child, key: [id], fields: [parent, what]}
  - {name: part, table: part, key: [id], fields: [parent, what], policy: merge}
YAML
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_start commerce
rabbit_user watcher secret </dev/null
# send ENTITY OP COLUMNS ROWS MICROSECONDS: as the foreign source "legacy".
send() {
    jq -nc --arg entity "$1" --arg op "$2" --argjson columns "$3" --argjson rows "$4" --argjson ts "$5" '{
        routing_key: "legacy.\($entity).\($op)", headers: {"x-source": "legacy", "x-content-hash": "compute"}, properties: {timestamp: 1},
        body: {entity: $entity, op: $op, key: [$columns[0]], columns: $columns, rows: $rows, versions: [$rows[] | $ts]}}' |
        /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge" bridge.sync >>"$SERVERS_DIR/sent.log"
}
here() { node_sql commerce "select concat_ws(':', id, $2) from $1 order by id" | tr '\n' ' '; }
is_here() { [[ $(here "$1" "$2") == "$3" ]]; }
waiting() { node_sql commerce "select count(*) from bridge.dead_letters where state = 'retrying'"; }
wait_so_many() { [[ $(waiting) == "$1" ]]; }
now=$(date +%s)000000
send parent created '["id","code"]' '[["1","x"],["3","a"],["4","b"],["5","c"],["6","k"],["7","l"]]' "$now"
send child created '["id","parent","what"]' '[["1","1","old"]]' "$now"
wait_for 30 "the rows to come" is_here child parent "1:1 "
node_sql commerce "insert into parent values (9, 'taken here')"

# Held by a clock that is an hour ahead, each becomes a letter of its own.
later=$((now + 3600000000))
send parent updated '["id","code"]' '[["3","b"]]' $later
send parent updated '["id","code"]' '[["4","c"]]' $((later + 1))
send parent updated '["id","code"]' '[["5","a"]]' $((later + 2))
send parent created '["id","code"]' '[["2","x"]]' $((later + 3))
send child updated '["id","parent","what"]' '[["1","2","moved"]]' $((later + 4))
send parent deleted '["id"]' '[["1"]]' $((later + 5))
# These two wait for each other as well, and one of them for a value that is taken.
send parent updated '["id","code"]' '[["6","l"]]' $((later + 6))
send parent updated '["id","code"]' '[["7","taken here"]]' $((later + 7))
wait_for 30 "all to wait" wait_so_many 8
node_sql commerce "update bridge.dead_letter set next_attempt = now() where state = 'retrying'"
send child created '["id","parent","what"]' '[["90",null,"neighbour"]]' "$now"
wait_for 60 "the circles to be applied" is_here parent code "2:x 3:b 4:c 5:a 6:k 7:l 9:taken here "
wait_for 60 "the children" is_here child parent "1:2 90 "
wait_for 60 "two to wait" wait_so_many 2
assert_equal "released 6, retrying 2" "$(node_sql commerce "select string_agg(state || ' ' || n, ', ' order by state) from (select state, count(*) n from bridge.dead_letters group by state) s")" "the letters"
printf 'ok - what waits for each other comes together\n'

node_sql commerce "update parent set code = 'given up' where id = 9"
wait_for 90 "the rest to come" is_here parent code "2:x 3:b 4:c 5:a 6:l 7:taken here 9:given up "
wait_for 30 "nothing to wait" wait_so_many 0
printf 'ok - what waits for something else besides comes with it\n'

# A merged row without its parent: it is one letter, and stops nobody.
send part created '["id","parent","what"]' '[["1","77","orphan"],["2","2","good"]]' "$now"
send part created '["id","parent","what"]' '[["3","2","after it"]]' "$now"
wait_for 60 "the neighbours to come" is_here part what "2:good 3:after it "
wait_for 30 "the orphan to wait" wait_so_many 1
send parent created '["id","code"]' '[["77","late"]]' "$now"
wait_for 60 "the orphan to come" is_here part what "1:orphan 2:good 3:after it "
counters_conserve commerce
bridge_stop commerce
printf 'ok - a merged row is blamed by itself\n'
