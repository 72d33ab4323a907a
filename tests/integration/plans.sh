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

# planned NAME TYPES ARGUMENTS: how one of the adapter's queries is answered in a session like its own; undone.
planned() {
    sql alpha shop <<SQL
set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set plan_cache_mode = force_generic_plan;
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
    ! grep -qE 'Rows Removed|Seq Scan on outbox .*actual' <<<"$plan" || fail "$1 reads rows and throws them away: $plan"
    printf 'ok - %s looks up by index\n' "$1"
}

by_index outbox_rows '\(?txid = t.txid' "xid8[], int[]" "quote_literal(txids) || ', ''{}'''"
by_index outbox_part '\(?txid = \$1' "xid8, bigint, bigint, int[]" "quote_literal(first) || ', 0, 10, ''{}'''"
by_index outbox_window '\(?txid >= ' "text, bigint, boolean, int[]" "quote_literal(first || ':' || first || ':') || ', 500, false, ''{}'''"
by_index outbox_release '\(?txid = ANY \(\$1' "xid8[], xid8, bigint, bigint, text, bigint, bigint, bigint, bigint, bigint, int[]" \
    "quote_literal(txids) || ', null, null, null, ''epoch'', 1, 1, 1, 1, 1, ''{}'''"
