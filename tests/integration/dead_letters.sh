#!/usr/bin/env bash
# Dead letters: which there are, what becomes of each class, and what an operator can do: pgbridge dlq list, show, replay, edit, discard
# and export; who may; what is noted of it; and that ten thousand of them are nothing special.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
tables="create table item (id int primary key, what text);
    create table goods (id int primary key, amount numeric, note text, constraint few check (amount < 100));
    create table parent (id int primary key, what text);
    create table child (id int primary key, parent int references parent, what text);
    create table slow (id int primary key, parent int references parent, what text);
    create table held (id int primary key, parent int references parent, what text);
    create table account (id int primary key, email text unique)"
sql alpha postgres "create database shop"
sql beta postgres "create database ops"
sql alpha shop "$tables; alter table goods drop constraint few; alter table child drop constraint child_parent_fkey;
    alter table slow drop constraint slow_parent_fkey; alter table held drop constraint held_parent_fkey; alter table account drop constraint account_email_key"
sql beta ops "$tables; create table fired (id int);
    create function fire() returns trigger language plpgsql as 'begin insert into public.fired values (new.id); return null; end';
    create trigger fire after insert on slow for each row execute function fire(); grant insert on fired to public"
entities() {
    cat <<'YAML'
  - {name: item, table: item, key: [id], fields: [what]}
  - {name: goods, table: goods, key: [id], fields: [amount, note]}
  - {name: parent, table: parent, key: [id], fields: [what]}
  - {name: child, table: child, key: [id], fields: [parent, what], retry: {max_attempts: 3}}
  - {name: slow, table: slow, key: [id], fields: [parent, what], triggers: fire, retry: {base: 1 h, cap: 1 h}}
  - {name: held, table: held, key: [id], fields: [parent, what], retry: {max_attempts: 1000}}
  - {name: account, table: account, key: [id], fields: [email]}
YAML
}
bridge_node commerce alpha shop operations < <(entities)
bridge_node operations beta ops "commerce legacy" 'retry: {base: 1 s, factor: 1, cap: 1 s, max_attempts: 2}' < <(entities)
bridge_install commerce >"$SERVERS_DIR/install.log"
bridge_install operations >>"$SERVERS_DIR/install.log"
rabbit_user watcher secret </dev/null
bridge_start commerce
bridge_start operations

# asks EXIT-CODE ARGUMENT...: `pgbridge dlq` of operations (or of $NODE); output in OUT, messages in ERR.
asks() {
    local expected=$1 code=0
    shift
    bridge "${NODE:-operations}" dlq "$@" >"$SERVERS_DIR/out" 2>"$SERVERS_DIR/err" </dev/null || code=$?
    OUT=$(<"$SERVERS_DIR/out") ERR=$(<"$SERVERS_DIR/err")
    ((code == expected)) || fail "dlq $*: exit code $code, expected $expected: $OUT $ERR"
}
# says VARIABLE PATTERN...: OUT or ERR has lines like all of these.
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
ops() { node_sql operations "$@"; }
letters() { ops "select coalesce(string_agg(concat_ws(' ', entity, key, class, state, error_code), ', ' order by id), '') from bridge.dead_letters where $1"; }
waiting_is() { [[ $(letters "state in ('retrying', 'parked', 'quarantined')") == "$1" ]]; }
# letter KEY ENTITY: the newest one's id
letter() { ops "select max(id) from bridge.dead_letters where key = '$1' and entity = '$2'"; }
state_is() { [[ $(ops "select state || ' ' || attempts from bridge.dead_letters where id = $1") == "$2" ]]; }
# publish: JSON lines of contract.py, from stdin.
publish() { /usr/bin/python3 "$SOURCE_DIR/tests/support/contract.py" publish "amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge" bridge.sync >>"$SERVERS_DIR/sent.log"; }
# message ENTITY OP COLUMNS ROW MICROSECONDS: as the foreign source "legacy".
message() {
    jq -nc --arg entity "$1" --arg op "$2" --argjson columns "$3" --argjson row "$4" --argjson ts "$5" '{
        routing_key: "legacy.\($entity).\($op)", headers: {"x-source": "legacy", "x-content-hash": "compute"}, properties: {timestamp: 1},
        body: {entity: $entity, op: $op, key: [$columns[0]], columns: $columns, rows: [$row], versions: [$ts]}}'
}
now=$(date +%s)000000
goods() { message goods "${4:-created}" '["id","amount","note"]' "[\"$1\",\"$2\",\"$3\"]" "${5:-$now}"; }
goods_is() { [[ $(ops "select amount || ' ' || note from goods where id = $1") == "$2" ]]; }

# ---- the command line ----
for words in '' nonsense 'list more' show 'show x' 'show 1 2' 'edit 1' 'edit x {}' 'replay 1' 'export 1' 'discard --id 1' 'discard --reason because' \
    'discard --id 1 --reason' 'list --class x' 'list --state x' 'list --id x' 'list --id 1,' 'list --id ,1' 'list --limit 0' 'list --limit x' \
    'list --older nonsense' 'list --newer 2025-13-40' 'replay --older x' 'replay --rate 0' 'replay --rate 0.0' 'replay --rate x' 'replay --rate 1.2.3' \
    'list --dry-run' 'list --rate 1' 'list --reason x' 'list --no-wait' 'show 1 --class poison' 'edit 1 {} --dry-run' 'export --limit 3' \
    'replay --limit 3' 'list --open' 'list --since yesterday' 'list --key 1'; do
    # shellcheck disable=SC2086 # words
    asks 64 $words
    [[ -z $OUT && $ERR == 'pgbridge: '*$'\nHINT: '* ]] || fail "dlq $words: $OUT $ERR"
done
asks 0 list
assert_equal "no letter waits" "$OUT" "list without a letter"
asks 0 list --entity goods
assert_equal "no letter is like that" "$OUT" "list --entity without one"
asks 0 list --json
assert_equal "[]" "$OUT" "list --json without a letter"
asks 0 export
assert_equal "" "$OUT" "export without a letter"
asks 1 replay
assert_equal "no letter is like that" "$OUT" "replay without a letter"
asks 1 show 7
says ERR 'pgbridge: there is no letter 7' 'HINT: *'
asks 1 edit 7 '{}'
says ERR 'pgbridge: there is no letter 7 (02000)' 'HINT: *'
help=$(bridge operations help)
for words in 'dlq  *list; show ID*; replay:*' '*edit ID JSON*discard*export*'; do
    # shellcheck disable=SC2053 # a pattern
    [[ $help == *$words* ]] || fail "help does not say $words"
done
printf 'ok - the command line\n'

# ---- one poison message among 10,000 ----
for ((i = 1; i <= 10000; i++)); do
    if ((i == 5000)); then
        printf '{"routing_key": "legacy.item.created", "headers": {"x-source": "legacy", "x-content-hash": "sha256:0"}, "body_text": "{\\"entity\\": \\"item\\", \\"rows\\": [[\\"\\u00e4"}\n'
    else
        printf '{"routing_key": "legacy.item.created", "headers": {"x-source": "legacy", "x-content-hash": "compute"}, "body": {"entity": "item", "op": "created", "key": ["id"], "columns": ["id", "what"], "rows": [["%d", "item %d"]], "versions": [%d]}}\n' $i $i $now
    fi
done | publish
items_are() { [[ $(ops "select count(*) from item") == "$1" ]]; }
wait_for 60 "9,999 items" items_are 9999
wait_for 10 "the letter" waiting_is "poison quarantined"
asks 0 list --json
assert_equal "1 poison quarantined legacy 1" "$(json '[length, .[0].class, .[0].state, .[0].source, .[0].attempts] | map(tostring) | join(" ")')" "the letter"
poison=$(json '.[0].id')
asks 0 show "$poison"
says OUT "letter $poison: * bytes that could not be read" 'class *poison: *' 'state *quarantined' 'source *legacy' 'bytes  {"entity": "item"*303*244' "*dlq edit $poison - *"
asks 0 export --class poison
assert_equal '{"entity": "item", "rows": [["ä' "$(json .raw | base64 -d)" "its bytes, exported"
assert_equal "t|t" "$(ops "select payload is null, raw = convert_to('{\"entity\": \"item\", \"rows\": [[\"ä', 'UTF8') from bridge.dead_letter_payloads")" "its bytes in the view"
counters_conserve operations
asks 1 replay --id "$poison"
says ERR 'pgbridge: the letter cannot be replayed (55000)' 'HINT: *bridge.edit_dead_letter*'
printf 'ok - one poison message among 10,000 is one letter, and everything else is applied\n'

# ---- permanent: parked, mended, replayed ----
node_sql commerce "insert into goods values (1, 1, 'a'), (2, 500, 'secret-note'), (3, 3, 'c')"
wait_for 20 "the letter" waiting_is "poison quarantined, goods 2 permanent parked 23514"
assert_equal "1 3" "$(ops "select string_agg(id::text, ' ' order by id) from goods")" "its neighbours"
goods=$(letter 2 goods)
asks 0 list --class permanent
assert_equal "2" "$(wc -l <<<"$OUT")" "lines of a list"
says OUT '*ID  FIRST SEEN (UTC) *CLASS *STATE *ATTEMPTS  NEXT  CODE *SOURCE *ENTITY *KEY  ERROR' \
    "* $goods  20* permanent  parked *1 *23514  commerce  goods *2 *violates check constraint \"few\"*"
[[ $OUT != *secret-note* ]] || fail "a row's value is in the list"
for filter in '--error 23514' '--entity goods' '--state parked' '--source commerce' "--id $goods,999" "--newer 1h --class permanent" "--state all --entity goods"; do
    # shellcheck disable=SC2086 # words
    asks 0 list --json $filter
    assert_equal "$goods" "$(json 'map(.id) | join(",")')" "list $filter"
done
for filter in '--error 23503' '--entity item' '--state retrying' '--source operations' '--id 999' '--older 1h' '--class transient'; do
    # shellcheck disable=SC2086 # words
    asks 0 list $filter
    assert_equal "no letter is like that" "$OUT" "list $filter"
done
asks 0 show "$goods"
says OUT "letter $goods: goods 2 created" 'attempts *1 of 2' 'error *23514: *' 'id *2' 'amount *500' 'note *secret-note' "*dlq edit $goods '{\"note\": \"...\"}' *" '*discard --id * --reason*'
asks 0 show "$goods" --json
assert_equal "2 goods secret-note null" "$(json '"\(.key) \(.payload.entity) \(.payload.rows[0][2]) \(.raw)"')" "show --json"
asks 1 replay --id "$goods"
assert_equal $'1 letter is replayed\nreleased 0, superseded 0, failed again 1' "$(head -n 2 <<<"$OUT")" "replayed, with its cause still there"
assert_equal "goods 2 permanent parked 23514" "$(letters "id = $goods")" "the letter, replayed in vain"
ops "alter table goods drop constraint few"
asks 0 replay --error 23514 --json
assert_equal "1 1 0 0 0 0" "$(json '[.letters, .released, .superseded, .failed_again, .waiting, .left_out] | map(tostring) | join(" ")')" "replayed, with its cause mended"
assert_equal "500 secret-note" "$(ops "select amount || ' ' || note from goods where id = 2")" "the row"
assert_equal "goods 2 permanent released 23514" "$(letters "id = $goods")" "the letter"
ops "alter table goods add constraint few check (amount < 100) not valid"
printf 'ok - permanent: parked, mended, replayed, applied\n'

# ---- transient: tried again, parked, replayed ----
node_sql commerce "insert into child values (1, 10, 'early')"
wait_for 20 "the child to be parked" waiting_is "poison quarantined, child 1 transient parked 23503"
child=$(letter 1 child)
assert_equal "3|parked|" "$(ops "select attempts, state, next_attempt from bridge.dead_letters where id = $child")" "a letter that has spent its budget"
node_sql commerce "insert into parent values (10, 'late')"
bridge_quiet commerce operations
assert_equal "child 1 transient parked 23503" "$(letters "id = $child")" "a parked letter, with its parent there"
asks 0 replay --class transient
assert_equal "1|10|early" "$(ops "select * from child")" "the child"
# What is applied elsewhere makes a letter be tried before its time: that spends nothing.
node_sql commerce "insert into slow values (1, 11, 'early')"
wait_for 20 "the slow one to wait" waiting_is "poison quarantined, slow 1 transient retrying 23503"
slow=$(letter 1 slow)
ops "update bridge.dead_letter set last_seen = '2001-01-01' where id = $slow"
tried_early() { [[ $(ops "select last_seen > '2001-01-02' from bridge.dead_letters where id = $slow") == t ]]; }
node_sql commerce "insert into item values (20001, 'wakes it up')"
wait_for 20 "the slow one to be tried before its time" tried_early
assert_equal "1|t" "$(ops "select attempts, next_attempt > now() + interval '29 min' from bridge.dead_letters where id = $slow")" "after an attempt before its time"
node_sql commerce "insert into parent values (11, 'late')"
wait_for 20 "the slow one to come with its parent" waiting_is "poison quarantined"
# A lock that somebody holds is no reason of the letter's own.
node_sql commerce "insert into slow select g, 12, 'locked' from generate_series(1001, 1100) g"
all_wait() { [[ $(ops "select count(*) from bridge.dead_letters where entity = 'slow' and state = 'retrying'") == 100 ]]; }
wait_for 60 "a hundred slow ones to wait" all_wait
slow=$(letter 1001 slow)
process_start lock "$PG_BIN/psql" -qX -d "$PG_ADMIN_BETA dbname=ops" -c "begin; lock table parent in access exclusive mode; select pg_sleep(600)"
locked() { [[ $(ops "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = 'parent'::regclass") == 1 ]]; }
wait_for 20 "the lock" locked
ops "update bridge.dead_letter set next_attempt = now() where id = $slow"
locked_out() { [[ $(ops "select error_code || ' ' || state || ' ' || attempts from bridge.dead_letters where id = $slow") == "55P03 retrying 1" ]]; }
wait_for 30 "an attempt that a lock keeps from succeeding" locked_out
# Nor does a hundred of them keep others waiting for half a second each.
waits_for_lock() { [[ $(ops "select count(*) from pg_locks where not granted and relation = 'parent'::regclass") == 1 ]]; }
item_is_there() { [[ $(ops "select count(*) from item where id = $1") == 1 ]]; }
ops "update bridge.dead_letter set next_attempt = now() where entity = 'slow' and state = 'retrying'"
wait_for 30 "the lock to be waited for" waits_for_lock
node_sql commerce "insert into item values (20010, 'goes on')"
wait_for 30 "a change of others" item_is_there 20010
ops "select pg_terminate_backend(pid) from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = 'parent'::regclass" >"$SERVERS_DIR/null"
node_sql commerce "insert into parent values (12, 'late')"
wait_for 60 "a hundred to come with their parent" waiting_is "poison quarantined"
assert_equal 100 "$(ops "select count(*) from slow where parent = 12")" "what a lock kept from succeeding"
# Nor do those that are tried each second, because others hold their rows, keep one from its turn that is not.
node_sql commerce "insert into held select g, null, 'here' from generate_series(2001, 2008) g; insert into slow values (2009, 15, 'early'), (2010, 14, 'early')"
bridge_quiet commerce operations
node_sql commerce "update held set parent = 13"
ten_wait() { [[ $(ops "select count(*) from bridge.dead_letters where entity in ('held', 'slow') and state = 'retrying'") == 10 ]]; }
wait_for 60 "eight letters, and two slow ones" ten_wait
process_start lock "$PG_BIN/psql" -qX -d "$PG_ADMIN_BETA dbname=ops" -c "begin; select from held for update; select pg_sleep(600)"
holders() { ops "select $1 from pg_stat_activity where query like 'begin; select from held%' and wait_event = 'PgSleep'"; }
rows_held() { [[ -n $(holders pid) ]]; }
wait_for 20 "the rows to be held" rows_held
node_sql commerce "insert into parent values (13, 'late')"
held_up() { [[ $(ops "select count(*) from bridge.dead_letters where entity = 'held' and state = 'retrying' and error_code = '55P03'") == 8 ]]; }
wait_for 60 "all eight to be held up" held_up
node_sql commerce "insert into parent values (14, 'late')"
slow_is_there() { [[ $(ops "select count(*) from slow where id = 2010") == 1 ]]; }
wait_for 60 "the slow one, while the others are held" slow_is_there
held_up || fail "they are not held up any more"
assert_equal 1 "$(ops "select count(*) from fired where id = 2010")" "triggers that fired for a letter that came after one that failed"
node_sql commerce "insert into parent values (15, 'late')"
# Nor do many.
node_sql commerce "insert into held select g, null, 'here' from generate_series(2101, 2400) g; insert into held values (2401, null, 'free')"
bridge_quiet commerce operations
node_sql commerce "update held set parent = case when id = 2401 then 18 else 17 end where id > 2100"
many_wait() { [[ $(ops "select count(*) from bridge.dead_letters where entity = 'held' and state = 'retrying'") == 309 ]]; }
wait_for 120 "309 letters" many_wait
process_start lock-many "$PG_BIN/psql" -qX -d "$PG_ADMIN_BETA dbname=ops" -c "begin; select from held where id between 2101 and 2400 for update; select pg_sleep(600)"
many_held() { [[ $(holders "count(*)") == 2 ]]; }
wait_for 20 "more rows to be held" many_held
node_sql commerce "insert into parent values (17, 'late')"
many_held_up() { (($(ops "select count(*) from bridge.dead_letters where entity = 'held' and state = 'retrying' and error_code = '55P03'") > 100)); }
wait_for 60 "more than a hundred to be held up" many_held_up
node_sql commerce "insert into parent values (18, 'late')"
free_is_there() { [[ $(ops "select parent from held where id = 2401") == 18 ]]; }
wait_for 60 "the one that nobody holds" free_is_there
holders "pg_terminate_backend(pid)" >"$SERVERS_DIR/null"
wait_for 60 "those that were held" waiting_is "poison quarantined"
# Nor is what only a human can mend, and nobody else waits for that: met before the missing parent, whichever comes first.
node_sql commerce "insert into slow values (3001, 16, 'early')"
bridge_quiet commerce operations
node_sql commerce "insert into held values (3001, 16, 'early')"
wait_for 20 "both to wait" waiting_is "poison quarantined, slow 3001 transient retrying 23503, held 3001 transient retrying 23503"
slow=$(letter 3001 slow)
ops "create function note() returns trigger language plpgsql as 'begin insert into public.absent values (new.id); return new; end';
    create trigger note before insert on slow for each row execute function note(); update bridge.dead_letter set next_attempt = now() where id = $slow"
node_sql commerce "insert into parent values (16, 'late')"
wait_for 60 "the other" waiting_is "poison quarantined, slow 3001 transient retrying 42P01"
state_is "$slow" "retrying 1" || fail "a letter has spent something on what only a human can mend"
# What is applied wakes others, not that one.
node_sql commerce "insert into held values (3002, null, 'early')"
bridge_quiet commerce operations
node_sql commerce "update held set parent = 19 where id = 3002"
wait_for 20 "another to wait" waiting_is "poison quarantined, slow 3001 transient retrying 42P01, held 3002 transient retrying 23503"
held=$(letter 3002 held)
ops "update bridge.dead_letter set next_attempt = now() + interval '1 h' where id in ($slow, $held)"
tried() { ops "select last_seen from bridge.dead_letters where id = $1"; }
slow_tried=$(tried "$slow") held_tried=$(tried "$held")
node_sql commerce "insert into item values (20009, 'wakes somebody up')"
woken() { [[ $(tried "$held") != "$held_tried" ]]; }
wait_for 60 "the other to be woken" woken
assert_equal "$slow_tried" "$(tried "$slow")" "when it was tried that only a human can mend"
node_sql commerce "insert into parent values (19, 'late')"
wait_for 60 "the other" waiting_is "poison quarantined, slow 3001 transient retrying 42P01"
ops "create table absent (id int); grant insert on absent to public"
asks 0 replay --id "$slow"
says OUT 'released 1, *'
assert_equal 3001 "$(ops "select id from absent")" "what the trigger noted"
# Unless it comes again, and fails for another reason.
ops "drop table absent"
fails_for() { ops "create or replace function note() returns trigger language plpgsql as 'begin $1; return new; end'"; }
again() { message slow created '["id","parent","what"]' '["3003",null,"again"]' "$now" | publish; }
fails_for "raise foreign_key_violation"
again
wait_for 20 "another to wait" waiting_is "poison quarantined, slow 3003 transient retrying 23503"
slow=$(letter 3003 slow)
fails_for "insert into public.absent values (new.id)"
ops "update bridge.dead_letter set next_attempt = now() where id = $slow"
until_mended() { [[ $(ops "select until_mended from bridge.dead_letter where id = $slow") == "$1" ]]; }
wait_for 20 "it to wait for a human" until_mended t
fails_for "raise foreign_key_violation"
again
wait_for 20 "it to come again" waiting_is "poison quarantined, slow 3003 transient retrying 23503"
until_mended f || fail "what came again waits for a human"
ops "drop trigger note on slow; drop function note()"
asks 0 replay --id "$slow"
# Neither is a clock.
goods 90 1 "from the future" created $((now + 3600000000)) | publish
wait_for 20 "the future to wait" waiting_is "poison quarantined, goods 90 transient retrying CLOCK"
future=$(letter 90 goods)
state_is "$future" "retrying 0" || fail "a letter that waits for a clock has spent something"
node_sql commerce "insert into item values (20002, 'wakes nobody up')"
bridge_quiet commerce operations
state_is "$future" "retrying 0" || fail "a letter that waits for a clock was tried"
asks 0 discard --id "$future" --reason "made for a clock"
# A unique value that is taken waits for as long as nobody has decided.
ops "insert into account values (1, 'ann@example.com')"
node_sql commerce "insert into account values (2, 'ann@example.com')"
spent() { [[ $(ops "select state = 'retrying' and attempts > 2 from bridge.dead_letters where entity = 'account'") == t ]]; }
wait_for 30 "more attempts than there are" spent
ops "update account set email = null where id = 1"
wait_for 30 "the account to come" waiting_is "poison quarantined"
bridge_quiet commerce operations
printf 'ok - transient: attempts are spent on a reason of its own only; parked after max_attempts, replayed, applied\n'

# ---- older than what is here ----
goods 4 400 old created $((now - 31536000000000)) | publish
wait_for 20 "the letter" waiting_is "poison quarantined, goods 4 permanent parked 23514"
ops "update bridge.dead_letter set first_seen = now() - interval '1 year', last_seen = now() - interval '1 year' where key = '4'"
goods 4 4 newer updated "$now" | publish
wait_for 20 "its newer state" goods_is 4 "4 newer"
ops "alter table goods drop constraint few"
before=$(ops "select v.* from bridge.row_version v where key = '4'; select * from goods")
asks 0 replay --older '300 days'
assert_equal "released 0, superseded 1, failed again 0" "${OUT##*$'\n'}" "a letter a year old"
assert_equal "$before" "$(ops "select v.* from bridge.row_version v where key = '4'; select * from goods")" "what it changed"
assert_equal "goods 4 permanent superseded 23514" "$(letters "key = '4'")" "the letter"
ops "alter table goods add constraint few check (amount < 100) not valid"
printf 'ok - a letter a year old is superseded, and changes nothing\n'

# ---- edit ----
node_sql commerce "insert into goods values (5, 500, 'five'), (6, 600, 'six')"
wait_for 20 "the letters" waiting_is "poison quarantined, goods 5 permanent parked 23514, goods 6 permanent parked 23514"
five=$(letter 5 goods) six=$(letter 6 goods)
for words in '{"colour": "red", "note": "x"}|*has no field "colour"*|HINT: It has id, amount, note.' '{"id": "7"}|the key ("id") cannot be changed*|HINT: *' '[]|a letter is edited by a JSON object*|HINT: *' '{"no|invalid input syntax for type json*|'; do
    IFS='|' read -r change message hint <<<"$words"
    asks 1 edit "$five" "$change"
    says ERR "pgbridge: $message"
    [[ -z $hint || $hint == 'HINT: *' ]] || says ERR "$hint"
done
assert_equal "f|500" "$(ops "select d.edited, p.payload -> 'rows' -> 0 ->> 1 from bridge.dead_letters d join bridge.dead_letter_payloads p using (id) where id = $five")" "a letter that was not edited"
asks 0 edit "$five" '{"amount": 50, "note": null}' --reason "a slip of the keyboard"
says OUT "letter $five is edited: *" 'HINT: *'
bridge operations dlq edit "$five" - --json <<<'{"note": "from \"stdin\""}' >"$SERVERS_DIR/out"
assert_equal '50 from "stdin"' "$(jq -r '"\(.amount) \(.note)"' "$SERVERS_DIR/out")" "what edit answers"
asks 0 show "$five" --json
assert_equal '50 from "stdin" true 500 five' "$(json '"\(.payload.rows[0][1]) \(.payload.rows[0][2]) \(.edited)"') $(json .original | base64 -d | jq -r '"\(.rows[0][1]) \(.rows[0][2])"')" "an edited letter, and its original"
asks 0 replay --id "$five"
goods_is 5 '50 from "stdin"' || fail "the edited row is not here"
assert_equal "500|five" "$(node_sql commerce "select amount, note from goods where id = 5")" "the row at its source"
# Another write has come since: it stands.
asks 0 edit "$six" '{"amount": 60}'
node_sql commerce "update goods set amount = 61 where id = 6"
wait_for 20 "the newer state" goods_is 6 "61 six"
asks 0 replay --id "$six"
says OUT 'released 0, superseded 1, failed again 0'
goods_is 6 "61 six" || fail "an edited letter has overwritten a newer write"
asks 1 edit "$six" '{"amount": 60}'
says ERR "pgbridge: letter $six is superseded already (55000)"
assert_equal 'pgbridge|edit dead letter|1|a slip of the keyboard|["note", "amount"]' "$(ops "select who, action, affected, reason, details -> 'fields' from bridge.audit_log where action like 'edit%' order by id limit 1")" "the first edit in the audit log"
assert_equal "0" "$(ops "select count(*) from bridge.audit_log a where a::text ~ 'stdin|secret-note'")" "values in the audit log"
printf 'ok - edit: fields, the original kept; the version stays its source'\''s\n'

# ---- a message that could not be read ----
asks 1 edit "$poison" '{"entity": "item"}'
says ERR 'pgbridge: this is not a message (22023)' 'HINT: {"entity": *'
asks 1 edit "$poison" '{"entity": "none", "op": "created", "key": ["id"], "columns": ["id"], "rows": [["1"]]}'
says ERR 'pgbridge: no entity "none" is mapped here*'
asks 1 edit "$poison" '{"entity": "item", "op": "created", "key": ["id"], "columns": ["id", "what"], "rows": [["1"]]}'
says ERR 'pgbridge: row 1 has not one value for each of the 2 columns (22023)'
# Long ago: the adapter reads it, too, and judges what comes by it.
ops "update bridge.collection set horizon_us = 2000000"
asks 1 edit "$poison" '{"entity": "item", "op": "created", "key": ["id"], "columns": ["id", "what"], "rows": [["5000", "mended"]], "versions": [1000000]}'
says ERR 'pgbridge: row 1 is older than what is still known of deletions \(55000)' 'HINT: *'
ops "update bridge.collection set horizon_us = 0"
assert_equal "poison quarantined" "$(letters "id = $poison")" "the letter, not edited"
asks 0 edit "$poison" '{"entity": "item", "op": "created", "key": ["id"], "columns": ["id", "what"], "rows": [["5000", "mended"], ["30000", null]], "versions": ['"$now"', '"$now"']}'
assert_equal "item 5000 permanent parked, item 30000 permanent parked" "$(letters "state = 'parked'")" "the message, as a letter a row"
asks 0 replay --entity item --reason "it was cut off"
says OUT '2 letters are replayed' 'released 2, superseded 0, failed again 0'
assert_equal "5000|mended 30000|" "$(ops "select * from item where id in (5000, 30000) order by id" | xargs)" "the rows"
goods 7 7 "no peer" | jq -c '.headers["x-source"] = "stranger" | .headers["x-content-hash"] = "sha256:0"' | publish
wait_for 20 "a stranger's poison" waiting_is "poison quarantined"
poison=$(ops "select max(id) from bridge.dead_letters")
asks 1 edit "$poison" '{"entity": "goods", "op": "created", "key": ["id"], "columns": ["id"], "rows": [["7"]]}'
says ERR "pgbridge: letter $poison does not come from a peer*" 'HINT: *'
asks 0 discard --class poison --reason "not ours"
printf 'ok - what could not be read is edited into a message, a letter a row, and replayed\n'

# ---- discard, dry run, frozen set ----
many() { for ((i = $1; i <= $2; i++)); do goods "$i" 777 "many $i"; done | publish; }
parked_are() { [[ $(ops "select count(*) from bridge.dead_letters where state = 'parked'") == "$1" ]]; }
many 101 120
wait_for 30 "20 parked letters" parked_are 20
everything() { ops "select md5(string_agg(d::text, ' ' order by d.id)) from bridge.dead_letter d; select count(*) from bridge.audit; select md5(string_agg(g::text, ' ' order by g.id)) from goods g"; }
before=$(everything)
asks 0 replay --entity goods --dry-run
assert_equal "nothing is done; 20 letters would be replayed" "$OUT" "replay --dry-run"
asks 0 replay --entity goods --dry-run --json
assert_equal "true 20 null" "$(json '"\(.dry_run) \(.letters) \(.replay)"')" "replay --dry-run --json"
asks 0 discard --entity goods --reason "no" --dry-run
assert_equal "nothing is done; 20 letters would be discarded" "$OUT" "discard --dry-run"
assert_equal "$before" "$(everything)" "what dry runs have changed"
ids=$(ops "select string_agg(id::text, ',' order by id) from bridge.dead_letters where key in ('101', '102')")
asks 0 discard --id "$ids" --reason "wrong from the start" --json
assert_equal "2 false" "$(json '"\(.letters) \(.dry_run)"')" "discard --json"
assert_equal "goods 101 permanent discarded 23514, goods 102 permanent discarded 23514" "$(letters "id in ($ids)")" "discarded letters"
assert_equal "pgbridge|discard dead letters|2|wrong from the start|[${ids/,/, }]" "$(ops "select who, action, affected, reason, details -> 'ids' from bridge.audit_log order by id desc limit 1")" "the audit log"
asks 1 discard --id "$ids" --reason "once more"
asks 1 replay --id "$ids"
printf 'ok - discard, with a reason; dry runs change nothing\n'

ops "alter table goods drop constraint few"
bridge operations dlq replay --error 23514 --rate 6 --json >"$SERVERS_DIR/replay" &
replay=$!
begun() { [[ $(ops "select count(*) from bridge.dead_letters where state = 'released' and key::int between 103 and 120") -gt 0 ]]; }
wait_for 20 "the replay to begin" begun
# What is applied meanwhile does not hurry them.
node_sql commerce "insert into item values (20003, 'hurries nobody')"
# One more that is like them comes while they are replayed: it is not meant.
ops "insert into bridge.dead_letter (class, state, source, entity, key, op, version_ts, error_code, error, payload)
     select 'permanent', 'parked', 'legacy', 'goods', '121', 'created', $now, '23514', 'made here',
            convert_to('{\"entity\":\"goods\",\"op\":\"created\",\"key\":[\"id\"],\"columns\":[\"id\",\"note\"],\"rows\":[[\"121\",\"frozen out\"]],\"versions\":[$now]}', 'UTF8')"
wait "$replay" || fail "replay --rate: $(<"$SERVERS_DIR/replay")"
assert_equal "18 18 0" "$(jq -r '"\(.letters) \(.released) \(.failed_again)"' "$SERVERS_DIR/replay")" "the frozen set"
# None before its turn, however slow the machine is.
assert_equal "18|t" "$(ops "select count(*), bool_and(l.last_seen >= a.at + (l.place - 1) / 6.0 * interval '1 s')
    from bridge.audit a join (select replay, last_seen, row_number() over (partition by replay order by id) as place from bridge.dead_letters) l on l.replay = a.id
    where a.id = $(jq .replay "$SERVERS_DIR/replay")")" "six a second"
assert_equal "goods 121 permanent parked 23514" "$(letters "state = 'parked'")" "the one that came later"
# Without an adapter they wait for one.
bridge_stop operations
asks 75 replay
says OUT '1 letter is replayed'
says ERR 'pgbridge: 1 letter still waits: the adapter is not running (state: stopped)' 'HINT: *'
asks 0 replay --no-wait
assert_equal "1 letter is replayed" "$OUT" "replay --no-wait"
bridge_start operations
wait_for 20 "the letter to be applied" waiting_is ""
printf 'ok - a replay is of what matched when it began, as fast as asked for\n'

# ---- who may ----
goods 130 1 "for ann" | jq -c '.body.rows[0][0] = "x"' | publish
wait_for 20 "the letter" waiting_is "goods x permanent parked 22P02"
sql beta postgres "create role watcher login in role pgbridge_monitor; create role ann login in role pgbridge_operator"
for role in watcher ann; do
    sed 's/^database: host=127.0.0.1/database: host='"${PG_SOCKET_DIR//\//\\/}"'/; s/user=pgbridge/user='$role'/; /^database_password/d' "$SERVERS_DIR/operations.yaml" >"$SERVERS_DIR/$role.yaml"
    chmod 600 "$SERVERS_DIR/$role.yaml"
    NODE=$role asks 0 list --json
    assert_equal "goods" "$(json '.[0].entity')" "list as $role"
done
one=$(letter x goods)
for words in "show $one" export "replay --id $one" "edit $one {}" "discard --id $one --reason x" "replay --dry-run"; do
    # shellcheck disable=SC2086 # words
    NODE=watcher asks 77 $words
    says ERR 'pgbridge: permission denied *\(42501)' 'HINT: *pgbridge_operator*'
done
as() { postgres_user "$PG_BIN/psql" -qXAt -d "host=$PG_SOCKET_DIR port=$PG_PORT_BETA user=$1 dbname=ops" -c "$2" 2>&1; }
for statement in "select * from bridge.dead_letter_payloads" "select * from bridge.dead_letter" "select * from bridge.audit" \
    "select bridge.edit_dead_letter($one, '{}')" "select bridge.replay_dead_letters()" "select bridge.discard_dead_letters('x', class => 'poison')"; do
    [[ $(as watcher "$statement") == *"permission denied"* ]] || fail "watcher may: $statement"
done
for statement in "select * from bridge.dead_letter" "update bridge.dead_letter set state = 'parked'" "select * from bridge.audit" "delete from bridge.audit" "select * from goods" \
    "select bridge.change_dead_letter(null, '{}')" "select bridge.read_dead_letter(null, '{}')"; do
    [[ $(as ann "$statement") == *"permission denied"* ]] || fail "ann may: $statement"
done
NODE=ann asks 0 show "$one"
says OUT 'note *for ann'
NODE=ann asks 1 replay --id "$one" --reason "to see whether it goes"
NODE=ann asks 0 discard --id "$one" --reason "a key that is none"
assert_equal "ann|ann" "$(ops "select string_agg(who, '|') from (select who from bridge.audit_log order by id desc limit 2) a")" "who did it"
[[ $(as watcher "select who from bridge.audit_log limit 1") == pgbridge ]] || fail "the monitor cannot see the audit log"
[[ $(as ann "select bridge.discard_dead_letters('all')") == *"nothing is said about which letters"* ]] || fail "all letters are discarded at once"
[[ $(as ann "select bridge.discard_dead_letters(' ', class => 'poison')") == *"for a reason"* ]] || fail "letters are discarded without a reason"
printf 'ok - who may see, and who may do something\n'

# ---- many ----
ops "insert into bridge.dead_letter (class, state, source, entity, key, op, version_ts, error_code, error, payload)
     select 'permanent', 'parked', case when g % 10 = 0 then 'commerce' else 'legacy' end, 'item', (100000 + g)::text, 'created', $now, 'many', 'made here',
            convert_to(json_build_object('entity', 'item', 'op', 'created', 'key', array['id'], 'columns', array['id', 'what'],
                                         'rows', array[array[(100000 + g)::text, repeat('x', 200)]], 'versions', array[$now])::text, 'UTF8')
       from generate_series(1, 10000) g; analyze bridge.dead_letter"
# measured KIB ARGUMENT...: the command's memory at its largest stays below.
measured() {
    /usr/bin/python3 - "$@" <<PYTHON || fail "dlq ${*:2}"
import resource, subprocess, sys
with open("$SERVERS_DIR/out", "w") as out:
    code = subprocess.run(["$PGBRIDGE", "-c", "$SERVERS_DIR/operations.yaml", "dlq"] + sys.argv[2:], stdout=out).returncode
kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print("#   dlq %s: %d KiB at most" % (" ".join(sys.argv[2:]), kib))
sys.exit(code != 0 or kib > int(sys.argv[1]))
PYTHON
}
LIMIT_KIB=$((50 * 1024))
if [[ $PGBRIDGE == *sanitized* ]]; then LIMIT_KIB=$((1024 * 1024)); fi
measured $LIMIT_KIB list
assert_equal "52|9950 more, older: see them with --limit 10000" "$(wc -l <"$SERVERS_DIR/out")|$(tail -n 1 "$SERVERS_DIR/out")" "a list of 10,000"
measured $LIMIT_KIB list --limit 10000
assert_equal "10000" "$(grep -c ' many ' "$SERVERS_DIR/out")" "a full list"
measured $LIMIT_KIB list --json
assert_equal "10000 true" "$(jq -r '"\(length) \(map(.id) | . == (sort | reverse))"' "$SERVERS_DIR/out")" "a full list as JSON"
measured $LIMIT_KIB list --source commerce --error many --json
assert_equal "1000" "$(jq length "$SERVERS_DIR/out")" "a tenth of them"
measured $LIMIT_KIB export
assert_equal "10000 10000" "$(wc -l <"$SERVERS_DIR/out") $(jq -r .payload.rows[0][0] "$SERVERS_DIR/out" | sort -u | wc -l)" "all of them, exported"
measured $LIMIT_KIB replay --error many
assert_equal "released 10000, superseded 0, failed again 0" "$(tail -n 1 "$SERVERS_DIR/out")" "10,000 letters, replayed"
assert_equal "10000" "$(ops "select count(*) from item where id > 100000")" "the rows"
ops "insert into bridge.dead_letter (class, state, source, error_code, error, payload)
     select 'poison', 'quarantined', 'legacy', 'large', 'made here', convert_to(repeat(chr(65 + g), 1000000), 'UTF8') from generate_series(1, 60) g"
measured $LIMIT_KIB export --error large
assert_equal "60 1000000" "$(wc -l <"$SERVERS_DIR/out") $(tail -n 1 "$SERVERS_DIR/out" | jq -r .raw | base64 -d | wc -c)" "60 MB, exported"
asks 0 discard --error large --reason "made here"
ops "insert into bridge.dead_letter (class, state, source, entity, key, op, version_ts, error_code, error, payload)
     select 'permanent', 'parked', 'legacy', 'item', (200000 + g)::text, 'created', $now, 'large', 'made here',
            convert_to(json_build_object('entity', 'item', 'op', 'created', 'key', array['id'], 'columns', array['id', 'what'],
                                         'rows', array[array[(200000 + g)::text, repeat('x', 2000000)]], 'versions', array[$now])::text, 'UTF8')
       from generate_series(1, 60) g"
measured $LIMIT_KIB replay --error large --class permanent
assert_equal "released 60, superseded 0, failed again 0" "$(tail -n 1 "$SERVERS_DIR/out")" "60 letters of 2 MB"
pid=$(process_id node-operations)
resident=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status")
printf '#   the adapter: %s KiB at most\n' "$resident"
((resident < 2 * LIMIT_KIB)) || fail "the adapter took $resident KiB for 60 letters of 2 MB"
printf 'ok - 10,000 letters are listed, exported and replayed with bounded memory\n'

# ---- what status and check say ----
goods 140 x "bad" | publish
wait_for 20 "the letter" waiting_is "goods 140 permanent parked 22P02"
[[ $(ops "select hint from bridge.health where \"check\" = 'dead letters'") == *"pgbridge dlq list"* ]] || fail "health does not name the command"
sed -i 's/max_attempts: 2/max_attempts: 20/' "$SERVERS_DIR/operations.yaml"
bridge operations check >"$SERVERS_DIR/out" 2>&1 && fail "check does not see that retry has changed"
grep -q 'entity goods.*differs from the config: retry' "$SERVERS_DIR/out" || fail "check: $(<"$SERVERS_DIR/out")"
assert_equal "t|t|t" "$(ops "select bool_and(w between interval '0.5 s' and interval '1 s'), bool_and(x between interval '8 s' and interval '16 s'), bool_and(y between interval '30 s' and interval '1 min')
    from (select bridge.retry_wait(1, '1 s', 2, '1 min') as w, bridge.retry_wait(5, '1 s', 2, '1 min') as x, bridge.retry_wait(1000000, '1 s', 10, '1 min') as y from generate_series(1, 500)) s")" "the waits: doubled, capped, jittered"

# ---- letters that have ended are forgotten after a while ----
ended="state not in ('retrying', 'parked', 'quarantined')"
kept() { ops "select (select count(*) from bridge.dead_letter where $ended), (select count(*) from bridge.dead_letter where not $ended), (select count(*) from bridge.audit)"; }
IFS='|' read -r ended_before waiting_before audited < <(kept)
((waiting_before > 0 && ended_before > 2500)) || fail "too few letters: $(kept)"
ops "update bridge.dead_letter set last_seen = now() - interval '89 days'"
ops "update bridge.dead_letter set last_seen = now() - interval '91 days'
      where not $ended or id in (select id from bridge.dead_letter where $ended order by id limit 1500)"
forgotten() { [[ $(kept) == "$((ended_before - 1500))|$waiting_before|$audited" ]]; }
wait_for 120 "those that ended 91 days ago to be forgotten" forgotten
sed -i 's/^entities:/dead_letter_retention: 0\nentities:/' "$SERVERS_DIR/operations.yaml"
bridge_stop operations
bridge_start operations
ops "update bridge.dead_letter set last_seen = now() - interval '9000 days' where $ended"
at=$(ops "select clock_timestamp()")
reported() { [[ $(ops "select reported_at > timestamptz '$at' + interval '1 s' from bridge.worker where direction = 'in'") == t ]]; }
wait_for 60 "a report of operations" reported
forgotten || fail "with a retention of 0 letters were forgotten: $(kept)"
printf 'ok - letters that have ended are forgotten after dead_letter_retention, others and the audit log are not\n'

if grep -lE 'secret-note|from the future|frozen out' "$SERVERS_DIR"/log/node-*.log; then fail "a row's value is in a log"; fi
counters_conserve operations
bridge_stop operations
bridge_stop commerce
