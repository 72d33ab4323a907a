#!/usr/bin/env bash
# A clock that has gone back, and capture from the log: what is written gets later versions than its commits tell, and apply, while the log is not
# read, judges by the commits. Both sides end equal all the same once it is read.
set -euo pipefail
CAPTURE_COMMERCE=wal
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

SECONDS_BACK=4
ROWS=300

servers_init
servers_start alpha beta fsync=off
for cluster in alpha beta; do
    sql "$cluster" postgres "create database shop"
    sql "$cluster" shop "create table item (id int primary key, what text); create table member (id int primary key, mail text unique, what text)"
done
entities='  - {name: item, table: item, key: [id], fields: [what]}
  - {name: member, table: member, key: [id], fields: [mail, what]}'
bridge_node commerce alpha shop operations <<<"$entities"
bridge_node operations beta shop commerce <<<"$entities"
for node in commerce operations; do
    bridge_install "$node" >>"$SERVERS_DIR/install.log"
    bridge_start "$node"
done

# What was read last had a time that the clock has yet to come to; and nothing more is read.
go_back() {
    bridge_stop commerce
    sql alpha shop "update bridge.outbound set given_us = (date_part('epoch', clock_timestamp()) * 1000000)::bigint + $SECONDS_BACK * 1000000;
        select bridge.pause('out')" >"$SERVERS_DIR/null"
}
# The log is read, and what waits for its time has come.
go_on() {
    sql alpha shop "select bridge.resume('out')" >"$SERVERS_DIR/null"
    bridge_quiet commerce operations
    wait_for 120 "what waits for its time" nothing_waits
    bridge_quiet commerce operations
}
nothing_waits() { [[ $(node_sql operations "select exists (select from bridge.dead_letter where state = 'retrying')") == f ]]; }
both_equal() {
    local query
    for query in "select * from $1 order by id" \
        "select key, version_time, version_node, deleted from bridge.entity_state where entity = '$1' and not deleted order by key collate \"C\""; do
        node_sql commerce "$query" >"$SERVERS_DIR/commerce.rows"
        node_sql operations "$query" >"$SERVERS_DIR/operations.rows"
        diff "$SERVERS_DIR/commerce.rows" "$SERVERS_DIR/operations.rows" >"$SERVERS_DIR/difference" ||
            fail "the sides differ, seed $seed: $(head -n 6 "$SERVERS_DIR/difference")"
    done
}

# ---- rows that both sides write and delete while the log waits ----

seed=$RANDOM
printf '# seed %s\n' "$seed"
# write NODE WHAT DELETED: a third of the rows, each in a transaction of its own.
write() {
    node_sql "$1" "do \$\$ begin
        perform setseed(($seed::float / 32768 + hashtext('$2')::float / 2147483648) / 2);
        for i in 1 .. $ROWS loop
            if random() < 0.35 then
                if random() < $3 then
                    delete from item where id = i;
                else
                    insert into item values (i, '$2') on conflict (id) do update set what = excluded.what;
                end if;
                commit;
            end if;
        end loop;
    end \$\$"
}
come() { [[ $(node_sql operations "select count(*) from bridge.outbox") == 0 && $(node_sql commerce "select sum(received) from bridge.inbound") == \
    $(node_sql operations "select published from bridge.outbound") ]]; }
sql alpha shop "insert into item select g, 'x' from generate_series(1, $ROWS) g"
for deleted in 0 0.3; do
    bridge_quiet commerce operations
    go_back
    write commerce "$deleted first" 0
    sleep $SECONDS_BACK
    bridge_start commerce
    for round in 1 2 3 4 5; do
        write commerce "$deleted here $round" "$deleted"
        write operations "$deleted there $round" "$deleted"
        wait_for 60 "what operations has written" come
    done
    go_on
    both_equal item
    printf 'ok - rows that both sides write while the log waits, %s of them deletions\n' "$deleted"
done

# ---- unique values that rows exchange ----

sql alpha shop "insert into member values (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x')"
bridge_quiet commerce operations
go_back
sql alpha shop "update member set what = 'first'"
sleep $SECONDS_BACK
sql alpha shop "update member set what = 'second'"
sql beta shop "begin; update member set mail = 'free' where id = 1; update member set mail = 'a' where id = 2; update member set mail = 'b' where id = 1;
    update member set what = 'theirs' where id = 3; commit"
bridge_start commerce
exchanged() { [[ $(sql alpha shop "select string_agg(mail, '' order by id) from member where what <> 'second'") == bac ]]; }
wait_for 60 "the exchange" exchanged
go_on
both_equal member
printf 'ok - rows that exchange unique values while the log waits\n'

# ---- triggers tell what is written before the log has told what was written before them ----

switch_to() {
    sed -i "s/^capture: .*/capture: $1/" "$SERVERS_DIR/commerce.yaml"
    bridge_install commerce >>"$SERVERS_DIR/install.log"
}
log_left() { [[ $(sql alpha shop "select versions_since is null from bridge.node") == t ]]; }
# Commits that the log has yet to tell, of a time that the clock has yet to come to: STATEMENT.
commit_ahead() {
    sql alpha shop "begin; select pg_replication_origin_session_setup('ahead'); $1;
        select pg_replication_origin_xact_setup('0/1', clock_timestamp() + interval '$SECONDS_BACK s'); commit" >"$SERVERS_DIR/null"
}

sql alpha shop "delete from item; insert into item select g, 'kept' from generate_series(1, 40) g; select pg_replication_origin_create('ahead')" >"$SERVERS_DIR/null"
for ahead in told untold; do
    bridge_quiet commerce operations
    sql beta shop "update item set what = 'theirs'"
    bridge_quiet commerce operations
    if [[ $ahead == told ]]; then
        go_back
        sql alpha shop "select bridge.resume('out')" >"$SERVERS_DIR/null"
        bridge_start commerce
        told_us=${EPOCHREALTIME/[.,]/}
        sql alpha shop "update item set what = 'told with a time to come'"
        bridge_quiet commerce
        bridge_stop commerce
        sql alpha shop "select bridge.pause('out')" >"$SERVERS_DIR/null"
        sql alpha shop "update item set what = 'unread' where id % 4 < 2; delete from item where id % 4 >= 2"
    else
        sql alpha shop "select bridge.pause('out')" >"$SERVERS_DIR/null"
        bridge_stop commerce
        told_us=${EPOCHREALTIME/[.,]/}
        commit_ahead "update item set what = 'unread' where id % 4 < 2; delete from item where id % 4 >= 2"
        # The versions of rows that are written again go on from there.
        sql alpha shop "insert into item select g, 'unread' from generate_series(43, 80, 4) g; update item set what = 'unread, too' where id % 4 < 2"
        sleep $((SECONDS_BACK - 1))
        sql alpha shop "update item set what = 'unread, once more' where id % 4 < 2; delete from item where id > 40"
    fi
    switch_to outbox
    sql alpha shop "update item set what = 'by triggers' where id % 4 = 0; delete from item where id % 4 = 1; insert into item select g, 'anew' from generate_series(2, 40, 4) g"
    sql alpha shop "update item set what = what where id % 8 < 3" # which triggers do not see
    # As late as needed, and no later; upon a version that was told half as fast as the clock, also past the floor.
    assert_equal "10 20" "$(sql alpha shop "select count(*) filter (where v.key::int % 4 = 2) || ' ' || count(*)
        from bridge.row_version v, bridge.node n, (select (date_part('epoch', clock_timestamp()) * 1000000)::bigint as us) clock
        where v.key::int % 4 in (0, 2) and v.key::int <= 40
          and v.ts between n.floor_us and greatest(n.floor_us + 1000, clock.us, v.base_ts + (clock.us - $told_us) / 2)")" "versions given by triggers, time $ahead"
    bridge_start commerce
    go_on
    both_equal item
    assert_equal "20|anew, by triggers" "$(sql beta shop "select count(*), string_agg(distinct what, ', ' order by what) from item")" "what triggers told"
    printf 'ok - rows that are written again after a switch to triggers, a time to come was %s\n' "$ahead"
    wait_for 60 "the log's end" log_left
    bridge_stop commerce
    switch_to wal
    bridge_start commerce
    sql alpha shop "insert into item select g, 'kept' from generate_series(1, 40) g on conflict do nothing"
done

# ---- a deletion that the log has yet to tell, upon which apply has brought what a peer wrote before it ----

bridge_quiet commerce operations
sql alpha shop "select bridge.pause('out')" >"$SERVERS_DIR/null"
bridge_stop commerce
sql beta shop "update item set what = 'before' where id <= 20"
sql alpha shop "delete from item where id <= 20"
bridge_start commerce
brought() { [[ $(sql alpha shop "select count(*) from item where what = 'before'") == 20 ]]; }
wait_for 60 "what the peer wrote" brought
bridge_stop commerce
switch_to outbox
sql alpha shop "update item set what = what where id <= 10" # which triggers do not see
bridge_start commerce
sql alpha shop "select bridge.resume('out')" >"$SERVERS_DIR/null"
wait_for 60 "the log's end" log_left
bridge_quiet commerce operations
both_equal item
assert_equal "0" "$(sql beta shop "select count(*) from item where id <= 20")" "rows that are deleted after all"
bridge_stop commerce
switch_to wal
bridge_start commerce
printf 'ok - a deletion that the log tells late is carried out, though a row was written that triggers do not see\n'

# ---- a time far ahead ends with the log that has told it ----

bridge_quiet commerce operations
bridge_stop commerce
sql alpha shop "update bridge.outbound set given_us = (date_part('epoch', clock_timestamp() + interval '70 years') * 1000000)::bigint"
switch_to outbox
bridge_start commerce
wait_for 60 "the log's end" log_left
sql alpha shop "insert into item values (1000, 'now')"
bridge_quiet commerce operations
both_equal item
printf 'ok - a time far ahead ends with the log that has told it\n'

for node in commerce operations; do
    counters_conserve "$node"
    bridge_stop "$node"
done
