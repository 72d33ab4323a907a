#!/usr/bin/env bash
# An installation of schema 24 becomes one of this program, with all that waits in it: changes that are not sent yet, of an entity that is paused, a letter,
# an open conflict, versions of rows, tombstones and counters.
#
# Its databases are in tests/integration/upgrade, as pg_dump tells them. Made by a program of that time: PGBRIDGE=... SCHEMA=24 upgrade.sh make.
# What a log has yet to tell is in no dump: with UPGRADE_FROM=... the program of that time works on these servers before this one does, also with CAPTURE=wal.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
SCHEMA=${SCHEMA:-24}
DUMPS=$SOURCE_DIR/tests/integration/upgrade/$SCHEMA

servers_init
servers_start alpha beta fsync=off
sql alpha postgres "create database shop"
sql beta postgres "create database shop"
entities() {
    for table in parent stock; do printf '  - {name: %s, table: %s, key: [id], fields: [what]}\n' $table $table; done
    printf '  - {name: child, table: child, key: [id], fields: [parent, what]}\n'
    printf '  - {name: note, table: note, key: [id], fields: [what], policy: manual}\n'
    printf '  - {name: article, table: article, key: [id], fields: [what, n]%s}\n' "$merged"
}
# The log does not tell which fields a write has changed.
merged=', policy: merge, counters: [n]' counted=12 settled='note resolved'
[[ -z ${!CAPTURE*} ]] || merged='' counted=7 settled='article resolved note resolved'
bridge_node commerce alpha shop operations < <(entities)
bridge_node operations beta shop commerce < <(entities)
same() { [[ $(sql alpha shop "select * from $1 where ${2:-true} order by id") == "$(sql beta shop "select * from $1 where ${2:-true} order by id")" ]]; }

# ---- then ----

stands_still() { [[ $(sql "$1" shop "select state from bridge.status where direction = 'in'") == paused ]]; }

# Without what only tells of the program that made it, or only psql of this very version understands.
plain() { grep -v -e '^--' -e '^\\restrict' -e '^\\unrestrict' | cat -s; }

work() {
    local cluster node
    for cluster in alpha beta; do
        sql $cluster shop "create table parent (id int primary key, what text); create table child (id int primary key, parent int references parent, what text);
            create table stock (id int primary key, what text); create table note (id int primary key, what text);
            create table article (id int primary key, what text, n int not null)"
    done
    for node in commerce operations; do
        bridge_install $node
        bridge_start $node
    done
    sql alpha shop "insert into parent select i, 'alpha' from generate_series(1, 20) i; insert into child select i, i, 'alpha' from generate_series(1, 20) i;
        insert into note values (1, 'x'), (2, 'x'); insert into article values (1, 'x', 10); insert into stock select i, 'x' from generate_series(1, 20) i"
    wait_for 60 "notes" same note
    sql beta shop "insert into parent select i, 'beta' from generate_series(101, 120) i; update child set what = 'beta' where id > 10; delete from child where id = 3"
    bridge_quiet commerce operations
    # A conflict that stays open, and a letter whose parent nobody has told of.
    for node in commerce operations; do node_sql $node "select bridge.pause('in')"; done
    for cluster in alpha beta; do wait_for 60 "inbound to stand still" stands_still $cluster; done
    sql alpha shop "update note set what = 'alpha' where id = 1"
    sql beta shop "update note set what = 'beta' where id = 1"
    sql alpha shop "$UNSEEN insert into parent values (50, 'nobody told')"
    sql alpha shop "insert into child values (50, 50, 'waits')"
    wait_for 60 "all to be sent" outboxes_empty commerce operations
    for node in commerce operations; do node_sql $node "select bridge.resume('in')"; done
    waits() { [[ $(sql beta shop "select count(*) from bridge.dead_letter where state = 'retrying'") == 1 && $(sql "$1" shop "select count(*) from bridge.conflicts where state = 'open'") == 1 ]]; }
    wait_for 60 "the conflict and the letter" waits alpha
    wait_for 60 "the conflict and the letter" waits beta
    sql alpha shop "select bridge.pause('out', 'stock')"
    bridge_quiet commerce operations
    bridge_stop commerce
    bridge_stop operations
    sql alpha shop "update stock set what = 'paused' where id < 10; update parent set what = 'later' where id < 5; delete from child where id = 4; update article set n = n + 5"
    sql beta shop "update article set n = n - 3, what = 'beta'; update child set what = 'later' where id = 5; insert into parent values (121, 'later')"
}
make_dumps() {
    local cluster
    mkdir -p "$DUMPS"
    for cluster in alpha beta; do
        "$PG_BIN/pg_dump" -d "$(admin_of $cluster) dbname=shop" | plain | gzip -9n >"$DUMPS/$cluster.sql.gz"
    done
    "$PG_BIN/pg_dumpall" -d "$(admin_of alpha)" --roles-only --no-role-passwords | grep -v ' postgres' | plain >"$DUMPS/roles.sql"
}
admin_of() {
    local variable=PG_ADMIN_${1^^}
    printf '%s\n' "${!variable}"
}
if [[ ${1:-} == make ]]; then
    work
    make_dumps
    exit
fi
restore() {
    local cluster
    for cluster in alpha beta; do
        sql $cluster postgres - <"$DUMPS/roles.sql" >"$SERVERS_DIR/null"
        sql $cluster postgres "alter role pgbridge password 'secret-$cluster'"
        gunzip -c "$DUMPS/$cluster.sql.gz" | sql $cluster shop - >"$SERVERS_DIR/null"
        # Transactions of before have lower numbers, in one server as well.
        sql $cluster shop "do \$\$ begin while (select coalesce(max(txid), '0') from bridge.outbox) >= pg_current_xact_id() loop commit; end loop; end \$\$"
    done
    assert_equal "15 3" "$(waiting alpha) $(waiting beta)" "changes that wait"
}
waiting() { sql "$1" shop "select count(*) from bridge.outbox"; }
if [[ -n ${UPGRADE_FROM:-} ]]; then
    THIS_PROGRAM=$PGBRIDGE PGBRIDGE=$UPGRADE_FROM
    work
    PGBRIDGE=$THIS_PROGRAM
    SCHEMA=$(sql alpha shop "select max(number) from bridge.version")
else
    restore
fi

# ---- now ----

! bridge commerce check >"$SERVERS_DIR/said" || fail "check is content with an older schema"
grep -A 1 "it is at version $SCHEMA, this program needs" "$SERVERS_DIR/said" | grep -q 'pgbridge install' || fail "check does not say what to do: $(cat "$SERVERS_DIR/said")"
bridge_start commerce
refuses() { (($(grep -c "schema bridge is at version $SCHEMA, this program needs .*pgbridge install" "$SERVERS_DIR/log/node-commerce.log") >= 2)); }
wait_for 60 "both directions to refuse an older schema" refuses
bridge_stop commerce
printf 'ok - an older schema is refused\n'
for node in commerce operations; do
    bridge_install $node >>"$SERVERS_DIR/install.log"
    bridge $node check >"$SERVERS_DIR/said" || fail "check after install: $(cat "$SERVERS_DIR/said")"
    bridge_start $node
done
wait_for 120 "parents" same parent "id <> 50"
wait_for 120 "children" same child "id <> 50"
wait_for 120 "articles" same article
assert_equal "1|beta|$counted" "$(sql alpha shop "select * from article")" "what both sides have counted"
assert_equal "0" "$(sql beta shop "select count(*) from stock where what = 'paused'")" "what is paused"
assert_equal "later" "$(sql alpha shop "select what from child where id = 5")" "a child"
printf 'ok - what waited is sent, and what is paused waits\n'
sql alpha shop "select bridge.resume('out', 'stock')" >"$SERVERS_DIR/null"
wait_for 120 "what was paused" same stock
printf 'ok - a pause of before ends\n'
assert_equal "retrying" "$(sql beta shop "select state from bridge.dead_letter")" "the letter"
sql alpha shop "update parent set what = 'told' where id = 50"
wait_for 120 "children" same child
printf 'ok - a letter of before is applied\n'
bridge commerce conflict resolve "$(sql alpha shop "select id from bridge.conflicts where state = 'open'")" local >"$SERVERS_DIR/said"
wait_for 120 "notes" same note
settled() { [[ $(sql alpha shop "select count(*) from bridge.conflicts where state = 'open'") == 0 && $(sql beta shop "select count(*) from bridge.conflicts where state = 'open'") == 0 ]]; }
wait_for 120 "the conflict to be settled on both sides" settled
assert_equal "alpha" "$(sql beta shop "select what from note where id = 1")" "what was resolved"
printf 'ok - a conflict of before is resolved\n'
# What is known of rows is known on.
sql beta shop "update parent set what = 'beta again' where id = 1; update child set what = 'beta again' where id = 6"
bridge_quiet commerce operations
for table in parent child stock note article; do wait_for 60 "$table" same $table; done
for node in commerce operations; do
    counters_conserve $node
    assert_equal 0 "$(node_sql $node "select count(*) from bridge.gaps")" "gaps of $node"
done
assert_equal "$settled 0" "$(sql alpha shop "select string_agg(entity || ' ' || state, ' ' order by entity) || ' ' || (select count(*) from bridge.dead_letter) from bridge.conflicts")" "conflicts and letters"
printf 'ok - both go on, and nothing is missing\n'
