#!/usr/bin/env bash
# A broker with an alarm takes no messages, for as long as it lasts. That is seen and told everywhere, waited out without a loss, and
# no reason to restart the adapter; a direction that hangs is one. A message that an alarm has cut in two is freed.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
# A direction counts as stuck after four seconds here.
HOOKS=$(find "$BUILD_DIR" -name pgbridge_hooks -type f -executable | head -n 1)

servers_init
servers_start alpha beta fsync=off
HTTP=$(port_reserve)
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
for node in "alpha shop" "beta ops"; do
    # shellcheck disable=SC2086
    sql $node "create table item (id int primary key, what text)"
done
bridge_node commerce alpha shop operations "http: 127.0.0.1:$HTTP" <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
YAML
bridge_node operations beta ops commerce <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
YAML
sed -i 's/^broker:$/&\n  heartbeat: 6/' "$SERVERS_DIR/commerce.yaml"
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"

# In place of systemd: prints every message as a line.
# shellcheck disable=SC2016 # perl's
process_start notify perl -MSocket -e '
    socket(my $socket, PF_UNIX, SOCK_DGRAM, 0) or die $!;
    bind($socket, sockaddr_un($ARGV[0])) or die $!;
    $| = 1;
    while (defined recv($socket, my $message, 4096, 0)) { $message =~ tr/\n/ /; print "$message\n"; }' "$SERVERS_DIR/notify"
wait_for 60 "the listener" test -S "$SERVERS_DIR/notify"
signs() { grep -c '^WATCHDOG=1' "$SERVERS_DIR/log/notify.log" || true; }
more_signs() { (($(signs) >= $1)); }
# alive WHAT: signs of life keep coming.
alive() { wait_for 20 "signs of life $1" more_signs $(($(signs) + 4)); }

start_watched() {
    process_start node-commerce env NOTIFY_SOCKET="$SERVERS_DIR/notify" WATCHDOG_USEC=120000000 PGBRIDGE_STUCK_MS=4000 \
        "$HOOKS" -c "$SERVERS_DIR/commerce.yaml" run
}
start_watched
bridge_start operations
node_sql commerce "insert into item select i, 'first' from generate_series(1, 100) i"
bridge_quiet commerce operations
ADAPTER=$(process_id node-commerce)

state() { node_sql commerce "select state from bridge.status where direction = 'out'"; }
in_state() { [[ $(state) == "$1" ]]; }
page() { curl -s --max-time 60 "http://127.0.0.1:$HTTP$1"; }
shows() { page "$1" | grep -qxF "$2"; }
alarm() { rabbit_ctl set_vm_memory_high_watermark 0.0000001; }
calm() { rabbit_ctl set_vm_memory_high_watermark 0.6; }
same() { assert_equal "$(node_sql commerce "select count(*), md5(string_agg(i::text, ',' order by id)) from item i")" \
    "$(node_sql operations "select count(*), md5(string_agg(i::text, ',' order by id)) from item i")" "rows on both sides"; }

# ---- seen, told, waited out ----
alarm
node_sql commerce "insert into item select i, 'in the alarm' from generate_series(101, 3000) i"
wait_for 60 "the alarm to be seen" in_state "broker blocked"
wait_for 60 "readiness to tell" shows /readyz "outbound: broker blocked: low on memory"
wait_for 60 "metrics to tell" shows /metrics 'pgbridge_broker_blocked{node="commerce"} 1'
# Each is of the last report: a connection that breaks under the alarm is told, too, until there is another.
health_is() { [[ $(node_sql commerce "select status, value from bridge.health where \"check\" = '$1'") == "$2" ]]; }
wait_for 60 "health to tell the alarm" health_is "broker alarm" "warning|1"
wait_for 60 "nobody to be away in an alarm" health_is "workers away" "healthy|0"
[[ $(node_sql commerce "select last_error from bridge.worker where direction = 'out'") == "the broker takes no messages: it is low on memory"*HINT* ]] ||
    fail "the last error of a blocked direction"
status_shows() { bridge commerce status >"$SERVERS_DIR/status.txt" || true; grep -q "$1" "$SERVERS_DIR/status.txt"; }
wait_for 60 "pgbridge status to show it" status_shows "broker blocked" || fail "pgbridge status does not show it: $(<"$SERVERS_DIR/status.txt")"
grep -q 'direction=out state="broker blocked"' "$SERVERS_DIR/log/node-commerce.log" || fail "the log does not tell"
# For longer than a stuck direction would be given.
blocked_since=$SECONDS
while ((SECONDS - blocked_since < 9)); do
    alive "while the broker is blocked"
done
wait_for 60 "it to wait still" in_state "broker blocked" || fail "it does not wait: $(state)"
before=$(node_sql commerce "select count(*) from bridge.outbox")
(($before >= 2900)) || fail "the outbox holds $before"
calm
bridge_quiet commerce operations
wait_for 60 "the end of the alarm to be seen" in_state "running"
wait_for 60 "readiness" shows /readyz ready
same
assert_equal "$ADAPTER" "$(process_id node-commerce)" "the adapter's process"
assert_equal "0|0" "$(node_sql operations "select (select count(*) from bridge.dead_letter), (select sum(duplicate) from bridge.inbound)")" "letters and duplicates"
printf 'ok - an alarm is seen, told everywhere and waited out, with signs of life all the time\n'

# ---- a message cut in two ----
# Larger than what the sockets hold, and the first that is sent: the broker's word can only come when it is half in the socket.
bridge_stop commerce
alarm
node_sql commerce "insert into item values (5000, (select string_agg(md5(i::text), '') from generate_series(1, 340000) i))"
start_watched
freed() { grep -q 'freed direction=out' "$SERVERS_DIR/log/node-commerce.log"; }
wait_for 60 "the message to be freed" freed
alive "after it"
calm
bridge_quiet commerce operations
same
printf 'ok - a message that hangs in the socket is freed, and comes later\n'

# ---- a direction that hangs ----
backend=$(node_sql commerce "select pid from pg_stat_activity where application_name = 'pgbridge inbound'")
kill -s STOP "$backend"
node_sql operations "insert into item values (6000, 'there')"
# It reports every few seconds; then it waits for an answer that does not come.
silent() {
    local before
    before=$(signs)
    sleep 3
    (($(signs) == before))
}
wait_for 60 "the signs of life to end" silent
printf 'ok - without life in a direction systemd hears nothing, and would restart it\n'
kill -s CONT "$backend"
alive "afterwards"
bridge_quiet commerce operations
same
bridge_stop commerce
bridge_stop operations
