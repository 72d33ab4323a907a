#!/usr/bin/env bash
# The message contract, seen by a client that shares nothing with the bridge: routing key, properties, headers, body and
# content hash; and anybody who speaks it is heard, if he is a peer.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha fsync=off
sql alpha postgres "create database shop"
sql alpha shop "create table customers (customer_id int primary key, email_address text, full_name text, credit numeric);
    create table orders (id int primary key, note text)"
bridge_node commerce alpha shop "legacy" <<'YAML'
  - {name: customer, table: customers, key: [id = customer_id], fields: [email = email_address, name = full_name, credit]}
  - {name: order, table: orders, key: [id], fields: [note]}
YAML
bridge_install commerce
bridge_start commerce
rabbit_user watcher secret </dev/null
url=amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge

peek() {
    process_start "peek-$1" /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" peek "$url" bridge.sync "$2" "$3"
    wait_for 60 "the watcher" grep -q ready "$SERVERS_DIR/log/peek-$1.log"
}
# seen NAME COUNT: waits for the messages.
seen() {
    wait_for 60 "$2 messages at watcher $1" process_ended "peek-$1"
    grep '^{' "$SERVERS_DIR/log/peek-$1.log" >"$SERVERS_DIR/$1.json"
    assert_equal "$2" "$(wc -l <"$SERVERS_DIR/$1.json")" "messages seen by $1"
}
# is NAME LINE "jq path" WANTED
is() {
    assert_equal "$4" "$(sed -n "$2p" "$SERVERS_DIR/$1.json" | jq -rc "$3")" "message $2, $3"
}

# ---- what we send ----
# The bridge keeps what nobody listens to: this one listens to everything.
peek everything '#' 1000
peek customers '*.customer.#' 4
sql alpha shop "insert into orders values (1, 'not for this watcher')"
sql alpha shop "begin; select bridge.correlate('req-1', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'); insert into customers values (42, 'ann@example.com', null, 1.50); commit" >"$SERVERS_DIR/null"
wait_for 60 "an empty outbox" outboxes_empty commerce
sql alpha shop "update customers set full_name = 'Ann \"quoted\" \\ ünï ' || chr(10)"
wait_for 60 "an empty outbox" outboxes_empty commerce
sql alpha shop "begin; select bridge.correlate('a'); insert into customers values (43); select bridge.correlate('b'); insert into customers values (44); delete from customers where customer_id = 42; commit" >"$SERVERS_DIR/null"
seen customers 4

for line in 1 2 3 4; do
    assert_equal "$(sed -n "${line}p" "$SERVERS_DIR/customers.json" | jq -r .computed_hash)" \
        "$(sed -n "${line}p" "$SERVERS_DIR/customers.json" | jq -r '.headers["x-content-hash"]')" "x-content-hash of message $line"
    is customers $line '.headers["x-source"]' commerce
    is customers $line '.headers["x-protocol"]' 1
    is customers $line '.properties.delivery_mode' 2
    is customers $line '.properties.content_type' application/json
    is customers $line '.properties.user_id' commerce
    is customers $line '.properties.app_id | startswith("pgbridge/")' true
    is customers $line '.properties.message_id | test("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")' true
    is customers $line '(.properties.timestamp - now) | fabs < 300' true
    is customers $line '.headers["x-epoch"] | length' 36
    is customers $line '.headers["x-batch"] | length' 36
    is customers $line '.headers["x-schema"] | length > 0' true
    is customers $line '[.body.rows[][] | type] | unique - ["string", "null"]' '[]'
    is customers $line '[.body.versions[] | type] | unique' '["number"]'
done
is customers 1 .routing_key commerce.customer.created
is customers 1 .properties.type customer.created
is customers 1 .properties.correlation_id req-1
is customers 1 .headers.traceparent 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
is customers 1 '[.body.entity, .body.op, .body.key, .body.columns, .body.rows, .body.correlations]' \
    '["customer","created",["id"],["id","email","name","credit"],[["42","ann@example.com",null,"1.50"]],["req-1"]]'
is customers 1 '.body | has("bases")' false
is customers 2 .routing_key commerce.customer.updated
is customers 2 '.body.rows[0][2]' 'Ann "quoted" \ ünï '
is customers 2 '.properties.correlation_id' null
first_version=$(sed -n 1p "$SERVERS_DIR/customers.json" | jq -c '.body.versions[0]')
# What a write has replaced is not in the log.
bases="[[$first_version,\"commerce\"]]"
[[ $(capture_of commerce) == outbox ]] || bases=null
is customers 2 '.body.bases' "$bases"
# One transaction, two messages: the deletion first, and no correlation id where there are several.
is customers 3 .routing_key commerce.customer.deleted
is customers 3 '[.body.columns, .body.rows]' '[["id"],[["42"]]]'
is customers 3 .properties.correlation_id b
is customers 4 .routing_key commerce.customer.created
is customers 4 '.body.rows | map(.[0])' '["43","44"]'
is customers 4 '[.properties.correlation_id, .body.correlations]' '[null,["a","b"]]'
for line in 3 4; do
    is customers $line '.headers["x-parts"]' 2
    is customers $line '.headers["x-part"]' $((line - 2))
done
sequence=$(jq -r '.headers["x-seq"]' "$SERVERS_DIR/customers.json" | xargs)
# Number 1 was the order that this watcher did not see.
assert_equal "2 3 4 5" "$sequence" "x-seq, one by one"
printf 'ok - what we send\n'

# ---- what we take from others ----
# message SOURCE OP ID NAME MICROSECONDS
message() {
    jq -nc --arg source "$1" --arg op "$2" --arg id "$3" --arg name "$4" --argjson ts "$5" '{
        routing_key: "legacy.customer.\($op)", headers: {"x-source": $source, "x-content-hash": "compute"},
        properties: {content_type: "application/json", timestamp: ($ts / 1000000 | floor)},
        body: {entity: "customer", op: $op, key: ["id"], columns: ["id", "name"], rows: [[$id, $name]], versions: [$ts]}}'
}
send() {
    /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "$url" bridge.sync >>"$SERVERS_DIR/sent.log"
}
now=$(date +%s)000000
name_of() { sql alpha shop "select full_name from customers where customer_id = $1"; }
row_is() { [[ $(name_of "$1") == "$2" ]]; }
counter_is() { [[ $(sql alpha shop "select $2 from bridge.inbound where source = '$1'") == "$3" ]]; }

message legacy created 100 "from elsewhere" "$now" | send
wait_for 60 "a row of a foreign source" row_is 100 "from elsewhere"
message legacy updated 100 "newer" $((now + 1)) | send
wait_for 60 "its update" row_is 100 newer
message legacy updated 100 "late" $((now - 5)) | send
message legacy updated 100 "newer" $((now + 1)) | send
wait_for 60 "a late one that is stale" counter_is legacy stale 1
wait_for 60 "a repeated one that is a duplicate" counter_is legacy duplicate 1
assert_equal newer "$(name_of 100)" "the row after stale and duplicate messages"
# Without versions, the message's timestamp is the version.
jq -nc --argjson s $((now / 1000000 + 1)) '{routing_key: "legacy.customer.updated", headers: {"x-source": "legacy", "x-content-hash": "compute"},
    properties: {timestamp: $s}, body: {entity: "customer", op: "updated", key: ["id"], columns: ["id", "name"], rows: [["100", "by timestamp"]]}}' | send
wait_for 60 "a message without versions" row_is 100 "by timestamp"
assert_equal "" "$(sql alpha shop "select email_address from customers where customer_id = 100")" "a column that never came"
message intruder updated 100 "by an intruder" $((now + 999000000)) | send
wait_for 60 "a source that is no peer, refused" counter_is "(other)" refused 1
message commerce updated 100 "an echo" $((now + 999000000)) | send
wait_for 60 "our own name, dropped" counter_is commerce echo 1
assert_equal "by timestamp" "$(name_of 100)" "the row after an intruder and an echo"
assert_equal 1 "$(grep -c '^[^ ]* refused source=intruder' "$SERVERS_DIR/log/node-commerce.log")" "log lines about the intruder"
printf 'ok - peers are heard, others refused and counted\n'

# ---- what cannot be applied is kept ----
letter() { sql alpha shop "select class, state, coalesce(entity, ''), coalesce(key, '') from bridge.dead_letters order by id desc limit 1"; }
letters() { [[ $(sql alpha shop "select count(*) from bridge.dead_letters") == "$1" ]]; }
message legacy created 101 "wrong hash" "$now" | jq -c '.headers["x-content-hash"] = "sha256:0000000000000000000000000000000000000000000000000000000000000000"' | send
wait_for 60 "a wrong hash, quarantined" letters 1
assert_equal "poison|quarantined||" "$(letter)" "letter of a wrong hash"
message legacy created 101 "not json" "$now" | jq -c '.body_text = "{\"entity\":"' | send
wait_for 60 "unreadable JSON, quarantined" letters 2
message legacy created 101 "unknown" "$now" | jq -c '.body.entity = "unheard-of"' | send
wait_for 60 "an unknown entity, parked" letters 3
assert_equal "permanent|parked|unheard-of|101" "$(letter)" "letter of an unknown entity"
message legacy created "no number" "wrong type" "$now" | send
wait_for 60 "a wrong type, parked" letters 4
assert_equal "permanent|parked|customer|no number" "$(letter)" "letter of a wrong type"
message legacy created 101 "extra" "$now" | jq -c '.body.columns += ["shoe_size"] | .body.rows[0] += ["44"] | .body.later = true' | send
wait_for 60 "unknown fields, ignored" row_is 101 extra
message legacy deleted 101 x $((now + 5)) | jq -c '.body.columns = ["id"] | .body.rows = [["101"]]' | send
message legacy created 102 "after all this" "$now" | send
wait_for 60 "the next message" row_is 102 "after all this"
assert_equal "" "$(name_of 101)" "a row deleted by a foreign source"
counters_conserve commerce
printf 'ok - what cannot be applied is kept, and the rest goes on\n'
