#!/usr/bin/env bash
# What applications do to themselves: hot rows within a budget, rows that both sides rewrite in turns, deletions of everything. It is
# slowed or held, other rows flow, nothing is lost, and in the end both sides are equal.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
# The rally's triggers fire for what is applied, too: each asks a job to put back what its own side wants.
tables() {
    cat <<SQL
    create table hot (id int primary key, n int, what text);
    create table calm (id int primary key, n int);
    create table rally (id int primary key, what text);
    create table archive (id int primary key, what text);
    create table wish (id int);
    create function wish() returns trigger language plpgsql as \$\$ begin
        if new.what <> '$1' then insert into public.wish values (new.id); end if;
        return null;
    end \$\$;
    create trigger wish after insert or update on rally for each row execute function wish();
    grant insert on wish to public;
SQL
}
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
sql alpha shop "$(tables commerce)"
sql beta ops "$(tables operations)"
RATE=40
entities() {
    cat <<YAML
  - {name: hot, table: hot, key: [id], fields: [n, what], max_changes_per_second: $RATE}
  - {name: calm, table: calm, key: [id], fields: [n]}
  - {name: rally, table: rally, key: [id], fields: [what], triggers: fire}
  - {name: archive, table: archive, key: [id], fields: [what]}
YAML
}
rules=("ping_pong: {times: 20, within: 120 s, cool_down: 12 s}" "mass_delete: {rows: 1000, percent: 60, within: 600 s}")
bridge_node commerce alpha shop operations "${rules[@]}" < <(entities)
bridge_node operations beta ops commerce "${rules[@]}" < <(entities)
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"
bridge_start commerce
bridge_start operations
bridge_quiet commerce operations

row_is() { [[ $(node_sql "$1" "$2") == "$3" ]]; }
equal() { [[ $(node_sql commerce "select * from $1 order by 1") == "$(node_sql operations "select * from $1 order by 1")" ]]; }
health() { node_sql "$1" "select status from bridge.health where \"check\" = '$2'"; }
published() { node_sql "$1" "select published from bridge.outbound"; }
slowed_is() { [[ $(health commerce 'slowed changes') == "$1" ]]; }
no_letters() { [[ $(node_sql "$1" "select count(*) from bridge.dead_letters where state = 'retrying'") == 0 ]]; }

# ---- a budget ----
sql alpha shop "insert into hot select g, 0, 'old' from generate_series(1, 30) g; insert into calm values (1, 0)"
bridge_quiet commerce operations
before=$(published commerce) begun=$SECONDS
# Thirty rows, more than half of what may be sent in a second, in transactions of their own; the one row that has no budget all the while.
sql alpha shop "do \$\$ begin for i in 1 .. 20000 loop update hot set n = i where id = 1 + i % 30; commit; end loop; end \$\$"
sql alpha shop "update calm set n = 1"
wait_for 60 "the row without a budget" row_is operations "select n from calm" 1
wait_for 120 "it to be told no more" slowed_is healthy
# A cold backlog is slowed as well, and told.
sql alpha shop "insert into hot select g, 0, 'cold' from generate_series(101, 400) g"
# Until they are sent the budget believes that this backlog shrinks as the one before it did.
wait_for 120 "a first part to be sent" outboxes_empty commerce
sql alpha shop "do \$\$ begin for i in 8 .. 19 loop insert into hot select 50 * i + g, 0, 'cold' from generate_series(1, 50) g; commit; end loop; end \$\$"
wait_for 60 "health to say why changes wait" slowed_is warning
bridge_kill commerce
bridge_start commerce
bridge_quiet commerce operations
equal hot || fail "the rows within a budget differ"
# A transaction is not cut, and a new process knows nothing of what the one before it sent too much.
seconds=$((SECONDS - begun + 1)) published_now=$(published commerce)
((published_now - before < RATE * seconds + 1000)) || fail "20,000 updates of thirty rows became $((published_now - before)) changes in $seconds s"
wait_for 60 "the budget's health afterwards" slowed_is healthy
assert_equal 0 "$(node_sql operations "select count(*) from bridge.conflict")" "conflicts"
printf 'ok - a budget: 20,000 updates of thirty rows and 900 new rows became %s changes in %s s, and both sides are equal\n' $((published_now - before)) "$seconds"

# ---- ping-pong ----
# A job on each side grants the wishes: what one side writes the other rewrites. None may be lost between two statements.
job="do \$\$ begin
    loop
        exit when exists (select from wish where id = 0);
        begin
            with granted as (delete from wish where id > 0 returning id) update rally set what = '%w' where id in (select id from granted);
        exception when deadlock_detected then
            null; -- with apply; the wish is still there
        end;
        commit;
        perform pg_sleep(0.01);
    end loop;
end \$\$"
process_start job-commerce bash -c 'source "$0"; servers_attach "$1"; sql alpha shop "$2"' "$SOURCE_DIR/tests/support/servers.sh" "$SERVERS_DIR" "${job/\%w/commerce}"
process_start job-operations bash -c 'source "$0"; servers_attach "$1"; sql beta ops "$2"' "$SOURCE_DIR/tests/support/servers.sh" "$SERVERS_DIR" "${job/\%w/operations}"
sql alpha shop "insert into rally values (1, 'commerce')"
holding() { [[ $(node_sql commerce "select count(*) from bridge.health where \"check\" = 'ping-pong' and status = 'warning'") == 1 ||
    $(node_sql operations "select count(*) from bridge.health where \"check\" = 'ping-pong' and status = 'warning'") == 1 ]]; }
wait_for 120 "the rally to be held" holding
# From now on a handful of changes at every end of a cooling down, where there were dozens a second.
before=$(($(published commerce) + $(published operations)))
sql alpha shop "insert into calm values (2, 2)"
wait_for 60 "other rows to flow" row_is operations "select n from calm where id = 2" 2
begun=$SECONDS
released() { [[ $(node_sql commerce "select count(*) from bridge.dead_letters where error_code = 'STORM' and state <> 'retrying'") != 0 ||
    $(node_sql operations "select count(*) from bridge.dead_letters where error_code = 'STORM' and state <> 'retrying'") != 0 ]]; }
wait_for 60 "the end of a cooling down" released
wait_for 60 "it to be held again" holding
now=$(($(published commerce) + $(published operations)))
((now - before < 100)) || fail "the rally made $((now - before)) changes in $((SECONDS - begun)) s, held"
grep -hq 'held.*entity=rally.*in turns' "$SERVERS_DIR"/log/node-*.log || fail "no alarm in the log"
# Between the end of a cooling down and the next one nothing is held, and nothing is told.
hinted() {
    local node
    for node in commerce operations; do node_sql "$node" "select hint from bridge.health where \"check\" = 'ping-pong'"; done >"$SERVERS_DIR/hint"
    grep -q "pgbridge resume --entity rally --key '1'" "$SERVERS_DIR/hint"
}
wait_for 60 "the hint" hinted || fail "the hint: $(cat "$SERVERS_DIR/hint")"
# One side gives in.
sql alpha shop "alter table rally disable trigger wish; insert into wish values (0)"
for node in commerce operations; do
    bridge $node resume --entity rally --key 1 2>/dev/null || true
done
wait_for 120 "the end of the job of commerce" process_ended job-commerce
# Equal for a moment is not the end: a change under way may waken the job of operations once more.
settled() {
    no_letters commerce && no_letters operations && row_is commerce "select what from rally" operations &&
        row_is operations "select what from rally" operations && row_is operations "select count(*) from wish" 0
}
over() { settled && nodes_quiet commerce operations && settled; }
wait_for 120 "operations to have the last word" over
sql beta ops "insert into wish values (0)"
wait_for 120 "the end of the job of operations" process_ended job-operations
bridge_quiet commerce operations
equal rally || fail "the rally differs"
assert_equal "operations" "$(node_sql commerce "select what from rally")" "who had the last word"
printf 'ok - ping-pong: held after %s changes; then %s in a cooling down and a return; equal when one side gives in\n' "$before" $((now - before))

# ---- mass deletions ----
sql alpha shop "insert into archive select g, 'kept' from generate_series(1, 3000) g"
bridge_quiet commerce operations
# Little by little is no mass.
sql alpha shop "delete from archive where id <= 300"
wait_for 60 "a few deletions" row_is operations "select count(*) from archive" 2700
sql alpha shop "delete from archive where id <= 1300"
wait_for 60 "the deletions to be held" row_is operations "select status from bridge.health where \"check\" = 'paused by itself'" critical
sql alpha shop "insert into archive values (5000, 'new'); insert into calm values (3, 3)"
wait_for 60 "other rows to flow" row_is operations "select n from calm where id = 3" 3
wait_for 60 "the new row to be held, too" row_is operations "select count(*) from bridge.dead_letters where error_code = 'PAUSED' and key = '5000'" 1
assert_equal 2700 "$(node_sql operations "select count(*) from archive")" "rows while held"
node_sql operations "select reason from bridge.pauses where resumed_at is null" | grep -q '^mass delete by commerce' || fail "the reason"
bridge_kill operations
bridge_start operations
bridge operations resume --entity archive >"$SERVERS_DIR/said"
grep -q '1001 held changes' "$SERVERS_DIR/said" || fail "$(cat "$SERVERS_DIR/said")"
wait_for 60 "no letter to wait" no_letters operations
bridge_quiet commerce operations
equal archive || fail "archive differs after resume"
assert_equal 1701 "$(node_sql operations "select count(*) from archive")" "rows after resume"
printf 'ok - a mass of deletions is held, and applied after resume\n'

# More than a share of a small table; and an operator who undoes it.
bridge_stop operations
bridge_start operations # forgets what was deleted lately
node_sql operations "analyze archive"
sql alpha shop "delete from archive where id <= 2000"
bridge_quiet commerce operations
sql alpha shop "insert into hot values (9999, 1, 'x'); delete from hot where id <= 1000"
wait_for 60 "the deletions to be held" row_is operations "select entity from bridge.pauses where resumed_at is null" hot
bridge_quiet commerce operations
assert_equal 0 "$(node_sql commerce "select count(*) from hot where id <= 1000")" "rows of commerce"
rows=$(node_sql operations "select count(*) from hot")
bridge operations resume --entity hot --discard-deletions >"$SERVERS_DIR/said"
grep -q 'deletions are undone' "$SERVERS_DIR/said" || fail "$(cat "$SERVERS_DIR/said")"
bridge_quiet commerce operations
wait_for 60 "no letter to wait" no_letters operations
equal hot || fail "hot differs after its deletions were undone"
(($(node_sql commerce "select count(*) from hot") >= rows)) || fail "rows did not come back"
assert_equal "0 t" "$(node_sql commerce "select count(*) from bridge.conflict where entity = 'hot'") $(node_sql operations "select discarded > 0 from bridge.pauses where entity = 'hot'")" "conflicts of what came back, and the record of it"
printf 'ok - deletions that an operator undoes: the rows come back everywhere\n'

for node in commerce operations; do
    counters_conserve "$node"
    assert_equal "0" "$(node_sql $node "select count(*) from bridge.dead_letters where state in ('parked', 'quarantined')")" "letters for a human on $node"
    bridge_stop "$node"
done
