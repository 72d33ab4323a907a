#!/usr/bin/env bash
# install and uninstall: what they print, change, refuse and take away; exit codes of the command line.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha fsync=off
sql alpha postgres "create database shop"
sql alpha shop "create table customers (id int primary key, mail text, note text); create table orders (id int primary key, total numeric)"
node_as() {
    bridge_node "$1" alpha shop "operations" <<<"$2"
}
both='  - {name: customer, table: customers, key: [id], fields: [mail]}
  - {name: order, table: orders, key: [id], fields: [total]}'
node_as commerce "$both"
schema_is() { assert_equal "$1" "$(sql alpha shop "select count(*) from pg_namespace where nspname = 'bridge'")" "schema bridge"; }
triggers() { sql alpha shop "select count(*) from pg_trigger where tgname like 'bridge%' and not tgisinternal"; }
# exits CODE TEXT COMMAND...: ends with the code, and says the text on stderr.
exits() {
    local code=$1 text=$2 status=0
    shift 2
    "$@" >"$SERVERS_DIR/out" 2>"$SERVERS_DIR/err" || status=$?
    [[ $status == "$code" ]] || fail "$*: exit $status instead of $code: $(cat "$SERVERS_DIR/err")"
    grep -qF -- "$text" "$SERVERS_DIR/err" || fail "$*: no \"$text\" in: $(cat "$SERVERS_DIR/err")"
}

# ---- the command line ----
exits 64 'no command given' "$PGBRIDGE"
exits 64 'unknown command "instal"' "$PGBRIDGE" -c x instal
exits 64 'unknown or incomplete option' "$PGBRIDGE" run --frobnicate
exits 78 'no config given' env -u PGBRIDGE_CONFIG "$PGBRIDGE" run
exits 78 'nosuch.yaml' "$PGBRIDGE" -c "$SERVERS_DIR/nosuch.yaml" check
"$PGBRIDGE" version | grep -Eq '^pgbridge [0-9]+\.[0-9]+\.[0-9]+$' || fail version
"$PGBRIDGE" version --json | jq -e '.protocol == 1' >"$SERVERS_DIR/out"
"$PGBRIDGE" help | grep -q '^  install ' || fail help
printf 'ok - the command line\n'

# ---- print, install, install again ----
bridge_install commerce --print >"$SERVERS_DIR/printed.sql"
schema_is 0
grep -q 'create table bridge.outbox' "$SERVERS_DIR/printed.sql" || fail "no schema in what --print shows"
grep -q 'secret-alpha' "$SERVERS_DIR/printed.sql" && fail "--print shows the password"
bridge_install commerce >"$SERVERS_DIR/out"
schema_is 1
assert_equal 8 "$(triggers)" "capture triggers"
before=$(sql alpha shop "select md5(string_agg(oid::text || xmin::text, ',' order by oid)) from pg_proc where pronamespace = 'bridge'::regnamespace")
bridge_install commerce | grep -q 'nothing changed' || fail "a second install"
assert_equal "$before" "$(sql alpha shop "select md5(string_agg(oid::text || xmin::text, ',' order by oid)) from pg_proc where pronamespace = 'bridge'::regnamespace")" "functions after a second install"
sql alpha shop "drop trigger bridge_update on customers"
bridge_install commerce | grep -q 'database: installed' || fail "a lost trigger was not noticed"
assert_equal 8 "$(triggers)" "capture triggers"
assert_equal "f|f|f|f" "$(sql alpha shop "select rolsuper, rolcreaterole, rolcreatedb, rolreplication from pg_roles where rolname = 'pgbridge'")" "the role's rights"
printf 'ok - install\n'

# What --print shows does the same by psql.
sql alpha postgres "create database printed"
sql alpha printed "create table customers (id int primary key, mail text, note text); create table orders (id int primary key, total numeric)"
sql alpha printed - <"$SERVERS_DIR/printed.sql" >"$SERVERS_DIR/out" 2>&1 || fail "$(tail -n 3 "$SERVERS_DIR/out")"
sed 's/dbname=shop/dbname=printed/' "$SERVERS_DIR/commerce.yaml" >"$SERVERS_DIR/printed.yaml"
"$PGBRIDGE" -c "$SERVERS_DIR/printed.yaml" install --admin "$PG_ADMIN_ALPHA" | grep -q 'nothing changed' || fail "printed SQL is not what install does"
printf 'ok - what --print shows is what install does\n'

# ---- thresholds of the health view ----
# In one transaction: what is so many seconds old does not grow older in between.
health_is() {
    assert_equal "$2" "$(sql alpha shop <<<"begin; $3; select status from bridge.health where \"check\" = '$1'; commit")" "health of $1 after: $3"
}
for step in 'healthy 99' 'warning 100' 'warning 999' 'critical 1000' 'healthy 0'; do
    health_is 'queue depth' "${step% *}" "update bridge.worker set queue_depth = ${step#* } where direction = 'in'"
done
for step in 'healthy 3' 'warning 6' 'warning 25' 'critical 31'; do
    health_is 'oldest pending change' "${step% *}" "delete from bridge.outbox; insert into bridge.outbox (layout, op, fields, ts) select min(id), 'd', '{1}', ((date_part('epoch', now()) - ${step#* }) * 1000000)::bigint from bridge.layout"
done
assert_equal "1|out|t" "$(sql alpha shop "select rows, direction, seconds between 31 and 60 from bridge.lag where direction = 'out'")" "lag"
assert_equal 1 "$(sql alpha shop "select changes from bridge.outbox_pending")" "outbox_pending"
health_is 'oldest pending change' healthy "delete from bridge.outbox"
filled() { printf "delete from bridge.outbox; insert into bridge.outbox (layout, op, fields, ts) select (select min(id) from bridge.layout), 'd', '{1}', 1 from generate_series(1, %s)" "$1"; }
for step in 'healthy 99999' 'warning 100000' 'critical 1000000'; do
    health_is 'outbox' "${step% *}" "$(filled "${step#* }")"
done
sql alpha shop "truncate bridge.outbox"
for step in 'healthy 9' 'warning 10' 'warning 49' 'critical 50'; do
    health_is 'failure rate' "${step% *}" "delete from bridge.inbound; insert into bridge.inbound (source, window_received, window_failed) values ('x', 1000, ${step#* })"
done
for step in 'warning 1' 'warning 9' 'critical 10'; do
    health_is 'dead letters' "${step% *}" "delete from bridge.dead_letter; insert into bridge.dead_letter (class, state, error, payload) select 'permanent', 'parked', g::text, g::text::bytea from generate_series(1, ${step#* }) g"
done
sql alpha shop "delete from bridge.dead_letter; delete from bridge.inbound"
printf 'ok - thresholds of health\n'

# ---- TRUNCATE, refused ----
node_as commerce '  - {name: customer, table: customers, key: [id], fields: [mail], truncate: refuse}
  - {name: order, table: orders, key: [id], fields: [total], coalesce: false}'
bridge_install commerce >"$SERVERS_DIR/out"
exits 1 'TRUNCATE of public.customers is refused' sql alpha shop 'truncate customers'
node_as commerce "$both"
bridge_install commerce >"$SERVERS_DIR/out"
printf 'ok - TRUNCATE is refused where the config says so\n'

# ---- a mapping that changes ----
sql alpha shop "insert into customers values (1, 'a', 'own')"
node_as commerce '  - {name: customer, table: customers, key: [id], fields: [mail, note]}'
bridge_install commerce >"$SERVERS_DIR/out"
sql alpha shop "update customers set note = 'travels now'; insert into orders values (1, 5)"
assert_equal '{1,a}|{1,a,"travels now"}' "$(sql alpha shop "select string_agg(fields::text, '|' order by seq) from bridge.outbox")" "rows captured before and after"
assert_equal "customer|t
order|f" "$(sql alpha shop "select entity, active from bridge.entities order by 1")" "entities"
printf 'ok - a mapping that changes\n'

# ---- what is refused ----
node_as commerce '  - {name: customer, table: customers, key: [id], fields: [mail]}
  - {name: client, table: public.customers, key: [id], fields: [note]}'
exits 78 'mapped by two entities' bridge_install commerce
node_as commerce '  - {name: customer, table: nowhere, key: [id]}'
exits 78 'commerce.yaml:9' bridge_install commerce
node_as commerce '  - {name: customer, table: customers, key: [id], fields: [nothing]}'
exits 78 'has no column "nothing"' bridge_install commerce
node_as renamed "$both"
exits 78 'this database is node "commerce"' bridge_install renamed
node_as commerce "$both"
exits 77 'use --admin' bridge commerce install
sed "s/port=$PG_PORT_ALPHA/port=1/" "$SERVERS_DIR/commerce.yaml" >"$SERVERS_DIR/away.yaml"
exits 69 'could not connect' "$PGBRIDGE" -c "$SERVERS_DIR/away.yaml" install
exits 69 'could not connect' "$PGBRIDGE" -c "$SERVERS_DIR/away.yaml" status
bridge_install commerce >"$SERVERS_DIR/out"
printf 'ok - what is refused\n'

# ---- and away again ----
bridge commerce uninstall --print | grep -q 'drop schema if exists bridge cascade' || fail "uninstall --print"
schema_is 1
bridge commerce uninstall --admin "$PG_ADMIN_ALPHA" >"$SERVERS_DIR/out"
schema_is 0
assert_equal 0 "$(triggers)" "triggers after uninstall"
assert_equal "" "$(rabbit_ctl list_queues -p bridge name)" "queues after uninstall"
sql alpha shop "update customers set mail = 'still writable'; truncate orders"
bridge_install commerce >"$SERVERS_DIR/out"
assert_equal 8 "$(triggers)" "capture triggers after a new install"
printf 'ok - uninstall, and install again\n'

# ---- beside an application at work ----
bridge commerce uninstall --admin "$PG_ADMIN_ALPHA" >"$SERVERS_DIR/out"
# It holds the table that install comes to last, and wants the other one when install waits for it. The server's search for deadlocks
# ends whoever looks first: it leaves a slow machine the time to give way.
sql alpha shop "insert into orders values (1, 1)"
sql alpha shop "set deadlock_timeout = '10s'; begin; update orders set total = 2;
    do \$\$ begin while not exists (select from pg_locks where not granted and relation = 'orders'::regclass) loop perform pg_sleep(0.02); end loop; end \$\$;
    update customers set mail = 'written beside an installation'; select pg_sleep(1.5); commit" >"$SERVERS_DIR/beside" 2>&1 &
beside=$!
held() { [[ $(sql alpha shop "select count(*) from pg_locks where granted and relation = 'orders'::regclass and mode = 'RowExclusiveLock'") == 1 ]]; }
wait_for 20 "the application to hold a table" held
bridge_install commerce >"$SERVERS_DIR/out"
wait "$beside" || fail "the application's transaction came to grief: $(cat "$SERVERS_DIR/beside")"
assert_equal 8 "$(triggers)" "capture triggers"
printf 'ok - install gives way to an application at work\n'
