#!/usr/bin/env bash
# What people do to a broker under a running bridge: they delete a queue or the exchange, take a binding away, purge, revoke a permission,
# bound a queue too tightly. Each is told with what to do, the outbox or the log keeps everything meanwhile, and when the cause is gone, or
# `pgbridge install` has run, it goes on by itself; what was lost with a queue shows as a gap.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
for node in "alpha shop" "beta ops"; do
    # shellcheck disable=SC2086
    sql $node "create table item (id int primary key, what text)"
done
bridge_node commerce alpha shop operations <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
YAML
bridge_node operations beta ops commerce <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
YAML
for node in commerce operations; do
    bridge_install $node >>"$SERVERS_DIR/install.log"
    bridge_start $node
done

# One row more.
write() {
    node_sql commerce "insert into item select coalesce(max(id), 0) + 1, 'one more' from item"
}
# says NODE DIRECTION CODE PATTERN: its last error, with the health check that repeats what to do.
says() {
    local said
    said=$(node_sql "$1" "select coalesce(last_error_code, '-') || ' ' || last_error from bridge.worker where direction = '$2' and last_error_at > '$SINCE'")
    # shellcheck disable=SC2053 # a pattern
    [[ $said == "$3 "$4 && $said == *HINT:* ]]
}
told() {
    wait_for 60 "$1 to tell: $4" says "$@" || fail "$1 says: $(node_sql "$1" "select direction, state, last_error_code, last_error, last_error_at from bridge.worker")"
}
health() { node_sql "$1" "select status || ' ' || coalesce(hint, '') from bridge.health where \"check\" = '$2'"; }
is_healthy() { [[ $(health "$1" "$2") == "healthy "* ]]; }
since() { SINCE=$(node_sql commerce "select clock_timestamp()"); }
kept() { ! outboxes_empty commerce || fail "$1: nothing waits"; }
# open_gaps NODE: how many messages are missing, and whether there is a gap at all.
open_gaps() { node_sql "$1" "select coalesce(sum(missing), 0) from bridge.gaps where state = 'open'"; }
same() {
    bridge_quiet commerce operations
    assert_equal "$(node_sql commerce "select * from item order by id")" "$(node_sql operations "select * from item order by id")" "$1: rows on both sides"
}
# mended NODE...: nothing is the matter with the broker any more.
mended() {
    local node
    for node in commerce operations; do
        wait_for 60 "the circuits of $node to close" is_healthy $node "broker circuit" || fail "$(node_sql $node "table bridge.worker")"
        wait_for 60 "both directions of $node to run" is_healthy $node "workers away"
    done
}
write
same "before"

# ---- a permission ----
since
rabbit_ctl set_permissions -p bridge commerce '.*' '^$' '.*'
# The broker remembers what a channel was allowed.
rabbit_ctl close_all_connections --vhost bridge "a permission was taken away" >/dev/null
refused() {
    write
    says commerce out 403 "*lacks a permission*"
}
wait_for 90 "the broker to refuse messages" refused
write
kept "without permission"
names_the_grant() { [[ $(health commerce "broker circuit") == @(warning|critical)*"Grant it with"* ]]; }
wait_for 60 "health to name the permission" names_the_grant || fail "health without permission: $(health commerce "broker circuit")"
rabbit_ctl set_permissions -p bridge commerce '.*' '.*' '.*'
mended
same "a permission that came back"
printf 'ok - a revoked permission is named, and given back it goes on\n'

# ---- a full queue ----
since
bridge_stop operations
rabbit_ctl set_policy -p bridge tight '^bridge\.sync\.operations$' '{"max-length": 5}' --apply-to queues >/dev/null
full() {
    write
    says commerce out nack "*the broker refused a message*"
}
wait_for 90 "the queue to be full" full
# What was refused may have been a heartbeat.
write
sleep 2
kept "with a full queue"
rabbit_ctl clear_policy -p bridge tight
bridge_start operations
mended
same "a queue with room"
printf 'ok - a full queue is named, and goes on when there is room\n'

# ---- a binding ----
since
rabbit_ctl eval 'rabbit_binding:remove({binding, rabbit_misc:r(<<"bridge">>, exchange, <<"bridge.sync">>), <<"commerce.#">>,
    rabbit_misc:r(<<"bridge">>, queue, <<"bridge.sync.operations">>), []}, <<"test">>).' >"$SERVERS_DIR/null"
write
told commerce out 312 "*no queue takes the message*install*"
kept "without a queue"
silent() { [[ $(health operations "peer silent") == "warning "*install* ]]; }
wait_for 150 "operations to find its peer silent" silent || fail "$(node_sql operations "table bridge.peers")"
bridge_install operations >>"$SERVERS_DIR/install.log"
mended
same "a binding that came back"
wait_for 60 "the peer to be heard again" is_healthy operations "peer silent"
assert_equal 0 "$(open_gaps operations)" "messages missing after a binding was away"
printf 'ok - a binding taken away is named by the sender and felt by the receiver; install binds again\n'

# ---- the exchange ----
since
rabbit_ctl eval 'rabbit_exchange:delete(rabbit_misc:r(<<"bridge">>, exchange, <<"bridge.sync">>), false, <<"test">>).' >"$SERVERS_DIR/null"
write
told commerce out 404 "*the exchange is missing*install*"
kept "without an exchange"
for node in commerce operations; do bridge_install $node >>"$SERVERS_DIR/install.log"; done
mended
same "an exchange that came back"
printf 'ok - a deleted exchange is named, and install repairs it\n'

# ---- the queue, empty ----
since
rabbit_ctl delete_queue -p bridge bridge.sync.operations >"$SERVERS_DIR/null"
write
SINCE=$(node_sql operations "select clock_timestamp() - interval '1 min'")
told operations in 404 "*the queue is missing*install*"
SINCE=$(node_sql commerce "select clock_timestamp() - interval '1 min'")
told commerce out 312 "*no queue takes the message*"
[[ $(health operations "broker circuit") == *"declares and binds it"* ]] || fail "health without a queue: $(health operations "broker circuit")"
bridge_install operations >>"$SERVERS_DIR/install.log"
mended
same "a queue that came back"
printf 'ok - a deleted queue is named, and install repairs it\n'

# ---- purged, with messages in it ----
bridge_stop operations
for _ in 1 2 3 4 5; do write; sleep 0.1; done
out() { outboxes_empty commerce; }
wait_for 60 "the messages to be published" out
lost=$(rabbit_eval '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"bridge">>, queue, <<"bridge.sync.operations">>)),
    {ok, M, _} = ra:consistent_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_total/1), M')
((lost >= 1)) || fail "nothing is in the queue"
rabbit_ctl purge_queue -p bridge bridge.sync.operations >"$SERVERS_DIR/null"
bridge_start operations
# By the next heartbeat: nobody need write for it.
noticed() { (($(open_gaps operations) > 0)); }
wait_for 60 "the gap to be noticed" noticed
[[ $(health operations "message gaps") == critical*acknowledge_gap* ]] || fail "health: $(health operations "message gaps")"
missing=$(($(node_sql commerce "select count(*) from item") - $(node_sql operations "select count(*) from item")))
(($(open_gaps operations) <= missing)) || fail "$(open_gaps operations) messages missing, of $missing rows"
# Its heartbeats say that it lives; what they promise does not count, since what they speak of has not come.
sent() { node_sql operations "select sent_us from bridge.peer where name = 'commerce'"; }
before=$(sent)
lives() { [[ $(node_sql operations "select p.alive_us / 1000000.0 > date_part('epoch', g.noticed_at) + 6 from bridge.peer p, bridge.gap g where p.name = 'commerce' and g.source = 'commerce' and g.filled_at is null") == t ]]; }
wait_for 60 "commerce to be heard again" lives
assert_equal "$before" "$(sent)" "the newest heartbeat that counts, with messages missing before it"
# A human looks, repairs, and says so.
gap=$(node_sql operations "select id from bridge.gaps where state = 'open'")
! node_sql operations "select bridge.acknowledge_gap($gap, ' ')" >"$SERVERS_DIR/null" 2>&1 || fail "acknowledged without a reason"
assert_equal "$(open_gaps operations)" "$(node_sql operations "select bridge.acknowledge_gap($gap, 'purged by hand, rows touched')")" "messages missing in the gap"
! node_sql operations "select bridge.acknowledge_gap($gap, 'again')" >"$SERVERS_DIR/null" 2>&1 || fail "acknowledged twice"
assert_equal "acknowledged|postgres|purged by hand, rows touched" "$(node_sql operations "select state, acknowledged_by, reason from bridge.gaps where id = $gap")" "the gap"
is_healthy operations "message gaps" || fail "health of an acknowledged gap: $(health operations "message gaps")"
counts() { (($(sent) > before)); }
wait_for 60 "heartbeats to count again" counts
node_sql commerce "update item set what = what || ' once more'"
same "after a purge, when the rows were touched"
assert_equal 0 "$(open_gaps operations)" "further gaps"
printf 'ok - a purge is noticed without another message, and stays until somebody acknowledges it\n'

# ---- and purged again, with nobody left who has sent them ----
bridge_stop operations
write
wait_for 60 "the message to be published" out
bridge_kill commerce
rabbit_ctl purge_queue -p bridge bridge.sync.operations >"$SERVERS_DIR/null"
bridge_start commerce
bridge_start operations
wait_for 60 "the lost end of an incarnation to be noticed" noticed
node_sql operations "select bridge.acknowledge_gap(id, 'rows touched') from bridge.gaps where state = 'open'" >"$SERVERS_DIR/null"
node_sql commerce "update item set what = what || ' again'"
same "after a purge and a new incarnation"
# A node that has never heard of commerce misses nothing of what commerce sent before.
node_sql operations "delete from bridge.numbering; delete from bridge.gap"
SINCE=$(node_sql commerce "select clock_timestamp()")
heard_since() { [[ $(node_sql operations "select sent_us / 1000000.0 > date_part('epoch', timestamptz '$SINCE') from bridge.peer where name = 'commerce'") == t ]]; }
wait_for 60 "the next heartbeat" heard_since
assert_equal 0 "$(open_gaps operations)" "gaps of a sender that was never heard"
printf 'ok - so is the lost end of an incarnation, when the next one speaks\n'

for node in commerce operations; do
    assert_equal 0 "$(node_sql $node "select count(*) from bridge.dead_letter")" "dead letters of $node"
    counters_conserve $node
    bridge_stop $node
done
