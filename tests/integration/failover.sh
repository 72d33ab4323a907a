#!/usr/bin/env bash
# A standby that lags takes over from each server in turn, of the node that captures from the WAL and of the one with triggers: what it had not got is
# gone there. The adapter goes on with it once its config names it, what is missing is noted, and resend brings it.
set -euo pipefail
CAPTURE_COMMERCE=wal
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
tables="create table item (id int primary key, what text, n int default 0)"
sql alpha postgres "create database shop"
sql beta postgres "create database shop"
sql alpha shop "$tables"
sql beta shop "$tables"
entities() { printf '  - {name: item, table: item, key: [id], fields: [what, n]}\n'; }
bridge_node commerce alpha shop operations < <(entities)
bridge_node operations beta shop commerce < <(entities)
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"
bridge_start commerce
bridge_start operations

rows() { node_sql "$1" "select * from item order by 1"; }
equal() { [[ $(rows commerce) == "$(rows operations)" ]]; }

# standby NAME OF: a physical standby of a cluster, up to date.
standby() {
    local name=$1 of=$2 data=$SERVERS_DIR/postgres/$1 admin
    admin=PG_ADMIN_${of^^}
    postgres_prepare "$name" fsync=off
    postgres_launch "backup-$name" "$PG_BIN/pg_basebackup" -D "$data" -R -c fast -d "${!admin}"
    wait_for 60 "a backup of $of" process_ended "backup-$name"
    sed -i "s/postgres-$of.conf/postgres-$name.conf/" "$data/postgresql.conf"
    touch "$data.created"
    postgres_start "$name"
    caught_up() { [[ $(sql "$name" postgres "select pg_last_wal_replay_lsn() >= '$1'") == t ]]; }
    wait_for 60 "the standby" caught_up "$(sql "$of" postgres "select pg_current_wal_lsn()")"
}

# fails_over NODE PEER STANDBY NUMBER GAPS: until it goes on with the standby, with these sources in bridge.gaps; a slot is not on a standby.
fails_over() {
    local node=$1 peer=$2 new=$3 k=$4 old=${NODE_CLUSTER[$1]} since old_port new_port
    standby "$new" "$old"
    since=$(node_sql "$peer" "select now()")
    postgres_stop "$new"
    # What the standby has not got: of its own, and of the peer's.
    node_sql "$node" "insert into item select g, 'own' from generate_series($k + 1, $k + 20) g; update item set n = n + 1 where id <= 50"
    node_sql "$peer" "insert into item select g, 'theirs' from generate_series($k + 21, $k + 40) g; update item set n = n + 1 where id between 51 and 100"
    bridge_quiet commerce operations
    equal || fail "they are not equal before anything is lost"
    postgres_stop "$old" immediate
    postgres_start "$new"
    sql "$new" postgres "select pg_promote()" >"$SERVERS_DIR/null"
    old_port=PG_TCP_${old^^} new_port=PG_TCP_${new^^}
    bridge_kill "$node"
    sed -i "s/${!old_port}/${!new_port}/" "$SERVERS_DIR/$node.yaml"
    NODE_CLUSTER[$node]=$new
    bridge_start "$node"
    node_sql "$node" "insert into item values ($k + 41, 'after')"
    node_sql "$peer" "insert into item values ($k + 42, 'after')"
    comes() { [[ $(node_sql "$1" "select count(*) from item where id = $2") == 1 ]]; }
    wait_for 120 "what its peer writes" comes "$node" $((k + 42))
    ! equal || fail "nothing was lost"
    bridge "$peer" resend --entity item --since "$since" >"$SERVERS_DIR/out"
    node_sql "$node" "update item set n = n + 1 where id = $k + 41"
    bridge_quiet commerce operations
    wait_for 60 "what was lost" equal
    assert_equal "$5" "$(node_sql "$node" "select string_agg(distinct source, ' ' order by source) from bridge.gaps where state = 'open'")" "of whom something is missing"
    node_sql "$node" "select bridge.acknowledge_gap(id, 'sent again') from bridge.gaps where state = 'open'" >"$SERVERS_DIR/null"
    assert_equal "" "$(node_sql "$peer" "select source, reason from bridge.gaps where state = 'open'")" "gaps of its peer"
    assert_equal 0 "$(node_sql "$node" "select count(*) from bridge.dead_letters")" "letters"
    printf 'ok - %s goes on with a standby that lagged\n' "$node"
}
node_sql commerce "insert into item select g, 'first' from generate_series(1, 100) g"
bridge_quiet commerce operations
fails_over operations commerce delta 1000 commerce
fails_over commerce operations gamma 2000 "commerce operations"
