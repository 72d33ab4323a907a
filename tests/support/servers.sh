# shellcheck shell=bash
# Private PostgreSQL clusters and a private RabbitMQ node for demo, tests and benchmark. To be sourced by bash.
#
# Everything lives in one new directory ($SERVERS_DIR) and listens on free loopback ports, so any number of suites run side
# by side. Every server is ended by its process id when the script ends, however it ends: by itself, by a signal, or by
# kill -9 (then a guard, started by servers_init, does it). Servers of the system are never touched.
#
#   source tests/support/servers.sh
#   servers_init
#   servers_start alpha beta                     # two clusters and RabbitMQ, at the same time
#   sql alpha postgres "create database shop"
#   rabbit_user commerce secret
#
# As root, PostgreSQL runs as user postgres (it refuses root) and RabbitMQ as root; else everything runs as the caller.
#
# Exported: SERVERS_DIR, PG_BIN, PG_SOCKET_DIR; per cluster, its name in upper case, PG_PORT_<NAME>, PG_ADMIN_<NAME>
# (conninfo of the superuser, by Unix socket, without dbname) and PG_TCP_<NAME> ("host=127.0.0.1 port=...", where
# scram-sha-256 asks for a password); RABBIT_PORT, RABBIT_NODE, RABBIT_VHOST, RABBIT_ADMIN_URL (may administer).
#
# Functions return 1 with a message on stderr when they fail.

SERVERS_LIBRARY=$(realpath "${BASH_SOURCE[0]}")
SERVERS_KEEP=no
SERVERS_EXIT_COMMANDS=()
SERVERS_JOBS=()

servers_say() {
    printf 'servers: %s\n' "$*" >&2
}

# ---------------------------------------------------------------------------------------------------------------------
# Waiting

# wait_for SECONDS DESCRIPTION COMMAND...: until the command succeeds. On timeout prints what was waited for, and the
# command's last words. The command runs in a subshell. Only a look that began after that time is the last one: on a busy machine
# one look may take longer than the time, and what it saw is as old as its beginning.
wait_for() {
    local seconds=$1 description=$2 begun output tries=0
    local deadline=$((${EPOCHREALTIME/[.,]/} + seconds * 1000000))
    shift 2
    until begun=${EPOCHREALTIME/[.,]/} && output=$("$@" 2>&1); do
        if ((begun > deadline)); then
            printf 'timed out after %s s waiting for %s\n' "$seconds" "$description" >&2
            [[ -z $output ]] || printf '%s\n' "$output" | tail -n 5 >&2
            return 1
        fi
        # A look costs a process or two.
        sleep "$((tries++ < 10 ? 50 : tries < 30 ? 150 : 400))e-3"
    done
}

# ---------------------------------------------------------------------------------------------------------------------
# Processes. A process is known by "PID START": the start time tells it from a later one with the same number.

# Sets PROCESS_STATE, PROCESS_PARENT, PROCESS_THREADS and PROCESS_START, from the fields behind the name, which may contain anything. A process
# that ends meanwhile may leave a file that opens but reads as nothing.
process_read() {
    local line='' fields
    { read -r -d '' line <"/proc/$1/stat"; } 2>/dev/null || [[ -n $line ]] || return 1
    read -ra fields <<<"${line##*) }"
    PROCESS_STATE=${fields[0]} PROCESS_PARENT=${fields[1]} PROCESS_THREADS=${fields[17]} PROCESS_START=${fields[19]}
}

# process_alive PID START. A zombie has ended; whoever started it just has not asked yet. But with its first thread alone a killed process is one
# already, and its ports are taken until the last thread is gone.
process_alive() {
    process_read "$1" && [[ $PROCESS_STATE != Z || $PROCESS_THREADS -gt 1 ]] && [[ $PROCESS_START == "$2" ]]
}

processes_gone() {
    local process pid start
    for process in "$@"; do
        read -r pid start <<<"$process"
        ! process_alive "$pid" "$start" || return 1
    done
}

# processes_signal SIGNAL PROCESS...: to those that are still the same and alive.
processes_signal() {
    local signal=$1 process pid start
    shift
    for process in "$@"; do
        read -r pid start <<<"$process"
        ! process_alive "$pid" "$start" || kill -s "$signal" "$pid" 2>/dev/null || true
    done
}

# Prints a process and all its descendants, one per line.
process_tree() {
    local -A children=() starts=()
    local directory pid queue=("$1")
    for directory in /proc/[0-9]*; do
        pid=${directory#/proc/}
        process_read "$pid" || continue
        children[$PROCESS_PARENT]+=" $pid"
        starts[$pid]=$PROCESS_START
    done
    while ((${#queue[@]})); do
        pid=${queue[0]}
        queue=("${queue[@]:1}")
        [[ -z ${starts[$pid]:-} ]] || printf '%s %s\n' "$pid" "${starts[$pid]}"
        # shellcheck disable=SC2206 # numbers, to be split
        queue+=(${children[$pid]:-})
    done
}

# process_start NAME COMMAND...: starts it in the background, output to $SERVERS_DIR/log/NAME.log, as a process that
# servers_stop ends. It gets a session of its own (Ctrl-C is for the script), is nobody's job (`wait` does not see it) and
# inherits no open file (a lock or pipe of the script must not live on in a server). Its process id is known before the
# command itself begins, and from then on servers_stop sees it or it sees servers_stop: nothing can be missed.
process_start() {
    local name=$1 record=$SERVERS_DIR/pids/$1
    shift
    rm -f "$record"
    # shellcheck disable=SC2016 # expands in the new shell
    (
        cd "$SERVERS_DIR" || exit 1
        setsid bash -c '
            for file in /proc/self/fd/*; do
                number=${file##*/}
                [ "$number" -le 2 ] || eval "exec $number>&-"
            done
            line=$(</proc/$$/stat)
            read -ra fields <<<"${line##*) }"
            printf "%s %s\n" "$$" "${fields[19]}" >"$0.new" && mv "$0.new" "$0" || exit 1
            [ ! -e stopping ] || exit 1
            exec "$@"' "$record" "$@" </dev/null >>"$SERVERS_DIR/log/$name.log" 2>&1 &
    )
    wait_for 60 "the start of $name" test -s "$record"
}

# Prints the process of that name as "PID START", if it is alive.
process_find() {
    local pid start
    { read -r pid start <"$SERVERS_DIR/pids/$1"; } 2>/dev/null || return 1
    process_alive "$pid" "$start" || return 1
    printf '%s %s\n' "$pid" "$start"
}

process_running() {
    process_find "$1" >/dev/null
}

process_ended() {
    ! process_running "$1"
}

# process_id NAME: prints the process id of a running process.
process_id() {
    local process
    process=$(process_find "$1") || return 1
    printf '%s\n' "${process% *}"
}

# process_stop NAME [SIGNAL] [SECONDS]: asks it to end and waits. When it does not, fails and leaves it to servers_stop.
process_stop() {
    local name=$1 signal=${2:-TERM} seconds=${3:-60} process
    process=$(process_find "$name") || return 0
    processes_signal "$signal" "$process"
    wait_for "$seconds" "the end of $name" processes_gone "$process"
}

# process_kill NAME: kill -9, and waits until its descendants are gone as well. It is halted first, so that it starts no
# further ones meanwhile. Descendants that do not notice the death of their parent are killed too.
process_kill() {
    local name=$1 process
    local -a tree
    process=$(process_find "$name") || return 0
    processes_signal STOP "$process"
    mapfile -t tree < <(process_tree "${process% *}")
    processes_signal KILL "$process"
    if ! wait_for 5 "the descendants of $name" processes_gone "${tree[@]}" 2>/dev/null; then
        processes_signal KILL "${tree[@]}"
        wait_for 60 "the end of $name and its descendants" processes_gone "${tree[@]}"
    fi
}

# process_failed NAME: says that it ended or never got ready, with the end of its log.
process_failed() {
    servers_say "$1 did not become ready; the end of its log:"
    tail -n 20 "$SERVERS_DIR/log/$1.log" >&2 || true
}

process_ready_or_gone() {
    local name=$1
    shift
    ! process_running "$name" || "$@"
}

# process_wait_ready NAME SECONDS COMMAND...: until the command succeeds; fails at once when the process ends before.
process_wait_ready() {
    local name=$1 seconds=$2
    shift 2
    if ! wait_for "$seconds" "$name to be ready" process_ready_or_gone "$name" "$@" || ! process_running "$name"; then
        process_failed "$name"
        return 1
    fi
}

# ---------------------------------------------------------------------------------------------------------------------
# The directory and its end

# servers_init [--keep]: makes the directory and sets the traps EXIT, INT and TERM: a script with an errand of its own at
# its end gives it to servers_at_exit instead of trapping EXIT. With --keep the servers outlive a script that ends with 0;
# servers_keep decides the same later.
servers_init() {
    local base
    [[ ${1:-} != --keep ]] || SERVERS_KEEP=yes
    # The caller's own settings must not reach our psql and our adapters.
    unset PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS PGSSLMODE PGDATA
    pg_bin_find || return 1
    base=${TMPDIR:-/tmp}
    # Unix socket paths end at 107 bytes, and user postgres must be able to reach the directory.
    if ((${#base} > 60)) || ! postgres_user test -x "$base"; then
        base=/tmp
    fi
    SERVERS_DIR=$(mktemp -d "$base/pgbridge.XXXXXX") || return 1
    export SERVERS_DIR PG_SOCKET_DIR=$SERVERS_DIR/socket
    chmod 711 "$SERVERS_DIR"
    mkdir "$SERVERS_DIR"/{log,pids,postgres,rabbit,socket}
    chmod 700 "$SERVERS_DIR/rabbit"
    ((EUID != 0)) || chown postgres: "$SERVERS_DIR"/{postgres,socket}
    : >"$SERVERS_DIR/ports"
    : >"$SERVERS_DIR/servers.env"
    servers_export SERVERS_DIR "$SERVERS_DIR"
    servers_export PG_BIN "$PG_BIN"
    servers_export PG_SOCKET_DIR "$PG_SOCKET_DIR"
    trap servers_exit EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # shellcheck disable=SC2016 # expands in the new shell
    process_start guard bash -c 'source "$0"; servers_guard "$@"' "$SERVERS_LIBRARY" "$SERVERS_DIR" "$$"
}

# servers_attach DIR: in another process, to use servers that run already. Stops nothing at the end.
servers_attach() {
    [[ -f $1/servers.env ]] || {
        servers_say "$1 is no directory of servers"
        return 1
    }
    # shellcheck disable=SC1091 # written by servers_export
    source "$1/servers.env"
}

# Sets and exports a variable here and for servers_attach.
servers_export() {
    declare -gx "$1=$2"
    printf 'export %s=%q\n' "$1" "$2" >>"$SERVERS_DIR/servers.env"
}

# servers_at_exit COMMAND...: to be run when the script ends, before the servers are stopped; the last one given first.
servers_at_exit() {
    SERVERS_EXIT_COMMANDS=("$(printf '%q ' "$@")" "${SERVERS_EXIT_COMMANDS[@]}")
}

servers_keep() {
    SERVERS_KEEP=yes
}

servers_exit() {
    local status=$? command job
    trap - EXIT
    trap '' HUP INT TERM
    # Interrupted in servers_start: nothing further may start.
    for job in "${SERVERS_JOBS[@]}"; do
        kill -s KILL "$job" 2>/dev/null || true
        wait "$job" 2>/dev/null || true
    done
    for command in "${SERVERS_EXIT_COMMANDS[@]}"; do
        eval "$command" || true
    done
    if [[ $SERVERS_KEEP == yes && $status == 0 && -d ${SERVERS_DIR:-} ]]; then
        : >"$SERVERS_DIR/keep"
    else
        servers_stop || status=$((status ? status : 1))
    fi
    exit "$status"
}

# servers_guard DIR OWNER: waits in a process of its own for the end of the script that called servers_init, and stops what
# it left behind: kill -9 (a test's time limit) runs no trap.
servers_guard() {
    tail --pid="$2" -f /dev/null
    [[ -e $1/keep || ! -d $1 ]] || servers_stop_from "$1"
}

servers_stop() {
    [[ -n ${SERVERS_DIR:-} && -d $SERVERS_DIR ]] || return 0
    servers_stop_from "$SERVERS_DIR"
}

# servers_stop_from DIR: ends all processes recorded there and removes the directory. The data goes too, so nobody gets time
# to tidy up, except PostgreSQL, whose shared memory would stay behind.
servers_stop_from() {
    local dir=$1 record name pid start port
    local -a processes=() tree
    [[ -f $dir/servers.env ]] || {
        servers_say "$dir is no directory of servers"
        return 1
    }
    : >"$dir/stopping"
    for record in "$dir"/pids/*; do
        name=${record##*/}
        { read -r pid start <"$record"; } 2>/dev/null || continue
        if [[ $pid == "$$" ]] || ! process_alive "$pid" "$start"; then
            continue
        fi
        mapfile -t tree < <(process_tree "$pid")
        processes+=("$pid $start" "${tree[@]}")
        case $name in
            postgres-*) processes_signal QUIT "$pid $start" ;;
            *) processes_signal KILL "${tree[@]}" ;;
        esac
    done
    if ! wait_for 10 "the end of the servers" processes_gone "${processes[@]}" 2>/dev/null; then
        processes_signal KILL "${processes[@]}"
        if ! wait_for 60 "the end of the servers in $dir" processes_gone "${processes[@]}"; then
            return 1
        fi
    fi
    for record in "$dir"/postgres/*/postmaster.pid; do
        [[ ! -e $record ]] || postgres_forget "${record%/*}"
    done
    while read -r port; do
        rm -f "$(port_reservation "$port")"
    done <"$dir/ports"
    rm -rf "$dir"
}

# ---------------------------------------------------------------------------------------------------------------------
# Ports

# Where a port is reserved, for all suites on this machine: a server takes seconds until it listens.
port_reservation() {
    printf '/tmp/pgbridge-port.%s\n' "$1"
}

port_taken() {
    (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# port_reserve: prints a loopback port for this suite's use. Below the range from which the kernel takes client ports.
port_reserve() {
    local port reservation owner attempt
    for attempt in {1..200}; do
        port=$((20000 + SRANDOM % 12000))
        reservation=$(port_reservation "$port")
        # Left behind by a suite whose directory is gone: free for the next one to come by.
        if { read -r owner <"$reservation"; } 2>/dev/null && [[ ! -d $owner ]]; then
            rm -f "$reservation" 2>/dev/null || true
            continue
        fi
        (
            set -o noclobber
            printf '%s\n' "$SERVERS_DIR" >"$reservation"
        ) 2>/dev/null || continue
        printf '%s\n' "$port" >>"$SERVERS_DIR/ports"
        ! port_taken "$port" || continue
        printf '%s\n' "$port"
        return 0
    done
    servers_say "found no free port in $attempt attempts"
    return 1
}

# ---------------------------------------------------------------------------------------------------------------------
# PostgreSQL

# Sets PG_BIN, where PostgreSQL's own programs are: 15, or the newest there is.
pg_bin_find() {
    local directory
    [[ -z ${PG_BIN:-} ]] || return 0
    for directory in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -Vr); do
        if [[ -x $directory/postgres && (-z ${PG_BIN:-} || $directory == */15/bin) ]]; then
            PG_BIN=$directory
        fi
    done
    if [[ -z ${PG_BIN:-} ]]; then
        servers_say "PostgreSQL is not installed: tests/support/packages.sh build installs it"
        return 1
    fi
    export PG_BIN
}

# postgres_user COMMAND...: as the user that PostgreSQL runs as.
postgres_user() {
    if ((EUID == 0)); then
        setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/nonexistent "$@"
    else
        "$@"
    fi
}

# postgres_variable PREFIX NAME: the name of a cluster's variable.
postgres_variable() {
    local upper=${2^^}
    printf '%s_%s\n' "$1" "${upper//[^A-Z0-9]/_}"
}

postgres_port() {
    local variable
    variable=$(postgres_variable PG_PORT "$1")
    if [[ -z ${!variable:-} ]]; then
        servers_say "there is no cluster $1"
        return 1
    fi
    printf '%s\n' "${!variable}"
}

# Gives a cluster its port and exports its variables, before it exists. Settings are added to those given before.
postgres_prepare() {
    local name=$1 port variable setting
    shift
    variable=$(postgres_variable PG_PORT "$name")
    if [[ ! -e $SERVERS_DIR/postgres-$name.conf ]]; then
        port=$(port_reserve) || return 1
        servers_export "$variable" "$port"
        servers_export "$(postgres_variable PG_ADMIN "$name")" "host=$PG_SOCKET_DIR port=$port user=postgres"
        servers_export "$(postgres_variable PG_TCP "$name")" "host=127.0.0.1 port=$port"
        # Dynamic shared memory in the data directory: a killed cluster then leaves nothing in /dev/shm.
        cat >"$SERVERS_DIR/postgres-$name.conf" <<POSTGRES_END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$PG_SOCKET_DIR'
unix_socket_permissions = 0700
cluster_name = '$name'
shared_buffers = 128MB
max_connections = 100
dynamic_shared_memory_type = mmap
track_commit_timestamp = off
jit = off
log_lock_waits = on
log_line_prefix = '%m [%p] %q%u@%d '
POSTGRES_END
        chmod 644 "$SERVERS_DIR/postgres-$name.conf"
    fi
    # shellcheck disable=SC2086 # words
    for setting in ${POSTGRES_SETTINGS:-} "$@"; do
        printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}" >>"$SERVERS_DIR/postgres-$name.conf"
    done
}

# Each cluster has an initdb of its own (half a second): copies of one would share its system identifier. It runs as a process
# of ours, because an interrupted one leaves shared memory behind like a server.
postgres_create() {
    local name=$1 data=$SERVERS_DIR/postgres/$1
    # shellcheck disable=SC2016 # expands in the new shell
    postgres_launch "initdb-$name" bash -c '"$@" && : >"$0.created"' "$data" \
        "$PG_BIN/initdb" -D "$data" -U postgres --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions || return 1
    wait_for 60 "initdb of $name" process_ended "initdb-$name" || return 1
    if [[ ! -e $data.created ]]; then
        process_failed "initdb-$name"
        return 1
    fi
    printf "include '%s'\n" "$SERVERS_DIR/postgres-$name.conf" >>"$data/postgresql.conf"
}

# Creates the cluster if need be, and starts it.
postgres_boot() {
    local name=$1 data=$SERVERS_DIR/postgres/$1 port
    port=$(postgres_port "$name") || return 1
    if process_running "postgres-$name"; then
        servers_say "cluster $name runs already"
        return 1
    fi
    if [[ ! -e $data.created ]]; then
        postgres_create "$name" || return 1
    fi
    postgres_launch "postgres-$name" "$PG_BIN/postgres" -D "$data" || return 1
    process_wait_ready "postgres-$name" 60 "$PG_BIN/pg_isready" -q -h "$PG_SOCKET_DIR" -p "$port" -d postgres
}

# postgres_user for process_start, which needs a program.
postgres_launch() {
    local name=$1
    shift
    if ((EUID == 0)); then
        process_start "$name" setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/nonexistent "$@"
    else
        process_start "$name" "$@"
    fi
}

# postgres_start NAME [SETTING=VALUE...]: creates and starts a cluster, or starts one again. Superuser postgres, trusted on
# the Unix socket; scram-sha-256 on 127.0.0.1. Settings stay for later starts, e.g. fsync=off where nobody tests crashes of
# the machine, or wal_level=logical. Those in $POSTGRES_SETTINGS are for all clusters.
postgres_start() {
    postgres_prepare "$@" && postgres_boot "$1"
}

# postgres_stop NAME [fast|immediate|smart]
postgres_stop() {
    local -A signals=([smart]=TERM [fast]=INT [immediate]=QUIT)
    local mode=${2:-fast}
    process_stop "postgres-$1" "${signals[$mode]:?"unknown mode $mode"}"
}

# postgres_restart NAME [fast|immediate|smart]
postgres_restart() {
    postgres_stop "$@" && postgres_boot "$1"
}

# postgres_kill NAME: kill -9 of the postmaster; afterwards postgres_start recovers the cluster as after a crash.
postgres_kill() {
    local data=$SERVERS_DIR/postgres/$1
    process_kill "postgres-$1" || return 1
    [[ ! -e $data/postmaster.pid ]] || postgres_forget "$data"
}

# Removes what a killed postmaster leaves behind: its lock file and the memory segment named in line 7 of it. A later process
# with the same number would keep the cluster from starting. Only when all its processes are gone.
postgres_forget() {
    local data=$1 segment port
    port=$(sed -n 4p "$data/postmaster.pid")
    segment=$(sed -n '7s/.* //p' "$data/postmaster.pid")
    [[ -z $segment ]] || ipcrm -m "$segment" 2>/dev/null || true
    rm -f "$data/postmaster.pid" "${data%/postgres/*}/socket/.s.PGSQL.$port"{,.lock}
}

# sql NAME DATABASE [SQL] [psql arguments...]: as superuser; prints bare values, one row per line, columns separated by |.
# Without SQL, or with "-", statements come from stdin.
sql() {
    local name=$1 database=$2 text=${3:--} port
    shift $(($# < 3 ? 2 : 3))
    port=$(postgres_port "$name") || return 1
    if [[ $text != - ]]; then
        set -- -c "$text" "$@"
    fi
    # Debian's psql is a wrapper that searches for a version first.
    "$PG_BIN/psql" -X -A -t -q -v ON_ERROR_STOP=1 -h "$PG_SOCKET_DIR" -p "$port" -U postgres -d "$database" "$@"
}

# ---------------------------------------------------------------------------------------------------------------------
# RabbitMQ

# Prepares the node's ports, files and variables, once. It has its own epmd, cookie and empty plugin list, and reads nothing
# from /etc/rabbitmq. Each further argument is a line for rabbitmq.conf.
rabbit_prepare() {
    local dir=$SERVERS_DIR/rabbit
    if [[ ! -e $dir/rabbitmq.conf ]]; then
        servers_export RABBIT_PORT "$(port_reserve)"
        servers_export RABBIT_DIST_PORT "$(port_reserve)"
        servers_export RABBIT_EPMD_PORT "$(port_reserve)"
        servers_export RABBIT_NODE "pgbridge-$RABBIT_PORT@localhost"
        servers_export RABBIT_VHOST bridge
        servers_export RABBIT_ADMIN_URL "amqp://admin:admin@127.0.0.1:$RABBIT_PORT/$RABBIT_VHOST"
        mkdir "$dir"/{home,log,conf.d}
        od -An -tx1 -N16 /dev/urandom | tr -d ' \n' >"$dir/home/.erlang.cookie"
        chmod 400 "$dir/home/.erlang.cookie"
        echo '[].' >"$dir/enabled_plugins"
        : >"$dir/rabbitmq-env.conf"
        # Ra's log of 512 MB by default is more than tests should leave on a disk.
        cat >"$dir/rabbitmq.conf" <<RABBIT_END
listeners.tcp.1 = 127.0.0.1:$RABBIT_PORT
default_vhost = $RABBIT_VHOST
default_user = admin
default_pass = admin
loopback_users = none
raft.wal_max_size_bytes = 67108864
RABBIT_END
    fi
    (($# == 0)) || printf '%s\n' "$@" >>"$dir/rabbitmq.conf"
}

# Sets RABBIT_ENVIRONMENT, the whole environment of the node and of its tools: nothing of the caller's gets in.
# "detached" makes the start script replace itself by the node, so that our process id is the node's. No epmd but ours may
# start: it would be a daemon that nobody knows.
rabbit_environment() {
    local dir=$SERVERS_DIR/rabbit
    RABBIT_ENVIRONMENT=(
        PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 "HOME=$dir/home" detached=yes
        "ERL_EPMD_PORT=$RABBIT_EPMD_PORT" ERL_EPMD_ADDRESS=127.0.0.1 "ERL_FLAGS=-start_epmd false"
        "ERL_CRASH_DUMP=$dir/log/erl_crash.dump"
        "RABBITMQ_NODENAME=$RABBIT_NODE" "RABBITMQ_DIST_PORT=$RABBIT_DIST_PORT"
        "RABBITMQ_MNESIA_BASE=$dir/mnesia" "RABBITMQ_LOG_BASE=$dir/log" "RABBITMQ_PID_FILE=$dir/pid"
        "RABBITMQ_ENABLED_PLUGINS_FILE=$dir/enabled_plugins" "RABBITMQ_CONF_ENV_FILE=$dir/rabbitmq-env.conf"
        "RABBITMQ_CONFIG_FILE=$dir/rabbitmq.conf" "RABBITMQ_CONFIG_FILES=$dir/conf.d"
        "RABBITMQ_ADVANCED_CONFIG_FILE=$dir/advanced.config"
        "RABBITMQ_GENERATED_CONFIG_DIR=$dir/generated" "RABBITMQ_SCHEMA_DIR=$dir/schema"
        RABBITMQ_SCHEDULER_BIND_TYPE=u
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
        "RABBITMQ_CTL_ERL_ARGS=+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}"
        RABBITMQ_CTL_DIST_PORT_MIN=32100 RABBITMQ_CTL_DIST_PORT_MAX=32699
    )
}

# The node listens only after everything else is up. It greets with a connection.start frame.
rabbit_answers() {
    local first=
    exec {socket}<>"/dev/tcp/127.0.0.1/$RABBIT_PORT" || return 1
    printf 'AMQP\x00\x00\x09\x01' >&"$socket"
    read -r -t 5 -n 1 -u "$socket" first || true
    exec {socket}>&-
    [[ $first == $'\x01' ]]
}

rabbit_boot() {
    if process_running rabbit; then
        servers_say "RabbitMQ runs already"
        return 1
    fi
    rabbit_environment
    if ! process_running epmd; then
        process_start epmd epmd -port "$RABBIT_EPMD_PORT" -address 127.0.0.1 || return 1
        process_wait_ready epmd 60 port_taken "$RABBIT_EPMD_PORT" || return 1
    fi
    # Debian's /usr/sbin/rabbitmq-server would change to user rabbitmq.
    process_start rabbit env -i "${RABBIT_ENVIRONMENT[@]}" /usr/lib/rabbitmq/bin/rabbitmq-server || return 1
    process_wait_ready rabbit 90 rabbit_answers
}

# rabbit_start [CONFIG-LINE...]: creates and starts the node, or starts it again. Lines are added to rabbitmq.conf for good.
rabbit_start() {
    rabbit_prepare "$@" && rabbit_boot
}

rabbit_stop() {
    process_stop rabbit
}

rabbit_restart() {
    rabbit_stop && rabbit_boot
}

# rabbit_kill: kill -9. Its epmd stays, as it would on a real host.
rabbit_kill() {
    process_kill rabbit
}

# rabbit_ctl ARGUMENT...: rabbitmqctl for this node, without headings.
rabbit_ctl() {
    rabbit_environment
    env -i "${RABBIT_ENVIRONMENT[@]}" /usr/lib/rabbitmq/bin/rabbitmqctl --silent "$@"
}

# rabbit_eval EXPRESSION: what the node makes of an Erlang expression, at once: rabbitmqctl takes half a second to start.
rabbit_eval() {
    local answer
    answer=$(erl_call -address "127.0.0.1:$RABBIT_DIST_PORT" -c "$(<"$SERVERS_DIR/rabbit/home/.erlang.cookie")" -e <<<"$1.") || return 1
    [[ $answer == '{ok, '* ]] || { servers_say "RabbitMQ: $answer"; return 1; }
    answer=${answer#'{ok, '}
    printf '%s\n' "${answer%\}}"
}

# rabbit_user NAME PASSWORD [CONFIGURE [WRITE [READ]]]: creates or changes a user; the permissions in virtual host bridge are
# regular expressions as in set_permissions, everything when left out.
rabbit_user() {
    local word encoded=()
    for word in "$1" "$2" "$RABBIT_VHOST" "${3-.*}" "${4-.*}" "${5-.*}"; do
        encoded+=("base64:decode(<<\"$(printf '%s' "$word" | base64 -w 0)\">>)")
    done
    rabbit_eval "ok = rabbit_auth_backend_internal:put_user(
            #{name => ${encoded[0]}, password => ${encoded[1]}, tags => []}, <<\"admin\">>),
        ok = rabbit_auth_backend_internal:set_permissions(
            ${encoded[0]}, ${encoded[2]}, ${encoded[3]}, ${encoded[4]}, ${encoded[5]}, <<\"admin\">>)" >/dev/null
}

# ---------------------------------------------------------------------------------------------------------------------

# servers_start NAME... [SETTING=VALUE...]: these clusters (settings are for all of them) and RabbitMQ, all at once.
servers_start() {
    local argument name job failed=0
    local -a names=() settings=()
    for argument in "$@"; do
        case $argument in
            *=*) settings+=("$argument") ;;
            *) names+=("$argument") ;;
        esac
    done
    rabbit_prepare || return 1
    for name in "${names[@]}"; do
        postgres_prepare "$name" "${settings[@]}" || return 1
    done
    rabbit_boot &
    SERVERS_JOBS+=($!)
    for name in "${names[@]}"; do
        postgres_boot "$name" &
        SERVERS_JOBS+=($!)
    done
    for job in "${SERVERS_JOBS[@]}"; do
        wait "$job" || failed=1
    done
    SERVERS_JOBS=()
    return "$failed"
}
