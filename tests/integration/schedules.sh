#!/usr/bin/env bash
# The simulator's scripts on real servers: random transactions written by nodes that are apart, some of them connected then, in
# rounds. After each round every node must hold what the simulator's model says: rows and who wrote them, what waits, what is
# in dispute. The model applies row by row with the core's judge, the adapters by set-based SQL: they cannot disagree for long.
# SCHEDULES=n runs so many; SEED=n begins with that one.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

seed=${SEED:-$((SRANDOM % 1000000000))}
schedules=${SCHEDULES:-5}
names=(a ab b) # the model's, whose order is that of its bytes
printf 'SEED=%s SCHEDULES=%s\n' "$seed" "$schedules"

servers_init
servers_start "${names[@]}" fsync=off
for node in "${names[@]}"; do
    bridge_node "$node" "$node" node '' </dev/null
    # Of each script's choice of tables a copy.
    for kind in free bound; do sql "$node" postgres "create database $kind"; done
    sql "$node" free "create table parent (id int primary key, value int, code int);
        create table child (id int primary key, value int, parent int)"
    sql "$node" bound "create table parent (id int primary key, value int, code int unique);
        create table child (id int primary key, value int, parent int references parent)"
done

# ---- a script ----

# The simulator's lines as words for the shell: what the script is, what to write (SQL), whom to connect, what to expect.
read_script() {
    jq -r '
        def one: "\(.entity) \(.key)";
        def text: if . == null then "null" else tostring end;
        def field: if .entity == "parent" then "code" else "parent" end;
        def other: .[field] | text;
        # A row that ends while another begins may as well be one that gets another key.
        def moves: reduce .[] as $next ([]; if length > 0 and .[-1].op == "deleted" and $next.op == "created"
                   and .[-1].entity == $next.entity and .[-1].key != $next.key
                   then .[:-1] + [$next + {op: "moved", from: .[-1].key}] else . + [$next] end);
        def sql: if .op == "moved" then "update \(.entity) set id = \(.key), value = \(.value), \(field) = \(other) where id = \(.from)"
                 elif .op == "created" then "insert into \(.entity) (id, value, \(field)) values (\(.key), \(.value), \(other))"
                 elif .op == "updated" then "update \(.entity) set value = \(.value), \(field) = \(other) where id = \(.key)"
                 else "delete from \(.entity) where id = \(.key)" end;
        if .script then ["script", (.nodes | join(" ")), (if .constraints then "bound" else "free" end),
            (.entities | map("  - {name: \(.name), table: \(.name), key: [id], fields: [value, \(if .name == "parent" then "code" else "parent" end)], policy: \(.policy), coalesce: \(.coalesce)"
                + (if .policy == "node-priority" then ", priority: [\(.priority | join(", "))]" else "" end) + "}") | join("\n"))]
        elif .step == "write" then ["write", .node, "begin; \(.operations | moves | map(sql + "; ") | add)commit"]
        elif .step == "connect" then ["connect", (.nodes | join(" "))]
        else ["expect", .node, ([(.rows[] | "\(one) \(.value) \(other) by \(.writer), having seen \(.seen | join(" "))"), (.waiting[] | "\(one) of \(.writer) waits \(.code)"),
            (.conflicts[] | "\(one) in dispute with \(.writer)\(if .unique then ": unique" else "" end)")] | sort | join("\n"))] end | @tsv' "$1"
}

# set_up KIND ENTITIES: for the script's nodes new databases with these tables and entities.
set_up() {
    local node jobs=()
    for node in $nodes; do
        sed -i '/^peers:/,$d' "$SERVERS_DIR/$node.yaml"
        printf 'peers: [%s]\nentities:\n%b\n' "$(others "$node")" "$2" >>"$SERVERS_DIR/$node.yaml"
        (
            sql "$node" postgres "drop database if exists node with (force)"
            sql "$node" postgres "create database node template $1"
            bridge_install "$node"
        ) >>"$SERVERS_DIR/install-$node.log" 2>&1 &
        jobs+=($!)
    done
    join "${jobs[@]}"
}

# join JOB...: all of them, which have to succeed.
join() {
    local job
    for job in "$@"; do wait "$job" || fail "seed $seed, round $round: a step failed"; done
}

others() {
    local node list=
    for node in $nodes; do [[ $node == "$1" ]] || list+=${list:+, }$node; done
    printf '%s' "$list"
}

# ---- quiet ----

# What a node has sent and heard up to where; how many changes are not sent yet; and how many of its letters were not tried
# since anything happened to it.
report() {
    node_sql "$1" "select 'sent', coalesce(epoch, ''), sequence, (select count(*) from bridge.outbox),
               (select count(*) from bridge.dead_letter where state = 'retrying' and last_seen <= greatest('$since',
                    (select max(last_message) from bridge.inbound), (select max(last_seen) from bridge.dead_letter where state <> 'retrying')))
          from bridge.outbound
        union all select source, coalesce(epoch, ''), coalesce(sequence, 0), null, null from bridge.inbound"
}

# flowed "NODE...": they have sent all they have, and heard all that any node has sent; leaves the nodes whose letters may not rest
# in $SERVERS_DIR/restless.
flowed() {
    local node peer what epoch sequence pending untried
    local -A sent=() heard=()
    : >"$SERVERS_DIR/restless"
    for node in $nodes; do
        while IFS='|' read -r what epoch sequence pending untried; do
            if [[ $what != sent ]]; then
                heard[$what-$node]=$epoch:$sequence
                continue
            fi
            sent[$node]=$epoch:$sequence
            [[ " $1 " == *" $node "* ]] || continue
            [[ $pending == 0 ]] || { printf '%s has %s changes to send\n' "$node" "$pending"; return 1; }
            [[ $untried == 0 ]] || printf '%s\n' "$node" >>"$SERVERS_DIR/restless"
        done < <(report "$node")
    done
    for node in $1; do
        for peer in $nodes; do
            [[ $node == "$peer" || ${sent[$peer]} == :0 || ${heard[$peer-$node]:-} == "${sent[$peer]}" ]] ||
                { printf '%s has heard %s of %s, which has sent %s\n' "$node" "${heard[$peer-$node]:-nothing}" "$peer" "${sent[$peer]}"; return 1; }
        done
    done
}

quiet() { flowed "$1" && [[ ! -s $SERVERS_DIR/restless ]]; }

# begin NODE: its letters' time has come.
begin() {
    node_sql "$1" "update bridge.dead_letter set next_attempt = now() where state = 'retrying'"
    bridge_start "$1"
}

# settle "NODE...": until nothing is under way between them. Letters that were tried too early are tried again by a new process,
# not in a minute.
settle() {
    local node
    for _ in {1..20}; do
        wait_for 60 "quiet between $1" flowed "$1" || fail "seed $seed, round $round: no rest"
        ! wait_for 1 "the letters to rest" quiet "$1" 2>/dev/null || return 0
        while read -r node; do
            bridge_stop "$node"
            begin "$node"
        done < <(sort -u "$SERVERS_DIR/restless")
    done
    fail "seed $seed, round $round: letters find no rest"
}

# ---- a round ----

# connect "NODE...": until everything between them is settled, and apart again. Now and then a process dies, on the way or at rest;
# at last none does, so that nothing is left in the queues for the next script.
connect() {
    local node list jobs=()
    since=$(node_sql a "select clock_timestamp()")
    # shellcheck disable=SC2086 # names, to be split
    mapfile -t list < <(printf '%s\n' $1 | shuf --random-source=<(yes "$seed$round"))
    for node in "${list[@]}"; do
        begin "$node" &
        jobs+=($!)
    done
    join "${jobs[@]}"
    if ((RANDOM % 3 == 0)); then
        node=${list[0]}
        sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
        bridge_kill "$node"
        bridge_start "$node"
    fi
    settle "$1"
    jobs=()
    for node in "${list[@]}"; do
        if ((RANDOM % 4 == 0)) && [[ $1 != "$nodes" ]]; then
            bridge_kill "$node" &
        else
            bridge_stop "$node" &
        fi
        jobs+=($!)
    done
    join "${jobs[@]}"
}

# held NODE: in the words of read_script.
held() {
    local seen="(select string_agg(k, ' ' order by k collate \"C\") from jsonb_object_keys(v.seen) k)"
    node_sql "$1" "select format('parent %s %s %s by %s, having seen %s', p.id, p.value, coalesce(p.code::text, 'null'), v.node, $seen) collate \"C\"
              from parent p left join bridge.row_version v on v.entity = (select id from bridge.entity where name = 'parent') and v.key = p.id::text
        union all select format('child %s %s %s by %s, having seen %s', c.id, c.value, coalesce(c.parent::text, 'null'), v.node, $seen)
              from child c left join bridge.row_version v on v.entity = (select id from bridge.entity where name = 'child') and v.key = c.id::text
        union all (select distinct on (entity, key, source) format('%s %s of %s waits %s', entity, key, source, error_code)
              from bridge.dead_letter where state in ('retrying', 'parked', 'quarantined') order by entity, key, source, version_ts desc)
        union all select format('%s %s in dispute with %s%s', entity, key, remote_node,
                                case when kind = 'multiple_unique_conflicts' then ': unique' end) from bridge.conflict where resolved_at is null
        order by 1"
}

# compare NODE WANTED
compare() {
    local got
    got=$(held "$1")
    [[ $got == "$2" ]] || fail "seed $seed, round $round: $1 does not hold what the model says (< model, > $1):
$(diff <(printf '%s\n' "$2") <(printf '%s\n' "$got"))
see it again: SEED=$seed SCHEDULES=1 NODES=$(wc -w <<<"$nodes")"
}

# run SEED NODE-COUNT
run() {
    local step node what kind entities nodes since round=1 transactions=0
    seed=$1 RANDOM=$1
    "$BUILD_DIR/tests/simulate" --script --seed "$1" --nodes "$2" >"$SERVERS_DIR/script.json" || fail "$(tail -n 3 "$SERVERS_DIR/script.json")"
    read_script "$SERVERS_DIR/script.json" >"$SERVERS_DIR/script"
    while IFS=$'\t' read -r -u 3 step node what; do
        case $step in
            script)
                IFS=$'\t' read -r kind entities <<<"$what"
                nodes=$node
                set_up "$kind" "$entities"
                ;;
            write)
                node_sql "$node" "$what"
                transactions=$((transactions + 1))
                ;;
            connect) connect "$node" ;;
            expect)
                compare "$node" "$(printf '%b' "$what")"
                [[ $node != "${nodes##* }" ]] || round=$((round + 1))
                ;;
        esac
    done 3<"$SERVERS_DIR/script"
    for node in $nodes; do counters_conserve "$node"; done
    printf 'ok - seed %s: %s nodes, %s transactions in %s rounds end as in the model\n' "$1" "$2" "$transactions" "$((round - 1))"
}

# Those of two nodes first: later ones leave a third node's queue that would collect what is said to nobody.
first=$seed
for ((number = 0; number < schedules; number++)); do
    run $((first + number)) "${NODES:-$((number < (schedules + 1) / 2 ? 2 : 3))}"
done
