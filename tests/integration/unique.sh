#!/usr/bin/env bash
# Unique values that are handed on, exchanged or rotated within a transaction, or within an outage, arrive: nothing becomes a
# dead letter, columns that are not mapped keep their values. A value that really is taken ends as one dead letter, and its
# neighbours in the transaction arrive.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
for cluster in alpha beta; do
    sql "$cluster" postgres "create database u"
    sql "$cluster" u "create table u (id int primary key, own text default 'none', mail text unique, n int, doubled int generated always as (n * 2) stored);
        create table child (id int primary key, u int references u)"
done
for node in left:alpha:right right:beta:left; do
    IFS=: read -r name cluster peer <<<"$node"
    bridge_node "$name" "$cluster" u "$peer" <<'YAML'
  - {name: u, table: u, key: [id], fields: [mail, n]}
  - {name: child, table: child, key: [id], fields: [u]}
YAML
    bridge_install "$name" >>"$SERVERS_DIR/install.log"
    bridge_start "$name"
done
same() {
    bridge_quiet left right
    assert_equal "$(sql alpha u "select id, mail, n, doubled from u order by 1")" "$(sql beta u "select id, mail, n, doubled from u order by 1")" "$1"
    assert_equal 0 "$(sql beta u "select count(*) from bridge.dead_letter")" "dead letters after: $1"
    printf 'ok - %s\n' "$1"
}
sql alpha u "insert into u (id, mail, n) select g, chr(96 + g), g from generate_series(1, 26) g; insert into child select g, g from generate_series(1, 26) g"
same "rows"
sql beta u "update u set own = 'local ' || id"
sql alpha u "begin; update u set mail = 'y1' where id = 1; update u set mail = 'a' where id = 2; update u set n = 100 where id = 1; commit"
same "a value handed on, and the giver changed once more"
sql alpha u "begin; update u set mail = 'tmp' where id = 3; update u set mail = 'c' where id = 4; update u set mail = 'd' where id = 3; commit"
same "two values exchanged"
sql alpha u "begin; update u set mail = mail || '~' where id between 5 and 20; update u set mail = chr(96 + 5 + (id - 4) % 16) where id between 5 and 20; commit"
same "a rotation of sixteen"
assert_equal "26" "$(sql beta u "select count(*) from u where own = 'local ' || id")" "columns that are not mapped"
bridge_stop left
sql alpha u "update u set mail = 'free' where id = 21"
sql alpha u "update u set mail = 'u' where id = 22"
sql alpha u "update u set mail = 'v' where id = 21"
sql alpha u "delete from child where id = 23; delete from u where id = 23"
sql alpha u "insert into u (id, mail, n) values (30, 'w', 30)"
sql alpha u "begin; update u set mail = 'zz' where id = 26; insert into u (id, mail) values (31, 'z'); commit"
bridge_start left
same "values handed on in several transactions during an outage"

# Taken for good: the other side has given the value to a row of its own meanwhile.
sql beta u "$UNSEEN insert into u (id, mail) values (99, 'taken')"
sql alpha u "begin; update u set n = 1; update u set mail = 'taken' where id = 5; update u set mail = mail || '!' where id = 6; commit"
letter() { [[ $(sql beta u "select count(*) from bridge.dead_letter") == 1 ]]; }
wait_for 30 "one dead letter" letter
bridge_quiet left right
assert_equal "5|23505|transient" "$(sql beta u "select key, error_code, class from bridge.dead_letters")" "the dead letter"
assert_equal "$(sql alpha u "select id, mail, n from u where id <> 5 order by 1")" "$(sql beta u "select id, mail, n from u where id not in (5, 99) order by 1")" "the neighbours"
counters_conserve left
counters_conserve right
bridge_stop left
bridge_stop right
printf 'ok - a value that is taken is one dead letter\n'
