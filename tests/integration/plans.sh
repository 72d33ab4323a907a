#!/usr/bin/env bash
# Statements whose cost must not depend on statistics: the outbox is empty when it is analyzed, and full when it counts.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha fsync=off autovacuum=off
sql alpha postgres "create database shop"
sql alpha shop "create table item (id int primary key, what text)"
bridge_node one alpha shop two <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
YAML
bridge_install one >>"$SERVERS_DIR/install.log"
# As autovacuum leaves it after a backlog.
sql alpha shop "insert into item select -i, 'x' from generate_series(1, 1000) i"
sql alpha shop "delete from bridge.outbox"
sql alpha shop "vacuum analyze bridge.outbox"
sql alpha shop "do \$\$ begin for i in 1 .. 1000 loop insert into item values (i, 'x'); commit; end loop; end \$\$"

# As the adapter asks: in a session without sequential scans and hash joins.
plan=$(sql alpha shop <<SQL
set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off;
prepare rows (xid8[], int[]) as $(cat "$SOURCE_DIR/sql/queries/outbox_rows.sql");
select 'explain (analyze, costs off, timing off, summary off) execute rows (' || quote_literal(array_agg(txid order by seq)) || ', ''{}'')'
  from bridge.outbox \gexec
SQL
)
grep -q 'Index Cond: (txid = t.txid)' <<<"$plan" || fail "the outbox is not looked up by transaction: $plan"
! grep -q 'Rows Removed' <<<"$plan" || fail "rows are read and thrown away: $plan"
printf 'ok - a backlog is read transaction by transaction\n'
