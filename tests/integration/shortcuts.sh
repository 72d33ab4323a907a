#!/usr/bin/env bash
# Many created rows are written without a look where all of them are news, and updates without a judgement where their node wrote last:
# what is otherwise among them is judged all the same. A foreign source sends by the message contract, so that the moment and the
# versions are ours to choose.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha fsync=off
sql alpha postgres "create database shop"
sql alpha shop "create table family (id int primary key);
    create table item (id int primary key, what text unique, family int references family);
    create table priced (price numeric(10, 2) primary key, what text)"
bridge_node commerce alpha shop "legacy" <<'YAML'
  - {name: family, table: family, key: [id]}
  - {name: item, table: item, key: [id], fields: [what, family]}
  - {name: priced, table: priced, key: [price], fields: [what]}
YAML
bridge_install commerce >"$SERVERS_DIR/install.log"
sql alpha shop "alter role pgbridge set log_statement = 'all'; alter role pgbridge set log_parameter_max_length = 0"
bridge_start commerce
rabbit_user watcher secret </dev/null
url=amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge
past=1000000000000000
now() { date +%s%6N; }

# rows ENTITY OP KEY-FIELD MICROSECONDS < rows, as JSON: sends them in one message.
rows() {
    jq -c --arg entity "$1" --arg op "$2" --arg field "$3" --argjson ts "$4" '{
        routing_key: "legacy.\($entity).\($op)", headers: {"x-source": "legacy", "x-content-hash": "compute"}, properties: {timestamp: 1},
        body: {entity: $entity, op: $op, key: [$field], versions: [.[] | $ts],
            columns: (if .[0] | length == 1 then [$field] else [$field, "what", "family"][:(.[0] | length)] end), rows: .}}' |
        /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "$url" bridge.sync >>"$SERVERS_DIR/sent.log"
}
# items FROM: a hundred of them.
items() { jq -nc --argjson from "$1" '[range($from; $from + 100) | tostring | [., "item \(.)"]]'; }
received=0
# came N WHAT...: so many rows more, of which these counters tell.
came() {
    received=$((received + $1))
    wait_for 60 "the rows" settled
    assert_equal "$2" "$(sql alpha shop "select applied, same, duplicate, stale, conflicts, dead_letters from bridge.inbound where source = 'legacy'")" "$3"
    counters_conserve commerce
}
settled() { [[ $(sql alpha shop "select coalesce(sum(received), 0) from bridge.inbound") == "$received" ]]; }
# Statements of this kind that apply has run.
ran() { grep -c "execute $1_" "$SERVERS_DIR/log/postgres-alpha.log" || true; }

# ---- all of them news ----
items 1 | rows item created id "$(now)"
came 100 "100|0|0|0|0|0" "rows that are all news"
assert_equal "1 0" "$(ran create) $(ran apply)" "statements that wrote them"
assert_equal "100|100|100" "$(sql alpha shop "select count(*), count(*) filter (where v.node = 'legacy' and not v.deleted),
    count(*) filter (where i.what = 'item ' || i.id) from item i join bridge.row_version v on v.key = i.id::text")" "rows and their versions"
printf 'ok - rows that are all news are written without a look\n'

# ---- nothing is news twice ----
before=$(sql alpha shop "select md5(string_agg(v::text, '' order by key)) from bridge.row_version v")
ts=$(sql alpha shop "select max(ts) from bridge.row_version")
items 1 | rows item created id "$ts"
came 100 "100|0|100|0|0|0" "the same once more"
assert_equal "$before" "$(sql alpha shop "select md5(string_agg(v::text, '' order by key)) from bridge.row_version v")" "their versions"
printf 'ok - what comes again is a duplicate\n'

# What was no news lets the next ones be judged: a new session has forgotten that.
anew() { bridge_stop commerce; bridge_start commerce; }

# ---- some rows are known, and some have been deleted ----
sql alpha shop "insert into item values (201, 'own'); delete from item where id = 1"
jq -nc '[range(202; 210) | tostring | [., "item \(.)"]]' | rows item created id "$(now)"
came 8 "108|0|100|0|0|0" "few rows"
jq -nc '[range(202; 204) | tostring | [.]]' | rows item deleted id "$(now)"
came 2 "110|0|100|0|0|0" "their deletion"
anew
items 200 | rows item created id "$past"
# 200 and 210 to 299 are news; 202 to 209 are old; 201 is this node's, and newer.
came 100 "201|0|100|8|1|0" "rows of which some are known"
assert_equal "item 200,own,item 204,item 299" "$(sql alpha shop "select string_agg(what, ',' order by id) from item where id in (200, 201, 202, 203, 204, 299)")" \
    "what is there"
anew
items 1 | rows item created id "$past"
came 100 "201|0|100|108|1|0" "old rows, of which one is deleted here"
assert_equal 0 "$(sql alpha shop "select count(*) from item where id = 1")" "the deleted row"
printf 'ok - what is known among them is judged\n'

# ---- an application inserts one of them at the same time ----
anew
hold "insert into item values (333, \$\$own333\$\$)"
items 300 | rows item created id "$past"
wait_for 60 "apply to wait for the application" blocked
release
came 100 "300|0|100|108|2|0" "rows of which one was being inserted"
assert_equal "own333" "$(sql alpha shop "select what from item where id = 333")" "the newer of two inserts"
printf 'ok - a row that is inserted at the same time is judged\n'

# ---- one that cannot be, among others ----
anew
jq -nc '[range(400; 500) | tostring | [., if . == "450" then "own" else "item \(.)" end]]' | rows item created id "$(now)"
came 100 "399|0|100|108|2|1" "rows of which one wants another's unique value"
assert_equal "item|450|23505" "$(sql alpha shop "select entity, key, error_code from bridge.dead_letters")" "the letter"
anew
jq -nc '[range(500; 600) | tostring | [., "item \(.)", if . == "550" then "7" else null end]]' | rows item created id "$(now)"
came 100 "498|0|100|108|2|2" "rows of which one has no parent"
assert_equal "item|550|23503" "$(sql alpha shop "select entity, key, error_code from bridge.dead_letters where key = '550'")" "the letter"
sql alpha shop "insert into family values (7)"
released() { [[ $(sql alpha shop "select family from item where id = 550") == 7 ]]; }
wait_for 60 "the row that waited for its parent" released
printf 'ok - what cannot be stops nobody\n'

# ---- keys that the row's type writes otherwise, and twice in a message ----
anew
jq -nc '[range(1; 100) | ["\(.).5", "a"]] + [["1.50", "b"]]' | rows priced created price "$(now)"
received=$((received + 100))
wait_for 60 "the prices" settled
assert_equal "99|99|99" "$(sql alpha shop "select count(*), count(v.key), (select count(*) from bridge.row_version r, bridge.entity e where e.id = r.entity and e.name = 'priced')
    from priced p left join bridge.row_version v on v.key = p.price::text")" "prices and their versions"
printf 'ok - a key is known by its value\n'

# ---- what may have been forgotten ----
sql alpha shop "update bridge.collection set horizon_us = $past + 1"
anew
stale=$(sql alpha shop "select stale from bridge.inbound where source = 'legacy'")
items 700 | rows item created id "$past"
received=$((received + 100))
wait_for 60 "the old rows" settled
assert_equal "0|$((stale + 100))" "$(sql alpha shop "select (select count(*) from item where id >= 700), stale from bridge.inbound where source = 'legacy'")" "old news"
items 700 | rows item created id "$((past + 2))"
received=$((received + 100))
wait_for 60 "the new rows" settled
assert_equal "100" "$(sql alpha shop "select count(*) from item where id >= 700")" "newer ones"
counters_conserve commerce
printf 'ok - what may have been deleted and forgotten does not come back\n'

# ---- rows that their node writes again ----
bridge_stop commerce
sql alpha shop "delete from bridge.dead_letter; delete from bridge.inbound; update bridge.collection set horizon_us = 0"
received=0
anew
later=$(($(now) - 3600000000))
items 1001 | rows item created id "$later"
came 100 "100|0|0|0|0|0" "rows"
# written WORD: those with that behind them.
written() { jq -nc --arg word "$1" '[range(1001; 1101) | tostring | [., "\(.) \($word)"]]'; }
before=$(ran apply)
written once | rows item updated id $((later + 1))
came 100 "200|0|0|0|0|0" "rows that their node writes again"
assert_equal "$before" "$(ran apply)" "judgements"
assert_equal "100|100" "$(sql alpha shop "select count(*) filter (where i.what = i.id || ' once'), count(*) filter (where v.ts = $later + 1 and v.base_ts = $later)
    from item i join bridge.row_version v on v.key = i.id::text where i.id > 1000")" "rows and their versions"
written once | rows item updated id $((later + 1))
came 100 "200|0|100|0|0|0" "the same once more"
anew
written never | rows item updated id "$later"
came 100 "200|0|100|100|0|0" "an older write"
assert_equal 100 "$(sql alpha shop "select count(*) from item where what = id || ' once'")" "rows"
anew
written once | rows item updated id $((later + 2))
came 100 "300|0|100|100|0|0" "the same content anew"
assert_equal "100" "$(sql alpha shop "select count(*) from bridge.row_version where ts = $later + 2")" "versions"
printf 'ok - what a node writes upon its own is written without a judgement, and only once\n'

# ---- some of them this node has written ----
sql alpha shop "update item set what = 'own' || id where id between 1001 and 1010"
anew
written twice | rows item updated id $((later + 3))
came 100 "390|0|100|100|10|0" "rows of which some have been written here"
assert_equal "own1010|90" "$(sql alpha shop "select (select what from item where id = 1010), count(*) filter (where what = id || ' twice') from item")" \
    "this node's are newer"
anew
hold "update item set what = \$\$held\$\$ where id = 1050"
written thrice | rows item updated id $((later + 4))
wait_for 60 "apply to wait for the application" blocked
release
came 100 "479|0|100|100|21|0" "rows of which one was being written"
assert_equal "held|89" "$(sql alpha shop "select (select what from item where id = 1050), count(*) filter (where what = id || ' thrice') from item")" "nothing is overwritten unseen"

anew
jq -nc '[range(1011; 1050) | tostring | [., "item \(.)"]] + [["1060", "own1010"]]' | rows item updated id $((later + 5))
came 40 "518|0|100|100|21|1" "rows of which one wants another's unique value"
assert_equal "item|1060|23505" "$(sql alpha shop "select entity, key, error_code from bridge.dead_letters")" "the letter"
counters_conserve commerce
bridge_stop commerce
printf 'ok - what others have written among them is judged\n'
