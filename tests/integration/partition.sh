#!/usr/bin/env bash
# Both sides write the same thousand keys while neither reaches the broker; then the network is healed, and so is the data. Once
# the link is cut (connections reset, new ones refused), once it is frozen (connections stand, nothing comes through).
#
# What must hold of a key that both sides wrote apart, with W the later and L the earlier of their two last writes: W is what both
# end with. The side of W records once that L lost to W. The side of L records once that L lost: to W, or to an earlier write of
# W's side that came before it in a batch of its own, for each batch brings one state of a key, and the first that is later than
# L takes L's place; W then only follows its own node's write. Earlier writes of both sides may be recorded as lost as well, each
# once. Where L is a deletion and the first later write of the other side deletes too, nothing was lost, and L's side records none.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

KEYS=1000
SESSIONS=4
WRITING_SECONDS=${PARTITION_SECONDS:-60}
FROZEN_SECONDS=${PARTITION_FROZEN_SECONDS:-12}
PAUSE_MS=24
TCP_PROXY=$(find "$BUILD_DIR" -name tcp_proxy -type f -executable | head -n 1)

servers_init
servers_start alpha beta court fsync=off deadlock_timeout=100ms
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
bridge_node commerce alpha shop operations <<'YAML'
  - {name: item, table: item, key: [id], fields: [n, who]}
YAML
bridge_node operations beta ops commerce <<'YAML'
  - {name: item, table: item, key: [id], fields: [n, who]}
YAML
# One of the two notices soon that its link is dead, and connects anew into the frozen network.
sed -i 's/^broker:$/&\n  heartbeat: 5/' "$SERVERS_DIR/operations.yaml"

# ---- the network ----

# proxy_start NODE: between the adapter of that node and the broker.
proxy_start() {
    local port
    port=$(port_reserve)
    process_start "proxy-$1" "$TCP_PROXY" "$port" 127.0.0.1 "$RABBIT_PORT" "$SERVERS_DIR/proxy-$1.control"
    wait_for 60 "the proxy of $1" grep -q "^listening $port" "$SERVERS_DIR/log/proxy-$1.log"
    sed -i "s,:$RABBIT_PORT/bridge,:$port/bridge," "$SERVERS_DIR/$1.yaml"
    grep -q ":$port/bridge" "$SERVERS_DIR/$1.yaml" || fail "no broker in $1.yaml"
}
proxy_obeyed() {
    (($(wc -l <"$SERVERS_DIR/log/proxy-$1.log") > $2))
}
# network COMMAND: to the proxies of both nodes, until it is in force.
network() {
    local node lines
    for node in commerce operations; do
        lines=$(wc -l <"$SERVERS_DIR/log/proxy-$node.log")
        printf '%s\n' "$1" >"$SERVERS_DIR/proxy-$node.control"
        wait_for 60 "the proxy of $node to $1" proxy_obeyed "$node" "$lines"
    done
}

# ---- the applications, and notes of the versions that a row has on each side ----

for node in commerce operations; do
    proxy_start "$node"
    node_sql "$node" "create table item (id int primary key, n int, who text)"
    bridge_install "$node" >>"$SERVERS_DIR/install.log"
    node_sql "$node" <<'SQL'
create schema note;
create table note.halt (now boolean);
create sequence note.moment;
create table note.version (moment bigint default nextval('note.moment'), key text, ts bigint, node text, deleted boolean);
create table note.conflict (moment bigint default nextval('note.moment'), key text, local_ts bigint, local_node text,
    remote_ts bigint, remote_node text, ruling text);
create function note.see_version() returns trigger language plpgsql security definer as $$
begin
    if tg_op = 'INSERT' or (old.ts, old.node) is distinct from (new.ts, new.node) then
        insert into note.version (key, ts, node, deleted) values (new.key, new.ts, new.node, new.deleted);
    end if;
    return null;
end $$;
create function note.see_conflict() returns trigger language plpgsql security definer as $$
begin
    insert into note.conflict (key, local_ts, local_node, remote_ts, remote_node, ruling)
    values (new.key, new.local_ts, new.local_node, new.remote_ts, new.remote_node, new.ruling);
    return null;
end $$;
create trigger see after insert or update on bridge.row_version for each row execute function note.see_version();
create trigger see after insert on bridge.conflict for each row execute function note.see_conflict();
alter table bridge.row_version enable always trigger see;
alter table bridge.conflict enable always trigger see;

create procedure note.run(session text, keys int, pause_ms float) language plpgsql as $$
declare
    number int := 0;
    k      int;
    kind   float;
begin
    while not exists (select from note.halt) loop
        number := number + 1;
        k := 1 + floor(random() * keys);
        kind := random();
        begin
            if kind < 0.65 then
                update item set n = n + 1, who = session || '.' || number where id = k;
            elsif kind < 0.8 then
                delete from item where id = k;
            else
                insert into item values (k, 0, session || '.' || number) on conflict do nothing;
            end if;
        exception when deadlock_detected then
            null; -- with apply, which writes many rows in one transaction: either may be the one that gives way
        end;
        commit;
        perform pg_sleep(random() * pause_ms / 500);
    end loop;
end $$;
SQL
    bridge_start "$node"
done
node_sql commerce "insert into item select g, 0, 'start' from generate_series(1, $KEYS) g"
bridge_quiet commerce operations

# write: both sides, in the background; written halts them and waits for their end.
WRITERS=()
write() {
    local node i
    for node in commerce operations; do node_sql "$node" "truncate note.halt"; done
    for node in commerce operations; do
        for ((i = 1; i <= SESSIONS; i++)); do
            node_sql "$node" "call note.run('$PHASE.$node.$i', $KEYS, $PAUSE_MS)" &
            WRITERS+=($!)
        done
    done
}
written() {
    local node writer
    for node in commerce operations; do node_sql "$node" "insert into note.halt values (true)"; done
    for writer in "${WRITERS[@]}"; do
        wait "$writer" || fail "a writer ended with $?"
    done
    WRITERS=()
}

# ---- the court ----

sql court postgres <<'SQL'
create table version (side text, moment bigint, key text, ts bigint, node text, deleted boolean);
create table conflict (side text, moment bigint, key text, local_ts bigint, local_node text, remote_ts bigint, remote_node text, ruling text);
create table before (side text, key text, ts bigint, node text, deleted boolean, n int, who text, seen jsonb);
create table after (like before);
create table healed (side text, moment bigint);
SQL
# plead TABLE QUERY: from both sides, instead of what was there.
plead() {
    local node
    sql court postgres "truncate $1"
    for node in commerce operations; do
        node_sql "$node" "copy (select '$node', q.* from ($2) q) to stdout" | sql court postgres "copy $1 from stdin"
    done
}
ROWS="select v.key, v.ts, v.node, v.deleted, i.n, i.who, v.seen from bridge.row_version v left join item i on i.id = v.key::int"
# judged WANTED WHAT SQL
judged() {
    assert_equal "$1" "$(sql court postgres "$3")" "$PHASE: $2"
}

# heal: with the writing over and nothing under way; then everything must be true. Sets HEAL_SECONDS.
heal() {
    local started=$SECONDS node
    plead before "$ROWS"
    plead healed "select nextval('note.moment')"
    network heal
    bridge_quiet commerce operations
    HEAL_SECONDS=$((SECONDS - started))
    plead after "$ROWS"
    plead version "select * from note.version"
    plead conflict "select * from note.conflict"
    sql court postgres <<'SQL'
set client_min_messages = warning;
drop table if exists apart, told;
create index if not exists version_place on version (side, key, ts);
create index if not exists conflict_place on conflict (side, key, remote_ts);
analyze;
-- What a writer of a side had seen of a row when it wrote a version: what the row was there before, and what a conflict there
-- had judged before.
create or replace function had_seen(writer text, of_key text, writer_ts bigint, seen_ts bigint, seen_node text) returns boolean language sql stable as $$
    select exists (select from version w where w.side = writer and w.node = writer and w.key = of_key and w.ts = writer_ts
        and (exists (select from version v where v.side = writer and v.key = of_key and v.ts = seen_ts and v.node = seen_node and v.moment < w.moment)
          or exists (select from conflict c where c.side = writer and c.key = of_key and c.remote_ts = seen_ts and c.remote_node = seen_node
                     and c.moment < w.moment))) $$;
-- The keys that both sides wrote apart and left different: the side of the last later write, that write and the other one. A
-- deletion that came to a deletion left no note: that the writer afterwards had seen it must be believed.
create table apart as
select key, w.side as winner, l.side as loser, w.ts as w_ts, l.ts as l_ts,
       l.deleted and (select v.deleted from version v where v.side = l.side and v.key = l.key and v.moment > h.moment
                       order by v.moment limit 1) is true as l_gone_anyway
  from before w join before l using (key) join healed h on h.side = l.side
 where w.side <> l.side and w.node = w.side and l.node = l.side and (w.ts, w.node collate "C") > (l.ts, l.node collate "C")
   and not had_seen(w.side, w.key, w.ts, l.ts, l.node) and not had_seen(l.side, l.key, l.ts, w.ts, w.node)
   and not (l.deleted and coalesce((w.seen ->> l.node)::bigint >= l.ts, false)
            and exists (select from version v where v.side = w.side and v.key = w.key and v.node = w.node and v.deleted and v.ts <> w.ts))
   and (w.deleted, w.n, w.who) is distinct from (l.deleted, l.n, l.who);
-- The conflicts, as winner and loser. A write that was on its way may have met the other one before the network was spoilt.
create table told as
select c.side, c.moment, c.moment > h.moment as since, c.key, c.ruling, local_ts, remote_ts, local_node, remote_node,
       case ruling when 'local' then local_ts else remote_ts end as w_ts, case ruling when 'local' then local_node else remote_node end as winner,
       case ruling when 'local' then remote_ts else local_ts end as l_ts, case ruling when 'local' then remote_node else local_node end as loser
  from conflict c join healed h on h.side = c.side;
SQL
    # Both sides are equal, and everywhere the later write stands.
    judged "" "rows that differ" "select * from (select key, ts, node, deleted, n, who from after where side = 'commerce') a full join
        (select key, ts, node, deleted, n, who from after where side = 'operations') b on a = b where a.key is null or b.key is null limit 5"
    assert_equal "$(node_sql commerce "select count(*), md5(string_agg(i::text, ',' order by id)) from item i")" \
        "$(node_sql operations "select count(*), md5(string_agg(i::text, ',' order by id)) from item i")" "$PHASE: content of both sides"
    judged "$KEYS|0" "keys, and those whose later write does not stand" "select count(*),
            count(*) filter (where (a.ts, a.node, a.deleted, a.n, a.who) is distinct from (b.ts, b.node, b.deleted, b.n, b.who))
        from after a join lateral (select * from before b where b.key = a.key order by ts desc, node collate \"C\" desc limit 1) b on true
        where a.side = 'commerce'"
    # What each side tells of the losses.
    judged t "that many keys were written apart, with both sides among the winners" "select count(*) > 20 and count(distinct winner) = 2 from apart"
    judged "" "losses that the winner's side does not tell once, with their winner" "select a.*, count(t.key) from apart a
        left join told t on t.side = a.winner and t.key = a.key and t.ruling = 'local'
            and (t.w_ts, t.winner, t.l_ts, t.loser) = (a.w_ts, a.winner, a.l_ts, a.loser)
        group by a.key, a.winner, a.loser, a.w_ts, a.l_ts, a.l_gone_anyway having count(t.key) <> 1 limit 5"
    judged "" "losses that the loser's side does not tell once" "select a.*, count(t.key) from apart a
        left join told t on t.side = a.loser and t.key = a.key and t.ruling = 'remote'
            and (t.winner, t.l_ts, t.loser) = (a.winner, a.l_ts, a.loser) and t.w_ts > a.l_ts and t.w_ts <= a.w_ts
        group by a.key, a.winner, a.loser, a.w_ts, a.l_ts, a.l_gone_anyway
        having count(t.key) <> case when a.l_gone_anyway then 0 else 1 end limit 5"
    judged "" "other conflicts of these keys than those of the write that stood there until it was lost" "select t.* from apart a join told t using (key)
        where t.since and not (t.ruling = 'local' and (t.side, t.w_ts, t.winner, t.loser) = (a.winner, a.w_ts, a.winner, a.loser) and t.l_ts <= a.l_ts)
          and not (t.side = a.loser and (t.local_ts, t.local_node, t.remote_node) = (a.l_ts, a.loser, a.winner)
                   and (t.ruling = 'remote') = (t.remote_ts > a.l_ts) and not exists (
                      select from told l where l.side = t.side and l.key = t.key and l.ruling = 'remote' and l.since and l.moment < t.moment)) limit 5"
    # And no conflict is invented, now or before.
    judged "" "conflicts recorded more than once" "select side, key, local_ts, local_node, remote_ts, remote_node, count(*) from conflict
        group by 1, 2, 3, 4, 5, 6 having count(*) > 1 limit 5"
    judged "" "conflicts with a change that was built on the row here" "select c.* from conflict c
        where had_seen(c.remote_node, c.key, c.remote_ts, c.local_ts, c.local_node) limit 5"
    judged "" "conflicts with a change that the row here was built on" "select c.* from conflict c where c.local_node = c.side
        and had_seen(c.side, c.key, c.local_ts, c.remote_ts, c.remote_node) limit 5"
    for node in commerce operations; do
        counters_conserve "$node"
        assert_equal "0|0|0" "$(node_sql "$node" "select (select count(*) from bridge.outbox), (select count(*) from bridge.dead_letter),
            (select sum(gaps) + sum(refused) + sum(echo) from bridge.inbound)")" "$PHASE: outbox, dead letters, gaps and strangers of $node"
        process_running "node-$node" || fail "the adapter of $node has ended"
    done
    printf 'ok - %s: equal %s s after it was healed, and each loss is told\n' "$PHASE" "$HEAL_SECONDS"
    sql court postgres "select '# keys written apart: ' || count(*) || ', won by commerce ' || count(*) filter (where winner = 'commerce')
        || '; deleted on both sides anyway ' || count(*) filter (where l_gone_anyway) || '; told by both sides as the same two writes ' ||
        count(*) filter (where exists (select from told t where t.side = loser and t.key = a.key and (t.w_ts, t.l_ts) = (a.w_ts, a.l_ts)
                                        and t.winner = a.winner)) from apart a"
    sql court postgres "select '# conflicts told by ' || side || ' since the healing: ' || count(*) || ' of ' || count(distinct key) || ' keys'
        from told where since group by side order by side"
    printf '# messages redelivered or late: %s and %s changes duplicate or stale\n' \
        "$(node_sql commerce "select sum(duplicate + stale) from bridge.inbound")" "$(node_sql operations "select sum(duplicate + stale) from bridge.inbound")"
}

# apart COMMAND: the network is spoilt. What had come through by then may take its time to be applied.
apart() {
    network "$1"
    SPOILT_AT=$(sql court postgres "select floor(extract(epoch from clock_timestamp()) * 1000000)::bigint")
}
# What a busy machine writes in a given time may be next to nothing: too little to be judged.
enough_apart() {
    local node
    for node in commerce operations; do
        [[ $(node_sql "$node" "select count(*) >= 300 from note.version where node = '$node' and ts > $SPOILT_AT") == t ]] || return 1
    done
}
still_apart() {
    plead version "select * from note.version"
    judged "t|0" "writes of each side since the network was spoilt, and those that the other side knows of" "select
            count(*) filter (where side = node and node = 'commerce') > 100 and count(*) filter (where side = node and node = 'operations') > 100,
            count(*) filter (where side <> node) from version where ts > $SPOILT_AT"
}

# ---- cut ----

PHASE="cut"
began=$SECONDS
write
sleep 1
# A slow link has much on its way: what is confirmed or acknowledged and not known to be comes once more later.
network "delay 500"
sleep 4
apart cut
wait_for 200 "enough writes while the network is cut" enough_apart
while ((SECONDS - began < WRITING_SECONDS)); do sleep 0.2; done
written
still_apart
heal

# ---- frozen ----

PHASE="frozen"
write
sleep 1
network "delay 200"
sleep 3
frozen_at=$SECONDS
apart freeze
wait_for 200 "enough writes while the network is frozen" enough_apart
written
while ((SECONDS - frozen_at < FROZEN_SECONDS)); do sleep 0.2; done
still_apart
heal

# What is listed may be some seconds old. And while both run: when one has stopped, the other's last heartbeat stays in its queue.
nothing_queued() {
    [[ -z $(rabbit_ctl list_queues -p bridge name messages | awk '$2 != 0') ]]
}
wait_for 120 "empty queues" nothing_queued
for node in commerce operations; do
    bridge_stop "$node"
done
printf 'ok - and nothing is left over\n'
