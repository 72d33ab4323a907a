#!/usr/bin/env bash
# pgbridge check, status and the HTTP endpoints against real servers: every finding is provoked once and its hint seen.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
PGBRIDGE=$BUILD_DIR/pgbridge
TEST=

fail() {
    printf 'not ok: %s: %s\n' "$TEST" "$*" >&2
    exit 1
}

# ---- the node under test --------------------------------------------------------------------------------------------

# Values of the config that tests change; write_config puts them into the file.
config_defaults() {
    NODE=commerce
    DATABASE="host=$PG_SOCKET_DIR port=$PG_PORT_ALPHA dbname=shop user=pgbridge"
    BROKER="amqp://admin:admin@127.0.0.1:$RABBIT_PORT/bridge"
    EXCHANGE=bridge.sync
    PEERS='[operations]'
    CUSTOMER_TABLE=shop.customers
    CUSTOMER_KEY='[id = customer_id]'
    CUSTOMER_FIELDS='[email, name = full_name]'
    CUSTOMER_OPTIONS=
    MORE=
}

write_config() {
    cat >"$CONFIG" <<CONFIG_END
node: $NODE
database: $DATABASE
broker: {url: "$BROKER", exchange: $EXCHANGE}
peers: $PEERS
http: 127.0.0.1:$HTTP_PORT
entities:
  - name: customer
    table: $CUSTOMER_TABLE
    key: $CUSTOMER_KEY
    fields: $CUSTOMER_FIELDS
$CUSTOMER_OPTIONS
  - {name: order, table: shop.orders, key: [id], fields: [customer_id, state]}
  - {name: event, table: shop.events, key: [day, id], fields: [what]}
$MORE
CONFIG_END
    chmod 600 "$CONFIG"
}

shop() {
    sql alpha shop "$@"
}

install_node() {
    "$PGBRIDGE" -c "$CONFIG" install --admin user=postgres >"$SERVERS_DIR/install.out" 2>&1 ||
        fail "install: $(cat "$SERVERS_DIR/install.out")"
}

create_database() {
    sql alpha postgres 'alter role postgres set client_min_messages = warning'
    sql alpha postgres 'create database shop template template0 encoding utf8'
    shop - <<'SQL_END'
create schema shop;
create table shop.customers (customer_id bigint primary key, email text, full_name text);
create table shop.orders (id uuid primary key, customer_id bigint references shop.customers, state text);
create table shop.events (day date, id uuid, what text, primary key (day, id)) partition by range (day);
create table shop.events_2025 partition of shop.events for values from ('2025-01-01') to ('2026-01-01');
SQL_END
}

# ---- asking ---------------------------------------------------------------------------------------------------------

# pgbridge EXPECTED-EXIT-CODE ARGUMENT...: output in OUT, messages in ERR.
pgbridge() {
    local expected=$1 code=0
    shift
    "$PGBRIDGE" -c "$CONFIG" "$@" >"$SERVERS_DIR/out" 2>"$SERVERS_DIR/err" || code=$?
    OUT=$(cat "$SERVERS_DIR/out") ERR=$(cat "$SERVERS_DIR/err")
    ((code == expected)) || fail "pgbridge $*: exit code $code, expected $expected: $OUT $ERR"
}

# finding LEVEL WHERE TEXT HINT: the last check has such a finding; TEXT and HINT are glob patterns.
finding() {
    local level where text hint
    while IFS=$'\t' read -r level where text hint; do
        # shellcheck disable=SC2053 # patterns
        [[ $level == "$1" && $where == "$2" && $text == $3 && $hint == $4 ]] && return 0
    done < <(jq -r '.[] | [.level, .where, .text, .hint] | @tsv' <<<"$OUT")
    fail "no finding: $*; there are: $OUT $ERR"
}

# check EXIT-CODE [LEVEL WHERE TEXT HINT]...: with these findings, and perhaps others.
check() {
    write_config
    pgbridge "$1" check --json
    shift
    while (($# > 0)); do
        finding "$1" "$2" "$3" "$4"
        shift 4
    done
}

good() {
    config_defaults
    check 0
    [[ $OUT == '[]' ]] || fail "not all good again: $OUT"
}

# ---- check: database ------------------------------------------------------------------------------------------------

test_a_database_without_the_bridge() {
    check 78 error 'schema bridge' 'the bridge is not installed*' 'run "pgbridge install"' \
        error role '*may not set session_replication_role*' '*grant set on parameter session_replication_role to pgbridge' \
        error broker 'cannot find exchange "bridge.sync"*' 'Run "pgbridge install"*' \
        error 'entity customer' 'pgbridge may not select, insert, update, delete shop.customers' 'grant select, insert*'
    pgbridge 78 status
    [[ $ERR == *'not installed'*'HINT: run "pgbridge install"'* ]] || fail "$ERR"
    pgbridge 78 status --json
    [[ -z $OUT ]] || fail "$OUT"
}

test_an_installed_node_is_all_good() {
    write_config
    install_node
    good
    pgbridge 0 check
    [[ $OUT == 'all good' ]] || fail "$OUT"
}

test_findings_are_printed_with_hint_and_summary() {
    shop 'alter table shop.customers disable trigger bridge_update; create table shop.notes
              (customer_id bigint references shop.customers on delete cascade); grant select on shop.notes to pgbridge'
    write_config
    pgbridge 78 check
    [[ $OUT == 'error '*' entity customer  capture triggers are disabled on shop.customers: bridge_update'*'HINT: alter table'*'warning '*'deletions of peers fail'*'ON DELETE CASCADE does not run'*$'\n''1 check failed, 1 warning' ]] || fail "$OUT"
    shop 'alter table shop.customers enable trigger bridge_update; drop table shop.notes'
    good
}

test_the_database_cannot_be_reached() {
    DATABASE='host=127.0.0.1 port=1 dbname=shop user=pgbridge'
    check 69 error database 'could not connect*' '*'
    [[ $(jq length <<<"$OUT") == 1 ]] || fail "the broker is fine: $OUT"
    pgbridge 69 check
    [[ $OUT == 'error '*'1 check failed' ]] || fail "$OUT"
    pgbridge 69 status
    [[ $ERR == *'could not connect'* ]] || fail "$ERR"
    good
}

test_login_is_refused() {
    DATABASE="host=$PG_SOCKET_DIR port=$PG_PORT_ALPHA dbname=shop user=nobody"
    check 78 error database 'could not connect*role "nobody" does not exist*' 'check "database"*'
    good
}

test_other_encoding() {
    sql alpha postgres "create database shop_latin template template0 encoding latin1 locale 'C'"
    DATABASE=${DATABASE/dbname=shop/dbname=shop_latin}
    check 78 error database 'its encoding is LATIN1, not UTF8' 'create the database with encoding UTF8*'
    good
}

test_read_only_database() {
    sql alpha postgres 'alter role pgbridge set default_transaction_read_only = on'
    check 78 error database 'transactions are read-only*' 'set default_transaction_read_only = off*'
    sql alpha postgres 'alter role pgbridge reset default_transaction_read_only'
    good
}

test_fsync_is_off() {
    sql alpha postgres 'alter system set fsync = off'
    sql alpha postgres 'select pg_reload_conf()' >/dev/null
    wait_for 60 'fsync off' setting_is fsync off
    check 0 warning database 'fsync is off*' 'set fsync = on'
    pgbridge 0 check
    [[ $OUT == 'warning '*$'\n''no check failed, 1 warning' ]] || fail "$OUT"
    sql alpha postgres 'alter system reset fsync'
    sql alpha postgres 'select pg_reload_conf()' >/dev/null
    wait_for 60 'fsync on' setting_is fsync on
    good
}

setting_is() {
    [[ $(sql alpha postgres "show $1") == "$2" ]]
}

test_role_with_too_many_rights() {
    sql alpha postgres 'alter role pgbridge createrole createdb; grant pgbridge_owner to pgbridge'
    check 0 note role 'pgbridge has rights the bridge does not need: createrole, createdb' 'alter role pgbridge nocreaterole nocreatedb' \
        warning role 'pgbridge is a member of pgbridge_owner*' 'revoke pgbridge_owner from pgbridge'
    sql alpha postgres 'revoke pgbridge_owner from pgbridge; alter role pgbridge superuser nocreaterole nocreatedb'
    check 0 warning role 'pgbridge is a superuser*' '*alter role pgbridge nosuperuser'
    sql alpha postgres 'alter role pgbridge nosuperuser'
    good
}

test_missing_set_privilege() {
    sql alpha postgres 'revoke set on parameter session_replication_role from pgbridge'
    check 78 error role 'pgbridge may not set session_replication_role*' '*grant set on parameter session_replication_role to pgbridge'
    sql alpha postgres 'grant set on parameter session_replication_role to pgbridge'
    good
}

test_schema_of_another_version() {
    shop "insert into bridge.version (number, name) values (999, 'install/999_later')"
    check 78 error 'schema bridge' 'it is at version 999, this program needs *' 'a newer pgbridge*'
    shop 'delete from bridge.version where number = 999; create table saved as table bridge.version; delete from bridge.version'
    check 78 error 'schema bridge' 'it is at version 0, this program needs *' 'run "pgbridge install"'
    shop 'insert into bridge.version table saved; drop table saved'
    good
}

test_missing_grants_on_the_schema() {
    shop 'revoke update on bridge.inbound from pgbridge; revoke delete on bridge.outbox from pgbridge'
    check 78 error 'schema bridge' 'pgbridge lacks delete on bridge.outbox, update on bridge.inbound' '*bridge.grant_adapter()'
    shop 'revoke select on bridge.version from pgbridge, pgbridge_monitor'
    check 78 error 'schema bridge' 'pgbridge may not read its tables' 'run "pgbridge install" with the role*'
    shop 'revoke usage on schema bridge from pgbridge, public'
    check 78 error 'schema bridge' 'pgbridge may not use it' 'run "pgbridge install" with the role*'
    pgbridge 77 status
    shop 'select bridge.grant_adapter()' >/dev/null
    good
}

test_a_schema_of_somebody_else() {
    sql alpha postgres 'create database other'
    sql alpha other 'create schema bridge; grant usage on schema bridge to public'
    DATABASE=${DATABASE/dbname=shop/dbname=other}
    check 78 error 'schema bridge' '*something else made it' 'drop or rename it*'
    good
}

test_an_installation_for_another_config() {
    NODE=trade EXCHANGE=other.sync PEERS='[operations, archive]'
    check 78 error 'schema bridge' 'it is installed as node commerce, the config says trade' '*run "pgbridge install"*' \
        error 'schema bridge' 'it is installed with exchange bridge.sync*the config says other.sync and other.sync.trade' 'run "pgbridge install"' \
        error 'schema bridge' 'peer archive is in the config and not installed' 'run "pgbridge install"' \
        error broker 'cannot find queue "other.sync.trade"*' 'Run "pgbridge install"*'
    config_defaults
    PEERS='[]'
    check 78 error 'schema bridge' 'peer operations is installed and not in the config' 'run "pgbridge install"'
    sql alpha postgres 'create role another login; grant pgbridge to another; grant set on parameter session_replication_role to another'
    config_defaults
    DATABASE=${DATABASE/user=pgbridge/user=another}
    check 78 error role 'capture is installed for role pgbridge, the config connects as another*sent back' 'run "pgbridge install"*'
    sql alpha postgres 'drop owned by another; drop role another'
    shop 'create table saved as table bridge.node; delete from bridge.node'
    config_defaults
    check 78 error 'schema bridge' '*it knows no node' 'run "pgbridge install"'
    pgbridge 78 status
    shop 'insert into bridge.node table saved; drop table saved'
    good
}

# ---- check: tables --------------------------------------------------------------------------------------------------

test_tables_that_cannot_be_mirrored() {
    shop 'create view shop.people as table shop.customers'
    CUSTOMER_TABLE=shop.people
    check 78 error 'entity customer' 'shop.people is a view' 'map the table behind it'
    CUSTOMER_TABLE="'\"Customers\"'"
    check 78 error 'entity customer' 'there is no table public."Customers"' 'names are folded*'
    shop 'drop view shop.people'
    config_defaults
    shop 'create table public.things (id int primary key)'
    MORE=$'  - {name: thing, table: things, key: [id]}\n  - {name: stuff, table: public.things, key: [id]}'
    check 78 error 'entity stuff' 'table public.things is mapped by 2 entities: *' 'map each table once' \
        error 'entity stuff' 'it is in the config and not installed' 'run "pgbridge install"'
    shop 'drop table public.things'
    MORE='  - {name: event25, table: shop.events_2025, key: [day, id]}'
    check 78 error 'entity event25' 'table shop.events_2025 is a partition of shop.events' 'map the partitioned table'
    shop 'create table shop.vip () inherits (shop.customers); alter table shop.orders set unlogged'
    config_defaults
    check 0 warning 'entity customer' '*has child tables by inheritance*' 'map the child tables*' \
        warning 'entity order' 'table shop.orders is unlogged*' 'alter table shop.orders set logged'
    shop 'drop table shop.vip; alter table shop.orders set logged'
    good
}

test_columns_that_do_not_fit() {
    CUSTOMER_FIELDS='[email = e_mail]'
    check 78 error 'entity customer' 'table shop.customers has no column e_mail (field email)' '*not mapped: email, full_name'
    shop "create schema types; create type types.mood as enum ('good');
        alter table shop.customers add moods types.mood[], add number int generated always as identity,
            add shout text generated always as (upper(email)) stored"
    CUSTOMER_FIELDS='[email, name = full_name, moods, number, shout]'
    check 78 error 'entity customer' 'pgbridge may not use schema types, where the type of column moods is' 'grant usage on schema types to pgbridge' \
        error 'entity customer' 'column number is GENERATED ALWAYS AS IDENTITY*' '*set generated by default' \
        note 'entity customer' 'column shout is generated*' 'leave it out*'
    shop 'grant usage on schema types to pgbridge; revoke usage on type types.mood from public'
    check 78 error 'entity customer' 'pgbridge may not use type types.mood of column moods' 'grant usage on type types.mood to pgbridge'
    shop 'alter table shop.customers drop moods, drop number, drop shout; drop schema types cascade'
    good
}

test_missing_privileges_on_tables() {
    shop 'revoke insert, delete on shop.customers from pgbridge; revoke usage on schema shop from pgbridge;
        revoke select on shop.orders from pgbridge_owner'
    check 78 error 'entity customer' 'pgbridge may not insert, delete shop.customers' 'grant insert, delete on shop.customers to pgbridge' \
        error 'entity order' 'pgbridge may not use schema shop' 'grant usage on schema shop to pgbridge' \
        error 'entity order' 'pgbridge_owner may not select shop.orders' 'grant select on shop.orders to pgbridge_owner'
    shop 'grant insert, delete on shop.customers to pgbridge; grant usage on schema shop to pgbridge;
        grant select on shop.orders to pgbridge_owner'
    good
}

test_keys_that_are_none() {
    CUSTOMER_KEY='[email]' CUSTOMER_FIELDS='[id = customer_id]'
    check 78 error 'entity customer' 'no unique index covers exactly the key (email)' 'alter table shop.customers add unique (email)*' \
        error 'entity customer' 'key column email may be null' 'alter table shop.customers alter column email set not null'
    shop 'create unique index one on shop.customers (email) where full_name is null;
        alter table shop.customers add constraint two unique (email) deferrable'
    check 78 error 'entity customer' '*key (email); *one is partial*' '*' error 'entity customer' '*two is deferrable*' '*'
    shop 'alter table shop.customers drop constraint two; drop index shop.one'
    CUSTOMER_KEY='[id = customer_id, email]' CUSTOMER_FIELDS='[name = full_name]'
    check 78 error 'entity customer' 'no unique index covers exactly the key (customer_id, email)' '*'
    shop 'create table shop.prices (amount numeric primary key)'
    config_defaults
    MORE='  - {name: price, table: shop.prices, key: [amount]}'
    check 78 warning 'entity price' 'key column amount is of type numeric*' 'use an integer*'
    shop 'drop table shop.prices'
    good
}

test_policies_that_cannot_work() {
    shop "create table shop.stock (id int primary key, amount numeric not null, sold int, kept int not null check (kept >= 0), street text, city text,
        unique (street, city))"
    MORE='  - {name: stock, table: shop.stock, key: [id], fields: [amount, sold, kept, street], policy: merge, counters: [amount, sold, kept]}'
    check 78 error 'entity stock' 'counter amount: column amount is numeric, which does not add up exactly' 'counters are smallint*' \
        error 'entity stock' 'counter sold: column sold may be null' 'alter table shop.stock alter column sold set not null' \
        warning 'entity stock' 'counter kept has a CHECK constraint*' 'a change that would break it*' \
        note 'entity stock' '*ties columns together that are not all mapped*' 'map all of its columns, or none'
    shop 'drop table shop.stock'
    config_defaults
    CUSTOMER_OPTIONS='    policy: manual'
    check 78 error 'entity customer' 'what is installed differs from the config: policy' 'run "pgbridge install"'
    good
}

test_columns_that_peers_cannot_fill() {
    shop 'alter table shop.customers add country text not null; alter table shop.customers add region text not null default 1'
    check 78 error 'entity customer' 'column country is NOT NULL, has no default*' 'map it, or: alter table*alter column country set default ...'
    [[ $OUT != *region* ]] || fail "$OUT"
    PEERS='[]'
    check 78
    [[ $OUT != *country* ]] || fail "nobody inserts: $OUT"
    shop 'alter table shop.customers drop country, drop region'
    good
}

test_keys_that_both_sides_count() {
    shop 'create table shop.tickets (id bigint generated by default as identity primary key);
        create table shop.invoices (id serial primary key)'
    MORE='  - {name: ticket, table: shop.tickets, key: [id]}
  - {name: invoice, table: shop.invoices, key: [id]}'
    check 78 warning 'entity ticket' 'key column id takes its values from sequence shop.tickets_id_seq*' '*alter sequence shop.tickets_id_seq increment by 2 *' \
        warning 'entity invoice' '*' '*alter sequence shop.invoices_id_seq increment by 2 *'
    shop 'alter sequence shop.tickets_id_seq increment by 2'
    check 78
    [[ $OUT != *tickets_id_seq* ]] || fail "$OUT"
    shop 'drop table shop.tickets, shop.invoices'
    good
}

test_foreign_keys_to_tables_that_nobody_maps() {
    shop 'create table shop.regions (id int primary key); alter table shop.customers add region int;
        alter table shop.customers add constraint customers_region foreign key (region) references shop.regions;
        create table shop.notes (customer_id bigint references shop.customers on delete cascade on update set null)'
    check 78 warning 'entity customer' 'foreign key customers_region refers to shop.regions, which no entity maps*' 'map shop.regions*' \
        warning 'entity customer' '*notes_customer_id_fkey of shop.notes*ON DELETE CASCADE and ON UPDATE SET NULL does not run*' 'map shop.notes*' \
        error 'entity customer' 'pgbridge may not read shop.regions*' 'grant select on shop.regions to pgbridge' \
        error 'entity customer' 'pgbridge may not read shop.notes*' 'grant select on shop.notes to pgbridge'
    shop 'alter table shop.customers drop region; drop table shop.regions, shop.notes'
    good
}

test_row_level_security() {
    shop 'alter table shop.customers enable row level security'
    check 78 error 'entity customer' 'row level security hides rows of shop.customers from pgbridge' 'alter role pgbridge bypassrls; or: create policy*' \
        warning 'entity customer' '*from pgbridge_owner: a TRUNCATE*' '*'
    shop 'create policy bridge on shop.customers to pgbridge, pgbridge_owner using (true)'
    check 0
    [[ $OUT == '[]' ]] || fail "the policy opens it: $OUT"
    shop 'drop policy bridge on shop.customers; alter table shop.customers disable row level security'
    good
}

test_triggers_of_the_tables() {
    shop 'create function shop.nothing() returns trigger language plpgsql as $$begin return new; end$$;
        create trigger quiet before insert on shop.customers for each row execute function shop.nothing();
        create trigger loud before insert on shop.customers for each row execute function shop.nothing();
        alter table shop.customers enable always trigger loud'
    check 0 note 'entity customer' 'trigger quiet of shop.customers does not fire*' '*"triggers: fire"' \
        warning 'entity customer' 'trigger loud of shop.customers fires*although*' 'alter table shop.customers enable trigger loud*'
    CUSTOMER_OPTIONS='    triggers: fire'
    check 78 note 'entity customer' 'trigger quiet of shop.customers fires also for changes of peers*' '*' \
        error 'entity customer' 'what is installed differs from the config: triggers' 'run "pgbridge install"'
    shop 'drop function shop.nothing cascade'
    good
}

# ---- check: what is installed ---------------------------------------------------------------------------------------

test_a_mapping_that_differs() {
    CUSTOMER_FIELDS='[name = email, email = full_name]' CUSTOMER_OPTIONS=$'    truncate: refuse\n    coalesce: false'
    check 78 error 'entity customer' 'what is installed differs from the config: key and fields, truncate, coalesce' 'run "pgbridge install"'
    shop 'create table shop.clients (like shop.customers including all)'
    config_defaults
    CUSTOMER_TABLE=shop.clients
    check 78 error 'entity customer' 'what is installed differs from the config: table' 'run "pgbridge install"'
    shop 'drop table shop.clients; create table shop.extra (id int primary key)'
    config_defaults
    MORE='  - {name: extra, table: shop.extra, key: [id]}'
    write_config
    install_node
    check 0
    MORE=
    check 78 error 'entity extra' 'it is installed and not in the config' 'run "pgbridge install"'
    write_config
    install_node
    shop 'drop table shop.extra'
    good
    shop 'alter table shop.orders add amount int'
    sed -i 's/customer_id, state/customer_id, state, amount/' "$CONFIG"
    install_node
    # Which the server refuses while there are capture triggers.
    shop 'drop trigger bridge_update on shop.orders; drop trigger bridge_delete on shop.orders; alter table shop.orders alter amount type numeric(10,2)'
    pgbridge 78 check --json
    finding error 'entity order' 'what is installed differs from the config: types of columns' 'run "pgbridge install"'
    write_config
    install_node
    shop 'alter table shop.orders drop amount'
    good
}

test_capture_triggers_that_are_missing_or_do_not_fire() {
    shop 'drop trigger bridge_update on shop.customers; alter table shop.orders disable trigger bridge_truncate;
        alter table shop.events_2025 enable always trigger bridge_delete'
    check 78 error 'entity customer' 'capture triggers are missing on shop.customers: bridge_update' 'run "pgbridge install"*' \
        error 'entity order' 'capture triggers are disabled on shop.orders: bridge_truncate' 'alter table shop.orders enable trigger*' \
        warning 'entity event' 'capture triggers fire also in replica role on shop.events_2025: bridge_delete' '*'
    shop 'alter table shop.orders enable trigger bridge_truncate; alter table shop.events_2025 enable trigger bridge_delete'
    install_node
    good
    shop "create table shop.events_2026 partition of shop.events for values from ('2026-01-01') to ('2027-01-01')"
    check 78 error 'entity event' 'capture triggers are missing on shop.events_2026: bridge_truncate' 'run "pgbridge install"*'
    install_node
    good
}

# ---- check: broker --------------------------------------------------------------------------------------------------

test_the_broker_cannot_be_reached() {
    BROKER=amqp://admin:admin@127.0.0.1:1/bridge
    check 78 error broker 'cannot connect*' '*'
    BROKER=amqp://admin:wrong@127.0.0.1:$RABBIT_PORT/bridge
    check 78 error broker 'cannot log in*' '*'
    [[ $OUT != *wrong* ]] || fail "the password is shown: $OUT"
    good
}

test_missing_topology() {
    rabbit_ctl delete_queue -p bridge bridge.dead.commerce >/dev/null
    check 78 error broker 'cannot find queue "bridge.dead.commerce"*' 'Run "pgbridge install"*'
    install_node
    good
}

test_a_bad_config_is_no_finding() {
    printf 'node: [\n' >"$CONFIG"
    pgbridge 78 check --json
    [[ -z $OUT && $ERR == "pgbridge: $CONFIG:"* ]] || fail "$OUT $ERR"
    good
}

# ---- status ---------------------------------------------------------------------------------------------------------

# The views as an adapter that is well would leave them.
adapter_is_well() {
    shop "update bridge.worker set state = 'running', pid = 1, program = 'pgbridge/test', since = now(), reported_at = now(),
              queue_depth = 0, last_error = null, last_error_at = null;
        delete from bridge.outbox; delete from bridge.inbound; delete from bridge.dead_letter"
}

test_status_of_an_adapter_that_never_ran_is_critical() {
    write_config
    pgbridge 1 status
    [[ $OUT == 'node commerce   pgbridge '*'schema '[1-9]*'health: critical (workers away)'* ]] || fail "$OUT"
    [[ $OUT == *$'\nPEER        DIRECTION  STATE '*$'\noperations  out  '*$'\noperations  in  '*never* ]] || fail "$OUT"
    [[ $OUT == *$'\nworkers away '*'critical '*'2 of 2  The adapter is not running'* ]] || fail "$OUT"
    pgbridge 1 status --json
    [[ $(jq -r '.node, .health, (.peers | length), (.checks[] | select(.check == "workers away").status)' <<<"$OUT" | xargs) == \
        'commerce critical 2 critical' ]] || fail "$OUT"
}

test_status_of_a_healthy_node() {
    adapter_is_well
    shop "insert into bridge.inbound (source, messages, received, applied, same, refused, last_message)
          values ('operations', 3, 12, 11, 1, 0, now() - interval '10 min'), ('stranger', 0, 0, 0, 0, 4, now())"
    pgbridge 0 status
    [[ $OUT == *'health: healthy'$'\n'*'operations  in '*'running '*' 12 '*'10 min ago'* ]] || fail "$OUT"
    [[ $OUT == *$'\nRECEIVED FROM '*$'\noperations '*$'\nstranger '* && $OUT != *'LAST ERROR'* ]] || fail "$OUT"
    pgbridge 0 status --json
    [[ $(jq -r '.health, (.inbound[] | select(.source == "operations").applied), .outbound.published' <<<"$OUT" | xargs) == \
        'healthy 11 0' ]] || fail "$OUT"
}

test_status_shows_warnings_and_last_errors() {
    adapter_is_well
    shop "insert into bridge.dead_letter (class, state, error, payload) values ('permanent', 'parked', 'no', '');
        update bridge.worker set last_error = E'it broke\nHINT: mend it', last_error_code = '23505', last_error_at = now()
         where direction = 'in'"
    pgbridge 0 status
    [[ $OUT == *'health: warning (dead letters)'* && $OUT == *'it broke'*'23505'*$'\n'*' HINT: mend it'* ]] || fail "$OUT"
    pgbridge 0 status --json
    [[ $(jq -r .health <<<"$OUT") == warning ]] || fail "$OUT"
    adapter_is_well
}

test_status_without_peers() {
    adapter_is_well
    shop 'delete from bridge.peer'
    pgbridge 0 status
    [[ $OUT == *$'\nno peers\n'* ]] || fail "$OUT"
    pgbridge 0 status --json
    [[ $(jq -c '.peers, .lag' <<<"$OUT" | xargs) == '[] []' ]] || fail "$OUT"
    shop "insert into bridge.peer values ('operations')"
    good
}

# ---- http -----------------------------------------------------------------------------------------------------------

http() {
    curl -s --max-time 60 -o "$SERVERS_DIR/http" -w '%{http_code}' "http://127.0.0.1:$HTTP_PORT$1" "${@:2}" ||
        printf 'no answer'
}

http_answers() {
    [[ $(http "$1" "${@:3}") == "$2" ]]
}

test_http_tells_what_is_missing() {
    DATABASE='host=127.0.0.1 port=1 dbname=shop user=pgbridge'
    write_config
    process_start adapter "$PGBRIDGE" -c "$CONFIG" run
    wait_for 60 'an answer' http_answers /healthz 200
    [[ $(<"$SERVERS_DIR/http") == ok ]] || fail "$(<"$SERVERS_DIR/http")"
    wait_for 60 'both to miss the database' http_says_away
    [[ $(http /nowhere) == 404 ]] || fail '404'
    [[ $(http /metrics -X POST -d x=y) == 405 ]] || fail '405'
    [[ $(http /metrics -I) == 200 ]] || fail 'HEAD'
    process_stop adapter
    good
}

http_says_away() {
    [[ $(http /readyz) == 503 ]] && grep -qx 'outbound: database away' "$SERVERS_DIR/http" &&
        grep -qx 'inbound: database away' "$SERVERS_DIR/http"
}

# A second node, so that somebody takes what this one publishes.
install_peer() {
    sql alpha postgres 'create database operations'
    sql alpha operations 'create table public.customer (id bigint primary key)'
    cat >"$SERVERS_DIR/operations.yaml" <<CONFIG_END
node: operations
database: ${DATABASE/dbname=shop/dbname=operations}
broker: {url: "$BROKER"}
peers: [commerce]
entities: [{name: customer, table: customer, key: [id]}]
CONFIG_END
    chmod 600 "$SERVERS_DIR/operations.yaml"
    "$PGBRIDGE" -c "$SERVERS_DIR/operations.yaml" install --admin user=postgres >/dev/null
}

test_http_of_a_running_adapter() {
    install_peer
    write_config
    process_start adapter "$PGBRIDGE" -c "$CONFIG" run
    wait_for 60 'readiness' http_answers /readyz 200
    [[ $(<"$SERVERS_DIR/http") == ready ]] || fail "$(<"$SERVERS_DIR/http")"
    shop "insert into shop.customers values (1, 'ann@example.com', 'Ann')"
    wait_for 60 'the change to be published' published_one
    if command -v promtool >/dev/null; then
        promtool check metrics <"$SERVERS_DIR/http" || fail "promtool: $(<"$SERVERS_DIR/http")"
    fi
    grep -q '^pgbridge_up{node="commerce",direction="out"} 1$' "$SERVERS_DIR/http" || fail "$(<"$SERVERS_DIR/http")"
    pgbridge 0 status
    process_stop adapter
}

published_one() {
    http_answers /metrics 200 && grep -q '^pgbridge_changes_published_total{node="commerce"} 1$' "$SERVERS_DIR/http"
}

# ---------------------------------------------------------------------------------------------------------------------

servers_init
servers_start alpha
CONFIG=$SERVERS_DIR/commerce.yaml
HTTP_PORT=$(port_reserve)
create_database
sql alpha postgres 'create role pgbridge login'

# In the order of this file: the first ones install. A name filter runs those and what it matches.
mapfile -t tests < <(grep -o '^test_[a-z0-9_]*() {' "${BASH_SOURCE[0]}" | sed 's/() {//')
for TEST in "${tests[@]}"; do
    [[ -z ${1:-} || $TEST == *$1* || $TEST == test_an_installed_* ]] || continue
    started=${EPOCHREALTIME/[.,]/}
    config_defaults
    "$TEST"
    printf 'ok: %s (%d ms)\n' "$TEST" $(((${EPOCHREALTIME/[.,]/} - started) / 1000))
done
