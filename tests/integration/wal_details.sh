#!/usr/bin/env bash
# What the log tells beside rows: correlation ids, changed tables, partitions, what came from a native subscription; and what check says before and after
# install about a server, a role and tables that are not made for it.
set -euo pipefail
CAPTURE_COMMERCE=wal
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
POSTGRES_SETTINGS="" servers_start alpha fsync=off
postgres_start beta fsync=off
for cluster in alpha beta; do
    sql $cluster postgres "create database shop"
    sql $cluster shop "create table item (id int primary key, what text, hidden text);
        create table code (code text not null, what text);
        create unique index code_code on code (code);
        create table part (id int, at date not null, what text, primary key (id, at)) partition by range (at);
        create table part_1 partition of part for values from ('2026-01-01') to ('2026-07-01');
        create table part_2 partition of part for values from ('2026-07-01') to ('2027-01-01')"
done
entities() {
    printf '  - {name: item, table: item, key: [id], fields: [what]}\n  - {name: code, table: code, key: [code], fields: [what]}\n'
    printf '  - {name: part, table: part, key: [id, at], fields: [what]}\n'
}
bridge_node commerce alpha shop operations < <(entities)
bridge_node operations beta shop commerce < <(entities)
bridge_install operations >"$SERVERS_DIR/install.log"

# ---- what is not made for it ----

says() { grep -qF "$1" "$SERVERS_DIR/said" || fail "wanted \"$1\": $(cat "$SERVERS_DIR/said")"; }
says_not() { ! grep -qF "$1" "$SERVERS_DIR/said" || fail "did not want \"$1\": $(cat "$SERVERS_DIR/said")"; }
check() { bridge commerce check >"$SERVERS_DIR/said" || true; }
if bridge_install commerce >"$SERVERS_DIR/said" 2>&1; then fail "installed on a server that does not log rows"; fi
says "needs wal_level = logical and track_commit_timestamp = on"
postgres_stop alpha
postgres_start alpha wal_level=logical track_commit_timestamp=on
if bridge_install commerce >"$SERVERS_DIR/said" 2>&1; then fail "installed with a table whose rows cannot be told"; fi
says 'entity "code": table public.code has no replica identity'
says "alter table public.code replica identity using index code_code"
sql alpha shop "alter table code replica identity using index code_code"
bridge_install commerce >>"$SERVERS_DIR/install.log"
check
says_not "error"
postgres_stop alpha
postgres_start alpha track_commit_timestamp=off
check
says "track_commit_timestamp is off"
postgres_stop alpha
postgres_start alpha track_commit_timestamp=on
sql alpha shop "alter role pgbridge noreplication"
check
says "it lacks REPLICATION"
sql alpha shop "alter role pgbridge replication; alter table part_2 replica identity nothing; create table part_3 partition of part for values from ('2027-01-01') to ('2028-01-01');
    alter publication pgbridge_commerce drop table code; create trigger bridge_insert after insert on item for each row execute function bridge.capture_1()"
check
says "table public.part_2 has REPLICA IDENTITY NOTHING"
says "publication pgbridge_commerce is without table public.code"
says "capture triggers are there on public.item, and the log tells as well: bridge_insert"
sql alpha shop "alter table part_2 replica identity default"
bridge_install commerce >>"$SERVERS_DIR/install.log"
check
says_not "error"
assert_equal "database: up to date, nothing changed" "$(bridge_install commerce | head -n 1)" "install, run again"
printf 'ok - check and install say what is missing\n'

# Before the adapter was ever there.
sql alpha shop "select pg_drop_replication_slot(slot_name) from pg_replication_slots; insert into part values (900, '2026-03-03', 'lost')" >"$SERVERS_DIR/null"
bridge_start commerce
gap_noted() { [[ $(sql alpha shop "select string_agg(source || ' ' || state, ',') from bridge.gaps") == "commerce open" ]]; }
wait_for 120 "the gap to be noted" gap_noted
sql alpha shop "select bridge.acknowledge_gap(id, 'deleted') from bridge.gaps; delete from part" >"$SERVERS_DIR/null"
printf 'ok - a slot that was lost before it was read is a gap\n'
bridge_start operations
same() { [[ $(sql alpha shop "$1") == "$(sql beta shop "$1")" ]]; }
equal() { wait_for 120 "$1" same "$2" && printf 'ok - %s\n' "$1"; }

# ---- labels ----

sql alpha shop "begin; insert into item values (1, 'x'); select bridge.correlate('req-1', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'); insert into item values (2, 'x');
    select bridge.correlate('req-2'); insert into item values (3, 'x'); commit;
    begin; insert into item values (4, 'x'); select pg_logical_emit_message(true, 'pgbridge.correlation', 'req-3'); commit; insert into item values (5, 'x')" >"$SERVERS_DIR/null"
labelled() { [[ $(sql beta shop "select string_agg(key || '=' || coalesce(correlation, '-'), ' ' order by key) from bridge.row_version where entity = 1") == "1=req-1 2=req-1 3=req-2 4=req-3 5=-" ]]; }
wait_for 120 "correlation ids" labelled
printf 'ok - correlation ids arrive\n'

# ---- partitions ----

sql alpha shop "insert into part select i, '2026-06-01'::date + i, 'p' || i from generate_series(1, 60) i; update part set what = 'moved', at = at + 60 where id = 1; delete from part where id = 2; delete from part_1 where id = 3"
equal "partitions are told as their table" "select * from part order by 1, 2"
sql alpha shop "create table part_4 partition of part for values from ('2028-01-01') to ('2029-01-01')"
sql beta shop "create table part_4 partition of part default"
sql alpha shop "insert into part values (100, '2028-02-02', 'new partition'); truncate part_2"
equal "a new partition, and TRUNCATE of one" "select * from part order by 1, 2"

# ---- DDL in between ----

sql alpha shop "begin; insert into item values (10, 'before'); alter table item add more text default 'm', alter what type varchar(100); insert into item values (11, 'after'); update item set what = 'after' where id = 10; commit;
    alter table item drop hidden; insert into item values (12, 'later')"
equal "rows before, during and after a change of their table" "select id, what from item order by 1"
sql alpha shop "insert into item values (13, 'told before the column went'); alter table item rename what to why; insert into item values (14, 'not to be lost')"
told() { grep -q 'the column what does not exist any more' "$SERVERS_DIR/log/node-commerce.log"; }
wait_for 120 "the adapter to say that a column is gone" told
sed -i 's/fields: \[what\]}/fields: [what = why]}/; ' "$SERVERS_DIR/commerce.yaml"
sed -i 's/table: code, key: \[code\], fields: \[what = why\]/table: code, key: [code], fields: [what]/; s/table: part, key: \[id, at\], fields: \[what = why\]/table: part, key: [id, at], fields: [what]/' "$SERVERS_DIR/commerce.yaml"
bridge_install commerce >>"$SERVERS_DIR/install.log"
item_same() { [[ $(sql alpha shop "select id, why from item order by 1") == "$(sql beta shop "select id, what from item order by 1")" ]]; }
wait_for 120 "rows written before the new mapping" item_same
printf 'ok - a mapped column that is gone stops the log until the mapping is mended, and nothing is lost\n'

# ---- tables that get another name, entities that are taken out ----

logged() { wait_for 120 "the adapter to say \"$1\"" grep -qF "$1" "$SERVERS_DIR/log/node-commerce.log"; }
bridge_stop commerce
sql alpha shop "insert into code values ('unread', 'under its old name'); alter table code rename to coded; insert into coded values ('renamed', 'under its new name')"
sed -i 's/table: code,/table: coded,/' "$SERVERS_DIR/commerce.yaml"
bridge_install commerce >>"$SERVERS_DIR/install.log"
bridge_start commerce
code_same() { [[ $(sql alpha shop "select * from coded order by 1") == "$(sql beta shop "select * from code order by 1")" ]]; }
wait_for 120 "rows written before and after the table was renamed" code_same
bridge_stop commerce
sql alpha shop "insert into coded values ('taken out', 'unread then'); delete from coded where code = 'unread'; insert into item values (30, 'unread'); create table gone (id int primary key, what text);
    create schema legacy; create table legacy.old (id int primary key, what text)"
# What is deleted now cannot be told.
sql alpha shop "alter table coded add other int generated always as identity unique; alter table coded replica identity using index coded_other_key; delete from coded where code = 'renamed'"
cp "$SERVERS_DIR/commerce.yaml" "$SERVERS_DIR/commerce.whole"
sed -i '/name: code,/d; s/  - {name: item,.*/&\n  - {name: gone, table: gone, key: [id], fields: [what]}\n  - {name: old, table: legacy.old, key: [id], fields: [what]}/' "$SERVERS_DIR/commerce.yaml"
bridge_install commerce >>"$SERVERS_DIR/install.log"
sql alpha shop "insert into gone values (1, 'unread'); insert into coded values ('after that', 'never told')"
sed -i '/name: gone,/d; /name: old,/d' "$SERVERS_DIR/commerce.yaml"
bridge_install commerce >>"$SERVERS_DIR/install.log"
sql alpha shop "drop table gone; revoke usage on schema legacy from pgbridge; insert into item values (31, 'behind it')"
bridge_start commerce
wait_for 120 "rows of the entity that stays" item_same
assert_equal "renamed|under its new name;taken out|unread then" "$(sql beta shop "select string_agg(code || '|' || what, ';' order by code) from code")" \
    "rows that the log still had of an entity that was taken out"
logged 'passed_over schema=public table=gone'
logged 'passed_over schema=public table=coded'
sql alpha shop "alter table coded replica identity using index code_code; alter table coded drop column other"
sql beta shop "delete from code where code = 'renamed'"
mv "$SERVERS_DIR/commerce.whole" "$SERVERS_DIR/commerce.yaml"
bridge_install commerce >>"$SERVERS_DIR/install.log"
bridge_kill commerce
sql alpha shop "update coded set what = what || '!'; alter table coded rename to code"
sed -i 's/table: coded,/table: code,/' "$SERVERS_DIR/commerce.yaml"
bridge_install commerce >>"$SERVERS_DIR/install.log"
bridge_start commerce
equal "what the log still has of a table renamed, or of an entity taken out, is told; what cannot be read is named" "select * from code order by 1"

# ---- somebody else's origin ----

sql alpha shop "select pg_replication_origin_create('other'); select pg_replication_origin_session_setup('other');
    begin; select pg_replication_origin_xact_setup('0/17', now()); insert into code values ('foreign', 'x'); commit" >"$SERVERS_DIR/null"
equal "what a native subscription writes is told" "select * from code order by 1"
sql alpha shop "select pg_replication_origin_create('pgbridge_test'); select pg_replication_origin_session_setup('pgbridge_test');
    begin; select pg_replication_origin_xact_setup('0/17', now()); insert into code values ('ours', 'x'); commit" >"$SERVERS_DIR/null"
sql alpha shop "insert into code values ('last', 'x')"
arrived() { [[ $(sql beta shop "select count(*) from code where code = 'last'") == 1 ]]; }
wait_for 120 "the last row" arrived
assert_equal "0" "$(sql beta shop "select count(*) from code where code = 'ours'")" "rows of an apply transaction that came back"
printf 'ok - what was applied is not told\n'

# ---- told before it is seen ----

# A commit that waits for a standby is in the log already: what it put into the outbox cannot be taken out yet.
before=$(sql beta shop "select ts from bridge.row_version where key = 'last'")
sql alpha shop "alter system set synchronous_standby_names = 'nobody'"
sql alpha shop "select pg_reload_conf()" >"$SERVERS_DIR/null"
standby_wanted() { [[ $(sql alpha shop "show synchronous_standby_names") == "$1" ]]; }
wait_for 30 "the standby to be wanted" standby_wanted nobody
sql alpha shop "select bridge.assert_2('last')" >"$SERVERS_DIR/null" &
waiting=$!
held_back() { [[ $(sql alpha shop "select count(*) from pg_stat_activity where wait_event = 'SyncRep' and query like '%assert_2%'") == 1 ]]; }
wait_for 30 "the commit to wait" held_back
said_again() { [[ $(sql beta shop "select ts > $before from bridge.row_version where key = 'last'") == t ]]; }
if wait_for 3 "it to be told" said_again 2>"$SERVERS_DIR/null"; then fail "what nobody sees was told"; fi
sql alpha shop "alter system reset synchronous_standby_names"
sql alpha shop "select pg_reload_conf()" >"$SERVERS_DIR/null"
wait "$waiting"
wait_for 120 "it to be told" said_again
forgotten() { [[ $(sql alpha shop "select count(*) from bridge.outbox") == 0 ]]; }
wait_for 30 "the outbox to be empty" forgotten
printf 'ok - what a commit that nobody sees put into the outbox is taken out all the same\n'

# ---- apply waits while versions are noted ----

lines=$(wc -l <"$SERVERS_DIR/log/postgres-alpha.log")
sql alpha shop "begin; select pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions')); select pg_sleep(3); commit" >"$SERVERS_DIR/null" &
holder=$!
noting() { [[ $(sql alpha shop "select count(*) from pg_locks where locktype = 'advisory' and granted and objid = hashtext('versions')::oid and pid in
    (select pid from pg_stat_activity where query like '%pg_sleep(3)%')") != 0 ]]; }
wait_for 30 "the lock" noting
sql beta shop "insert into code values ('waits', 'x')"
waited() { [[ $(sql alpha shop "select count(*) from code where code = 'waits'") == 1 ]]; }
wait_for 120 "the row that waits" waited
wait "$holder"
! tail -n "+$((lines + 1))" "$SERVERS_DIR/log/postgres-alpha.log" | grep -q 'lock timeout' || fail "apply gave up its wait"
printf 'ok - apply waits while versions are noted\n'

# ---- an application holds one of many rows while their versions are noted ----

sql alpha shop "insert into code select 'many ' || i, 'once' from generate_series(1, 400) i"
bridge_quiet commerce operations
sql alpha shop "select bridge.pause('out')" >"$SERVERS_DIR/null"
silent() { [[ $(sql alpha shop "select state from bridge.status where direction = 'out'") == paused ]]; }
wait_for 30 "commerce to send no more" silent
# Deletions that apply does not know of when it brings the rows back: they are judged when the log tells of them.
sql alpha shop "delete from code where code like 'many%'"
sql beta shop "update code set what = 'theirs' where code like 'many%'"
came_back() { [[ $(sql alpha shop "select count(*) from code where what = 'theirs'") == 400 ]]; }
wait_for 60 "the rows to come back" came_back
lines=$(wc -l <"$SERVERS_DIR/log/postgres-alpha.log")
hold "update code set what = 'held' where code = 'many 400'"
before=$(sql alpha shop "select pg_current_xact_id()")
sql alpha shop "select bridge.resume('out')" >"$SERVERS_DIR/null"
wait_for 60 "the version of the row to wait" blocked
# Whoever waits for it holds no other.
release "update code set what = 'held' where code < 'many 400'"
bridge_quiet commerce operations
equal "rows that came back" "select code, what from code where code like 'many%' order by 1"
assert_equal "400|held" "$(sql beta shop "select count(*), max(what) filter (where code = 'many 400') from code where code like 'many%'")" "rows that were noted"
transactions=$(($(sql alpha shop "select pg_current_xact_id()") - before))
((transactions < 100)) || fail "$transactions transactions for 400 rows: each may wait for what apply is at"
# What apply waits for meanwhile it may wait for too long: it tries again.
! tail -n "+$((lines + 1))" "$SERVERS_DIR/log/postgres-alpha.log" | grep -A 4 -E 'lock timeout|deadlock detected' | grep -E 'note_log|deadlock detected' ||
    fail "the versions of many rows waited for one"
for cluster in alpha beta; do sql $cluster shop "delete from bridge.conflict"; done
printf 'ok - a row that an application holds waits alone\n'

# ---- a peer writes in between updates that wait, or after them ----

sql alpha shop "insert into code values ('between', 'x'), ('after', 'x'), ('ahead', 'x')"
bridge_quiet commerce operations
sql alpha shop "select bridge.pause('out')" >"$SERVERS_DIR/null"
wait_for 30 "commerce to send no more" silent
update() { for i in "$@"; do sql alpha shop "update code set what = '$i' where code in ('between', 'after')"; done; }
came() { [[ $(sql alpha shop "select count(*) from bridge.conflict where key = '$1'") == 1 ]]; }
theirs() {
    sql beta shop "update code set what = 'theirs' where code = '$1'"
    wait_for 60 "the conflict" came "$1"
}
update 1 2
theirs between
update 3 4
theirs after
# The same version by which apply judges and of which the views tell, also where it is ahead of the clock.
sql alpha shop "insert into bridge.row_version (entity, key, ts, node, deleted, lsn, at_us, row_xmin)
    select e.id, t.code, n.us + 500000, 'commerce', false, pg_current_wal_insert_lsn(), n.us, t.xmin
      from bridge.entity e, code t, (select (date_part('epoch', clock_timestamp()) * 1000000)::bigint as us) n where e.name = 'code' and t.code = 'ahead'"
sql alpha shop "update code set what = 'ours' where code = 'ahead'"
ahead=$(sql alpha shop "select h.ts from code t, bridge.row_version v, bridge.version_here(v, v.xmin, t.xmin) h where t.code = 'ahead' and v.key = 'ahead'")
theirs ahead
assert_equal "$ahead" "$(sql alpha shop "select local_ts from bridge.conflict where key = 'ahead'")" "the version that was judged"
published=$(sql alpha shop "select published from bridge.outbound")
sql alpha shop "select bridge.resume('out')" >"$SERVERS_DIR/null"
bridge_quiet commerce operations
assert_equal 4 "$(sql alpha shop "select published - $published from bridge.outbound")" "changes sent: what was before their write, and what is the last"
equal "rows that both wrote" "select code, what from code where code in ('between', 'after', 'ahead') order by 1"
equal "conflicts, each with its winner and loser" "select key, case ruling when 'local' then (local_ts, local_node) else (remote_ts, remote_node) end,
    case ruling when 'local' then (remote_ts, remote_node) else (local_ts, local_node) end from bridge.conflict order by 1"
assert_equal "after|theirs, between|4" "$(sql alpha shop "select string_agg(code || '|' || what, ', ' order by code) from code where code in ('between', 'after')")" "what stays"
assert_equal "after, ahead, between" "$(sql beta shop "select string_agg(key, ', ' order by key) from bridge.conflict")" "conflicts"
for cluster in alpha beta; do sql $cluster shop "delete from bridge.conflict"; done

# ---- rows that are written all the time ----

sql alpha shop "insert into code select 'hot ' || i, 'x' from generate_series(0, 2) i"
bridge_quiet commerce operations
sql alpha shop "select bridge.pause('out')" >"$SERVERS_DIR/null"
wait_for 30 "commerce to send no more" silent
heat() { sql alpha shop "do \$\$ begin for i in 1..6000 loop update code set what = '$1 ' || i where code = 'hot ' || i % 3; commit; end loop; end \$\$"; }
heat first
theirs "hot 1"
heat then
published=$(sql alpha shop "select published from bridge.outbound")
sql alpha shop "select bridge.resume('out')" >"$SERVERS_DIR/null"
bridge_quiet commerce operations
published=$(($(sql alpha shop "select published from bridge.outbound") - published))
((published < 100)) || fail "$published changes were sent of 12000 to three rows"
equal "rows that were written all the time" "select code, what from code where code like 'hot%' order by 1"
assert_equal "then 6000|then 5998|then 5999" "$(sql beta shop "select string_agg(what, '|' order by code) from code where code like 'hot%'")" "what stays"
assert_equal "hot 1" "$(sql beta shop "select string_agg(key, ' ') from bridge.conflict")" "conflicts"
for cluster in alpha beta; do sql $cluster shop "delete from bridge.conflict"; done

# ---- large values that the log tells of with what the row was ----

sql alpha shop "alter table code alter what set storage external, add extra int, replica identity full;
    insert into code values ('large', (select string_agg(md5(i::text), '') from generate_series(1, 3200) i))"
bridge_quiet commerce operations
sql alpha shop "select bridge.pause('out')" >"$SERVERS_DIR/null"
wait_for 30 "commerce to send no more" silent
sql alpha shop "do \$\$ begin for i in 1..1000 loop update code set extra = i where code = 'large'; commit; end loop; end \$\$"
written=$(sql alpha shop "select pg_current_wal_lsn()")
# As much as the adapter takes while it may send nothing.
all_told() { [[ $(sql alpha shop "select bool_or(sent_lsn >= '$written' or wait_event = 'WalSenderWriteData') from pg_stat_replication r join pg_stat_activity a using (pid)
    where r.application_name like '%capture%'") == t ]]; }
wait_for 60 "the log to be told" all_told
sleep 1
kilobytes=$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$(process_id node-commerce)/status")
((kilobytes < 80000)) || fail "$kilobytes kB for a hundred megabytes of large values that wait"
sql alpha shop "select bridge.resume('out')" >"$SERVERS_DIR/null"
bridge_quiet commerce operations
sql alpha shop "alter table code replica identity using index code_code"
equal "a row with a large value" "select code, md5(what) from code where code = 'large'"
printf 'ok - large values that wait are bounded: %s kB\n' "$kilobytes"

# ---- what a row was is not kept for each change that is judged against it ----

sql alpha shop "insert into code values ('stays', 'x'), ('goes', 'x')"
bridge_quiet commerce operations
sql alpha shop "select bridge.pause('out'), bridge.pause('in')" >"$SERVERS_DIR/null"
paused() { [[ $(sql alpha shop "select string_agg(state, ' ') from bridge.status") == "paused paused" ]]; }
wait_for 30 "commerce to stand still" paused
sent() { [[ $(sql beta shop "select count(*) from bridge.outbox") == 0 ]]; }
for i in 1 2 3 4 5 6 7 8; do
    sql beta shop "update code set what = '$i' where code in ('stays', 'goes')"
    wait_for 30 "update $i to be sent" sent
done
sql alpha shop "update code set what = 'ours' where code = 'stays'; delete from code where code = 'goes'"
judged=$(sql alpha shop "select sum(received) from bridge.inbound")
sql alpha shop "select bridge.resume('in')" >"$SERVERS_DIR/null"
all_judged() { (($(sql alpha shop "select sum(received) from bridge.inbound") == judged + 16)); }
wait_for 60 "all to be judged" all_judged
kept=$(sql alpha shop "select max(jsonb_array_length(former)) from bridge.row_version where key in ('stays', 'goes')")
((kept <= 3)) || fail "$kept entries are kept for one write"
sql alpha shop "select bridge.resume('out')" >"$SERVERS_DIR/null"
bridge_quiet commerce operations
equal "rows that were judged again and again" "select code, what from code where code in ('stays', 'goes') order by 1"
assert_equal "stays|ours" "$(sql beta shop "select code, what from code where code in ('stays', 'goes')")" "what stays"
for cluster in alpha beta; do sql $cluster shop "delete from bridge.conflict"; done

# ---- a change that a peer has overtaken is noted once, however often it is read ----

bridge_stop commerce
place=$(sql alpha shop "select pg_current_wal_insert_lsn()")
sql alpha shop "select pg_logical_emit_message(false, 'test', repeat('x', 10000))" >"$SERVERS_DIR/null"
note() {
    sql alpha shop "select n.version_ts from bridge.entity e, bridge.note_log(array[e.id], '{overtaken}', '{d}', '{10}', '{20}', '{$place}', '{5}', '{$1}') n where e.name = 'code'"
    sql alpha shop "select ts, node, seen, former from bridge.row_version where key = 'overtaken'"
}
for later in 0 7; do
    sql alpha shop "insert into bridge.row_version (entity, key, ts, node, deleted, lsn) select id, 'overtaken', 1, 'operations', true, '$place'::pg_lsn + 1000 from bridge.entity where name = 'code'"
    first=$(note $later)
    grep -q '"late": true' <<<"$first" || fail "the change is not remembered: $first"
    assert_equal "$first" "$(note $later)" "what is noted when the change is read again"
    sql alpha shop "delete from bridge.row_version where key = 'overtaken'"
done
printf 'ok - a change that a peer has overtaken is noted once\n'

# The version that it gets is the one by which apply has judged a later change of this node's: that is nobody's word.
sql alpha shop "insert into bridge.row_version (entity, key, ts, node, deleted, lsn, former)
    select id, 'overtaken', 20, 'commerce', true, '$place'::pg_lsn + 2000, jsonb_build_array(jsonb_build_object('lsn', bridge.lsn_number('$place') + 1000,
        'replaced', bridge.lsn_number('$place') + 2000, 'over', '7', 'base', 20, 'ts', 20, 'node', 'commerce')) from bridge.entity where name = 'code'"
assert_equal 0 "$(note 0 >"$SERVERS_DIR/said"; sql alpha shop "select count(*) from bridge.outbox")" "rows that are said anew for a later change's version"
sql alpha shop "delete from bridge.row_version where key = 'overtaken'"
# The version by which this node has given its word: the row is said anew.
sql alpha shop "insert into bridge.row_version (entity, key, ts, node, deleted, lsn)
    select id, 'overtaken', 20, 'commerce', true, '$place'::pg_lsn + 2000 from bridge.entity where name = 'code'"
assert_equal 1 "$(note 0 >"$SERVERS_DIR/said"; sql alpha shop "select count(*) from bridge.outbox")" "rows that are said anew for this node's own word"
sql alpha shop "delete from bridge.outbox; delete from bridge.row_version where key = 'overtaken'"

# What is ahead of the clock is so for twice as long as it was ahead and no longer, and what is written in between, 2 us apart or more, makes no difference.
assert_equal "1501 1550 1800 2000 2500" "$(sql alpha shop "select string_agg(bridge.version_upon(1500, 1000, ts)::text, ' ' order by ts)
    from unnest(array[100, 1100, 1600, 2000, 2500]) ts")" "versions upon one that is ahead of the clock"
assert_equal t "$(sql alpha shop "select bool_and(bridge.version_upon(bridge.version_upon(1500, 1000, a), a, b) = bridge.version_upon(1500, 1000, b))
    from generate_series(1002, 2100) a, generate_series(a + 2, 2100) b")" "versions upon what was written in between"

# A second write after the clock has gone back: apply has judged by its commit's time before the log told of the first, after which it is later.
before=$(sql alpha shop "select pg_current_wal_insert_lsn()")
sql alpha shop "insert into code values ('shifted', 'x')"
place=$(sql alpha shop "select pg_current_wal_insert_lsn()")
committed=$(sql alpha shop "select (date_part('epoch', pg_xact_commit_timestamp(xmin)) * 1000000)::bigint from code where code = 'shifted'")
# judged TS NODE: by apply, which left the row to this version. -> the second write's version, the row's, and how often it was said anew
judged() {
    sql alpha shop "delete from bridge.row_version where key = 'shifted';
        insert into bridge.row_version (entity, key, ts, node, deleted, lsn, row_xmin, over, base_ts, base_node, at_us)
        select e.id, c.code, $committed + $1, '$2', false, '$place'::pg_lsn + 1000, c.xmin, c.xmin, $committed, 'commerce', $committed
          from bridge.entity e, code c where e.name = 'code' and c.code = 'shifted'"
    sql alpha shop "select n.version_ts - $committed from bridge.entity e, code c, bridge.note_log(array[e.id, e.id], '{shifted,shifted}', '{u,u}',
        array[$committed - 100, $committed], array[$committed + 900, $committed], '{$before,$place}', array['5', c.xmin], '{0,0}') n
        where e.name = 'code' and c.code = 'shifted' order by n.n"
    sql alpha shop "select v.ts - $committed = 950, v.ts - $committed > 950, v.node, (select count(*) from bridge.outbox) from bridge.row_version v where key = 'shifted'"
    sql alpha shop "delete from bridge.outbox"
}
assert_equal $'950\nt|f|commerce|0' "$(judged 0 commerce)" "a row that was judged by an earlier version, and stayed"
assert_equal $'950\nf|f|operations|0' "$(judged -1 operations)" "a row that lost to what would not have mattered"
assert_equal $'950\nf|t|operations|0' "$(judged 2000 operations)" "a row that would have lost all the same"
assert_equal t "$([[ $(judged 500 operations) == 95[0-9]$'\nf|t|commerce|1' ]] && echo t)" "a row that should not have lost"
sql alpha shop "delete from bridge.row_version where key = 'shifted'"
judged 0 commerce >"$SERVERS_DIR/said"
# And a third one, after apply has judged: it stands upon the second.
mid=$(sql alpha shop "select pg_logical_emit_message(false, 'test', repeat('x', 1000))")
sql alpha shop "update bridge.row_version set ts = $committed, at_us = $committed, lsn = '$mid', over = row_xmin, former = null where key = 'shifted';
    update code set what = 'third' where code = 'shifted'"
sql alpha shop "select n.version_ts - $committed from bridge.entity e, code c, bridge.row_version v,
    lateral (select (date_part('epoch', pg_xact_commit_timestamp(c.xmin)) * 1000000)::bigint as us) third,
    bridge.note_log(array[e.id, e.id, e.id], '{shifted,shifted,shifted}', '{u,u,u}', array[$committed - 100, $committed, third.us],
    array[$committed + 60000000, $committed, third.us], array['$before', '$place', pg_current_wal_insert_lsn()], array['5', v.row_xmin, c.xmin], '{0,0,0}') n
    where e.name = 'code' and c.code = 'shifted' and v.key = 'shifted' order by n.n" >"$SERVERS_DIR/said"
read -rd '' second third <"$SERVERS_DIR/said" || true
((second == 60000050 && third > second)) || fail "versions after the clock has gone back: the second write's $second, the third's ${third:-that of its commit}"
sql alpha shop "delete from bridge.outbox; delete from bridge.row_version where key = 'shifted'"
printf 'ok - a row that was judged by the time of its commit alone is said anew\n'

# A switch to triggers keeps what the commits say, and the log tells of a later version then.
sql alpha shop "insert into code values ('kept', 'x')"
sql alpha shop "select bridge.keep_versions('code')" >"$SERVERS_DIR/said"
committed="lateral (select (date_part('epoch', pg_xact_commit_timestamp(t.xmin)) * 1000000)::bigint as us) c"
sql alpha shop "select n.* from bridge.entity e, code t, $committed, lateral bridge.note_log(array[e.id], '{kept}', '{c}', array[c.us], array[c.us + 900],
    array['$place'::pg_lsn], array[t.xmin], '{0}') n where e.name = 'code' and t.code = 'kept'" >"$SERVERS_DIR/said"
assert_equal 900 "$(sql alpha shop "select v.ts - c.us from bridge.row_version v, code t, $committed where v.key = 'kept' and t.code = 'kept'")" "the version that is kept"

# ---- a database that was restored into a server whose log is shorter ----

sql alpha shop "update bridge.outbound set released_lsn = pg_current_wal_lsn() + 1000000000; update bridge.capture_switch set lsn = lsn + 900000000;
    insert into code values ('restored', 'x')"
bridge_start commerce
restored() { [[ $(sql beta shop "select count(*) from code where code = 'restored'") == 1 ]]; }
wait_for 120 "what was written after it" restored
assert_equal "commerce" "$(sql alpha shop "select source from bridge.gaps where state = 'open'")" "the gap"
sql alpha shop "select bridge.acknowledge_gap(id, 'looked') from bridge.gaps where state = 'open'" >"$SERVERS_DIR/null"
printf 'ok - a place that is not in this log is a gap, and capture goes on\n'

assert_equal "0|0" "$(sql beta shop "select (select count(*) from bridge.conflict), (select count(*) from bridge.dead_letter)")" "conflicts and dead letters"
counters_conserve operations
bridge_stop operations

# ---- the end ----

bridge commerce uninstall --admin "$PG_ADMIN_ALPHA" >"$SERVERS_DIR/said" 2>&1 && fail "uninstalled under a running adapter"
says "the adapter of this node is running"
bridge_stop commerce
bridge commerce uninstall --admin "$PG_ADMIN_ALPHA" >>"$SERVERS_DIR/install.log"
assert_equal "0|0|0" "$(sql alpha shop "select (select count(*) from pg_replication_slots), (select count(*) from pg_publication), (select count(*) from pg_trigger where tgname like 'bridge%')")" "slots, publications and triggers left"
sql alpha shop "update item set why = 'x'; delete from part" || fail "the tables are not free"
printf 'ok - uninstall leaves nothing\n'
