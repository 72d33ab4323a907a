#!/usr/bin/env bash
# Loops never form, and each of the three layers against them holds alone, with the other two switched off in a test build:
#   1. what apply writes is not captured;
#   2. a message with our own x-source is dropped;
#   3. equal content causes no write.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
PGBRIDGE=$(find "$BUILD_DIR" -name pgbridge_hooks -type f -executable | head -n 1)
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off

# Two fresh nodes in databases of their own, with parts switched off; both hear everything, their own messages too.
round=0
begin() {
    local disabled=$1 node cluster
    round=$((round + 1))
    export PGBRIDGE_DISABLE=$disabled
    for cluster in alpha beta; do
        sql "$cluster" postgres "create database loop$round"
        sql "$cluster" "loop$round" "create table thing (id int primary key, what text, n int default 0)"
    done
    bridge_node "left$round" alpha "loop$round" "right$round" "capture: outbox" <<'YAML'
  - {name: thing, table: public.thing, key: [id], fields: [what, n]}
YAML
    bridge_node "right$round" beta "loop$round" "left$round" "capture: outbox" <<'YAML'
  - {name: thing, table: thing, key: [id], fields: [what, n]}
YAML
    for node in left right; do
        bridge_install "$node$round" >>"$SERVERS_DIR/install.log"
        rabbit_eval "rabbit_binding:add({binding, rabbit_misc:r(<<\"bridge\">>, exchange, <<\"bridge.sync\">>), <<\"#\">>,
            rabbit_misc:r(<<\"bridge\">>, queue, <<\"bridge.sync.$node$round\">>), []}, <<\"admin\">>)" >>"$SERVERS_DIR/install.log"
    done
    bridge_start "left$round" -v
    bridge_start "right$round" -v
}
end() {
    bridge_stop "left$round"
    bridge_stop "right$round"
}

# Ten rows each way; then quiet must come, and the number of messages must be small.
exercise() {
    sql alpha "loop$round" "insert into thing select g, 'from left' from generate_series(1, 10) g"
    sql beta "loop$round" "insert into thing select g, 'from right' from generate_series(11, 20) g"
    bridge_quiet "left$round" "right$round"
    sql alpha "loop$round" "update thing set n = n + 1 where id > 10; delete from thing where id = 1"
    sql beta "loop$round" "update thing set what = 'changed' where id between 2 and 10"
    bridge_quiet "left$round" "right$round"
    assert_equal "$(sql alpha "loop$round" "select * from thing order by id")" "$(sql beta "loop$round" "select * from thing order by id")" "rows of both sides"
}
published() {
    node_sql "$1$round" "select published from bridge.outbound"
}
received() {
    node_sql "$1$round" "select coalesce(sum($2), 0) from bridge.inbound"
}

begin ""
exercise
assert_equal "21|19" "$(published left)|$(published right)" "published changes: one per change"
assert_equal "21|19" "$(received left echo)|$(received right echo)" "each hears its own messages, and drops them"
assert_equal "19|21" "$(received left applied)|$(received right applied)" "applied changes"
end
printf 'ok - all layers: one publish per change\n'

begin "echo,same"
exercise
assert_equal "21|19" "$(published left)|$(published right)" "published changes"
end
printf 'ok - what apply writes is not captured: holds alone\n'

# Apply is captured and published under the origin's name, so that it comes back to its origin as its own message.
begin "capture-guard,same"
exercise
assert_equal yes "$( (($(received left echo) > 19)) && echo yes)" "echoes dropped on the left"
assert_equal yes "$( (($(published left) <= 40 && $(published right) <= 40)) && echo yes)" "published changes are bounded: $(published left), $(published right)"
end
printf 'ok - a message with our own x-source is dropped: holds alone\n'

begin "capture-guard,echo"
exercise
assert_equal yes "$( (($(received left unchanged) + $(received left same) + $(received left duplicate) > 0)) && echo yes)" "changes without a write"
assert_equal yes "$( (($(published left) <= 80 && $(published right) <= 80)) && echo yes)" "published changes are bounded: $(published left), $(published right)"
end
printf 'ok - equal content causes no write: holds alone\n'

# The test of the test: with none of them the changes go round for ever.
begin "capture-guard,echo,same"
sql alpha "loop$round" "insert into thing values (1, 'storm')"
storm() {
    (($(published left) + $(published right) > 40))
}
wait_for 120 "a loop, with every layer switched off" storm
bridge_kill "left$round"
bridge_kill "right$round"
printf 'ok - with every layer switched off a loop does form\n'
