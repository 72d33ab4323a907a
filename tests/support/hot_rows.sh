# shellcheck shell=bash
# Sessions on both sides that write the same few rows all the time, while what the other side wrote is applied to these very rows, and a court
# that has the notes of both sides. To be sourced after servers.sh and bridge.sh.
#
#   hot_nodes                       # commerce (cluster alpha, database shop) and operations (beta, ops) with the table item, not installed
#   hot_sessions NODE               # what its applications do; bridge_install and bridge_start come after or before
#   hot_write                       # until much has met
#   hot_court TABLES; plead TABLE QUERY; judged WANTED WHAT SQL
#
# Each row tells who wrote it, a name that nobody has twice, and, from the very row version that the statement overwrote, whom it overwrote.

HOT_SESSIONS=8
HOT_ROWS=10
HOT_SECONDS=${HOT_SECONDS:-10}
HOT_PAUSE_MS=${HOT_PAUSE_MS:-20}

hot_nodes() {
    servers_init
    servers_start alpha beta fsync=off deadlock_timeout=100ms
    sql alpha postgres "create database shop"
    sql beta postgres "create database ops"
    local entities='  - {name: item, table: item, key: [id], fields: [n, who, over]}' node
    # Both sides rewrite each row in turns, and are to.
    local calm='ping_pong: {times: 1000, within: 1 s, cool_down: 1 s}'
    bridge_node commerce alpha shop operations "$calm" <<<"$entities"
    bridge_node operations beta ops commerce "$calm" <<<"$entities"
    for node in commerce operations; do
        node_sql "$node" "create table item (id int primary key, n bigint not null, who text not null, over text)"
    done
}

hot_sessions() {
    node_sql "$1" <<'SQL'
create schema note;
create sequence note.moment;
create table note.done (who text, key text, op text, over text, n bigint);
create table note.retried (who text, error text, rows int);

create function note.change(writer text, k int) returns void language plpgsql as $$
begin
    with changed as (update item set n = n + 1, over = who, who = writer where id = k returning *)
    insert into note.done select writer, id, 'u', over, n from changed;
    if not found then
        perform note.add(writer, k);
    end if;
end $$;
create function note.add(writer text, k int) returns void language sql as $$
    with added as (insert into item values (k, 0, writer) on conflict do nothing returning *)
    insert into note.done select writer, id, 'i', null, n from added
$$;
create function note.remove(writer text, k int) returns void language sql as $$
    with removed as (delete from item where id = k returning *)
    insert into note.done select writer, id, 'd', who, n from removed
$$;
create function note.write(writer text, kind float, keys int[]) returns void language plpgsql as $$
declare
    k int;
begin
    foreach k in array keys loop
        if kind < 0.75 then
            perform note.change(writer, k);
        elsif kind < 0.82 then
            perform note.remove(writer, k);
            perform note.add(writer, k);
        elsif kind < 1 then
            perform note.remove(writer, k);
        else
            perform note.add(writer, k);
        end if;
    end loop;
end $$;
-- Transactions until the time is over; one that fails for the sake of others is tried again.
create procedure note.run(session text, seconds float, rows int, pause_ms float) language plpgsql as $$
declare
    until  timestamptz := clock_timestamp() + seconds * interval '1 second';
    number int := 0;
    kind   float;
    keys   int[];
    gone   int; -- to be inserted again, by a transaction of its own
begin
    while clock_timestamp() < until loop
        number := number + 1;
        kind := case when gone is null then random() else 1 end;
        keys := case when gone is null then array(select distinct 1 + floor(random() * rows)::int
                                                     from generate_series(1, case when kind < 0.2 then 3 else 1 end) order by 1)
                     else array[gone] end;
        gone := case when kind >= 0.82 and kind < 1 then keys[1] end;
        loop
            begin
                perform note.write(session || '.' || number, kind, keys);
                exit;
            exception when deadlock_detected or serialization_failure then
                insert into note.retried values (session || '.' || number, sqlstate, cardinality(keys));
            end;
            commit;
        end loop;
        commit;
        perform pg_sleep(random() * pause_ms / 500);
    end loop;
end $$;
SQL
}

# Some changes of each side were applied there, and some were lost.
hot_enough() {
    local node
    for node in commerce operations; do
        [[ $(node_sql "$node" "select applied >= 50 and (select count(*) from bridge.conflict where ruling = 'remote') >= 10 from bridge.inbound
            where source <> '$node'") == t ]] || return 1
    done
}

# Once, and again when the machine was too slow for much to happen.
hot_write() {
    local round i job node
    local -a jobs
    node_sql commerce "select note.add('start', g) from generate_series(1, $HOT_ROWS) g" >"$SERVERS_DIR/null"
    bridge_quiet commerce operations
    for round in 1 2 3 4; do
        jobs=()
        for ((i = 1; i <= HOT_SESSIONS; i++)); do
            for node in commerce operations; do
                node_sql "$node" "call note.run('$node.$i.$round', $HOT_SECONDS, $HOT_ROWS, $HOT_PAUSE_MS)" 2>"$SERVERS_DIR/log/session-$node.$i.log" &
                jobs+=($!)
            done
        done
        for job in "${jobs[@]}"; do
            wait "$job" || fail "a session ended with $?: $(cat "$SERVERS_DIR"/log/session-*.log | head -n 20)"
        done
        bridge_quiet commerce operations
        ! hot_enough || break
    done
}

# hot_court TABLES: its tables, as SQL; each has a column side.
hot_court() {
    sql alpha postgres "create database court"
    sql alpha court "create table done (side text, who text, key text, op text, over text, n bigint);
        create table retried (side text, who text, error text, rows int); $1"
    plead "done" "select * from note.done"
    plead retried "select * from note.retried"
}

# plead TABLE QUERY: from both sides.
plead() {
    local node
    for node in commerce operations; do
        node_sql "$node" "copy (select '$node', q.* from ($2) q) to stdout" | sql alpha court "copy \"$1\" from stdin"
    done
}

# judged WANTED WHAT SQL
judged() {
    assert_equal "$1" "$(sql alpha court "$3")" "$2"
}

hot_retried() {
    sql alpha court "select '# transactions tried again after a deadlock: ' || count(*) || ' (' || count(*) filter (where rows = 1) || ' of them wrote one row), of '
        || (select count(distinct who) from done) from retried"
    printf '# deadlocks that hit apply: %s\n' "$(cat "$SERVERS_DIR"/log/postgres-{alpha,beta}.log | grep -c 'pgbridge@.* ERROR:  deadlock detected' || true)"
}

# Everything has come and been settled, and both adapters still run.
hot_settled() {
    local node peer
    for node in commerce operations; do
        peer=commerce
        [[ $node == operations ]] || peer=operations
        counters_conserve "$node"
        # What waited for a clock has ended, and what failed meanwhile.
        assert_equal "" "$(node_sql "$node" "select state, class, error_code, left(error, 200), count(*), max(attempts) from bridge.dead_letter
            where '${HOT_CLOCK:-}' = '' or state in ('retrying', 'parked', 'quarantined') group by 1, 2, 3, 4 limit 9")" "dead letters of $node"
        assert_equal "0|0" "$(node_sql "$node" "select (select count(*) from bridge.outbox),
            (select sum(gaps) + sum(refused) + sum(echo) from bridge.inbound)")" "outbox, gaps and strangers of $node"
        assert_equal "$(node_sql "$node" "select published from bridge.outbound")" \
            "$(node_sql "$peer" "select received from bridge.inbound where source = '$node'")" "changes of $node that arrived"
        process_running "node-$node" || fail "the adapter of $node has ended"
        bridge_stop "$node"
    done
}
