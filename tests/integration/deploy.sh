#!/usr/bin/env bash
# What deploy/ offers is installed, is accepted by the tools it is for, and works: the systemd unit and what the program tells
# systemd, roles.sql, the alerts and the dashboard.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

skip() {
    printf 'skipped: %s\n' "$*"
}

# ---- installation ---------------------------------------------------------------------------------------------------

# install_into PREFIX: sets ROOT, an empty directory with the installation in it, and CONFIG, where configs are.
install_into() {
    ROOT=$SERVERS_DIR/root${1//\//-}
    cmake -S "$SOURCE_DIR" -B "$SERVERS_DIR/build" -DCMAKE_INSTALL_PREFIX="$1" -DPGBRIDGE_TESTS=OFF >"$SERVERS_DIR/cmake.log" 2>&1 ||
        fail "cmake: $(tail -n 5 "$SERVERS_DIR/cmake.log")"
    # Built already: only where it goes is new.
    cp "$PGBRIDGE" "$SERVERS_DIR/build/pgbridge"
    DESTDIR=$ROOT cmake --install "$SERVERS_DIR/build" >"$SERVERS_DIR/cmake.log" 2>&1 ||
        fail "cmake --install: $(tail -n 5 "$SERVERS_DIR/cmake.log")"
}

test_install_puts_everything_in_place() {
    local prefix file
    for prefix in /usr/local /usr; do
        install_into "$prefix"
        for file in "$prefix"/{bin/pgbridge,lib/systemd/system/pgbridge@.service,lib/sysusers.d/pgbridge.conf} \
            "$prefix"/share/pgbridge/{sql/install/000_roles.sql,postgres/roles.sql,rabbitmq/node-user,rabbitmq/README.md} \
            "$prefix"/share/pgbridge/{prometheus/alerts.yml,grafana/pgbridge.json} /etc/pgbridge/example.yaml; do
            [[ -f $ROOT$file ]] || fail "$file is missing with prefix $prefix"
        done
        [[ -x $ROOT$prefix/bin/pgbridge && -x $ROOT$prefix/share/pgbridge/rabbitmq/node-user ]] || fail "not executable"
        grep -qxF "ExecStart=$prefix/bin/pgbridge -c /etc/pgbridge/%i.yaml run" \
            "$ROOT$prefix/lib/systemd/system/pgbridge@.service" || fail "the unit does not start $prefix/bin/pgbridge"
        ! grep -nE '@[a-z]+@' "$ROOT$prefix/lib/systemd/system/pgbridge@.service" || fail "the unit has an empty place"
        assert_equal "pgbridge" "$("$ROOT$prefix/bin/pgbridge" version | cut -d ' ' -f 1)" "the installed program"
    done
}

test_install_leaves_other_configs_alone() {
    local mine=$ROOT/etc/pgbridge/commerce.yaml
    echo "node: mine" >"$mine"
    install_into /usr
    assert_equal "node: mine" "$(<"$mine")" "a config that was there"
}

# ---- systemd --------------------------------------------------------------------------------------------------------

# A copy of the unit that starts the program where it lies now.
prepare_unit() {
    UNIT=$SERVERS_DIR/unit/pgbridge@.service
    mkdir -p "$SERVERS_DIR/unit"
    sed "s|^ExecStart=/usr/bin/|ExecStart=$ROOT/usr/bin/|" "$ROOT/usr/lib/systemd/system/pgbridge@.service" >"$UNIT"
}

test_systemd_accepts_the_unit() {
    local said
    if ! command -v systemd-analyze >/dev/null; then
        skip "systemd-analyze is not installed"
        return 0
    fi
    prepare_unit
    said=$(systemd-analyze verify --man=no "$UNIT" 2>&1) || fail "systemd-analyze verify: $said"
    # Unknown settings are warnings only.
    [[ $said != *pgbridge@* ]] || fail "systemd-analyze verify: $said"
}

test_the_unit_exposes_little() {
    local said
    if ! command -v systemd-analyze >/dev/null; then
        skip "systemd-analyze is not installed"
        return 0
    fi
    said=$(systemd-analyze security --offline=yes --threshold=29 --no-pager "$UNIT" 2>&1) ||
        fail "its exposure is 3 or more: $(tail -n 1 <<<"$said")"
    printf '%s\n' "${said##*$'\n'}"
}

test_sysusers_accepts_the_user() {
    local root=$SERVERS_DIR/sysusers
    if ! command -v systemd-sysusers >/dev/null; then
        skip "systemd-sysusers is not installed"
        return 0
    fi
    mkdir -p "$root/etc"
    systemd-sysusers --root="$root" "$ROOT/usr/lib/sysusers.d/pgbridge.conf" >"$SERVERS_DIR/sysusers.log" 2>&1 ||
        fail "systemd-sysusers: $(<"$SERVERS_DIR/sysusers.log")"
    [[ $(grep '^pgbridge:' "$root/etc/passwd") == *:/usr/sbin/nologin ]] || fail "no user pgbridge without a shell"
}

# In place of systemd: prints every message as a line. Perl is in every Debian.
notify_listen() {
    # shellcheck disable=SC2016 # perl's
    process_start notify perl -MSocket -e '
        socket(my $socket, PF_UNIX, SOCK_DGRAM, 0) or die $!;
        bind($socket, sockaddr_un($ARGV[0])) or die $!;
        $| = 1;
        while (defined recv($socket, my $message, 4096, 0)) {
            $message =~ tr/\n/ /;
            print "$message\n";
        }' "$SERVERS_DIR/notify"
    wait_for 10 "the listener" test -S "$SERVERS_DIR/notify" || fail "no listener: $(<"$SERVERS_DIR/log/notify.log")"
}

# heard PATTERN [COUNT]
heard() {
    (($(grep -cE "$1" "$SERVERS_DIR/log/notify.log") >= ${2:-1}))
}

expect_to_hear() {
    wait_for 20 "$1" heard "$@" || fail "systemd was not told: $1; only: $(sort "$SERVERS_DIR/log/notify.log" | uniq -c)"
}

# Neither database nor broker is there: the adapter is up all the same, and waits for them.
test_the_program_tells_systemd() {
    local dead pid
    notify_listen
    dead=$(port_reserve)
    cat >"$SERVERS_DIR/lonely.yaml" <<YAML
node: lonely
database: host=127.0.0.1 port=$dead dbname=nothing user=pgbridge
broker:
  url: amqp://lonely:secret@127.0.0.1:$dead/bridge
peers: [other]
entities:
  - name: customer
    table: shop.customers
    key: [id]
YAML
    NOTIFY_SOCKET=$SERVERS_DIR/notify process_start quiet "$PGBRIDGE" -c "$SERVERS_DIR/lonely.yaml" run
    expect_to_hear '^READY=1'
    expect_to_hear '^STATUS=outbound: .*inbound: '
    process_stop quiet TERM 30 || fail "no end on SIGTERM"
    ! heard WATCHDOG=1 || fail "signs of life that nobody asked for"

    : >"$SERVERS_DIR/log/notify.log"
    NOTIFY_SOCKET=$SERVERS_DIR/notify WATCHDOG_USEC=2000000 \
        process_start node-lonely "$PGBRIDGE" -c "$SERVERS_DIR/lonely.yaml" run
    expect_to_hear '^READY=1'
    expect_to_hear '^WATCHDOG=1' 3
    pid=$(process_id node-lonely)
    kill -s HUP "$pid"
    expect_to_hear '^RELOADING=1 MONOTONIC_USEC=[0-9]+$'
    expect_to_hear '^READY=1' 2
    process_running node-lonely || fail "SIGHUP ended it"
    kill -s TERM "$pid"
    expect_to_hear '^STOPPING=1'
    wait_for 30 "its end" process_ended node-lonely || fail "no end on SIGTERM"
}

# ---- PostgreSQL -----------------------------------------------------------------------------------------------------

test_roles_by_hand_need_no_superuser_to_install() {
    local file
    sql alpha postgres "create role shop_owner login"
    sql alpha postgres "create database shop"
    sql alpha shop "create schema shop authorization shop_owner; set role shop_owner;
                    create table shop.customers (id int primary key, name text)"
    for _ in first again; do
        sql alpha shop - -v installer=shop_owner -v adapter=pgbridge -f "$SOURCE_DIR/deploy/postgres/roles.sql" \
            2>"$SERVERS_DIR/roles.log" || fail "roles.sql: $(<"$SERVERS_DIR/roles.log")"
    done
    bridge_node commerce alpha shop operations <<'YAML'
  - name: customer
    table: shop.customers
    key: [id]
    fields: [name]
YAML
    file=$SERVERS_DIR/$(sed -n 's/^database_password_file: //p' "$SERVERS_DIR/commerce.yaml")
    sql alpha shop "alter role pgbridge password '$(<"$file")'"
    bridge commerce install --admin "host=$PG_SOCKET_DIR user=shop_owner" >/dev/null || fail "install as owner of the tables"
    assert_equal "database: up to date, nothing changed" \
        "$(bridge commerce install --admin "host=$PG_SOCKET_DIR user=shop_owner" | head -n 1)" "a second install"
    bridge commerce check >/dev/null || fail "check"
    assert_equal "f|f|f|f|f" "$(sql alpha shop "select rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls
                                                  from pg_roles where rolname = 'pgbridge'")" "the adapter's attributes"
    # What monitoring asks needs no more than the role for it.
    sql alpha shop "create role exporter login; grant pgbridge_monitor to exporter"
    assert_equal "commerce" "$(sed -n '/query: |/,/metrics:/{/query: |/d;/metrics:/d;p}' \
        "$SOURCE_DIR/deploy/prometheus/postgres_exporter.yaml" |
        "$PG_BIN/psql" -XAtq -F ' ' "${PG_ADMIN_ALPHA/user=postgres/user=exporter} dbname=shop" | cut -d ' ' -f 1 | sort -u)" \
        "the exporter's query"
}

# ---- Prometheus and Grafana -----------------------------------------------------------------------------------------

test_prometheus_accepts_rules_and_config() {
    local said
    if ! command -v promtool >/dev/null; then
        skip "promtool is not installed"
        return 0
    fi
    said=$(promtool check rules "$SOURCE_DIR/deploy/prometheus/alerts.yml" 2>&1) || fail "$said"
    said=$(promtool check config "$SOURCE_DIR/deploy/prometheus/prometheus.yml" 2>&1) || fail "$said"
}

test_alerts_fire_at_the_thresholds() {
    local said
    if ! command -v promtool >/dev/null; then
        skip "promtool is not installed"
        return 0
    fi
    cp "$SOURCE_DIR/deploy/prometheus/alerts.yml" "$SOURCE_DIR/tests/support/alerts_test.yml" "$SERVERS_DIR"
    said=$(promtool test rules "$SERVERS_DIR/alerts_test.yml" 2>&1) || fail "$said"
}

test_every_metric_shown_exists() {
    local metric
    grep -rhoE '\bpgbridge_[a-z_]+' "$SOURCE_DIR"/deploy/{prometheus/alerts.yml,grafana} | sort -u >"$SERVERS_DIR/metrics"
    [[ -s $SERVERS_DIR/metrics ]] || fail "no metrics are shown"
    while read -r metric; do
        case $metric in
            pgbridge_health_value | pgbridge_health_status | pgbridge_monitor) ;; # postgres_exporter.yaml
            *) grep -q "\"$metric\"" "$SOURCE_DIR/adapters/host/metrics.c" || fail "no metric $metric" ;;
        esac
    done <"$SERVERS_DIR/metrics"
    if command -v jq >/dev/null; then
        jq -e '.panels | length > 0' "$SOURCE_DIR/deploy/grafana/pgbridge.json" >/dev/null || fail "the dashboard is no JSON"
    else
        skip "jq is not installed"
    fi
}

# ---------------------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2119 # its argument may be left out
servers_init
servers_start alpha

# In the order of this file: the later ones use what the first one has installed.
mapfile -t tests < <(grep -o '^test_[a-z0-9_]*' "${BASH_SOURCE[0]}")
for test in "${tests[@]}"; do
    "$test"
    printf 'ok: %s\n' "$test"
done
