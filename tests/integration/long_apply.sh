#!/usr/bin/env bash
# A statement of apply that lasts for many heartbeats: the broker hears of the adapter all the while, so that nothing comes twice.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
for node in "alpha shop" "beta ops"; do
    # shellcheck disable=SC2086
    set -- $node
    sql "$1" "$2" "create table item (id int primary key, what text)"
done
entities() { printf '  - {name: item, table: item, key: [id], fields: [what], triggers: fire}\n'; }
bridge_node commerce alpha shop operations < <(entities)
bridge_node operations beta ops commerce < <(entities)
sed -i 's/^broker:$/&\n  heartbeat: 10/' "$SERVERS_DIR"/{commerce,operations}.yaml
for node in commerce operations; do
    bridge_install $node >>"$SERVERS_DIR/install.log"
    bridge_start $node
done
node_sql operations <<'SQL'
create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(45); return new; end $$;
create trigger slow before insert on item for each row when (new.id = 1) execute function slow();
SQL

node_sql commerce "insert into item values (1, 'slow')"
for ((i = 2; i <= 40; i++)); do
    printf "insert into item values (%d, 'behind it');\n" $i
done | node_sql commerce
bridge_quiet commerce operations
assert_equal "40|40|0" "$(node_sql operations "select received, applied, duplicate from bridge.inbound where source = 'commerce'")" \
    "received, applied and doubled changes"
! grep -E '^failed|^disconnected|broker away' "$SERVERS_DIR/log/node-operations.log" || fail "the broker was lost meanwhile"
printf 'ok - the broker hears of an adapter whose statement lasts for many heartbeats\n'
for node in commerce operations; do
    counters_conserve "$node"
    bridge_stop "$node"
done
