#!/usr/bin/env bash
# Capture from the WAL while an entity is held: its changes are put aside, whatever they are, others flow, and in the end both sides are equal:
# through kill -9 of adapter and server, in the midst of a large transaction, under load, and when capture is switched meanwhile.
set -euo pipefail
CAPTURE_COMMERCE=wal
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
export POSTGRES_SETTINGS="wal_level=logical track_commit_timestamp=on"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
for cluster in alpha beta; do
    sql $cluster postgres "create database shop"
    sql $cluster shop "create table item (id int primary key, n int not null, what text, big text); create table other (id int primary key, n int not null);
        alter table item alter column big set storage external"
done
configure() {
    local node=$1 cluster=$2 peer=$3
    bridge_node "$node" "$cluster" shop "$peer" <<'YAML'
  - {name: item, table: item, key: [id], fields: [n, what, big]}
  - {name: other, table: other, key: [id], fields: [n]}
YAML
}
configure commerce alpha operations
configure operations beta commerce
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"
bridge_start commerce
bridge_start operations

row_is() { [[ $(sql "$1" shop "$2") == "$3" ]]; }
log_has() { grep -q "$1" "$SERVERS_DIR/log/node-commerce.log"; }
content() { sql "$1" shop "select id, n, what, md5(big) from item order by 1; select * from other order by 1"; }
same() { assert_equal "$(content alpha)" "$(content beta)" "both sides: $1"; }
aside() { sql alpha shop "select count(*) from bridge.outbox where lsn is not null"; }
captured() { sql alpha shop "select captured from bridge.outbound"; }
other=0
# flows WHAT: a change of the other entity arrives.
flows() {
    other=$((other + 1))
    sql alpha shop "update other set n = $other where id = 1"
    wait_for 60 "the other entity to flow: $1" row_is beta "select n from other where id = 1" "$other"
}
# A change of a row of its own that stays in the outbox tells when the adapter has seen the pause.
put_aside() {
    sql alpha shop "insert into item values (999, 0, 'probe', null) on conflict (id) do update set n = item.n + 1"
    [[ $(sql alpha shop "select count(*) from bridge.outbox where op <> 'd' and fields[1] = '999'
        and ts < date_part('epoch', clock_timestamp()) * 1000000 - 1000000") != 0 ]]
}
pause_item() {
    bridge commerce pause --entity item --direction out >"$SERVERS_DIR/said"
    wait_for 60 "the pause to be seen" put_aside
}
resume_item() { bridge commerce resume --entity item >"$SERVERS_DIR/said"; }
again() {
    bridge_kill commerce
    bridge_start commerce
}

sql alpha shop "insert into other values (1, 0); insert into item select g, 0, 'old', repeat(md5(g::text), 400) from generate_series(1, 20) g"
bridge_quiet commerce operations

# ---- all kinds of changes ----
pause_item
before=$(sql beta shop "select md5(string_agg(item::text, ',' order by id)) from item where id <> 999")
sql alpha shop <<'SQL'
update item set n = n + 1 where id = 1;
begin; update item set what = 'twice' where id = 2; update other set n = n where id = 1; update item set n = 2 where id = 2; commit;
update item set id = 101 where id = 3;
delete from item where id = 4;
begin; delete from item where id = 5; insert into item values (5, 5, 'again', null); commit;
begin; savepoint s; insert into item values (30, 0, '"{NULL,\,}', E'\t'); rollback to s; insert into item values (30, 1, '"{NULL,\,}', E'a\\b\n'); commit;
insert into item values (31, 0, '', null); insert into item values (32, 0, null, repeat(md5('x'), 400));
update item set big = repeat(md5('new'), 400) where id = 6; update item set n = 6 where id = 6; update item set n = 7 where id = 6;
truncate item; insert into item select g, g, 'anew', repeat(md5(g::text), 400) from generate_series(1, 12) g;
SQL
flows "with all kinds of changes aside"
(($(aside) > 20)) || fail "$(aside) changes are aside"
assert_equal "$before" "$(sql beta shop "select md5(string_agg(item::text, ',' order by id)) from item where id <> 999")" "what is held, there"
sql beta shop "update item set what = 'from beta' where id = 7; update item set what = 'gone from beta', n = -1 where id = 15"
again
flows "after a restart"
sql alpha shop "update item set n = n + 100 where id between 7 and 9"
sql alpha shop "insert into item select g, 0, 'together', null from generate_series(1001, 1800) g"
flows "with more aside"
again
resume_item
bridge_quiet commerce operations
same "after all kinds of changes"
assert_equal 0 "$(aside)" "changes aside"
assert_equal 1 "$(sql beta shop "select count(distinct xmin::text) from item where what = 'together'")" "transactions that one became there"
printf 'ok - changes of all kinds are put aside and let go\n'

# ---- a transaction in parts, killed within ----
pause_item
bridge_stop commerce
counted=$(captured) probes=$(aside)
sql alpha shop "insert into item select g, 0, 'part', null from generate_series(100001, 130000) g"
PGBRIDGE=$(find "$BUILD_DIR" -name pgbridge_hooks -type f -executable | head -n 1) PGBRIDGE_CRASH=after-out.aside_put:3 bridge_start commerce
wait_for 60 "the adapter to die in the midst" log_has "^crashed after-out.aside_put"
parts=$(($(aside) - probes))
((parts > 0 && parts < 30000)) || fail "$parts of 30000 changes were aside when the adapter died"
bridge_start commerce
flows "after a large transaction"
assert_equal $((probes + 30000)) "$(aside)" "changes aside, $parts of them put there twice"
postgres_kill alpha
postgres_start alpha
flows "after the server was killed"
assert_equal $((probes + 30000)) "$(aside)" "changes aside after the server was killed"
resume_item
bridge_quiet commerce operations
same "after a large transaction"
# And those of the other entity.
assert_equal $((counted + probes + 30002)) "$(captured)" "changes captured"
printf 'ok - of a large transaction, of which %s changes were put aside twice, each is sent once\n' "$parts"

# ---- a transaction in parts, let go within, and killed ----
pause_item
counted=$(($(captured) + $(aside)))
sql alpha shop "insert into item select g, 0, 'let go', null from generate_series(200001, 500000) g"
some_aside() { (($(aside) >= 10000)); }
wait_for 60 "some of it to be aside" some_aside
resume_item
goes_out() { (($(captured) >= counted + 5000)); }
wait_for 60 "it to go out" goes_out
again
bridge_quiet commerce operations
same "after a large transaction that was let go within"
assert_equal $((counted + 300000)) "$(captured)" "changes captured of a large transaction that was let go within"
printf 'ok - of a large transaction that is let go within each change counts once\n'
for cluster in alpha beta; do sql $cluster shop "$UNSEEN delete from item where id > 200000"; done >"$SERVERS_DIR/null"

# ---- under load, held and let go, killed ----
cat >"$SERVERS_DIR/load.sql" <<'SQL'
\set id random(1, 40)
\set n random(1, 1000000)
\set what random(1, 10)
begin;
insert into item values (:id, :n, 'load', null) on conflict (id) do update set n = excluded.n;
update other set n = :n where id = 2 + :client_id;
commit;
update item set what = 'load ' || :n where id = :id;
delete from item where id = :id and :what = 1;
SQL
sql alpha shop "insert into other select g, 0 from generate_series(2, 9) g"
bridge_quiet commerce operations

process_start load-alpha "$PG_BIN/pgbench" -n -h "$PG_SOCKET_DIR" -p "$PG_PORT_ALPHA" -U postgres -c 2 -R 60 -T 600 -f "$SERVERS_DIR/load.sql" shop
sed 's/:client_id/4 + :client_id/' "$SERVERS_DIR/load.sql" >"$SERVERS_DIR/load-beta.sql"
process_start load-beta "$PG_BIN/pgbench" -n -h "$PG_SOCKET_DIR" -p "$PG_PORT_BETA" -U postgres -c 2 -R 30 -T 600 -f "$SERVERS_DIR/load-beta.sql" shop
waits() { (($(aside) >= $1)); }
for round in 1 2 3; do
    pause_item
    wait_for 60 "changes to be put aside in round $round" waits $((60 * round))
    flows "in round $round"
    [[ $round == 2 ]] || again
    resume_item
    [[ $round == 3 ]] || again
    wait_for 60 "what was aside to be let go in round $round" row_is alpha "select count(*) from bridge.outbox where lsn is not null" 0
done
pause_item
wait_for 60 "changes to be put aside" waits 20
process_stop load-alpha
process_stop load-beta
resume_item
bridge_quiet commerce operations
same "after the load"
printf 'ok - under load, held and let go, with adapters killed\n'

# ---- capture is switched while something is aside ----
pause_item
sql alpha shop "insert into item select g, -1, 'switch', null from generate_series(1, 5) g on conflict (id) do update set n = -1"
flows "before capture is switched"
CAPTURE_COMMERCE=outbox configure commerce alpha operations
bridge_install commerce >>"$SERVERS_DIR/install.log"
sql alpha shop "update item set n = -2 where id = 1"
bridge_stop commerce
bridge_start commerce
resume_item
no_slot() { [[ $(sql alpha shop "select count(*) from pg_replication_slots") == 0 ]]; }
wait_for 60 "the log to be left" no_slot
bridge_quiet commerce operations
same "after capture by triggers again"
pause_item
sql alpha shop "update item set n = -3 where id between 1 and 5"
CAPTURE_COMMERCE=wal configure commerce alpha operations
bridge_install commerce >>"$SERVERS_DIR/install.log"
sql alpha shop "update item set n = -4 where id = 1"
bridge_stop commerce
bridge_start commerce
flows "after capture from the log again, with changes held that triggers have told"
assert_equal "-2|-1" "$(sql beta shop "select string_agg(n::text, '|' order by id) from item where id <= 2")" "what is held, there"
resume_item
bridge_quiet commerce operations
same "after capture from the log again"
assert_equal "-4|-3" "$(sql beta shop "select string_agg(n::text, '|' order by id) from item where id <= 2")" "the newest states"
printf 'ok - what is aside outlives a switch of capture, both ways\n'

for node in commerce operations; do
    counters_conserve "$node"
    assert_equal 0 "$(node_sql $node "select count(*) from bridge.dead_letters where state <> 'discarded' and state <> 'replayed' and state <> 'superseded'")" "letters on $node"
    assert_equal 0 "$(node_sql $node "select coalesce(sum(gaps), 0) from bridge.inbound")" "gaps on $node"
    bridge_stop "$node"
done
