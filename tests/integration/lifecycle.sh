#!/usr/bin/env bash
# The life of an adapter: it may start before its database, its broker and its installation are there; it stops on SIGTERM
# within seconds and loses nothing; SIGHUP reloads; a second one stands by and takes over. What it says meanwhile: readiness,
# metrics, correlation ids, and logs without a row value or a password. And what its role and the monitor's may do.
# shellcheck disable=SC2119 # the libraries' functions have arguments of their own
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
# Servers that log every statement, with its parameters.
servers_start alpha beta fsync=off log_statement=all
declare -A HTTP=([commerce]=$(port_reserve) [operations]=$(port_reserve) [second]=$(port_reserve))

sql alpha postgres "create database shop"
sql beta postgres "create database ops"
sql alpha shop <<'SQL'
create schema shop;
create table shop.customers (customer_id int primary key, full_name text, credit numeric);
create table shop.measures (id int primary key, amount text, code text, kind text, note text, word text, query text);
create table shop.salaries (id int primary key, salary numeric);
create table shop.halt (now boolean);
SQL
# What operations refuses, one way per column.
sql beta ops <<'SQL'
create schema crm;
create table crm.client (credit numeric, id int primary key, name text);
create table crm.measure (id int primary key, amount int check (amount < 1000), code text unique, kind text not null, note text,
    word varchar(12), query tsquery);
create function crm.refuse() returns trigger language plpgsql as $$
begin
    if new.note is not null then raise exception 'the note % is not wanted here', new.note using detail = new.note; end if;
    return new;
end $$;
create trigger refuse before insert or update on crm.measure for each row execute function crm.refuse();
create table crm.halt (now boolean);
SQL
bridge_node commerce alpha shop operations "http: 127.0.0.1:${HTTP[commerce]}" <<'YAML'
  - {name: customer, table: shop.customers, key: [id = customer_id], fields: [name = full_name, credit]}
  - {name: measure, table: shop.measures, key: [id], fields: [amount, code, kind, note, word, query]}
YAML
bridge_node operations beta ops commerce "http: 127.0.0.1:${HTTP[operations]}" "log: json" <<'YAML'
  - {name: customer, table: crm.client, key: [id], fields: [name, credit]}
  - {name: measure, table: crm.measure, key: [id], fields: [amount, code, kind, note, word, query], triggers: fire}
YAML

# answers NODE PATH STATUS [LINE...]: the page has that status and these lines.
answers() {
    local node=$1 path=$2 status=$3 page line
    page=$(curl -s --max-time 60 -w '\n%{http_code}' "http://127.0.0.1:${HTTP[$node]}$path") || return 1
    printf '%s says %s\n' "$node" "$page"
    [[ ${page##*$'\n'} == "$status" ]] || return 1
    for line in "${@:4}"; do
        grep -qxF "$line" <<<"$page" || return 1
    done
}

ready() {
    wait_for 120 "$1 to be ready" answers "$1" /readyz 200 ready
}

not_ready() {
    wait_for 120 "$1 to say: ${*:2}" answers "$1" /readyz 503 "${@:2}"
}

rows() {
    sql "$1" "$2" "select count(*) from $3"
}

has_rows() {
    (($(rows "$1" "$2" "$3") >= $4))
}

# Rows on both sides are equal.
same_customers() {
    assert_equal "$(sql alpha shop "select customer_id, full_name, credit from shop.customers order by 1")" \
        "$(sql beta ops "select id, name, credit from crm.client order by 1")" "customers, $1"
}

logged() {
    grep -qF "$2" "$SERVERS_DIR/log/node-$1.log"
}

# ---- before anything is there ----
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_start operations
# No role, no schema, no queue: mended while it runs.
not_ready operations "outbound: database away" "inbound: database away"
bridge_install operations >>"$SERVERS_DIR/install.log"
ready operations
printf 'ok - an adapter that runs before its installation becomes ready\n'

rabbit_stop
postgres_stop alpha
bridge_start commerce
not_ready commerce "outbound: database away" "inbound: database away"
wait_for 60 "health" answers commerce /healthz 200 ok
postgres_start alpha
not_ready commerce "outbound: broker away" "inbound: broker away"
not_ready operations "outbound: broker away" "inbound: broker away"
sql alpha shop "insert into shop.customers values (1, 'Ann', 1)"
sql beta ops "insert into crm.client values (2, 2, 'Bob')"
rabbit_start
ready commerce
ready operations
bridge_quiet commerce operations
assert_equal 2 "$(rows alpha shop shop.customers)" "customers after a start without servers"
same_customers "after a start without servers"
printf 'ok - an adapter that starts before its servers says what is missing and becomes ready\n'

# ---- correlation ----
sql alpha shop "begin; select bridge.correlate('req-1'); insert into shop.customers values (3, 'Cleo', 3); commit" >"$SERVERS_DIR/null"
bridge_quiet commerce operations
assert_equal "commerce|customer|created" "$(jq -r 'select(.event == "applied" and .correlation_id == "req-1") | [.source, .entity, .op] | join("|")' \
    "$SERVERS_DIR/log/node-operations.log")" "the receiver's log of req-1"
# An id is a label, whatever stands in it: it forges no other member of the line.
label='req "2" level=none event=forged'
sql alpha shop "begin; select bridge.correlate('$label'); update shop.customers set credit = 4 where customer_id = 3; commit" >"$SERVERS_DIR/null"
sql beta ops "begin; select bridge.correlate('$label'); update crm.client set credit = 5 where id = 2; commit" >"$SERVERS_DIR/null"
bridge_quiet commerce operations
assert_equal "info" "$(jq -r --arg odd "$label" 'select(.event == "applied" and .correlation_id == $odd).level' \
    "$SERVERS_DIR/log/node-operations.log")" "the receiver's log of an odd id"
logged commerce 'correlation_id="req \"2\" level=none event=forged"' || fail "the receiver's text log of an odd id"
sql alpha shop "begin; select bridge.correlate('req-1'); update shop.customers set credit = 5 where customer_id = 3; commit" >"$SERVERS_DIR/null"
bridge_quiet commerce operations
for node in commerce operations; do
    # Of the node that wrote the row only a trigger tells.
    [[ $node == operations || $(capture_of commerce) == outbox ]] || continue
    assert_equal "3|commerce" "$(node_sql "$node" "select key, version_node from bridge.entity_state where correlation_id = 'req-1'")" \
        "bridge.entity_state of $node for req-1"
done
printf 'ok - a correlation id arrives in log and records\n'

# ---- SIGTERM ----

# start_directly NODE: as our own child, whose exit code we see.
start_directly() {
    "$PGBRIDGE" -v -c "$SERVERS_DIR/$1.yaml" run </dev/null >>"$SERVERS_DIR/log/node-$1.log" 2>&1 &
    DIRECT=$!
    process_read "$DIRECT"
    printf '%s %s\n' "$DIRECT" "$PROCESS_START" >"$SERVERS_DIR/pids/node-$1"
}

# write_on NODE FIRST: single-row transactions until the table says halt.
write_on() {
    local table=crm.client columns='id, name' halt=crm.halt
    [[ $1 == operations ]] || table=shop.customers columns='customer_id, full_name' halt=shop.halt
    node_sql "$1" "do \$\$ begin
        for i in 1 .. 60000 loop
            insert into $table ($columns) values ($2 + i, 'written ' || i);
            commit;
            exit when exists (select from $halt);
            perform pg_sleep(0.0005);
        end loop;
    end \$\$"
}

# Rows that were written here and are not there.
waiting() {
    printf '%s\n' $(($(sql alpha shop "select count(*) from shop.customers where customer_id between 100000 and 200000") -
        $(sql beta ops "select count(*) from crm.client where id between 100000 and 200000")))
}
many_wait() { (($(waiting) >= 10)); }

bridge_stop commerce
write_on commerce 100000 &
writer_here=$!
write_on operations 200000 &
writer_there=$!
for round in 1 2 3; do
    start_directly commerce
    ready commerce
    arrived_here=$(sql alpha shop "select count(*) from shop.customers where customer_id > 200000")
    arrived_there=$(sql beta ops "select count(*) from crm.client where id between 100000 and 200000")
    wait_for 60 "changes to arrive" has_rows beta ops "crm.client where id between 100000 and 200000" $((arrived_there + 30))
    wait_for 60 "changes to come" has_rows alpha shop "shop.customers where customer_id > 200000" $((arrived_here + 30))
    kill -s TERM "$DIRECT"
    wait_for 20 "the end of the adapter after SIGTERM" process_ended node-commerce
    status=0
    wait "$DIRECT" || status=$?
    assert_equal 0 "$status" "exit code after SIGTERM in round $round"
    wait_for 60 "changes that wait while nobody reads them" many_wait
done
sql alpha shop "insert into shop.halt values (true)"
sql beta ops "insert into crm.halt values (true)"
wait "$writer_here" "$writer_there"
waiting=$(waiting)
# bridge_stop was the first of them.
for line in 'stopping signal=SIGTERM' 'stopped node=commerce'; do
    assert_equal 4 "$(grep -cF " $line" "$SERVERS_DIR/log/node-commerce.log")" "lines of the log with $line"
done
bridge_start commerce
bridge_quiet commerce operations
same_customers "after SIGTERM under load"
for node in commerce operations; do
    assert_equal "0|0|0" "$(node_sql "$node" "select sum(duplicate), sum(stale), sum(gaps) from bridge.inbound")" \
        "duplicate and stale changes and gaps of $node: it drained before it stopped"
done
printf 'ok - SIGTERM drains and stops; %s changes waited for the next start\n' "$waiting"

# ---- SIGHUP ----
adapter=$(process_id node-commerce)
reload() {
    kill -s HUP "$adapter"
}
messages() {
    sql alpha shop "select messages from bridge.outbound"
}
before=$(messages)
sql alpha shop "insert into shop.customers select g, 'reload ' || g from generate_series(1001, 1200) g"
bridge_quiet commerce operations
assert_equal 1 $(($(messages) - before)) "messages of 200 rows"
cp "$SERVERS_DIR/commerce.yaml" "$SERVERS_DIR/commerce.before"
sed -i 's/^peers: .*/peers: [operations, legacy]/; s/^entities:/log: json\nmessage_bytes: 1 KiB\nentities:/; s/, credit\]/]/' "$SERVERS_DIR/commerce.yaml"
reload
wait_for 60 "the reload in the log" logged commerce '"event":"reloaded"'
lines=$(grep '^{' "$SERVERS_DIR/log/node-commerce.log")
assert_equal "log, message_bytes" "$(jq -r 'select(.event == "reloaded").applied' <<<"$lines")" "what a reload applied"
ignored() {
    [[ $(grep '^{' "$SERVERS_DIR/log/node-commerce.log" | jq -r 'select(.event == "ignored").key' | xargs) == "$1" ]]
}
wait_for 60 "what needs a restart in the log" ignored "peers entities (and pgbridge install)"
before=$(messages)
sql alpha shop "update shop.customers set full_name = full_name || ' again' where customer_id between 1001 and 1200"
bridge_quiet commerce operations
(($(messages) - before > 3)) || fail "message_bytes is not in force after a reload"
same_customers "after a reload"
# A config that is wrong is not taken: the adapter says where, and goes on as before.
printf 'nodes: commerce\n' >>"$SERVERS_DIR/commerce.yaml"
reload
wait_for 60 "the refusal of a broken config" logged commerce '"event":"kept"'
grep '"event":"kept"' "$SERVERS_DIR/log/node-commerce.log" | jq -e '.error | test("commerce.yaml:[0-9]+:")' >"$SERVERS_DIR/null" ||
    fail "the refusal of a broken config does not say where it is broken"
assert_equal "$adapter" "$(process_id node-commerce)" "the process after reloads"
cp "$SERVERS_DIR/commerce.before" "$SERVERS_DIR/commerce.yaml"
reload
wait_for 60 "text in the log again" logged commerce ' reloaded applied='
sed -i 's/, credit\]}/, credit], policy: manual}/' "$SERVERS_DIR/commerce.yaml"
reload
wait_for 60 "another policy in the log" logged commerce ' ignored key="entities (and pgbridge install)"'
cp "$SERVERS_DIR/commerce.before" "$SERVERS_DIR/commerce.yaml"
printf 'ok - SIGHUP reloads, says what it applied and what needs a restart\n'

# ---- two adapters of one node ----
sed "s/^http: .*/http: 127.0.0.1:${HTTP[second]}/" "$SERVERS_DIR/commerce.yaml" >"$SERVERS_DIR/second.yaml"
chmod 600 "$SERVERS_DIR/second.yaml"
bridge_start second
not_ready second "outbound: standby, another adapter of this node leads"
wait_for 60 "standby in the log" logged second 'changed direction=out state="standby"'
wait_for 60 "health of the one that stands by" answers second /healthz 200
sql alpha shop "update shop.customers set credit = 10 where customer_id < 1100"
sql beta ops "update crm.client set credit = 11 where id > 1100"
bridge_quiet commerce operations
answers second /readyz 503 >"$SERVERS_DIR/null" || fail "the second adapter is ready beside the first"
bridge_kill commerce
sql alpha shop "insert into shop.customers values (4, 'to the second', 4)"
sql beta ops "insert into crm.client values (5, 5, 'from operations')"
ready second
bridge_quiet commerce operations
assert_equal 2 "$(sql alpha shop "select count(*) from shop.customers where customer_id in (4, 5)")" "customers after the take-over"
same_customers "after the take-over"
bridge_start commerce
not_ready commerce "outbound: standby, another adapter of this node leads"
bridge_stop second
ready commerce
for node in commerce operations; do
    assert_equal "" "$(node_sql "$node" "select source from bridge.inbound where gaps > 0")" "gaps of $node after the take-over"
done
printf 'ok - a second adapter stands by and takes over\n'

# ---- nothing that can be read in a log ----
# The marker is 7700077, in words where words go.
sql alpha shop <<'SQL'
insert into shop.measures values (10, '1', 'taken', 'fine', null, 'short');
insert into shop.measures values (1, '7700077', 'a', 'too great', null, null);
insert into shop.measures values (2, 'marker-value', 'b', 'no number', null, null);
insert into shop.measures values (3, '77000777700077', 'c', 'out of range', null, null);
insert into shop.measures values (4, '4', 'marker-value', null, null, null);
insert into shop.measures values (5, '5', 'marker-code', 'twice', null, null);
insert into shop.measures values (6, '6', 'marker-code', 'twice', null, null);
insert into shop.measures values (7, '7', 'd', 'noted', 'marker-value', null);
insert into shop.measures values (8, '8', 'e', 'too long', null, 'marker-value-too-long');
insert into shop.measures values (9, '9', 'f', 'no query', null, null, 'marker-value marker-value');
SQL
letters() {
    [[ $(sql beta ops "select count(*) from bridge.dead_letters") == "$1" ]]
}
wait_for 60 "eight dead letters" letters 8
assert_equal "22001 22003 22P02 23502 23505 23514 42601 P0001" \
    "$(sql beta ops "select string_agg(distinct error_code, ' ' order by error_code) from bridge.dead_letters")" \
    "why they were refused"
assert_equal "1 2 3 4 6 7 8 9" "$(sql beta ops "select string_agg(key, ' ' order by key) from bridge.dead_letters")" "which were refused"
assert_equal "5 10" "$(sql beta ops "select string_agg(id::text, ' ' order by id) from crm.measure")" "which were not"
bridge_quiet commerce operations
counters_conserve operations
# Wrong passwords are not told either.
cp "$SERVERS_DIR/commerce.yaml" "$SERVERS_DIR/intruder.yaml"
sed -i "s/^http: .*//; s/commerce\.password/wrong.password/" "$SERVERS_DIR/intruder.yaml"
(umask 077; printf 'wrong-marker-value\n' >"$SERVERS_DIR/wrong.password")
chmod 600 "$SERVERS_DIR/intruder.yaml"
start_directly intruder
wait_for 60 "the refusal of a wrong password" logged intruder 'direction in: '
process_stop node-intruder
wait "$DIRECT" || true
for words in status "status --json" check "check --json"; do
    # shellcheck disable=SC2086 # two words
    bridge operations $words >>"$SERVERS_DIR/log/node-reports.log" 2>&1 || true
done
if found=$(grep -nE 'marker-(value|code)|7700077|secret-|written [0-9]|reload [0-9]|Ann|Cleo' "$SERVERS_DIR"/log/node-*.log "$SERVERS_DIR/install.log"); then
    fail "row values or passwords in a log: ${found:0:600}"
fi
if found=$(grep -nF secret- "$SERVERS_DIR"/log/*.log "$SERVERS_DIR"/rabbit/log/*); then
    fail "passwords in a server's log: ${found:0:600}"
fi
# One object a line.
jq -es 'length > 5 and all(.[]; (.time and .level and .event and .node == "operations"))' "$SERVERS_DIR/log/node-operations.log" \
    >"$SERVERS_DIR/null" || fail "the log of operations is not JSON with time, level, event and node on every line"
assert_equal "" "$(grep -v '^{' "$SERVERS_DIR/log/node-operations.log")" "lines of a JSON log that are none"
printf 'ok - logs hold no row values and no passwords, and JSON is JSON\n'

# ---- metrics ----
for node in commerce operations; do
    answers "$node" /healthz 200 ok >"$SERVERS_DIR/null" || fail "/healthz of $node"
    curl -s --max-time 60 "http://127.0.0.1:${HTTP[$node]}/metrics" >"$SERVERS_DIR/metrics"
    promtool check metrics <"$SERVERS_DIR/metrics" || fail "promtool does not like the metrics of $node"
done
assert_equal 8 "$(awk '/^pgbridge_changes_received_total.*dead_letter/ { print $2 }' "$SERVERS_DIR/metrics")" "dead letters in the metrics of operations"
printf 'ok - metrics pass promtool\n'

# ---- who may do what ----

# as ROLE SQL: in the database of operations, by the Unix socket, where everybody is believed.
as() {
    "$PG_BIN/psql" -X -A -t -q -v ON_ERROR_STOP=1 -h "$PG_SOCKET_DIR" -p "$PG_PORT_BETA" -U "$1" -d ops -c "$2" 2>&1
}
allowed() {
    local answer
    answer=$(as "$1" "$2") || fail "$1 may not: $2: $answer"
}
denied() {
    local answer
    ! answer=$(as "$1" "$2") || fail "$1 may: $2"
    [[ $answer == *"permission denied"* || $answer == *"must be owner"* || $answer == *"must be superuser"* ]] || fail "$1: $2: $answer"
}

sql beta ops "create role watcher login in role pgbridge_monitor; create table crm.salary (id int primary key, salary numeric);
    insert into crm.salary values (1, 1)"
for view in status lag entities entity_state outbox_pending health dead_letters version; do
    allowed watcher "select * from bridge.$view"
done
for table in outbox dead_letter conflict row_version outbound inbound worker node peer entity layout fingerprint; do
    denied watcher "select * from bridge.$table"
    denied watcher "delete from bridge.$table"
done
for table in crm.client crm.measure crm.salary; do
    denied watcher "select * from $table"
done
# What may be seen of a dead letter says nothing of its row.
assert_equal "" "$(as watcher "select to_jsonb(d) from bridge.dead_letters d" | grep -E 'marker-(value|code)|7700077' || true)" \
    "row values in bridge.dead_letters"
assert_equal "" "$(as watcher "select to_jsonb(s) from bridge.status s" | grep -E 'marker-(value|code)|7700077|secret-' || true)" \
    "row values in bridge.status"
printf 'ok - the monitor sees the views and nothing else\n'

for statement in "select * from crm.salary" "insert into crm.salary values (2, 2)" "update crm.salary set salary = 3" \
    "delete from crm.salary" "truncate crm.client" "alter table crm.client add column more int" "drop table crm.client" \
    "alter table crm.client disable trigger all" "create table crm.mine (id int)" "create table public.mine (id int)" \
    "create table bridge.mine (id int)" "create schema mine" "create database mine" "create role mine" \
    "create function bridge.mine() returns int language sql as 'select 1'" "drop trigger bridge_truncate on crm.client" \
    "update bridge.node set name = 'other'" "insert into bridge.peer values ('intruder')" "delete from bridge.dead_letter" \
    "update bridge.entity set relation = 'crm.salary'" "insert into bridge.outbox (layout, op, fields, ts) values (1, 'c', '{}', 1)" \
    "select bridge.attach('customer')" "select bridge.map_entity('salary', 'crm.salary', 1, array['id'], array['id'], 'fire', 'refuse', true, 'manual', '{}', '{}', false)" \
    "alter system set fsync = on" "set role pgbridge_owner" "copy crm.client to '/dev/null'" "select pg_read_file('postgresql.conf')"; do
    denied pgbridge "$statement"
done
# Who reads the log must be allowed to.
replication=f
[[ $(capture_of operations) == outbox ]] || replication=t
assert_equal "f|f|f|$replication|f" "$(sql beta ops "select rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls from pg_roles where rolname = 'pgbridge'")" \
    "attributes of the adapter's role"
printf 'ok - the role of the adapter may do what it needs and nothing else\n'

# ---- installed anew under a running adapter ----
if [[ $(capture_of commerce) == outbox ]]; then # the log is the adapter's as long as it runs
    # As an administrator may by hand; the command itself would not while the adapter runs.
    bridge commerce uninstall --print | sql alpha shop - >>"$SERVERS_DIR/install.log"
    not_ready commerce "outbound: database away" "inbound: database away"
    # The same number for another order of the fields.
    sed -i 's/name = full_name, credit/credit, name = full_name/' "$SERVERS_DIR/commerce.yaml"
    bridge_install commerce >>"$SERVERS_DIR/install.log"
    ready commerce
    sql alpha shop "insert into shop.customers values (6, '6', 66)"
    sql beta ops "insert into crm.client values (77, 7, '7')"
    bridge_quiet commerce operations
    same_customers "after an installation under a running adapter"
    printf 'ok - an adapter that is installed anew while it runs takes fields for what they are\n'
fi

bridge_stop commerce
bridge_stop operations
