#!/usr/bin/env bash
# Statements whose cost must not depend on statistics: the outbox is empty when it is analyzed, and full when it counts; and so is what is
# known of an entity's rows.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha fsync=off autovacuum=off
sql alpha postgres "create database shop"
sql alpha shop "create table item (id int primary key, what text); create table late (id int primary key, what text)"
bridge_node one alpha shop two <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
  - {name: late, table: late, key: [id], fields: [what]}
YAML
bridge_install one >>"$SERVERS_DIR/install.log"
# As autovacuum leaves it after a backlog.
sql alpha shop "insert into item select -i, 'x' from generate_series(1, 1000) i"
sql alpha shop "delete from bridge.outbox"
sql alpha shop "vacuum analyze bridge.outbox"
sql alpha shop "do \$\$ begin for i in 1 .. 3000 loop insert into item values (i, 'x'); commit; end loop; end \$\$"

# planned NAME TYPES ARGUMENTS: how one of the adapter's queries is answered in a session like its own; undone.
planned() {
    sql alpha shop <<SQL
set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashagg = off;
set enable_hashjoin = off; set enable_mergejoin = off; set plan_cache_mode = force_generic_plan;
prepare asked ($2) as $(cat "$SOURCE_DIR/sql/queries/$1.sql");
begin;
select format('explain (analyze, costs off, timing off, summary off) execute asked (%s)', $3)
  from (select array_agg(txid order by seq) as txids, min(txid) as first from bridge.outbox) o \gexec
rollback;
SQL
}

# by_index NAME CONDITION TYPES ARGUMENTS
by_index() {
    local plan
    plan=$(planned "$1" "$3" "$4")
    grep -qE "Index Cond: \($2" <<<"$plan" || fail "$1 does not look up by $2: $plan"
    ! grep -qE 'Rows Removed[^:]*: [0-9]{2,}|Seq Scan on outbox .*actual' <<<"$plan" || fail "$1 reads rows and throws them away: $plan"
    printf 'ok - %s looks up by index\n' "$1"
}

by_index outbox_rows '\(?txid = t.txid' "xid8[], int[]" "quote_literal(txids) || ', ''{}'''"
by_index outbox_part '\(?txid = \$1' "xid8, bigint, bigint, int[]" "quote_literal(first) || ', 0, 10, ''{}'''"
by_index outbox_window '\(?txid >= ' "text, bigint, boolean, int[], boolean, xid8" "quote_literal(first || ':' || first || ':') || ', 500, false, ''{}'', false, ''0'''"
window=$(planned outbox_window "text, bigint, boolean, int[], boolean, xid8" "'null, 100, false, ''{}'', false, ''0'''")
grep -qE 'outbox_pkey.*rows=2[0-9]{3}\b' <<<"$window" || fail "outbox_window reads the whole backlog to find the first transactions: $window"
by_index outbox_release '\(?txid = ANY \(\$1' "xid8[], xid8, bigint, bigint, text, bigint, bigint, bigint, bigint, bigint, int[]" \
    "quote_literal(txids) || ', null, null, null, ''epoch'', 1, 1, 1, 1, 1, ''{}'''"
# Of changes that were put aside: of which entities there are any, however many others wait.
sql alpha shop "update bridge.outbox set lsn = '0/1'"
by_index aside_part '\(?txid = \$1' "xid8, bigint, bigint, int[], bigint" "quote_literal(first) || ', 0, 10, ''{}'', 5000'"
sql alpha shop "prepare asked as $(cat "$SOURCE_DIR/sql/queries/aside_entities.sql"); execute asked" | grep -qx item || fail "the entity with changes aside is not found"
entities=$(sql alpha shop "set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashagg = off; set enable_hashjoin = off; set enable_mergejoin = off; set plan_cache_mode = force_generic_plan;
    prepare asked as $(cat "$SOURCE_DIR/sql/queries/aside_entities.sql"); explain (analyze, costs off, timing off, summary off) execute asked")
grep -q 'outbox_aside' <<<"$entities" || fail "aside_entities does not look up by its index: $entities"
! grep -qE '(outbox_aside|outbox_pkey).*rows=[0-9]{2,}|Rows Removed[^:]*: [0-9]{2,}' <<<"$entities" || fail "aside_entities reads rows and throws them away: $entities"
printf 'ok - aside_entities looks up by index\n'
sql alpha shop "update bridge.outbox set lsn = null"
unseen=$(planned wal_known "xid[], smallint[], text[]" "'''{' || pg_snapshot_xmax(pg_current_snapshot()) || '}'', ''{1,1}'', ''{1,2}'''")
grep -q 'Index .*row_version.*never executed' <<<"$unseen" || fail "rows are looked up before their transaction is seen: $unseen"
by_index wal_known '\(?entity = g.entity\)? AND \(key = g.key' "xid[], smallint[], text[]" "'''{3}'', ''{1,1}'', ''{1,2}'''"

# What capture from the WAL asks of row_version: planned when it was empty, asked when it is not.
plans=$(sql alpha shop 2>&1 <<'SQL'
delete from bridge.row_version;
vacuum analyze bridge.row_version;
load 'auto_explain';
set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashagg = off; set enable_hashjoin = off; set enable_mergejoin = off; set plan_cache_mode = force_generic_plan;
create function pg_temp.ask(n int) returns bigint language sql as $$
    select count(*) from (select array_agg(1::smallint) as entities, array_agg(i::text) as keys, array_agg('u'::"char") as ops, array_agg(2::bigint) as times,
                                 array_agg('0/1'::pg_lsn) as lsns, array_agg('1'::xid) as xids, array_agg(0::bigint) as laters from generate_series(1, n) i) a,
        bridge.note_log(a.entities, a.keys, a.ops, a.times, a.times, a.lsns, a.xids, a.laters) $$;
select 'asked ' || pg_temp.ask(1);
insert into bridge.row_version (entity, key, ts, node, deleted, at_us) select 1, i, 1, 'two', false, 1 from generate_series(1, 1000) i;
set auto_explain.log_nested_statements = on; set auto_explain.log_analyze = on; set auto_explain.log_timing = off;
set client_min_messages = log; set auto_explain.log_min_duration = 0;
select 'asked ' || pg_temp.ask(1000);
SQL
)
grep -q '^asked 1000$' <<<"$plans" || fail "the changes were not noted: $plans"
grep -q 'row_version_pkey on row_version' <<<"$plans" || fail "no plan has been told: $plans"
! grep -qE 'Rows Removed by Join Filter: [0-9]{4,}' <<<"$plans" || fail "entries of row_version are read and thrown away: $plans"
printf 'ok - changes of the log find what is known of their rows by index\n'

sql alpha shop "alter role pgbridge set session_preload_libraries = 'auto_explain';
    alter role pgbridge set auto_explain.log_min_duration = 0; alter role pgbridge set auto_explain.log_analyze = on;
    alter role pgbridge set auto_explain.log_timing = off; alter role pgbridge set auto_explain.log_nested_statements = on"
rabbit_user watcher secret </dev/null
# send OP FROM TO VERSION: rows of the peer's, in one message.
send() {
    jq -nc --arg op "$1" --argjson from "$2" --argjson to "$3" --argjson ts "$4" '[range($from; $to + 1) | tostring] | {
        routing_key: "two.late.\($op)", headers: {"x-source": "two", "x-content-hash": "compute"}, properties: {timestamp: 1},
        body: {entity: "late", op: $op, key: ["id"], versions: [.[] | $ts],
            columns: (if $op == "deleted" then ["id"] else ["id", "what"] end), rows: [.[] | if $op == "deleted" then [.] else [., "\($ts)"] end]}}' |
        /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge" bridge.sync >>"$SERVERS_DIR/sent.log"
    received=$((received + $3 - $2 + 1))
    wait_for 120 "$1 rows" came
}
received=0
came() { [[ $(sql alpha shop "select coalesce(sum(received), 0) from bridge.inbound") == "$received" ]]; }
past=1000000000000000

# applies WHEN: what apply asks of row_version, in a new session whose plans are made with what is there now.
applies() {
    local plans expected from
    from=$(wc -l <"$SERVERS_DIR/log/postgres-alpha.log")
    bridge_start one
    send created 1 50 $past       # judged
    send updated 1 50 $((past + 1))
    send deleted 1 1 $((past + 2))
    send created 101 1100 $past   # new
    send created 1101 2100 $past
    send updated 101 1100 $((past + 1)) # their node's
    sql alpha shop "update late set what = 'own' where id between 101 and 200"
    send updated 101 1100 $((past + 2))
    send created 3001 3050 $past  # judged
    send deleted 1101 2100 $((past + 2))
    assert_equal "0|1099" "$(sql alpha shop "select (select count(*) from bridge.dead_letter), count(*) from late")" "letters, and rows"
    bridge_stop one
    plans=$(tail -n "+$((from + 1))" "$SERVERS_DIR/log/postgres-alpha.log")
    for expected in 'CTE renewed' 'CTE news' 'CTE removed' 'CTE judged' 'Index Cond: \(\(entity = k.* AND \(key = '; do
        grep -qE "$expected" <<<"$plans" || fail "no plan has been told of $expected"
    done
    ! grep -qE 'Rows Removed by (Join )?Filter: [0-9]{5,}|Seq Scan on (row_version|late)' <<<"$plans" ||
        fail "rows are read and thrown away, planned $1: $(grep -E -m 3 -B 25 'Rows Removed by (Join )?Filter: [0-9]{5,}|Seq Scan on (row_version|late)' <<<"$plans")"
    printf 'ok - apply finds what is known of its rows by index, planned %s\n' "$1"
}

sql alpha shop "truncate bridge.row_version"
applies "when nothing is known of any row"
past=$((past + 10))
sql alpha shop "truncate bridge.row_version, late"
sql alpha shop "insert into bridge.row_version (entity, key, ts, node, deleted) select 1, 'x' || i, 1, 'one', false from generate_series(1, 50000) i"
sql alpha shop "vacuum analyze bridge.row_version"
applies "when all that is known is of another entity"
