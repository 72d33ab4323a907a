#!/usr/bin/env bash
# A link to the broker that breaks fifty times and more, each time with a full prefetch on its way. Every cut counts one delivery for
# all of them, so that the broker gives up on healthy messages: those come by the dead-letter queue. No budget is spent, no letter is
# left, nothing is missing, and both sides are equal.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
CUTS=${FLAPPING_CUTS:-52}
ROWS=1000
HOOKS=$(find "$BUILD_DIR" -name pgbridge_hooks -type f -executable | head -n 1)
TCP_PROXY=$(find "$BUILD_DIR" -name tcp_proxy -type f -executable | head -n 1)

servers_init
servers_start alpha beta fsync=off
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
for node in "alpha shop" "beta ops"; do
    # shellcheck disable=SC2086
    sql $node "create table item (id int primary key, what text)"
done
bridge_node commerce alpha shop operations "message_bytes: 1 KiB" <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
YAML
bridge_node operations beta ops "commerce legacy" <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
YAML
PORT=$(port_reserve)
process_start proxy "$TCP_PROXY" "$PORT" 127.0.0.1 "$RABBIT_PORT" "$SERVERS_DIR/proxy.control"
wait_for 10 "the proxy" grep -q "^listening $PORT" "$SERVERS_DIR/log/proxy.log"
sed -i "s,:$RABBIT_PORT/bridge,:$PORT/bridge," "$SERVERS_DIR/operations.yaml"
network() {
    local lines
    lines=$(wc -l <"$SERVERS_DIR/log/proxy.log")
    printf '%s\n' "$1" >"$SERVERS_DIR/proxy.control"
    obeyed() { (($(wc -l <"$SERVERS_DIR/log/proxy.log") > lines)); }
    wait_for 60 "the proxy to $1" obeyed
}
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"
bridge_start commerce
bridge_start operations
bridge_quiet commerce operations

# A transaction whose second half does not come keeps all behind it from being applied, so that everything is on its way at each cut.
# What has begun to be applied would be committed, cut or not. How long the adapter waits for that half counts from the first delivery
# of a round: the usual ten seconds may be over before the last one is there, so it waits longer here than any round may take.
bridge_stop operations
rabbit_user watcher secret </dev/null
jq -nc '{routing_key: "legacy.item.created", headers: {"x-source": "legacy", "x-content-hash": "compute", "x-batch": "half", "x-part": 1, "x-parts": 2},
    properties: {timestamp: 1}, body: {entity: "item", op: "created", key: ["id"], columns: ["id", "what"], rows: [["0", "half"]],
    versions: [1763675000000000]}}' |
    /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge" bridge.sync >"$SERVERS_DIR/sent.log"
node_sql commerce "do \$\$ begin
    for i in 1 .. $ROWS loop
        insert into item values (i, repeat('x', 900) || i);
        commit;
    end loop;
end \$\$"
published() { outboxes_empty commerce; }
wait_for 60 "all to be published" published
# Its heartbeats would queue behind the half and fill up the prefetch, and what fills it is applied without the other half.
bridge_stop commerce
# The broker writes down all the time how many it has delivered and nobody has settled.
rabbit_ctl eval "spawn(fun() -> (fun Loop() ->
        N = lists:max([0 | [case catch rabbit_channel:info(C, [messages_unacknowledged]) of [{_, M}] -> M; _ -> 0 end || C <- rabbit_channel:list()]]),
        ok = file:write_file(\"$SERVERS_DIR/unsettled.new\", integer_to_list(N)),
        ok = file:rename(\"$SERVERS_DIR/unsettled.new\", \"$SERVERS_DIR/unsettled\"), timer:sleep(20), Loop() end)() end)." >"$SERVERS_DIR/null"
process_start node-operations env PGBRIDGE_PARTS_WAIT_MS=300000 "$HOOKS" -c "$SERVERS_DIR/operations.yaml" run
unsettled() { cat "$SERVERS_DIR/unsettled"; }
given() { [[ -s $SERVERS_DIR/unsettled ]] && (($(unsettled) >= ROWS)); }
taken_back() { (($(unsettled) == 0)); }
for ((cut = 1; cut <= CUTS; cut++)); do
    # The fifty-first takes them out of this queue.
    ((cut > 51)) || wait_for 60 "a full prefetch before cut $cut" given || fail "unsettled: $(unsettled)"
    # What has worked for a second is tried again soon.
    sleep 1.1
    network cut
    wait_for 60 "the broker to notice cut $cut" taken_back
    network heal
done
depth_dead() { rabbit_eval "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"bridge\">>, queue, <<\"bridge.dead.operations\">>)),
    {ok, M, _} = ra:consistent_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_total/1), M"; }
# The adapter is already at them: what it has taken counts, too.
given_up() { (($(node_sql operations "select coalesce(sum(received), 0) from bridge.inbound") + $(depth_dead) >= ROWS)); }
wait_for 60 "the broker to give up on them" given_up || fail "in the dead-letter queue: $(depth_dead)"
grep -q 'drained messages=' "$SERVERS_DIR/log/node-operations.log" || wait_for 60 "the drain" grep -q 'drained messages=' "$SERVERS_DIR/log/node-operations.log"
printf 'ok - %s cuts with a full prefetch: the broker has given up on its messages\n' "$CUTS"

arrived() { [[ $(node_sql operations "select count(*) from item") == "$((ROWS + 1))" ]]; }
wait_for 120 "everything to arrive" arrived || fail "$(node_sql operations "select count(*) from item") rows of $ROWS"
bridge_start commerce
bridge_quiet commerce operations
assert_equal "$(node_sql commerce "select md5(string_agg(i::text, ',' order by id)) from item i")" \
    "$(node_sql operations "select md5(string_agg(i::text, ',' order by id)) from item i where id > 0")" "rows on both sides"
# They are settled after they were committed.
drained() { [[ $(depth_dead) == 0 && $(node_sql operations "select count(*) from bridge.suspect") == 0 ]]; }
wait_for 60 "the dead-letter queue to be empty, and nothing to be under suspicion" drained ||
    fail "left in the dead-letter queue: $(depth_dead), suspects: $(node_sql operations "select count(*) from bridge.suspect")"
for node in commerce operations; do
    assert_equal "0|0" "$(node_sql "$node" "select (select count(*) from bridge.dead_letter), (select count(*) from bridge.gaps where state = 'open')")" \
        "dead letters and open gaps of $node"
    counters_conserve "$node"
done
printf 'ok - they come by the dead-letter queue: both sides are equal, no letter, no gap\n'
bridge_stop commerce
bridge_stop operations
