#!/usr/bin/env bash
# A session whose statements travel in one go, while each of its allocations fails in its turn: no answer is taken for another's, and nobody
# waits for one that never comes.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
PROBE=$BUILD_DIR/tests/session_probe PRELOAD=$BUILD_DIR/tests/libfail_calls.so

servers_init
postgres_start alpha fsync=off
sql alpha postgres 'create database shop'
conninfo="host=$PG_SOCKET_DIR port=$(postgres_port alpha) user=postgres dbname=shop sslmode=disable gssencmode=disable"
env LD_PRELOAD="$PRELOAD" FAIL_CALL=malloc FAIL_AT=1000000 "$PROBE" "$conninfo" >"$SERVERS_DIR/said" 2>&1 || fail "the probe ended with $?"
grep -qx 'committed 3' "$SERVERS_DIR/said" || fail "without a failure: $(cat "$SERVERS_DIR/said")"
most=$(sed -n 's/^counted //p' "$SERVERS_DIR/said")
((most > 100)) || fail "only $most allocations"
# Who has the lock that it asks for does not matter: the server of a session that was closed may have it for a moment yet.
hold "select pg_advisory_lock(hashtext('pgbridge'), hashtext('outbound'))"
"$PROBE" "$conninfo" >"$SERVERS_DIR/said" 2>&1 || fail "the probe ended with $? while another has the lock"
release
for ((number = 1; number <= most; number++)); do
    status=0
    env LD_PRELOAD="$PRELOAD" FAIL_CALL=malloc FAIL_AT=$number "$PROBE" "$conninfo" >"$SERVERS_DIR/said" 2>&1 || status=$?
    # One of the three transactions may fail, no more. OpenSSL 3.0 does not survive it when an allocation of its beginning fails.
    [[ $status == 0 ]] && grep -qx 'committed [23]' "$SERVERS_DIR/said" || { [[ $status == 139 ]] && grep -q 'libcrypto.so[^ ]*(CRYPTO_THREAD' "$SERVERS_DIR/said"; } ||
        fail "allocation $number of $most: the probe ended with $status: $(cat "$SERVERS_DIR/said")"
done
printf 'ok - each of %s allocations of a session has failed\n' "$most"
