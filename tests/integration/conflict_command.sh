#!/usr/bin/env bash
# pgbridge conflict list, show and resolve, on real conflicts: two nodes wrote the same rows while both adapters were stopped.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha fsync=off
columns=$(seq -f 'c%02.0f' -s ', ' 1 39)
tables="create table customer (id int primary key, name text, email text, note text, amount numeric);
    create table pair (a int, b text, what text, primary key (a, b));
    create table wide (id int primary key, ${columns//,/ text,} text);
    create table many (id int primary key, what text)"
entities() {
    cat <<YAML
  - {name: customer, table: customer, key: [id], fields: [name, email, note, amount], policy: manual}
  - {name: pair, table: pair, key: [a, b], fields: [what], policy: manual}
  - {name: wide, table: wide, key: [id], fields: [$columns], policy: manual}
  - {name: many, table: many, key: [id], fields: [what]}
YAML
}
for database in shop ops empty; do
    sql alpha postgres "create database $database"
    sql alpha "$database" "$tables"
done
bridge_node commerce alpha shop operations < <(entities)
bridge_node operations alpha ops commerce < <(entities)
bridge_node bare alpha empty commerce < <(entities)

# asks EXIT-CODE ARGUMENT...: `pgbridge conflict` of commerce (or of $NODE); output in OUT, messages in ERR.
asks() {
    local expected=$1 code=0
    shift
    bridge "${NODE:-commerce}" conflict "$@" >"$SERVERS_DIR/out" 2>"$SERVERS_DIR/err" || code=$?
    OUT=$(<"$SERVERS_DIR/out") ERR=$(<"$SERVERS_DIR/err")
    ((code == expected)) || fail "conflict $*: exit code $code, expected $expected: $OUT $ERR"
}
# says VARIABLE PATTERN...: OUT or ERR has all of these, globs within a line.
says() {
    local -n text=$1
    local pattern line found
    for pattern in "${@:2}"; do
        found=no
        while IFS= read -r line; do
            # shellcheck disable=SC2053 # patterns
            [[ $line != $pattern ]] || found=yes
        done <<<"$text"
        [[ $found == yes ]] || fail "no line like \"$pattern\" in: $text"
    done
}
json() { jq -r "$1" <<<"$OUT"; }
id() { node_sql "${3:-commerce}" "select id from bridge.conflicts where entity = '$1' and key = '$2'"; }
start() { bridge_start commerce && bridge_start operations && bridge_quiet commerce operations; }
stop() { bridge_stop commerce && bridge_stop operations; }

# ---- what is wrong before anything is asked ----
for node in commerce operations; do bridge_install "$node" >>"$SERVERS_DIR/install.log"; done
NODE=bare asks 78 list
says ERR 'pgbridge: the bridge is not installed in the database of node bare' 'HINT: run "pgbridge install"'
for words in '' 'nonsense' 'list more' 'list --limit 0' 'list --limit x' 'list --limit 100001' 'list --dry-run' 'show' 'show x' 'show -1' 'show 1 2' \
    'resolve' 'resolve 1' 'resolve x local' 'resolve 1 both' 'resolve 1 local more' 'list --since nonsense' 'list --since 2025-13-40'; do
    # shellcheck disable=SC2086 # words
    asks 64 $words
    [[ -z $OUT && $ERR == 'pgbridge: '*$'\nHINT: '* ]] || fail "conflict $words: $OUT $ERR"
done
for words in 'status --dry-run' 'install --dry-run' 'status list'; do
    # shellcheck disable=SC2086 # words
    (bridge commerce $words >"$SERVERS_DIR/out" 2>&1) && fail "$words was taken" || [[ $? == 64 ]] || fail "$words: $(<"$SERVERS_DIR/out")"
done
sed 's/^database: .*/database: host=127.0.0.1 port=1 dbname=shop user=pgbridge/' "$SERVERS_DIR/commerce.yaml" >"$SERVERS_DIR/away.yaml"
sed 's/^database: host=127.0.0.1/database: host='"${PG_SOCKET_DIR//\//\\/}"'/; s/user=pgbridge/user=monitor/; /^database_password/d' "$SERVERS_DIR/commerce.yaml" >"$SERVERS_DIR/monitor.yaml"
chmod 600 "$SERVERS_DIR"/{away,monitor}.yaml
sql alpha postgres "create role monitor login in role pgbridge_monitor"
for words in 'list' 'show 1' 'resolve 1 local'; do
    # shellcheck disable=SC2086 # words
    NODE=away asks 69 $words
    # shellcheck disable=SC2086 # words
    NODE=monitor asks 77 $words
    says ERR 'pgbridge: permission denied *\(42501)' 'HINT: *the adapter*s role*'
done
asks 0 list
assert_equal "no conflict has been recorded" "$OUT" "list without a conflict"
asks 0 list --open
assert_equal "no conflict is open" "$OUT" "list --open without one"
asks 0 list --entity customer
assert_equal "no conflict is like that" "$OUT" "list --entity without one"
asks 0 list --json
assert_equal "[]" "$OUT" "list --json without a conflict"
for words in 'show 7' 'resolve 7 remote' 'resolve 7 null --dry-run'; do
    # shellcheck disable=SC2086 # words
    asks 1 $words
    says ERR 'pgbridge: there is no conflict 7*' 'HINT: *'
done
help=$(bridge commerce help)
for words in $(grep -oE '^ +\{"[a-z-]+", (no|required)_argument' "$SOURCE_DIR/adapters/host/main.c" | grep -oE '[a-z]+(-[a-z]+)*"' | tr -d '"'); do
    [[ $help == *"--$words"* ]] || fail "help does not name --$words"
done
for words in check install uninstall run status 'conflict list' 'conflict show' 'conflict resolve'; do
    # shellcheck disable=SC2053 # a pattern
    [[ $help == *$'\n  '${words/ / *}* ]] || fail "help does not name $words"
done
printf 'ok - usage, permission, unreachable and unknown conflicts have their exit codes\n'

# ---- the conflicts ----
start
node_sql commerce "insert into customer select i, 'Ann ' || i, null, '', 1.50 from generate_series(1, 9) i; insert into pair values (1, 'x \"y\" ä', 'first');
    insert into wide (id, c02) values (1, 'same'); insert into many select i, 'first' from generate_series(1, 200) i"
bridge_quiet commerce operations
stop
node_sql commerce "begin; select bridge.correlate('req-1'); update customer set name = 'Änne 😀', email = 'anne@example.com' where id = 1; commit;
    update customer set name = 'commerce' where id in (3, 5, 6, 7, 8); delete from customer where id in (2, 9);
    update customer set note = e'red \x1b[31m\ttab\nnew line' where id = 4;
    update pair set what = 'commerce'; update wide set c01 = 'commerce', c39 = 'ä'; update many set what = 'commerce'" >/dev/null
node_sql operations "update customer set name = 'Anna', note = null where id = 1; update customer set note = 'kept' where id in (2, 9);
    delete from customer where id = 3; update customer set note = repeat('0123456789', 300) where id = 4; update customer set name = 'operations' where id in (5, 6, 7, 8);
    update pair set what = 'operations'; update wide set c20 = 'operations', c39 = 'ö'; update many set what = 'operations'"
start

# ---- list ----
asks 0 list
assert_equal "52" "$(wc -l <<<"$OUT")" "lines of a list: the titles, 50, how many more"
assert_equal "161 more, older: see them with --limit 211" "${OUT##*$'\n'}" "the last line"
says OUT ' *ID  TIME (UTC) *ENTITY *KEY *KIND *POLICY *RULING *STATE *LOCAL *REMOTE'
asks 0 list --limit 211
assert_equal "212" "$(wc -l <<<"$OUT")" "lines of a full list"
asks 0 list --entity many --limit 7
assert_equal "193 more, older: see them with --limit 200" "${OUT##*$'\n'}" "the last line"
says OUT '*  many  *  update_origin_differs  last-write-wins  remote  resolved, policy  commerce ??:??:??.???  operations ??:??:??.???'
asks 0 list --open
assert_equal "12" "$(wc -l <<<"$OUT")" "open conflicts, and the titles"
says OUT "*  pair      {1,\"x \\\\\"y\\\\\" ä\"}  update_origin_differs  manual  open    open   commerce *  operations *" \
    '*  customer  2 * update_deleted *' '*  customer  3 * delete_origin_differs *'
asks 0 list --entity pair --key '{1,"x \"y\" ä"}' --open --since '1 hour'
assert_equal "2" "$(wc -l <<<"$OUT")" "one conflict by its composite key"
asks 0 list --json
[[ -z $ERR && $(json 'length, ([.[].id] == ([.[].id] | sort | reverse)), ([.[] | select(.state == "open")] | length)' | xargs) == '211 true 11' ]] || fail "list --json: $OUT $ERR"
assert_equal '["at","entity","id","key","kind","local_correlation","local_node","local_time","policy","remote_correlation","remote_node","remote_time","resolution","resolved_at","resolved_by","ruling","state"]' \
    "$(json '.[0] | keys | tojson')" "what list --json has, which is no row"
asks 0 list --json --limit 3 --entity many
assert_equal "3|197 more, older: see them with --limit 200" "$(json length)|$ERR" "list --json --limit"
node_sql commerce "update bridge.conflict set at = at - interval '3 days' where entity = 'many'"
for words in '2 days|11' '7 days|211' "$(date -u -d '1 hour ago' '+%F %T')|11" '2001-02-03|211' 'yesterday|11' '2999-01-01|0'; do
    asks 0 list --json --since "${words%|*}"
    assert_equal "${words#*|}" "$(json length)" "conflicts since ${words%|*}"
done
asks 0 list --entity many --limit 1
says OUT '*  commerce 20??-??-?? ??:??:??.???  operations 20*'
printf 'ok - list: newest first, each option, as JSON\n'

# ---- show ----
one=$(id customer 1)
asks 0 show "$one"
says OUT "conflict $one: update_origin_differs of customer 1" 'recorded  20* UTC' \
    'policy    manual: Each node keeps its own row, and the conflict stays open until somebody resolves it.' 'ruling    open' 'state     open' \
    'node         commerce  * operations' 'time (UTC)   20??-??-?? ??:??:??.??????  20*' 'row          as below  * as below' 'correlation  req-1' \
    'FIELD      LOCAL             REMOTE' 'id         1                 1' 'name    \*  Änne 😀            Anna' \
    'email   \*  anne@example.com  (null)' 'note    \*  ""                (null)' 'amount     1.50              1.50' \
    "*pgbridge -c $SERVERS_DIR/commerce.yaml conflict resolve $one local *" "*resolve $one remote *" "*resolve $one '{\"note\": \"...\"}' *" "*resolve $one null *"
[[ $OUT != *"once more"* ]] || fail "nobody has written it again: $OUT"
asks 0 show "$one" --json
assert_equal "$one customer 1 manual open req-1 Änne 😀 Anna null 1.50" \
    "$(json '[.id, .entity, .key, .policy, .state, .local_correlation, .local_row.name, .remote_row.name, .remote_row.note, .local_row.amount] | map(tostring) | join(" ")')" "show --json"
asks 0 show "$(id customer 2)"
says OUT 'row          deleted  * as below' 'name    \*         Ann 2' 'email   \*         (null)'
asks 0 show "$(id customer 3)"
says OUT 'row          as below  * deleted' 'name    \*  commerce'
asks 0 show "$(id customer 3)" --json
assert_equal "null commerce" "$(json '"\(.remote_row) \(.local_row.name)"')" "a deletion in show --json"
asks 0 show "$(id customer 4)"
says OUT 'note    \*  red \\x1b\[31m\\x09tab  012345678901234567890123456789012345678901234567' '           new line *8901234567*' ' *... (3000 characters; --json shows all)'
assert_equal "48" "$(grep -oE '[0-9]{20,}' <<<"$OUT" | awk '{ print length }' | sort -n | tail -n 1)" "the longest line of a long value"
asks 0 show "$(id customer 4)" --json
assert_equal "3000" "$(json '.remote_row.note | length')" "a long value in show --json"
asks 0 show "$(id wide 1)"
assert_equal "40" "$(sed -n '/^FIELD/,/^$/p' <<<"$OUT" | grep -cE '^(id|c[0-9][0-9]) ')" "fields of a wide row"
assert_equal "c01 c20 c39" "$(grep -oE '^c[0-9]+ +\*' <<<"$OUT" | tr -d '* ' | xargs)" "the fields that differ"
says OUT 'c39    \*  ä  *ö'
asks 0 show "$(id pair '{1,"x \"y\" ä"}')"
says OUT 'conflict *: update_origin_differs of pair {1,"x \\"y\\" ä"}' 'a         1         1' 'b         x "y" ä   x "y" ä' 'what   \*  commerce  operations'
asks 0 show "$(id many 1)"
says OUT 'policy    last-write-wins: The later version wins*' 'ruling    remote' 'state     resolved at once, by the policy' 'To settle it otherwise *'
printf 'ok - show: both rows, field by field\n'

# ---- resolve ----
state() { node_sql commerce "select (select string_agg(c::text, ' ' order by c.id) from customer c where id = $1), (select state from bridge.conflicts where entity = 'customer' and key = '$1'), (select count(*) from bridge.outbox)"; }
stop
before=$(state 1)
asks 0 resolve "$one" remote --dry-run
says OUT 'nothing is written; customer 1 would be written as:' 'name    Anna' 'email   (null)' 'amount  1.50'
asks 0 resolve "$one" null --dry-run
says OUT 'nothing is written; customer 1 would be deleted'
asks 0 resolve "$one" remote --dry-run --json
assert_equal "$one true remote Anna" "$(json '"\(.id) \(.dry_run) \(.resolution) \(.row.name)"')" "resolve --dry-run --json"
for words in '{"nonsense": 1}|*"customer" has no field "nonsense"*' '{"amount": "abc"}|*invalid input syntax for type numeric*' '{"note|*invalid input syntax for type json*'; do
    asks 1 resolve "$one" "${words%%|*}"
    says ERR "pgbridge: ${words#*|}"
    [[ -z $OUT && $ERR != *abc* ]] || fail "$OUT $ERR"
done
node_sql commerce "create function refuse() returns trigger language plpgsql as \$\$begin raise exception 'not like that' using hint = 'ask Ann'; end\$\$;
    create constraint trigger refuse after update on customer deferrable initially deferred for each row execute function refuse()"
for words in '' --dry-run; do
    # shellcheck disable=SC2086 # none or one
    asks 1 resolve "$one" remote $words
    says ERR 'pgbridge: not like that (P0001)' 'HINT: ask Ann'
done
node_sql commerce "drop function refuse cascade" 2>/dev/null
assert_equal "$before" "$(state 1)" "nothing was written"
start
printf 'ok - resolve --dry-run, and what is refused: nothing is written\n'

asks 0 resolve "$one" local
says OUT "conflict $one is resolved; customer 1 is now:" 'id      1' 'name    Änne 😀' 'email   anne@example.com' 'note    ""' 'amount  1.50'
asks 0 resolve "$(id customer 2)" remote
says OUT 'conflict * is resolved; customer 2 is now:' 'note    kept'
asks 0 resolve "$(id customer 3)" remote
says OUT 'conflict * is resolved; customer 3 is deleted'
asks 0 resolve "$(id customer 5)" '{"name": "both ä", "email": null}'
says OUT 'conflict * is resolved; customer 5 is now:' 'name *both ä' 'email *\(null)' 'amount *1.50'
asks 0 resolve "$(id customer 6)" null
says OUT 'conflict * is resolved; customer 6 is deleted'
asks 0 resolve "$(id customer 9)" local
says OUT 'conflict * is resolved; customer 9 is deleted'
asks 0 resolve "$(id pair '{1,"x \"y\" ä"}')" remote --json
assert_equal 'pair {1,"x \"y\" ä"} operations false' "$(json '"\(.entity) \(.key) \(.row.what) \(.dry_run)"')" "resolve --json"
asks 0 resolve "$(id wide 1)" '{"c39": "both"}'
asks 0 resolve "$(id many 1)" local
says OUT 'conflict * is resolved; many 1 is now:' 'what  commerce'
bridge_quiet commerce operations
for table in "customer where id in (1, 2, 3, 5, 6, 9)" pair wide "many where id = 1"; do
    assert_equal "$(node_sql commerce "select * from $table order by 1")" "$(node_sql operations "select * from $table order by 1")" "$table on both sides"
done
assert_equal $'1|Änne 😀|anne@example.com||1.50\n2|Ann 2||kept|1.50\n5|both ä|||1.50' "$(node_sql operations "select * from customer where id in (1, 2, 3, 5, 6, 9) order by 1")" "as resolved"
asks 0 show "$one"
says OUT 'state     resolved 20* by pgbridge: local'
NODE=operations asks 0 show "$(id customer 1 operations)"
says OUT 'state     resolved 20* by a later write of commerce, which had seen both'
asks 0 list --open --json
assert_equal "4 7 8" "$(json 'map(.key) | sort | join(" ")')" "what is still open"
node_sql commerce "update customer set email = 'later@example.com' where id = 7"
bridge_quiet commerce operations
asks 0 show "$(id customer 7)"
says OUT 'written   once more here, 20* UTC by commerce; below is *'
printf 'ok - resolve: local, remote, fields, no row; on both sides\n'

if grep -lE 'anne@example|Änne|0123456789012' "$SERVERS_DIR"/log/node-*.log; then fail "a row's value is in a log"; fi
stop
