#!/usr/bin/env bash
# An adapter stays under 100 MB whatever there is to carry: a big transaction of rows with seven columns and about 190 bytes,
# then as many small changes on their way back, committed by chunks of 1000, then a backlog of large messages that was waiting
# when the adapter started. All of it arrives. MEMORY_ROWS says how many rows.
# shellcheck disable=SC2119 # the libraries' functions have arguments of their own
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"
ROWS=${MEMORY_ROWS:-50000}
LIMIT_KB=100000
# A deadline, not a measure: a thousand rows a second would do.
DEADLINE_SECONDS=$((120 + ROWS / 1000))

servers_init
servers_start alpha beta fsync=off max_wal_size=4GB
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
sql alpha shop "create table item (id bigint primary key, code text, name text, price numeric(12, 2), made timestamptz, tags text[], note text)"
sql beta ops "create table article (note text, tags text[], number bigint primary key, title text, made timestamptz, price numeric(12, 2), code text)"
bridge_node commerce alpha shop operations <<'YAML'
  - {name: item, table: item, key: [id], fields: [code, name, price, made, tags, note]}
YAML
bridge_node operations beta ops commerce <<'YAML'
  - {name: item, table: article, key: [id = number], fields: [code, name = title, price, made, tags, note]}
YAML
bridge_install commerce
bridge_install operations
bridge_start commerce
bridge_start operations

# peak NODE: the most memory that its adapter ever had, in KB.
peak() {
    local id
    id=$(process_id "node-$1") || fail "the adapter of $1 has ended"
    awk '$1 == "VmHWM:" { print $2 }' "/proc/$id/status"
}

# check_memory PHASE BEGAN: after all of it has arrived.
check_memory() {
    local seconds node kilobytes
    seconds=$(awk -v from="$2" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }')
    printf '# %s: arrived after %s s\n' "$1" "$seconds"
    for node in commerce operations; do
        kilobytes=$(peak "$node")
        printf '#   most memory of %s: %s KB\n' "$node" "$kilobytes"
        ((kilobytes < LIMIT_KB)) || fail "$1: the adapter of $node had $kilobytes KB, more than $LIMIT_KB KB"
    done
    printf 'ok - %s: less than %s KB of memory\n' "$1" "$LIMIT_KB"
}

# applied NODE COUNT
applied() {
    [[ $(node_sql "$1" "select coalesce(sum(received), 0) from bridge.inbound") -ge $2 ]]
}

began=$EPOCHREALTIME
sql alpha shop "insert into item select g, 'code ' || g, md5(g::text), g / 100.0, now(), array['new', md5((-g)::text)], repeat(md5(g::text), 2)
    from generate_series(1, $ROWS) g"
printf '# written in %s s\n' "$(awk -v from="$began" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }')"
wait_for "$DEADLINE_SECONDS" "$ROWS rows of one transaction" applied operations "$ROWS"
check_memory "one transaction of $ROWS rows" "$began"

began=$EPOCHREALTIME
sql beta ops "do \$\$ begin
    for i in 0 .. $((ROWS / 1000 - 1)) loop
        update article set price = price + 1, note = 'changed' where number between 1000 * i + 1 and 1000 * i + 1000;
        commit;
    end loop;
end \$\$"
printf '# written in %s s\n' "$(awk -v from="$began" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }')"
wait_for "$DEADLINE_SECONDS" "$ROWS small changes" applied commerce "$ROWS"
check_memory "$ROWS small changes" "$began"

# The broker delivers as much as it may at once: 150 MB in messages of up to 256 KB.
bridge_stop operations
received=$(sql beta ops "select sum(received) from bridge.inbound")
sql alpha shop "insert into item (id, note) select -g, repeat(md5(g::text), 190) from generate_series(1, 25000) g"
sent() {
    [[ $(sql alpha shop "select count(*) from bridge.outbox") == 0 ]]
}
wait_for "$DEADLINE_SECONDS" "a backlog in the queue" sent
began=$EPOCHREALTIME
bridge_start operations
wait_for "$DEADLINE_SECONDS" "the backlog" applied operations $((received + 25000))
check_memory "a backlog of large messages" "$began"

bridge_quiet commerce operations
content() {
    printf "select count(*), md5(string_agg(md5(row(%s)::text), '' order by %s)) from %s" "$1" "$2" "$3"
}
assert_equal "$(sql alpha shop "$(content "id, code, name, price, made, tags, note" id item)")" \
    "$(sql beta ops "$(content "number, code, title, price, made, tags, note" number article)")" "rows on both sides"
assert_equal "$ROWS" "$(sql alpha shop "select count(*) from item where note = 'changed'")" "changed rows"
for node in commerce operations; do
    assert_equal "0|0" "$(node_sql "$node" "select (select count(*) from bridge.dead_letter), (select count(*) from bridge.conflict)")" \
        "dead letters and conflicts of $node"
    counters_conserve "$node"
    bridge_stop "$node"
done
printf 'ok - all of it has arrived\n'
