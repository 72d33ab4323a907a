#!/usr/bin/env bash
# Capture from the WAL: what is written on a node that reads its log arrives at one that has triggers, and nothing else does.
set -euo pipefail
CAPTURE_COMMERCE=${CAPTURE_COMMERCE:-wal}
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
for cluster in alpha beta; do
    sql $cluster postgres "create database shop"
    sql $cluster shop "create table item (id int primary key, name text, note text); alter table item alter note set storage external;
        create table pair (a int, b text, what text, primary key (a, b))"
done
entities() {
    printf '  - {name: item, table: item, key: [id], fields: [name, note]}\n  - {name: pair, table: pair, key: [a, b], fields: [what]}\n'
}
bridge_node commerce alpha shop operations < <(entities)
bridge_node operations beta shop commerce < <(entities)
for node in commerce operations; do
    bridge_install $node
done
for node in commerce operations; do bridge_start $node; done

same() { [[ $(sql alpha shop "$1") == "$(sql beta shop "$1")" ]]; }
equal() {
    wait_for 120 "$1" same "select id, name, md5(note) from item order by 1"
    wait_for 120 "$1" same "select * from pair order by 1, 2"
    printf 'ok - %s\n' "$1"
}
big="repeat('x', 3000)"
sql alpha shop "insert into item select i, 'n' || i, $big from generate_series(1, 10) i; insert into pair values (1, 'a, \"b', 'x'), (2, '', null), (3, 'null', '')"
equal "insertions arrive"
sql alpha shop "update item set name = 'changed' where id < 4; update pair set what = 'y' where a = 1; delete from pair where a = 2"
equal "updates without their long values, and deletions arrive"
sql alpha shop "update item set id = 11 where id = 10; update pair set b = 'c' where a = 3"
equal "new keys arrive, also of rows whose long values the log does not have"
sql alpha shop "begin; insert into item values (20, 'a', $big); update item set name = 'b' where id = 20; update item set name = 'c' where id = 20; commit;
    begin; delete from item where id = 1; insert into item values (1, 'again', null); commit"
equal "several changes of a row in one transaction"
sql alpha shop "insert into item select i, 'bulk', null from generate_series(1000, 16000) i"
sql alpha shop "begin; update item set name = 'bulk 2' where id >= 1000; update item set name = 'bulk 3' where id >= 2000; commit"
equal "transactions larger than a batch, also with keys that come twice"
sql alpha shop "begin; update item set name = 'first' where id >= 9000; update item set name = 'second' where id >= 9000;
    update item set name = 'third' where id >= 9000; commit"
equal "keys that come three times, each in another part of their transaction"
sql alpha shop "begin; savepoint s; update item set name = 'fourth' where id >= 9000; update item set name = 'fifth' where id >= 9000; release s; commit"
equal "keys that come twice in a subtransaction"
sql beta shop "update item set name = 'known' where id >= 15990"
equal "a write upon a subtransaction's"
sql alpha shop "begin; delete from item where id >= 9000; insert into item select i, 'anew', null from generate_series(9000, 16000) i; commit"
equal "rows that are deleted and made anew in parts of one transaction"
assert_equal "0" "$(sql alpha shop "select count(*) from bridge.row_version where deleted and key ~ '^[0-9]{4,5}$'")" "rows taken for deleted"
sql alpha shop "begin; insert into item select i, 'gone soon', null from generate_series(40000, 46000) i; update item set name = 'x' where id >= 40000;
    delete from item where id >= 40000; commit"
equal "rows that are made, changed and deleted in parts of one transaction"
sql alpha shop "begin; update item set id = 12 where id = 11; update item set name = 'moved and changed' where id = 12; commit"
equal "a new key and then a change, of a row whose long value the log does not have"
sql alpha shop "truncate pair; insert into pair values (7, 'x', 'after')"
equal "TRUNCATE"
sql alpha shop "begin; insert into pair values (8, 'x', 'in vain'); update pair set what = 'too' where a = 7; truncate pair; insert into pair values (10, 'x', 'new'); commit"
equal "TRUNCATE of what the same transaction has written"
sql alpha shop "begin; insert into pair values (11, 'x', 'in vain'); truncate pair; commit"
equal "TRUNCATE, and nothing else is left of a transaction"
assert_equal "0|0" "$(sql beta shop "select (select count(*) from pair), (select count(*) from bridge.conflict)")" "rows and conflicts"
assert_equal "0" "$(sql alpha shop "select count(*) from bridge.conflict")" "conflicts at commerce"
assert_equal "0" "$(sql beta shop "select count(*) from bridge.dead_letter")" "dead letters"
sql beta shop "update item set name = 'from beta' where id < 5; delete from item where id between 1000 and 1100; insert into pair values (9, 'z', 'z')"
equal "and the other way"
# Rows that are said anew, one of which an application holds.
bridge_quiet commerce operations
sql alpha shop "select bridge.pause('out')" >"$SERVERS_DIR/null"
silent() { [[ $(sql alpha shop "select state from bridge.status where direction = 'out'") == paused ]]; }
wait_for 30 "commerce to send no more" silent
sql alpha shop "update item set id = id + 30 where id in (2, 3)"
sql alpha shop "update item set name = 'written since' where id in (32, 33)"
# And one that is gone by then.
sql alpha shop "update item set id = 34 where id = 9"
sql alpha shop "delete from item where id = 34"
hold "select from item where id = 32 for update"
sql alpha shop "select bridge.resume('out')" >"$SERVERS_DIR/null"
wait_for 60 "the row to be waited for" blocked
assert_equal 0 "$(sql alpha shop "select count(*) from pg_locks l join pg_stat_activity a using (pid)
    where l.locktype = 'advisory' and l.objid = hashtext('versions')::oid and l.granted and a.wait_event_type = 'Lock'")" "who waits and lets apply wait"
sql beta shop "update item set name = 'meanwhile' where id = 4"
arrived() { [[ $(sql alpha shop "select name from item where id = 4") == meanwhile ]]; }
wait_for 60 "apply to go on while the row is waited for" arrived
release "select from item where id = 33 for update"
equal "new keys of rows whose long values the log does not have, one of them held by an application"
bridge_quiet commerce operations
published=$(sql alpha shop "select published from bridge.outbound")
sleep 1
assert_equal "$published" "$(sql alpha shop "select published from bridge.outbound")" "what commerce published after it applied"
sql beta shop "select received, applied, same, duplicate, stale, echo from bridge.inbound"
counters_conserve commerce
counters_conserve operations
bridge_quiet commerce operations
bridge_stop commerce
bridge_stop operations
# A later update that leaves a long value alone, against what the other side did to the row.
sql beta shop "delete from item where id = 5; update item set note = 'short' where id = 6; update item set note = repeat('y', 4000) where id = 7"
sql alpha shop "update item set name = 'wins' where id in (5, 6, 7); update item set name = 'wins twice' where id = 7"
for node in commerce operations; do bridge_start $node; done
equal "an update without its long value wins a conflict"
assert_equal $'5|wins|3000\n6|wins|3000\n7|wins twice|3000' "$(sql beta shop "select id, name, length(note) from item where id in (5, 6, 7) order by 1")" "as it is where it was written"
bridge_quiet commerce operations
bridge_stop commerce
bridge_stop operations
