#!/usr/bin/env bash
# deploy/demo keeps its promises: it shows everything and ends with success, it can be kept and stopped, it fails when
# something does not come true, and it leaves nothing behind, however it ends.
set -euo pipefail

DEMO=$SOURCE_DIR/deploy/demo
export PGBRIDGE=${PGBRIDGE:-$BUILD_DIR/pgbridge}
# That it is quick is not what is tested.
export DEMO_SECONDS=${DEMO_SECONDS:-120}

umask 022
WORK=$(mktemp -d "${TMPDIR:-/tmp}/pgbridge-demo-test.XXXXXX")
chmod 711 "$WORK"

fail() {
    local log
    printf 'not ok: %s\n' "$*" >&2
    for log in "$WORK"/*.log; do
        printf -- '---- %s\n%s\n' "${log##*/}" "$(tail -n 25 "$log")" >&2
    done
    exit 1
}

at_exit() {
    local name
    for name in plain keep broken interrupted; do
        [[ ! -d $WORK/$name ]] || demo "$name" --stop >/dev/null 2>&1 || true
    done
    rm -rf "$WORK"
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# demo NAME [ARGUMENT...]: a demo with temporary and runtime directories of its own.
demo() {
    local directory=$WORK/$1
    shift
    mkdir -p "$directory/run"
    env TMPDIR="$directory" XDG_RUNTIME_DIR="$directory/run" "$DEMO" "$@"
}

# demo_start NAME [ARGUMENT...]: in the background; its script's process id is in STARTED.
demo_start() {
    local name=$1
    mkdir -p "$WORK/$name/run"
    TMPDIR=$WORK/$name XDG_RUNTIME_DIR=$WORK/$name/run "$DEMO" "${@:2}" >"$WORK/$name.log" 2>&1 &
    STARTED=$!
}

# Prints the processes that a demo has: all of them work in its directory.
demo_processes() {
    local process
    for process in /proc/[0-9]*; do
        if [[ $(readlink "$process/cwd" 2>/dev/null) == "$WORK/$1/"* ]]; then
            printf '%s %s\n' "${process#/proc/}" "$(tr '\0' ' ' 2>/dev/null <"$process/cmdline")"
        fi
    done
}

expect_nothing_left() {
    local left
    left=$(demo_processes "$1")
    [[ -z $left ]] || fail "$1: processes are left: $left"
    left=$(find "$WORK/$1" -mindepth 1 ! -path "$WORK/$1/run")
    [[ -z $left ]] || fail "$1: files are left: $left"
}

expect_line() {
    grep -qE "$2" "$WORK/$1.log" || fail "$1: no line like $2"
}

expect_success() {
    expect_line "$1" '^Success: 8 changes were mirrored between two databases, each once, and all rows are equal'
    expect_line "$1" '^x-source  *commerce$'
    expect_line "$1" '^x-content-hash  *sha256:[0-9a-f]{64}$'
    expect_line "$1" '^node commerce .*health: healthy'
    ! grep -q $'\e' "$WORK/$1.log" || fail "$1: colours in a file"
}

test_shows_everything_and_cleans_up() {
    local plain kept status=0
    demo_start plain
    plain=$STARTED
    demo_start keep --keep
    kept=$STARTED
    wait "$plain" || status=$?
    ((status == 0)) || fail "plain: exit code $status"
    expect_success plain
    expect_nothing_left plain
    wait "$kept" || status=$?
    ((status == 0)) || fail "keep: exit code $status"
    expect_success keep
}

test_kept_demo_can_be_used_and_stopped() {
    local services config name
    [[ $(demo_processes keep) == *postgres* && $(demo_processes keep) == *pgbridge* ]] || fail "keep: nothing runs"
    services=$(sed -n 's/.*export PGSERVICEFILE=//p' "$WORK/keep.log")
    config=$(sed -n 's/.* -c \(.*commerce.yaml\) status$/\1/p' "$WORK/keep.log" | tail -n 1)
    PGSERVICEFILE=$services psql -X -q service=shop -c "update shop.customers set full_name = 'Anna' where customer_id = 1"
    for _ in {1..1200}; do
        name=$(PGSERVICEFILE=$services psql -X -At service=ops -c "select name from crm.client where id = 1")
        [[ $name != Anna ]] || break
        sleep 0.1
    done
    [[ $name == Anna ]] || fail "keep: an update did not arrive"
    "$PGBRIDGE" -c "$config" status >"$WORK/status.log" || fail "keep: pgbridge status ended with $?"
    demo keep --stop >"$WORK/stop.log" || fail "keep: --stop ended with $?"
    expect_line stop '^Stopped the demo in '
    expect_nothing_left keep
    demo keep --stop >"$WORK/stop.log" || fail "keep: a second --stop ended with $?"
    expect_line stop '^No demo is running'
}

test_fails_when_something_does_not_come_true() {
    local status=0
    cat >"$WORK/broken-program" <<END
#!/bin/sh
case "\$*" in
    *operations.yaml*run*) exec sleep 600 ;;
esac
exec "$PGBRIDGE" "\$@"
END
    chmod 755 "$WORK/broken-program"
    PGBRIDGE=$WORK/broken-program DEMO_SECONDS=10 demo_start broken
    wait "$STARTED" || status=$?
    ((status == 1)) || fail "broken: exit code $status"
    expect_line broken 'The demo failed: within 10 s this did not come true on operations: the adapter of operations runs'
    expect_nothing_left broken
}

test_interrupted_demo_cleans_up() {
    local status=0
    demo_start interrupted
    for _ in {1..2400}; do
        ! grep -q '^ok  three private servers run' "$WORK/interrupted.log" || break
        sleep 0.1
    done
    expect_line interrupted '^ok  three private servers run'
    kill -s TERM "$STARTED"
    wait "$STARTED" || status=$?
    ((status == 143)) || fail "interrupted: exit code $status"
    expect_nothing_left interrupted
}

test_wrong_usage_is_told() {
    local status=0
    demo plain --frob >/dev/null 2>&1 || status=$?
    ((status == 64)) || fail "exit code $status for wrong usage"
}

# In the order of this file.
mapfile -t tests < <(grep -o '^test_[a-z0-9_]*' "${BASH_SOURCE[0]}")
for test in "${tests[@]}"; do
    [[ -z ${1:-} || $test == *$1* ]] || continue
    "$test"
    printf 'ok: %s\n' "$test"
done
