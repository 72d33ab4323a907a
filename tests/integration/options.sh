#!/usr/bin/env bash
# Settings that other tests leave at their defaults: coalesce: false sends each state of a row; libpq's own ways to a password
# (service file, PGPASSFILE, PGPASSWORD) work.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
for cluster in alpha beta; do
    sql "$cluster" postgres "create database o"
    sql "$cluster" o "create table each (id int primary key, n int unique); create table last (id int primary key, n int)"
done
for node in left:alpha:right right:beta:left; do
    IFS=: read -r name cluster peer <<<"$node"
    bridge_node "$name" "$cluster" o "$peer" <<'YAML'
  - {name: each, table: each, key: [id], fields: [n], coalesce: false}
  - {name: last, table: last, key: [id], fields: [n]}
YAML
    bridge_install "$name" >>"$SERVERS_DIR/install.log"
    bridge_start "$name"
done

sql alpha o "begin; insert into each values (1, 1), (2, 20); update each set n = 2 where id = 1; update each set n = 3 where id = 1; delete from each where id = 2; insert into each values (2, 21);
    insert into last values (1, 1); update last set n = 2; update last set n = 3; commit"
bridge_quiet left right
assert_equal "$(sql alpha o "select * from each order by 1")" "$(sql beta o "select * from each order by 1")" "rows with coalesce: false"
assert_equal "1|3" "$(sql beta o "select * from last")" "rows with coalesce: true"
# Six states of "each", one of "last".
assert_equal 7 "$(sql alpha o "select published from bridge.outbound")" "published changes"
assert_equal 7 "$(sql beta o "select applied from bridge.inbound where source = 'left'")" "applied changes"
assert_equal 0 "$(sql beta o "select count(*) from bridge.dead_letter")" "dead letters"
bridge_stop left
bridge_stop right
printf 'ok - coalesce: false sends each state\n'

# ---- passwords that libpq finds by itself ----
(umask 077
    printf '[o-left]\nhost=127.0.0.1\nport=%s\ndbname=o\nuser=pgbridge\n' "$PG_PORT_ALPHA" >"$SERVERS_DIR/services"
    printf '127.0.0.1:%s:o:pgbridge:secret-alpha\n' "$PG_PORT_ALPHA" >"$SERVERS_DIR/pgpass")
sed -e '/^database_password_file/d' -e 's/^database: .*/database: service=o-left/' "$SERVERS_DIR/left.yaml" >"$SERVERS_DIR/service.yaml"
assert_status() {
    local got
    # Critical is what status says of a node whose adapter is stopped: exit 1, with its report.
    got=$("${@:2}" "$PGBRIDGE" -c "$SERVERS_DIR/service.yaml" status || true)
    [[ $got == *"node left"* ]] || fail "$1: $got"
    printf 'ok - %s\n' "$1"
}
assert_status "a service file and PGPASSFILE" env PGSERVICEFILE="$SERVERS_DIR/services" PGPASSFILE="$SERVERS_DIR/pgpass"
assert_status "a service file and PGPASSWORD" env PGSERVICEFILE="$SERVERS_DIR/services" PGPASSWORD=secret-alpha
