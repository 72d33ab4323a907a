# shellcheck shell=bash
# Clocks of a cluster and of the adapter beside it that are not the machine's. To be sourced after servers.sh.
#
#   clock_library              # what is to be preloaded
#   clock_cluster NAME [WORD...]      # starts the cluster anew with these variables; none: with the machine's clock
#   clock_forget PROCESS...    # what the library would leave in /dev/shm when a test is killed

clock_library() {
    compgen -G "/usr/lib/*/faketime/libfaketimeMT.so.1" || fail "package faketime is not installed"
}

# The library must come after the change of user: what it shares among processes belongs to the first of them. So the cluster's programs are
# called by way of scripts.
clock_cluster() {
    local name=$1 program
    shift
    mkdir -p "$SERVERS_DIR/bin"
    chmod 755 "$SERVERS_DIR/bin"
    for program in postgres pg_isready; do
        printf '#!/bin/sh\nexec %s %s "$@"\n' "${*:+env $*}" "$PG_BIN/$program" >"$SERVERS_DIR/bin/$program"
        chmod 755 "$SERVERS_DIR/bin/$program"
    done
    postgres_stop "$name"
    PG_BIN=$SERVERS_DIR/bin postgres_start "$name"
    clock_forget "postgres-$name"
}

# Opened long ago: the names would stay behind.
clock_forget() {
    local process pid
    for process in "$@"; do
        pid=$(process_id "$process")
        rm -f "/dev/shm/faketime_shm_$pid" "/dev/shm/sem.faketime_sem_$pid"
    done
}
