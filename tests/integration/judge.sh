#!/usr/bin/env bash
# The rule of versions exists twice: as the set-based statement that applies (adapters/postgres/statement_sql.c) and as the core's
# judge and policies. Thousands of random cases go through the real thing, and what the core says of each (judge_cases)
# must be in the tables afterwards; then all messages come once more, and nothing may change.
# JUDGE_SEED=n draws the same cases again; JUDGE_COUNT: cases per policy.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

seed=${JUDGE_SEED:-$SRANDOM}
count=${JUDGE_COUNT:-3000}
entities=(judge_latest judge_ranked judge_argued)
printf 'JUDGE_SEED=%s\n' "$seed"

servers_init
servers_start alpha fsync=off
# A dictionary's order of texts, which is not the order of versions.
sql alpha postgres "create database shop template template0 locale_provider icu icu_locale 'en-US'"
for entity in "${entities[@]}"; do
    sql alpha shop "create table $entity (id int primary key, what text default 'unset', amount numeric, n int default 7)"
done
bridge_node commerce alpha shop "arctic Zebra north omega" <<'YAML'
  - {name: judge_latest, table: judge_latest, key: [id], fields: [what, amount, n]}
  - {name: judge_ranked, table: judge_ranked, key: [id], fields: [what, amount, n], policy: node-priority, priority: [arctic, commerce, Zebra]}
  - {name: judge_argued, table: judge_argued, key: [id], fields: [what, amount, n], policy: manual}
YAML
bridge_install commerce >"$SERVERS_DIR/install.log"

# ---- the cases, and what the core says of them ----
node_sql commerce - <<'SQL'
create schema judge;
create type judge.conflict as (kind text, policy text, ruling text, local_row text[], local_ts bigint, local_node text,
                               remote_row text[], remote_ts bigint, remote_node text, resolution text);
create table judge.expected (
    entity text, key text, verdict text, content text[],
    ts bigint, -- of an assertion: what it must come after
    node text, deleted boolean, seen jsonb, base_ts bigint, base_node text, asserted boolean,
    conflict judge.conflict, words text not null, primary key (entity, key));
-- Changes of one source, by what came of them.
create table judge.counted (
    entity text, round int, source text, received bigint, applied bigint, unchanged bigint, same bigint, duplicate bigint,
    stale bigint, echo bigint, kept bigint, conflicts bigint);
-- What this node has said to the others.
create table judge.said (entity text, key text, op text, content jsonb, ts bigint, base jsonb, seen jsonb);

create view judge.actual as
with content as (
    select 'judge_latest' as entity, id::text as key, array[id::text, what, amount::text, n::text] as content from judge_latest
    union all select 'judge_ranked', id::text, array[id::text, what, amount::text, n::text] from judge_ranked
    union all select 'judge_argued', id::text, array[id::text, what, amount::text, n::text] from judge_argued),
version as (select e.name as entity, v.key, v.ts, v.node, v.deleted, v.seen, v.base_ts, v.base_node from bridge.row_version v join bridge.entity e on e.id = v.entity),
conflict as (
    select entity, key, count(*) as conflicts,
           (array_agg(row(kind, policy, ruling, local_row, local_ts, local_node, remote_row, remote_ts, remote_node,
                          resolution)::judge.conflict))[1] as conflict
      from bridge.conflict group by 1, 2)
select entity, key, c.content, v.ts, v.node, v.deleted, v.seen, v.base_ts, v.base_node, f.conflict,
       coalesce(f.conflicts, 0) as conflicts
  from content c full join version v using (entity, key) full join conflict f using (entity, key);

create view judge.difference as
select entity, e.words, to_jsonb(e) - 'words' - 'verdict' as core, to_jsonb(a) as database
  from judge.expected e full join judge.actual a using (entity, key)
 where (e.content, e.node, e.deleted, e.seen, e.base_ts, e.base_node, e.conflict)
       is distinct from (a.content, a.node, a.deleted, a.seen, a.base_ts, a.base_node, a.conflict)
    or a.conflicts > 1 or (case when e.asserted then e.ts >= a.ts or a.ts is null else e.ts is distinct from a.ts end);
-- What an assertion says to the others is the row as it is.
create view judge.said_difference as
select e.words, to_jsonb(a) as database, to_jsonb(s) as said
  from (judge.expected e join judge.actual a using (entity, key)) full join judge.said s using (entity, key)
 where coalesce(e.asserted, false) <> (s.key is not null)
    or (s.key is not null and (s.ts, s.op, s.base, s.seen) is distinct from
        (a.ts, case when a.deleted then 'deleted' else 'updated' end, jsonb_build_array(a.base_ts, a.base_node), a.seen))
    or s.content is distinct from
       case when a.deleted then jsonb_build_object('id', a.key)
            else to_jsonb(json_object('{id, what, amount, n}', a.content)) end and s.key is not null;
create view judge.progress as
select source, received, applied, unchanged, same, duplicate, stale, echo, kept, conflicts from bridge.inbound;
SQL
{
    printf '%s begin;\n' "$UNSEEN"
    "$BUILD_DIR/tests/judge_cases" "$seed" "$count" commerce judge >"$SERVERS_DIR/cases"
    grep -v '^{' "$SERVERS_DIR/cases"
    printf 'commit; analyze;\n'
    # With capture from the WAL a row that was there before has no version of its own either; and one that went without a word to
    # row_version is on its way to be captured, and not deleted before that.
    printf "update bridge.node set versions_since = (date_part('epoch', clock_timestamp()) * 1000000)::bigint where versions_since is not null;
        update judge.expected e set deleted = false from bridge.node n, bridge.row_version v join bridge.entity m on m.id = v.entity
         where n.versions_since is not null and m.name = e.entity and v.key = e.key and (v.ts, v.node) = (e.ts, e.node)
           and not v.deleted and e.content is null and e.asserted is not true;\n"
} | node_sql commerce - >/dev/null
for entity in "${entities[@]}"; do
    grep '^{' "$SERVERS_DIR/cases" | grep -F "\"entity\":\"$entity\"" >"$SERVERS_DIR/$entity.messages"
done
verdicts() { node_sql commerce "select string_agg(format('%s %s', n, verdict), ', ' order by verdict) from (select verdict, count(*) as n from judge.expected where entity = '$1' group by 1) v"; }
# A generator that never comes to some verdict would prove nothing.
assert_equal "0" "$(node_sql commerce "select count(*) from unnest(array['judge_latest', 'judge_ranked', 'judge_argued']) e,
    unnest(array['echo', 'duplicate', 'stale', 'fresh', 'same', 'concurrent']) v
    where (select count(*) from judge.expected where entity = e and verdict = v) = 0")" "verdicts that never come"

# ---- the adapter ----
rabbit_user watcher secret </dev/null
url=amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge
contract=(/usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py")
process_start said "${contract[@]}" peek "$url" bridge.sync 'commerce.#' 1000000000
wait_for 60 "the watcher" grep -q ready "$SERVERS_DIR/log/said.log"
bridge_start commerce

wanted=0
settled() { [[ $(node_sql commerce "select coalesce(sum(received), 0) from bridge.inbound") == "$wanted" ]]; }
# differences VIEW WHAT: none, or the first of them in words.
differences() {
    local found
    found=$(node_sql commerce "select count(*) from $1 d")
    [[ $found == 0 ]] ||
        fail "$2: $found differences (JUDGE_SEED=$seed)
$(node_sql commerce "select d.words, jsonb_pretty(to_jsonb(d) - 'words' - 'entity') from $1 d limit 3" -F $'\n' -R $'\n\n')"
}
# play ROUND: publishes everything, entity by entity, and compares rows and counters after each.
play() {
    local entity done=''
    for entity in "${entities[@]}"; do
        "${contract[@]}" publish "$url" bridge.sync <"$SERVERS_DIR/$entity.messages" >>"$SERVERS_DIR/sent.log"
        wanted=$((wanted + count))
        wait_for 30 "the changes of $entity, round $1" settled || late=yes # of one that never settles all neighbours are missing too
        differences "(select * from judge.difference where entity = '$entity')" "$entity, round $1"
        [[ -z ${late:-} ]] || fail "$entity, round $1: not all changes have settled (JUDGE_SEED=$seed)"
        done+="'$entity', "
        node_sql commerce "create or replace view judge.count_difference as
            select format('what the changes of %s came to, by counters', source) as words, to_jsonb(c) as core, to_jsonb(p) as database
              from (select source, sum(received)::bigint as received, sum(applied)::bigint as applied, sum(unchanged)::bigint as unchanged,
                           sum(same)::bigint as same, sum(duplicate)::bigint as duplicate, sum(stale)::bigint as stale,
                           sum(echo)::bigint as echo, sum(kept)::bigint as kept, sum(conflicts)::bigint as conflicts
                      from judge.counted where round < $1 or (round = $1 and entity in (${done%, })) group by source) c
              full join judge.progress p using (source)
             where to_jsonb(c) is distinct from to_jsonb(p)"
        differences judge.count_difference "the counters after $entity, round $1"
    done
}

# ---- round 1 ----
play 1
assert_equal "0|0" "$(node_sql commerce "select (select count(*) from bridge.dead_letters), sum(ignored) from bridge.inbound")" "dead letters, and fields ignored"
for entity in "${entities[@]}"; do
    printf 'ok - %s: %s; the database agrees\n' "$entity" "$(verdicts "$entity")"
done

asserted=$(node_sql commerce "select count(*) from judge.expected where asserted")
((asserted > 0)) || fail "no case came to an assertion"
said() { grep '^{' "$SERVERS_DIR/log/said.log" | jq -r 'select(.body.rows) | .body as $b | range($b.rows | length) as $i |
    [$b.entity, $b.rows[$i][0], $b.op, ([$b.columns, $b.rows[$i]] | transpose | map({(.[0]): .[1]}) | add | tojson),
     $b.versions[$i], ($b.bases[$i] | tojson), ($b.seen[$i] | tojson)] | @tsv' || true; }
all_said() { outboxes_empty commerce && (($(said | wc -l) >= asserted)); }
wait_for 30 "what this node asserts" all_said
said | node_sql commerce "copy judge.said from stdin"
differences judge.said_difference "assertions"
printf 'ok - %s assertions, each said once and as the row is\n' "$asserted"

# ---- round 2 ----
node_sql commerce "create table judge.before as select * from judge.actual;
    create table judge.versions_before as select * from bridge.row_version;
    create table judge.conflicts_before as select * from bridge.conflict"
play 2
node_sql commerce "create view judge.moved as
    select e.words, to_jsonb(b) as before, to_jsonb(a) as after
      from judge.before b full join judge.actual a using (entity, key) left join judge.expected e using (entity, key)
     where to_jsonb(b) is distinct from to_jsonb(a)"
differences judge.moved "changed by messages that came again"
for pair in row_version:versions_before conflict:conflicts_before; do
    assert_equal "0" "$(node_sql commerce "select count(*) from (select to_jsonb(t) from bridge.${pair%:*} t except select to_jsonb(t) from judge.${pair#*:} t) d")" "changed in bridge.${pair%:*}"
done
assert_equal "0|0" "$(node_sql commerce "select sum(applied), sum(same) from judge.counted where round = 2")" "news the second time"
outboxes_empty commerce || fail "a message that came again was answered"
assert_equal "$asserted" "$(said | wc -l)" "messages of this node"
counters_conserve commerce
bridge_stop commerce
printf 'ok - all messages once more: %s; nothing changed\n' \
    "$(node_sql commerce "select format('%s duplicate, %s stale, %s echo, %s kept', sum(duplicate), sum(stale), sum(echo), sum(kept)) from judge.counted where round = 2")"
