#!/usr/bin/env bash
# The RabbitMQ adapters against a real broker: what arrives, what is confirmed, and what a failure is called.
# mq_probe does one thing per line and answers with one line.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
PROBE=${PROBE:-$(find "$BUILD_DIR" -name mq_probe -type f -executable | head -n 1)}
TEST=

fail() {
    printf 'not ok: %s: %s\n' "$TEST" "$*" >&2
    exit 1
}

# probe NAME [VARIABLE=VALUE...]: starts one, to be talked to by `ask NAME command`.
declare -A PROBE_IN PROBE_OUT
probe() {
    local name=$1 in out
    shift
    mkfifo "$SERVERS_DIR/$name.in" "$SERVERS_DIR/$name.out"
    env MQ_PORT="$RABBIT_PORT" MQ_VHOST=bridge MQ_USER=admin MQ_PASSWORD=admin "$@" "$PROBE" \
        <"$SERVERS_DIR/$name.in" >"$SERVERS_DIR/$name.out" &
    exec {in}>"$SERVERS_DIR/$name.in" {out}<"$SERVERS_DIR/$name.out"
    PROBE_IN[$name]=$in PROBE_OUT[$name]=$out
    rm "$SERVERS_DIR/$name.in" "$SERVERS_DIR/$name.out"
}

tell() {
    printf '%s\n' "${*:2}" >&"${PROBE_IN[$1]}"
}

answer() {
    IFS= read -r -t 100 -u "${PROBE_OUT[$1]}" REPLY || fail "no answer of $1"
}

ask() {
    tell "$@"
    answer "$1"
}

# expect NAME PATTERN COMMAND...: the answer fits the glob pattern.
expect() {
    local name=$1 pattern=$2
    shift 2
    ask "$name" "$@"
    # shellcheck disable=SC2053 # a pattern
    [[ $REPLY == $pattern ]] || fail "$*: expected $pattern, got: $REPLY"
}

# Asks again until the answer fits; for reopening after a failure, as the loops do.
expect_soon() {
    local name=$1 pattern=$2
    shift 2
    for _ in {1..300}; do
        ask "$name" "$@"
        # shellcheck disable=SC2053
        [[ $REPLY != $pattern ]] || return 0
        sleep 0.1
    done
    fail "$*: expected $pattern at last, got: $REPLY"
}

reset() {
    ask a outlet close
    ask a inlet close
    expect a ok delete
    expect a ok declare
    expect a ok outlet open
    expect a ok inlet open
}

# ---- topology -------------------------------------------------------------------------------------------------------

test_missing_topology_is_found_and_named() {
    expect a 'findings 4: cannot find exchange "bridge.sync"*HINT: Run "pgbridge install"*' check
    expect a 'error operator 404 cannot consume queue "bridge.sync.alpha"*HINT: Run "pgbridge install"*' inlet open
}

test_declaring_again_changes_nothing() {
    expect a ok declare
    expect a ok declare
    expect a 'findings 0' check
}

test_other_arguments_are_refused_with_a_hint() {
    expect a ok declare
    rabbit_ctl eval 'rabbit_amqqueue:declare(rabbit_misc:r(<<"bridge">>, queue, <<"bridge.sync.gamma">>),
        true, false, [], none, <<"test">>).' >/dev/null
    probe c MQ_NODE=gamma
    expect c 'error operator 406 cannot declare queue "bridge.sync.gamma"*other arguments*HINT: Arguments cannot be*' declare
}

test_a_former_peer_is_unbound() {
    expect a ok unbind beta
    expect a ok unbind beta
    expect a ok outlet open
    expect a 'published 1' publish 1 100
    expect a 'error operator 312 *no queue takes the message*' confirm 1 30000
    expect a ok declare
}

# A quorum queue that does not answer within a quarter of a second is said to have no consumer.
counts_its_consumer() {
    [[ $(rabbit_eval '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"bridge">>, queue, <<"bridge.sync.alpha">>)),
        {ok, _, Consumers} = rabbit_amqqueue:stat(Q), Consumers') == 1 ]]
}

test_a_queue_in_use_is_not_deleted() {
    expect a ok inlet open
    wait_for 60 "the queue to count its consumer" counts_its_consumer
    expect b 'error operator - queue "bridge.sync.alpha" has 1 consumers*HINT: Stop the adapter*' delete
    expect a ok inlet close
    expect b ok delete
    expect b ok delete
    # The dead exchange is still in use by node gamma.
    expect b 'findings 3: *' check
}

# ---- messages -------------------------------------------------------------------------------------------------------

test_every_property_comes_back() {
    reset
    expect a ok roundtrip
}

test_bodies_of_every_size_come_through() {
    reset
    expect a 'published 1' publish 1 0
    expect a 'published 3' publish 3 131064 # one frame exactly
    expect a 'published 2' publish 2 262128
    expect a 'published 2' publish 2 131063
    expect a 'published 2' publish 2 131065
    expect a 'published 2' publish 2 1000000
    expect a 'published 1' publish 1 5000000
    expect a 'confirmed 13' confirm 13 30000
    expect a 'received 13 * redelivered 0 bad 0' receive 13 30000
    expect a 'settled 13' settle
}

test_an_oversize_body_is_marked_and_its_neighbours_arrive() {
    reset
    expect a 'published 1' publish 1 100
    expect a 'published 1' publish 1 17000000
    expect a 'published 1' publish 1 100
    expect a 'confirmed 3' confirm 3 30000
    expect a 'received 3 * bad 0' receive 3 30000
    expect a 'settled 3' settle
}

test_depth_loses_no_delivery() {
    reset
    expect a 'published 3000' publish 3000 3000
    expect a 'confirmed 3000' confirm 3000 60000
    expect a 'ok' load 3000
    expect a 'received 0 *' receive 1 200
    expect a 'depth 0' depth
}

test_an_unroutable_message_is_an_error() {
    reset
    expect a 'published 1' publish 1 100 nobody.customer.updated
    expect a 'error operator 312 *routing key "nobody.customer.updated"*HINT: *' confirm 1 30000
    expect a 'error connection - not connected*' publish 1 100
}

test_a_full_queue_is_an_error_and_loses_nothing() {
    reset
    rabbit_ctl set_policy -p bridge small '^bridge\.sync\.alpha$' '{"max-length":20}' --apply-to queues >/dev/null
    # Delivered messages do not count. The limit is soft: what is under way may still get in.
    expect a ok inlet close
    local answers=0
    for _ in {1..100}; do
        ask a publish 1 1000
        ask a confirm "$((answers + 1))" 30000
        [[ $REPLY == confirmed* ]] || break
        answers=$((answers + 1))
    done
    [[ $REPLY == 'error transient nack message '*': the broker refused a message'*'HINT: A queue bound to the exchange is full'* ]] || fail "$REPLY"
    ((answers >= 20)) || fail "only $answers confirmed"
    expect a ok inlet open
    expect a "received $answers * bad 0" consume "$answers" 30000
    expect a "received 0 *" receive 1 200
    rabbit_ctl clear_policy -p bridge small >/dev/null
    reset
    expect a 'published 1' publish 1 100
    expect a 'confirmed 1' confirm 1 30000
}

test_unsettled_messages_come_again_in_order() {
    reset
    expect a 'published 100' publish 100 500
    expect a 'confirmed 100' confirm 100 30000
    expect a 'received 60 first * redelivered 0 bad 0' receive 60 30000
    local first=${REPLY#* first }
    first=${first%% *}
    expect a ok inlet close
    expect a ok inlet open
    expect a "received 100 first $first last $((first + 99)) redelivered 100 bad 0" receive 100 30000
    expect a 'settled 100' settle
    expect a ok inlet close
    expect a ok inlet open
    expect a 'received 0 *' receive 1 300
}

test_a_message_delivered_too_often_becomes_a_dead_letter() {
    reset
    expect a 'published 1' publish 1 500
    expect a 'confirmed 1' confirm 1 30000
    # The first delivery and 50 more.
    for _ in {1..51}; do
        expect_soon a 'received 1 *' receive 1 1000
        expect a ok inlet close
        expect a ok inlet open
    done
    expect a 'received 0 *' receive 1 1000
    expect a ok inlet close
    expect a ok dead open
    expect a 'received 1 * bad 0' receive 1 30000
    expect a 'settled 1' settle
    expect a ok dead close
}

# ---- failures -------------------------------------------------------------------------------------------------------

test_a_queue_deleted_under_its_consumer_is_noticed() {
    reset
    tell a receive 1 60000
    rabbit_ctl delete_queue -p bridge bridge.sync.alpha >/dev/null
    answer a
    [[ $REPLY == 'error connection cancel queue "bridge.sync.alpha"'*': the broker cancelled the consumer'*HINT* ]] || fail "$REPLY"
    expect a 'error operator 404 *' inlet open
    expect a 'findings 1: cannot find queue "bridge.sync.alpha"*' check
}

test_an_exchange_deleted_under_its_publisher_is_noticed() {
    reset
    rabbit_ctl eval 'rabbit_exchange:delete(rabbit_misc:r(<<"bridge">>, exchange, <<"bridge.sync">>), false,
        <<"test">>).' >/dev/null
    ask a publish 1 100
    expect a 'error operator 404 *no exchange*' confirm 1 30000
}

test_a_memory_alarm_blocks_and_ends() {
    reset
    rabbit_ctl set_vm_memory_high_watermark 0.0000001
    # The broker tells it upon the first message. From then on messages are put by.
    expect a 'published 1' publish 1 1000
    for _ in {1..100}; do
        expect a 'confirmed 0' confirm 1 500
        ask a blocked
        [[ $REPLY == 'not blocked' ]] || break
    done
    [[ $REPLY == 'blocked low on memory' ]] || fail "$REPLY"
    expect a 'published 5000' publish 5000 5000
    expect a 'confirmed 0' confirm 1 500
    rabbit_ctl set_vm_memory_high_watermark 0.6
    expect a 'confirmed 5001' confirm 5001 60000
    expect a 'not blocked' blocked
    expect a 'received 5001 * redelivered 0 bad 0' consume 5001 60000
}

test_an_alarm_in_mid_stream_is_survived() {
    reset
    rabbit_ctl set_vm_memory_high_watermark 0.0000001
    # 25 MB at once, before the broker's word can arrive: more than the sockets hold.
    tell a publish 250 100000
    sleep 1
    rabbit_ctl set_vm_memory_high_watermark 0.6
    answer a
    [[ $REPLY == 'published 250' ]] || fail "$REPLY"
    expect a 'confirmed 250' confirm 250 60000
    expect a 'received 250 * redelivered 0 bad 0' consume 250 60000
}

test_a_blocked_call_can_be_aborted() {
    reset
    rabbit_ctl set_vm_memory_high_watermark 0.0000001
    expect a ok abort 500
    tell a publish 1 12000000
    answer a
    if [[ $REPLY == published* ]]; then
        expect a 'error connection - *cut on purpose*' confirm 1 30000
    else
        [[ $REPLY == 'error connection - '*'cut on purpose'* ]] || fail "$REPLY"
    fi
    rabbit_ctl set_vm_memory_high_watermark 0.6
    expect_soon a ok outlet open
}

test_a_broker_restart_loses_nothing_confirmed() {
    reset
    expect a 'published 500' publish 500 500
    expect a 'confirmed 500' confirm 500 30000
    tell a receive 1000 60000
    rabbit_restart
    answer a
    [[ $REPLY == 'error connection 320 '*HINT* ]] || fail "$REPLY"
    expect_soon a ok outlet open
    expect_soon a ok inlet open
    expect a 'received 500 * bad 0' consume 500 30000
    expect a 'published 1' publish 1 100
    expect a 'confirmed 1' confirm 1 30000
}

test_a_killed_broker_loses_nothing_confirmed() {
    reset
    # RabbitMQ keeps the name of a new queue in memory for half a second: killed then, the queue never gets a leader again.
    rabbit_ctl eval '[ok = dets:sync(Table) || Table <- dets:all()].' >/dev/null
    expect a 'published 2000' publish 2000 1000
    ask a confirm 300 30000
    [[ $REPLY == 'confirmed '[1-9]* ]] || fail "$REPLY"
    local confirmed=${REPLY#confirmed }
    rabbit_kill
    expect a 'error connection - *' confirm 1000000 30000
    expect a 'error connection - *' outlet open
    rabbit_boot
    expect_soon a ok outlet open
    expect_soon a ok inlet open
    # In order: those that were confirmed come first, and each once.
    expect a "received $confirmed first * bad 0" consume "$confirmed" 60000
    local numbers=${REPLY#* first }
    ((${numbers%% *} + confirmed - 1 == $(cut -d ' ' -f 3 <<<"$numbers"))) || fail "$confirmed confirmed: $REPLY"
}

test_wrong_logins_are_named_without_the_password() {
    local name
    probe wrong-password MQ_PASSWORD=secret-word
    probe wrong-user MQ_USER=nobody
    probe wrong-vhost MQ_VHOST=nowhere
    probe wrong-port MQ_PORT=1
    probe wrong-host MQ_HOST=host.invalid
    expect wrong-password 'error operator 403 cannot log in*user or password*HINT: Check broker.url*' outlet open
    [[ $REPLY != *secret-word* ]] || fail "the password is in: $REPLY"
    expect wrong-user 'error operator 403 *' outlet open
    expect wrong-vhost 'error operator 530 *virtual host*HINT: Create it*' outlet open
    expect wrong-port 'error connection - cannot connect*HINT: *' outlet open
    expect wrong-host 'error connection - cannot connect*host name*' outlet open
    for name in wrong-{password,user,vhost,port,host}; do
        expect "$name" 'error *' inlet open
    done
}

test_missing_permissions_are_named() {
    rabbit_user mute secret '.*' '^$' '.*'
    rabbit_user deaf secret '.*' '.*' '^$'
    rabbit_user foreign secret
    rabbit_ctl clear_permissions -p bridge foreign >/dev/null
    probe mute MQ_USER=mute MQ_PASSWORD=secret
    probe deaf MQ_USER=deaf MQ_PASSWORD=secret
    probe foreign MQ_USER=foreign MQ_PASSWORD=secret
    reset
    expect mute ok outlet open
    expect mute 'published 1' publish 1 100
    expect mute 'error operator 403 *lacks a permission*HINT: Grant it*' confirm 1 30000
    expect deaf 'error operator 403 *lacks a permission*' inlet open
    expect foreign 'error operator 530 *may not enter the virtual host*' outlet open
}

test_a_running_adapter_needs_to_write_one_exchange_and_read_its_queues() {
    rabbit_user runner secret '^$' '^bridge\.sync$' '^bridge\.(sync|dead)\.alpha$'
    probe runner MQ_USER=runner MQ_PASSWORD=secret
    reset
    expect a ok inlet close
    expect runner 'findings 0' check
    expect runner ok outlet open
    expect runner ok inlet open
    expect runner ok roundtrip
    expect runner 'depth 0' depth
    expect runner ok inlet close
    expect runner ok dead open
    expect runner ok dead close
    expect runner 'error operator 403 *lacks a permission*' declare
}

test_an_idle_connection_stays_by_its_heartbeats() {
    # Either side takes the other one for lost after two or three of them.
    probe idle MQ_HEARTBEAT=3
    reset
    expect a ok inlet close
    expect idle ok outlet open
    expect idle ok inlet open
    for _ in {1..28}; do
        expect idle 'confirmed 0' confirm 0 500
        expect idle 'received 0 *' receive 1 500
    done
    expect idle 'published 1' publish 1 100
    expect idle 'confirmed 1' confirm 1 30000
    expect idle 'received 1 *' consume 1 30000
    expect idle ok inlet close
}

# ---- TLS ------------------------------------------------------------------------------------------------------------

make_certificates() {
    local dir=$SERVERS_DIR/tls
    mkdir "$dir"
    (
        cd "$dir"
        for ca in ca other; do
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$ca.key" -out "$ca.pem" \
                -days 2 -subj "/CN=$ca" 2>/dev/null
        done
        for name in server client; do
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$name.key" -out "$name.csr" \
                -subj "/CN=$name" 2>/dev/null
            printf 'subjectAltName=DNS:localhost\n' >"$name.ext"
            openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -out "$name.pem" -days 2 \
                -extfile "$name.ext" 2>/dev/null
        done
    )
}

test_tls_verifies_chain_and_host_name() {
    local tls=$SERVERS_DIR/tls
    probe tls MQ_TLS=1 MQ_HOST=localhost MQ_PORT="$TLS_PORT" MQ_CA="$tls/ca.pem" MQ_CERT="$tls/client.pem" \
        MQ_KEY="$tls/client.key"
    probe tls-no-client MQ_TLS=1 MQ_HOST=localhost MQ_PORT="$TLS_PORT" MQ_CA="$tls/ca.pem"
    probe tls-other-ca MQ_TLS=1 MQ_HOST=localhost MQ_PORT="$TLS_PORT" MQ_CA="$tls/other.pem"
    probe tls-other-name MQ_TLS=1 MQ_HOST=127.0.0.1 MQ_PORT="$TLS_PORT" MQ_CA="$tls/ca.pem"
    probe tls-no-ca MQ_TLS=1 MQ_HOST=localhost MQ_PORT="$TLS_PORT"
    probe tls-bad-ca MQ_TLS=1 MQ_HOST=localhost MQ_PORT="$TLS_PORT" MQ_CA=/nowhere/ca.pem
    probe tls-plain-port MQ_TLS=1 MQ_HOST=localhost MQ_CA="$tls/ca.pem"
    reset
    expect a ok inlet close
    expect tls ok outlet open
    expect tls ok inlet open
    expect tls ok roundtrip
    expect tls 'published 3' publish 3 131064
    expect tls 'published 1' publish 1 5000000
    expect tls 'published 2000' publish 2000 1000
    expect tls 'confirmed 2005' confirm 2005 30000
    expect tls 'received 2004 * bad 0' consume 2004 30000
    # The broker's word may be lost when it cuts the connection at once.
    expect tls-no-client 'error * - *client certificate*' outlet open
    expect tls-other-ca 'error operator - cannot connect*cannot be trusted*HINT: broker.ca_file*' outlet open
    expect tls-other-name 'error operator - cannot connect*another host name*' outlet open
    expect tls-no-ca 'error operator - cannot use TLS without broker.ca_file*' outlet open
    expect tls-bad-ca 'error operator - cannot read a certificate from broker.ca_file "/nowhere/ca.pem"*' outlet open
    expect tls-plain-port 'error connection - *TLS handshake*' outlet open
}

# ---------------------------------------------------------------------------------------------------------------------

servers_init
make_certificates
TLS_PORT=$(port_reserve)
rabbit_start "listeners.ssl.1 = 127.0.0.1:$TLS_PORT" "ssl_options.cacertfile = $SERVERS_DIR/tls/ca.pem" \
    "ssl_options.certfile = $SERVERS_DIR/tls/server.pem" "ssl_options.keyfile = $SERVERS_DIR/tls/server.key" \
    "ssl_options.verify = verify_peer" "ssl_options.fail_if_no_peer_cert = true"
probe a
probe b

# In the order of this file.
mapfile -t tests < <(grep -o '^test_[a-z0-9_]*' "${BASH_SOURCE[0]}")
for TEST in "${tests[@]}"; do
    [[ -z ${1:-} || $TEST == *$1* ]] || continue
    started=${EPOCHREALTIME/[.,]/}
    "$TEST"
    printf 'ok: %s (%d ms)\n' "$TEST" $(((${EPOCHREALTIME/[.,]/} - started) / 1000))
done
