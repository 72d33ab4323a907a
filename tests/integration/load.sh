#!/usr/bin/env bash
# 20,000 random mixed changes, made by four sessions on each side at once, on keys of their own: afterwards both sides are
# equal row by row and version by version, every transaction has arrived exactly once, no change was published twice, and
# nothing is left over: no conflict, no dead letter, no gap. LOAD_SEED repeats a run, LOAD_STEPS makes it longer.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
# shellcheck source=tests/support/load.sh
source "$SOURCE_DIR/tests/support/load.sh"

servers_init
servers_start alpha beta fsync=off deadlock_timeout=100ms
load_prepare
bridge_start commerce

# A backlog of more messages than one delivery window holds, while the other adapter is away: transactions of three messages
# each, of which none may be applied without the others.
sql alpha shop "insert into load.account (id) values (-2); insert into load.entry (id, account) values (-2, -2)"
backlog() {
    sql alpha shop "do \$\$ begin
        for i in 1 .. 50 loop
            update load.account set id = id - 2 where id < 0;
            commit;
            perform pg_sleep(0.01);
        end loop;
    end \$\$"
    (($(rabbit_eval "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"bridge\">>, queue, <<\"bridge.sync.operations\">>)),
        [{messages, N}] = rabbit_amqqueue:info(Q, [messages]), N") > 300))
}
wait_for 240 "a backlog of messages" backlog
bridge_start operations
bridge_quiet commerce operations
assert_equal 0 "$(sql beta ops "select count(*) from bridge.dead_letter")" "dead letters of a backlog"
assert_equal "$(sql alpha shop "select e.id, account from load.entry e")" "$(sql beta ops "select e.id, account from load.entry e")" \
    "rows after a backlog"
printf 'ok - a backlog is applied in whole transactions\n'

load_start 4 "${LOAD_STEPS:-500}"
load_wait
load_verify

changes=$(($(sql alpha shop "select sum(changes) from load.committed") + $(sql beta ops "select sum(changes) from load.committed")))
((changes >= 20000)) || fail "the load was only $changes changes"
for node in commerce operations; do
    # Without a failure every change is sent and applied once.
    assert_equal "0|0" "$(node_sql "$node" "select sum(duplicate), sum(stale) from bridge.inbound")" "duplicate and stale changes on $node"
done
assert_equal "$(sql alpha shop "select published from bridge.outbound")" "$(sql beta ops "select received from bridge.inbound")" \
    "changes received by operations"
assert_equal "$(sql beta ops "select published from bridge.outbound")" "$(sql alpha shop "select received from bridge.inbound")" \
    "changes received by commerce"
bridge_stop commerce
bridge_stop operations
printf 'ok - %s changes, each published at most once and applied exactly once\n' "$changes"
