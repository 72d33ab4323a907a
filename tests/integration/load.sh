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
bridge_start operations
load_start 4 "${LOAD_STEPS:-800}"
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
