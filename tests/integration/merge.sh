#!/usr/bin/env bash
# Policy merge: both sides write the same rows, and what each wrote is there afterwards, field by field; counters add up; a deletion
# wins, or is outlived.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
tables="create table article (id int primary key, name text, price numeric(10, 2), street text, city text, stock int not null default 0,
        sold numeric(12, 2) not null default 0, unique (street, city));
    create table revived (a int, b text, what text, other text, n bigint not null default 0, primary key (a, b))"
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
sql alpha postgres "create database third"
for where in "alpha shop" "beta ops" "alpha third"; do
    # shellcheck disable=SC2086
    sql $where "$tables"
done
entities() {
    cat <<'YAML'
  - {name: article, table: article, key: [id], fields: [name, price, street, city, stock, sold], policy: merge, counters: [stock, sold]}
  - {name: revived, table: revived, key: [a, b], fields: [what, other, n], policy: merge, counters: [n], update_revives: true}
YAML
}
nodes="commerce operations third"
bridge_node commerce alpha shop "operations third" < <(entities)
bridge_node operations beta ops "commerce third" < <(entities)
bridge_node third alpha third "commerce operations" < <(entities)
for node in $nodes; do bridge_install "$node" >>"$SERVERS_DIR/install.log"; done
start() {
    for node in $nodes; do bridge_start "$node"; done
    # shellcheck disable=SC2086
    bridge_quiet $nodes
}
stop() { for node in $nodes; do bridge_stop "$node"; done; }
same() {
    local here
    here=$(node_sql commerce "select * from $1 order by 1, 2")
    assert_equal "$here" "$(node_sql operations "select * from $1 order by 1, 2")" "$1 at operations"
    assert_equal "$here" "$(node_sql third "select * from $1 order by 1, 2")" "$1 at the third"
    printf '%s' "$here"
}
states_equal() {
    local here there
    here=$(node_sql commerce "select entity, key, deleted, merge from bridge.row_version order by 1, 2")
    for there in operations third; do
        assert_equal "$here" "$(node_sql $there "select entity, key, deleted, merge from bridge.row_version order by 1, 2")" "merge states of $there"
    done
}
quiet() { bridge_quiet commerce operations third; }

assert_equal "{NULL,name,price,city+street,city+street,NULL,NULL}" "$(node_sql commerce "select groups from bridge.entity where name = 'article'")" "groups: what a constraint ties together"
# Rows from before the bridge: equal everywhere.
for where in "alpha shop" "beta ops" "alpha third"; do
    # shellcheck disable=SC2086
    sql $where "set session_replication_role = replica; insert into article values (100, 'old', 1, 's', 'c', 1000)"
done
start
node_sql commerce "insert into article select i, 'first', 1, 'street ' || i, 'city', 10 from generate_series(1, 8) i;
    insert into revived select i, 'b', 'first', 'first', 1 from generate_series(1, 6) i"
quiet

# ---- fields, groups and counters ----
stop
node_sql commerce "update article set name = 'by commerce', stock = stock - 3 where id in (1, 100); update article set street = 'new street' where id = 2;
    update article set price = 5 where id = 3"
node_sql operations "update article set price = 9.99, stock = stock + 20, sold = sold + 1.5 where id in (1, 100); update article set city = 'new city' where id = 2;
    update article set price = 6 where id = 3"
node_sql third "update article set stock = stock - 1 where id in (1, 100); update article set stock = stock - 1 where id in (1, 100)"
start
assert_equal "1|by commerce|9.99|street 1|city|25|1.50" "$(same article | head -n 1)" "fields of both, and the sum"
assert_equal "100|by commerce|9.99|s|c|1015|1.50" "$(same article | tail -n 1)" "a row that was there before"
assert_equal "2|first|1.00|street 2|new city|10|0.00" "$(same article | sed -n 2p)" "fields that a constraint ties together are one"
assert_equal "3|first|6.00" "$(same article | sed -n 3p | cut -d'|' -f 1-3)" "the later write of one field"
assert_equal "2,3" "$(node_sql commerce "select string_agg(key, ',' order by key) from bridge.conflicts")" "conflicts: only where something was lost"
assert_equal "2,3" "$(node_sql operations "select string_agg(key, ',' order by key) from bridge.conflicts")" "conflicts: only where something was lost"
states_equal
printf 'ok - merge: fields of both sides, groups, counters\n'

# ---- deletions ----
stop
node_sql commerce "delete from article where id in (4, 5, 6)"
node_sql operations "update article set name = 'too late', stock = stock + 5 where id = 4; delete from article where id = 5; insert into article (id, name, stock) values (5, 'again', 7)"
node_sql third "update article set name = 'lost' where id = 5; update article set stock = stock + 1 where id = 6"
node_sql commerce "insert into article (id, name, stock) values (6, 'anew', 1)"
start
assert_equal "$(printf '5|again||||7|0.00\n6|anew||||1|0.00')" "$(same article | grep -E '^[456]\|')" "a deletion wins over a write beside it, an insertion that knows it over both"
states_equal
printf 'ok - merge: deletions win\n'

stop
node_sql commerce "delete from revived where a in (1, 2, 3)"
node_sql operations "update revived set what = 'operations', n = n + 10 where a in (1, 2)"
node_sql third "update revived set other = 'third', n = n + 100 where a = 2"
start
quiet
assert_equal "$(printf '1|b|operations|first|11\n2|b|operations|third|111\n4|b|first|first|1\n5|b|first|first|1\n6|b|first|first|1')" "$(same revived)" "writes that a deletion had not seen bring the row back"
node_sql third "delete from revived where a = 1"
quiet
assert_equal "2" "$(same revived | head -n 1 | cut -d'|' -f 1)" "a deletion that has seen them stays"
states_equal
printf 'ok - merge: update_revives\n'

# ---- written again by a trigger in the same statement, and by the same function ----
node_sql commerce "create function again() returns trigger language plpgsql as 'begin update article set name = ''again'', stock = stock + 5 where id = new.id; return null; end';
    create trigger after_insert after insert on article for each row when (new.name = 'anew') execute function again();
    insert into article (id, name, stock) values (50, 'anew', 10);
    do \$\$ begin insert into article (id, name, stock) values (51, 'once', 10); update article set name = 'twice', stock = stock + 5 where id = 51; end \$\$;
    drop trigger after_insert on article"
quiet
# A counter that is counted already, and its row's price is set beside.
node_sql commerce "insert into article (id, name, stock) values (52, 'counted', 10); update article set stock = 20 where id = 52;
    create or replace function again() returns trigger language plpgsql as 'begin update article set price = 1 where id = new.id; return null; end';
    create trigger after_update after update on article for each row when (new.stock = 25 and new.price is null) execute function again()"
quiet
stop
node_sql commerce "update article set stock = 25 where id = 52; drop trigger after_update on article"
node_sql operations "update article set name = 'named', stock = stock + 1 where id = 52"
start
quiet
assert_equal "52|named|1.00|||26|0.00" "$(same article | grep '^52|')" "a counter of a row that a trigger writes again"
stop
node_sql operations "update article set stock = stock + 1 where id in (50, 51)"
node_sql third "update article set stock = stock + 2, price = 3 where id in (50, 51)"
start
quiet
assert_equal "$(printf '50|again|3.00|||18|0.00\n51|twice|3.00|||18|0.00')" "$(same article | grep -E '^5[01]\|')" "rows that were written again in the same statement"
states_equal
printf 'ok - merge: written again in the same statement\n'

# Full mesh, no relaying: what a node published came once to each other node, and to nobody twice.
for node in $nodes; do
    for peer in $nodes; do
        [[ $node == "$peer" ]] || assert_equal "$(node_sql "$node" "select published from bridge.outbound")" \
            "$(node_sql "$peer" "select received from bridge.inbound where source = '$node'")" "changes of $node at $peer"
    done
    assert_equal "0" "$(node_sql "$node" "select coalesce(sum(echo), 0) from bridge.inbound")" "echoes at $node"
done
printf 'ok - three nodes: each change reaches each other node once\n'

# ---- resolved by hand ----
node_sql commerce "select bridge.resolve_conflict((select max(id) from bridge.conflicts where key = '3'), '{\"price\": 5.5, \"name\": \"agreed\"}')" >/dev/null
quiet
assert_equal "3|agreed|5.50" "$(same article | grep '^3|' | cut -d'|' -f 1-3)" "a resolution wins everywhere"
printf 'ok - merge: resolved by hand\n'

# ---- random, all at once ----
random() {
    cat <<SQL
select setseed($1);
do \$\$
declare
    k int;
begin
    for i in 1 .. $2 loop
        k := 200 + floor(random() * 12)::int;
        begin
            case floor(random() * 8)::int
            when 0 then insert into article (id, name, stock) values (k, '$3 ' || i, floor(random() * 10)) on conflict do nothing;
            when 1 then delete from article where id = k;
            when 2 then update article set name = '$3 ' || i where id = k;
            when 3 then update article set price = i where id = k;
            when 4 then update article set street = '$3 ' || i, city = 'c' where id = k;
            when 5 then insert into revived values (k, 'b', '$3 ' || i, '', 1) on conflict (a, b) do update set what = excluded.what, n = revived.n + 1;
            when 6 then delete from revived where a = k;
            else update article set stock = stock + floor(random() * 7)::int - 3, sold = sold + 0.25 where id = k;
            end case;
        exception when deadlock_detected or serialization_failure then null;
        end;
        commit;
        perform pg_sleep(random() * 0.004);
    end loop;
end \$\$;
SQL
}
seed=$SRANDOM
printf 'merge: seed %s\n' "$seed"
for round in 1 2 3; do
    number=0
    jobs=()
    for node in $nodes; do
        number=$((number + 1))
        random "0.$((seed % 1000000 + number))$round" 200 "$node$round" | node_sql "$node" - >/dev/null &
        jobs+=($!)
    done
    if ((round == 2)); then
        bridge_kill operations
    fi
    for job in "${jobs[@]}"; do wait "$job"; done
    if ((round == 2)); then
        bridge_start operations
    fi
    quiet
    # Dead letters would be rows that are unique by address; they settle with the rows.
    same article >/dev/null
    same revived >/dev/null
    states_equal
done
for node in $nodes; do
    counters_conserve "$node"
    assert_equal "0" "$(node_sql "$node" "select count(*) from bridge.dead_letters where state in ('parked', 'quarantined', 'retrying')")" "dead letters of $node"
done
assert_equal "" "$(node_sql commerce "select a.id, a.stock, s.sum from article a join bridge.row_version v on v.key = a.id::text and v.entity = (select id from bridge.entity where name = 'article'),
    lateral (select sum((value ->> 1)::numeric) from jsonb_each(v.merge -> 'c' -> 'stock')) s where a.stock is distinct from s.sum")" "counters that are not the sum of what was added"
printf 'ok - merge: three nodes, random writes, all equal\n'
stop
