#!/usr/bin/env bash
# A backlog of more transactions than are looked at together: nothing comes before what it was written upon, whoever began first, and
# who is under way meanwhile is not left out. One entity is held from before the node has ever spoken: the others flow.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off max_prepared_transactions=10
tables="create table parent (id int primary key, what text);
    create table child (id int primary key, parent int references parent, what text);
    create table stock (id int primary key, what text)"
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
sql alpha shop "$tables"
sql beta ops "$tables"
entities() {
    cat <<'YAML'
  - {name: parent, table: parent, key: [id], fields: [what]}
  - {name: child, table: child, key: [id], fields: [parent, what]}
  - {name: stock, table: stock, key: [id], fields: [what]}
YAML
}
bridge_node commerce alpha shop operations < <(entities)
bridge_node operations beta ops commerce < <(entities)
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"

# parents FIRST LAST: a transaction each.
parents() { sql alpha shop "do \$\$ begin for i in $1 .. $2 loop insert into parent values (i, 'one of many'); commit; end loop; end \$\$"; }
parents_there() { sql beta ops "select count(*) from parent"; }
there() { (($(parents_there) >= $1)); }
children_there() { [[ $(sql beta ops "select count(*) from child") == 101 ]]; }
letters() { sql beta ops "select count(*) from bridge.dead_letter"; }

# One that began before the others, and has seen the last of them.
sql alpha shop "select bridge.pause('out', 'stock', 'from the beginning')" >>"$SERVERS_DIR/install.log"
sql alpha shop "insert into stock values (1, 'held')"
hold "insert into parent values (0, 'early')"
parents 1 40000
release "insert into child select i, 40000 - i, 'late' from generate_series(0, 100) i"
bridge_start operations
bridge_start commerce
wait_for 240 "the backlog" there 40001
wait_for 60 "what was written last" children_there
assert_equal 0 "$(letters)" "rows that had to wait for what they refer to"
assert_equal 0 "$(sql beta ops "select count(*) from stock")" "rows of an entity that is held"
printf 'ok - transactions that waited come in an order in which none waits for another\n'

# Some that have the lowest numbers, and end while the others are sent.
bridge_stop commerce
for i in 1 2 3 4 5 6 7 8; do
    sql alpha shop "begin; insert into parent values (-$i, 'under way'); prepare transaction 'under way $i'"
done
parents 40001 120000
# sent UNTIL: the sender stands still once fewer than so many wait.
sent() {
    sql alpha shop "do \$\$ begin
        while (select count(*) from bridge.outbox) >= $1 loop
            if clock_timestamp() > now() + interval '60 s' then raise exception 'nothing is sent'; end if;
            perform pg_sleep(0.001);
        end loop;
    end \$\$"
    kill -STOP "$(process_id node-commerce)"
}
amid=0
bridge_start commerce
for i in 1 2 3 4 5 6 7 8; do
    sent $((80000 - i * 8000))
    amid=$((amid + $(sql alpha shop "select (count(*) between 10000 and 79000)::int from bridge.outbox")))
    sql alpha shop "commit prepared 'under way $i'"
    kill -CONT "$(process_id node-commerce)"
done
((amid > 0)) || fail "all was sent before any of them ended"
wait_for 240 "the backlog, and what was under way" there 120009
heard_alive() { [[ $(sql beta ops "select alive_us is not null from bridge.peer") == t ]]; }
wait_for 60 "a sign of life" heard_alive
assert_equal t "$(sql beta ops "select sent_us is null from bridge.peer")" "no heartbeat says that all was sent, while something is held"
bridge commerce resume --entity stock --direction out >>"$SERVERS_DIR/install.log"
bridge_quiet commerce operations
for table in parent child stock; do
    assert_equal "$(sql alpha shop "select * from $table order by 1" | sha256sum)" "$(sql beta ops "select * from $table order by 1" | sha256sum)" "rows of $table"
done
assert_equal "120111|120111|0" "$(sql alpha shop "select captured, published from bridge.outbound")|$(letters)" "each change once"
printf 'ok - what was under way, and what was held, comes, too, and everything once\n'
