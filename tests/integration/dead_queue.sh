#!/usr/bin/env bash
# The broker's dead letters. A message that ends the process which reads it takes its neighbours along, each time once more, until the
# broker has delivered all of them too often. They are drained one by one: the healthy ones are applied, and the one that ended the
# process again is quarantined with its bytes and its history. Then nothing is missing, and nothing ends any more.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
HOOKS=$(find "$BUILD_DIR" -name pgbridge_hooks -type f -executable | head -n 1)
HEALTHY=200

servers_init
servers_start alpha beta fsync=off
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
for node in "alpha shop" "beta ops"; do
    # shellcheck disable=SC2086
    sql $node "create table item (id int primary key, what text)"
done
# Small messages: a row each.
bridge_node commerce alpha shop operations "message_bytes: 1 KiB" <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
YAML
bridge_node operations beta ops commerce <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
YAML
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"
# Sooner than after the fifty of the queue itself, for the test's time.
rabbit_ctl set_policy -p bridge short '^bridge\.sync\.' '{"delivery-limit": 4}' --apply-to queues >/dev/null

start_operations() {
    process_start node-operations env PGBRIDGE_POISON=ends-the-decoder "$HOOKS" -c "$SERVERS_DIR/operations.yaml" run
}
# As systemd would.
keep_running() {
    process_running node-operations || start_operations
}
restarts() { grep -c 'started version' "$SERVERS_DIR/log/node-operations.log"; }
bridge_start commerce
bridge_start operations
node_sql commerce "insert into item values (0, 'before')"
bridge_quiet commerce operations
bridge_stop operations

# One transaction each, the poison in the midst of them.
node_sql commerce "do \$\$ begin
    for i in 1 .. $HEALTHY + 1 loop
        insert into item values (i, case when i = 57 then 'ends-the-decoder' else 'healthy' end || repeat(' ', 900));
        commit;
    end loop;
end \$\$"
published() { outboxes_empty commerce; }
wait_for 60 "all of it to be published" published
letters() { node_sql operations "select count(*) from bridge.dead_letters where class = 'poison' and state = 'quarantined'"; }
settled() {
    keep_running
    [[ $(letters) == 1 && $(node_sql operations "select count(*) from item") == $((HEALTHY + 1)) ]]
}
wait_for 100 "one quarantined message and everything else applied" settled ||
    fail "$(restarts) starts, $(letters) letters, $(node_sql operations "select count(*) from item") rows, $(rabbit_ctl list_queues -p bridge name messages_ready messages_unacknowledged | xargs)"
assert_equal "$(node_sql commerce "select md5(string_agg(i::text, ',' order by id)) from item i where id <> 57")" \
    "$(node_sql operations "select md5(string_agg(i::text, ',' order by id)) from item i")" "healthy rows on both sides"
printf 'ok - %s healthy messages are applied, the one that ends the process is quarantined (after %s starts)\n' "$HEALTHY" "$(restarts)"

calm() {
    keep_running
    [[ $(node_sql operations "select count(*) from bridge.suspect") == 0 ]] && queues_empty operations
}
wait_for 60 "the dead-letter queue to be drained" calm
[[ $(node_sql operations "select error_code, error from bridge.dead_letters") == 'DEATH|the adapter ended 2 times with this message alone in hand
DETAIL: before: 1 x delivery_limit in queue bridge.sync.operations (exchange bridge.sync)
HINT: '* ]] || fail "the letter says $(node_sql operations "select error_code, error from bridge.dead_letters")"
node_sql operations "select convert_from(payload, 'utf8') from bridge.dead_letter" | grep -q '"what"\],"rows":\[\["57","ends-the-decoder *"\]\]' ||
    fail "its bytes are not those of the message: $(node_sql operations "select payload from bridge.dead_letter")"
no_gap() { [[ $(node_sql operations "select count(*) filter (where state = 'open'), count(*) filter (where state = 'filled') > 0 or count(*) = 0 from bridge.gaps") == "0|t" ]]; }
wait_for 30 "what was noted as missing to be filled" no_gap || fail "$(node_sql operations "table bridge.gaps")"
counters_conserve operations
printf 'ok - with its bytes and its history, and nothing is missing\n'

# It goes on, and nobody dies.
adapter=$(process_id node-operations)
node_sql commerce "insert into item select i, 'after' from generate_series(1000, 1100) i"
bridge_quiet commerce operations
assert_equal "$adapter" "$(process_id node-operations)" "the adapter's process"
assert_equal 101 "$(node_sql operations "select count(*) from item where what = 'after'")" "rows after it"
printf 'ok - and the adapter lives\n'
bridge_stop operations
bridge_stop commerce
