#!/usr/bin/env bash
# A backlog is worked off by two transactions at a time: of other rows, of the same, of rows that take each other's unique values, of parents
# and children; while applications of both sides write, through kill -9. Both sides are equal in the end, and nothing is left over.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
HOOKS=$(find "$BUILD_DIR" -name pgbridge_hooks -type f -executable | head -n 1)

servers_init
servers_start alpha beta fsync=off
tables="create table account (id int primary key, what text, n int default 0);
    create table tag (id int primary key, code text unique);
    create table parent (id int primary key, what text);
    create table child (id int primary key, parent int references parent, what text);
    insert into account select g from generate_series(1, 3000) g;
    insert into tag select g, 'code ' || g from generate_series(1, 100) g"
# What an application does: k is where.
load="create function exchange(a int, b int) returns void language plpgsql as \$\$
    declare one text; other text;
    begin
        select code into one from tag where id = a for update;
        select code into other from tag where id = b for update;
        update tag set code = 'between ' || a where id = a;
        update tag set code = one where id = b;
        update tag set code = other where id = a;
    end \$\$;
    create function step(k int, hot int, kind int) returns void language plpgsql as \$\$
    begin
        case
        when kind < 6000 then update account set n = n + 1, what = 'cold' where id = k;
        when kind < 8000 then update account set n = n + 1, what = 'hot' where id = hot;
        when kind < 8800 then
            delete from account where id = k;
            insert into account values (k, 'again') on conflict do nothing;
        when kind < 9400 then
            insert into parent values (k, 'parent') on conflict do nothing;
            insert into child select g, k, 'child' from generate_series(10 * k, 10 * k + 3) g on conflict do nothing;
        when kind < 9995 then
            delete from child where parent = k;
            delete from parent where id = k;
        else perform exchange(hot, hot + 50);
        end case;
    end \$\$"
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
for database in "alpha shop" "beta ops"; do
    # shellcheck disable=SC2086 # two words
    sql $database "$tables; $load"
done
entities() {
    cat <<'YAML'
  - {name: account, table: account, key: [id], fields: [what, n]}
  - {name: tag, table: tag, key: [id], fields: [code]}
  - {name: parent, table: parent, key: [id], fields: [what]}
  - {name: child, table: child, key: [id], fields: [parent, what]}
YAML
}
bridge_node commerce alpha shop operations "ping_pong: {times: 0}" < <(entities)
bridge_node operations beta ops commerce "ping_pong: {times: 0}" "http: 127.0.0.1:$(port_reserve)" < <(entities)
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"

# Few rows in a transaction: many go beside others.
begin_operations() {
    PGBRIDGE=$HOOKS PGBRIDGE_GROUP_ROWS=100 bridge_start operations
}
beside() {
    curl -sf "http://127.0.0.1:$(sed -n 's/^http: 127.0.0.1://p' "$SERVERS_DIR/operations.yaml")/metrics" |
        sed -n 's/^pgbridge_transactions_beside_total{.*} //p'
}
# work CLUSTER DATABASE KINDS TRANSACTIONS: of four sessions, each. Several calls make several batches.
work() {
    # shellcheck disable=SC2016 # pgbench's
    printf '\\set k random(1, 3000)\n\\set hot random(1, 20)\n\\set kind random(0, %s)\nselect step(:k, :hot, :kind);\n' "$3" >"$SERVERS_DIR/$1.pgbench"
    local admin=PG_ADMIN_${1^^}
    "$PG_BIN/pgbench" -n -c 4 -t "$4" -f "$SERVERS_DIR/$1.pgbench" --max-tries=100 "${!admin} dbname=$2" >"$SERVERS_DIR/log/pgbench-$1.log" 2>&1 ||
        fail "$(tail -n 5 "$SERVERS_DIR/log/pgbench-$1.log")"
}
both() {
    local table
    for table in account tag parent child; do
        assert_equal "$(node_sql commerce "select * from $table order by 1")" "$(node_sql operations "select * from $table order by 1")" "$table on both sides: $1"
    done
}
no_letters() {
    local node
    for node in commerce operations; do
        assert_equal 0 "$(node_sql "$node" "select count(*) from bridge.dead_letters where state <> 'resolved'")" "letters on $node: $1"
    done
}
held_back() { [[ $(node_sql operations "select state from bridge.status where direction = 'in'") == paused ]]; }
hold_back() {
    bridge operations pause --direction in >/dev/null
    wait_for 60 "inbound to be paused" held_back
}
waits() { [[ $(node_sql operations "select coalesce(queue_depth, 0) > 5 from bridge.worker where direction = 'in'") == t ]]; }

bridge_start commerce
begin_operations
bridge_quiet commerce operations

# ---- rows here and there ----
hold_back
for _ in {1..8}; do work alpha shop 5999 250; done
wait_for 60 "messages to wait" waits
bridge operations resume >/dev/null
bridge_quiet commerce operations
both "rows here and there"
count=$(beside)
((count > 0)) || fail "no transaction was prepared beside another"
no_letters "rows here and there"
printf 'ok - a backlog is worked off by two transactions at a time: %s went beside others\n' "$count"

# ---- everything, and both sides write ----
hold_back
for _ in {1..12}; do work alpha shop 9999 200; done
wait_for 60 "messages to wait" waits
bridge operations resume >/dev/null
work alpha shop 9999 500 &
first=$!
work beta ops 8799 500
wait "$first"
bridge_quiet commerce operations
both "while both write"
no_letters "while both write"
counters_conserve operations
(($(beside) > count)) || fail "no transaction was prepared beside another"
printf 'ok - rows of both, hot rows, unique values, parents and children, while both sides write: %s went beside others\n' $(($(beside) - count))

# ---- kill -9 ----
hold_back
work alpha shop 9999 3000
wait_for 60 "messages to wait" waits
bridge operations resume >/dev/null
for _ in 1 2 3 4; do
    sleep "0.$((1 + RANDOM % 8))"
    bridge_kill operations
    begin_operations
done
bridge_quiet commerce operations
both "after kill -9"
no_letters "after kill -9"
assert_equal 0 "$(node_sql operations "select sum(gaps) from bridge.inbound")" "gaps"
printf 'ok - through kill -9\n'

# ---- no second session ----
bridge_kill operations
begin_operations
bridge_quiet commerce operations
hold_back
for _ in {1..20}; do work alpha shop 5999 20; done
wait_for 60 "messages to wait" waits
# Those that are there stay.
node_sql operations "alter role pgbridge connection limit 1"
node_sql operations "select bridge.resume('in')" >/dev/null
wait_for 60 "the refusal to be told" grep -q 'postponed.*a second session for what is applied' "$SERVERS_DIR/log/node-operations.log"
bridge_quiet commerce operations
both "without a second session"
assert_equal 0 "$(beside)" "transactions beside others without a session for them"
printf 'ok - one after another where no second session may be had\n'

node_sql operations "alter role pgbridge connection limit -1"
bridge_stop operations
bridge_stop commerce
