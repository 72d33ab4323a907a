#!/usr/bin/env bash
# Values of every built-in type, arrays, enums, domains, composites and ranges arrive unchanged in both directions, whatever
# the settings of the session that wrote them; C and SQL agree on their content hash.
set -euo pipefail
# shellcheck source=tests/support/servers.sh
source "$SOURCE_DIR/tests/support/servers.sh"
# shellcheck source=tests/support/bridge.sh
source "$SOURCE_DIR/tests/support/bridge.sh"

servers_init
servers_start alpha beta fsync=off
CONTENT_HASH=$(find "$BUILD_DIR" -name content_hash -type f -executable | head -n 1)

# name|type, each a column of its own
types='
c_bool|boolean
c_int2|smallint
c_int4|integer
c_int8|bigint
c_num|numeric
c_numd|numeric(12,3)
c_f4|real
c_f8|double precision
c_money|money
c_text|text
c_vc|varchar(20)
c_ch|char(6)
c_ch1|"char"
c_name|name
c_bytea|bytea
c_date|date
c_time|time
c_timep|time(2)
c_timetz|timetz
c_ts|timestamp
c_tsp|timestamp(3)
c_tstz|timestamptz
c_iv|interval
c_uuid|uuid
c_json|json
c_jsonb|jsonb
c_xml|xml
c_inet|inet
c_cidr|cidr
c_mac|macaddr
c_mac8|macaddr8
c_bit|bit(5)
c_varbit|varbit(12)
c_point|point
c_line|line
c_lseg|lseg
c_box|box
c_path|path
c_polygon|polygon
c_circle|circle
c_tsv|tsvector
c_tsq|tsquery
c_lsn|pg_lsn
c_snap|pg_snapshot
c_oid|oid
c_reg|regtype
c_i4r|int4range
c_nr|numrange
c_tsr|tstzrange
c_dmr|datemultirange
c_ia|integer[]
c_ta|text[]
c_ba|boolean[]
c_tsa|timestamptz[]
c_2d|integer[][]
c_enum|mood
c_enuma|mood[]
c_dom|positive
c_domb|truth
c_comp|pair
c_compa|pair[]
c_json_path|jsonpath
c_odd|"Odd ""type"""
c_i8r|int8range
c_tr|tsrange
c_dr|daterange
c_i4mr|int4multirange
c_i8mr|int8multirange
c_nmr|nummultirange
c_tsmr|tsmultirange
c_tzmr|tstzmultirange
c_xid8|xid8
c_txs|txid_snapshot
c_ref|refcursor
c_tid|tid
'
columns=$(awk -F'|' 'NF { printf "%s\"C %s\" %s", sep, $1, $2; sep = ", " }' <<<"$types")
reversed=$(awk -F'|' 'NF { line = "\"" $1 "\" " $2; all = line (NR > 2 ? ", " : "") all } END { print all }' <<<"$types")
fields=$(awk -F'|' 'NF { printf "%s'\''%s = \"C %s\"'\''", sep, $1, $1; sep = ", " }' <<<"$types")
plain=$(awk -F'|' 'NF { printf "%s%s", sep, $1; sep = ", " }' <<<"$types")

for cluster in alpha beta; do
    sql "$cluster" postgres "create database types"
    sql "$cluster" types - <<'SQL'
create type mood as enum ('sad', 'ok', 'it''s "fine", ünï');
create domain positive as integer check (value > 0);
create domain truth as boolean;
create type pair as (a integer, b text, at timestamptz, yes boolean);
create type "Odd ""type""" as enum ('x', 'y');
SQL
done
sql alpha types "create table \"Every Type\" (\"the id\" integer primary key, $columns)"
sql beta types "create table every_type ($reversed, id integer primary key)"
bridge_node commerce alpha types operations <<YAML
  - {name: every, table: '"Every Type"', key: ['id = "the id"'], fields: [$fields]}
YAML
bridge_node operations beta types commerce <<YAML
  - {name: every, table: every_type, key: [id], fields: [$plain]}
YAML
bridge_install commerce
bridge_install operations
bridge_start commerce
bridge_start operations

# The independent consumer that shows what C hashed.
rabbit_user watcher secret </dev/null
watch_url=amqp://watcher:secret@127.0.0.1:$RABBIT_PORT/bridge
mkdir "$SERVERS_DIR/bodies"
# Nobody counts half a body: it gets its name when it is whole.
printf '#!/bin/bash\ncat >"%s/bodies/.$$" && mv "%s/bodies/.$$" "%s/bodies/$$"\n' "$SERVERS_DIR" "$SERVERS_DIR" "$SERVERS_DIR" >"$SERVERS_DIR/keep_body"
chmod +x "$SERVERS_DIR/keep_body"
process_start watcher amqp-consume -u "$watch_url" -e bridge.sync -r '#' "$SERVERS_DIR/keep_body"
watcher_bound() {
    rabbit_ctl list_bindings -p bridge source_name routing_key | grep -qx $'bridge.sync\t#'
}
wait_for 60 "the watcher's binding" watcher_bound

row() {
    local id=$1 setting=$2 values=$3
    sql alpha types "$setting; insert into \"Every Type\" values ($id, $values)" >"$SERVERS_DIR/null"
}
hundred=$(printf '7%.0s' {1..90}).0123456789
ordinary="true, -32768, 2147483647, -9223372036854775808, $hundred, 123456789.123, 3.4e-38, 2.2250738585072014e-308, '\$1,234.56',
    'text', 'varchar', 'ch', 'x', 'name', '\\x00ff10', '2026-11-20', '23:59:59.999999', '12:00:00.12', '01:02:03+05:30',
    '2026-11-20 01:02:03.000001', '2026-11-20 01:02:03.123', '2026-11-20 01:02:03.5+02', '1 year 2 mons -3 days 04:05:06.7',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\": 1,  \"a\":[null]}', '{\"b\": 1e2, \"a\": \"\\u00e9\"}', '<a b=\"c\">&amp;</a>', '10.1.2.3/24', '10.1.0.0/16',
    '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '10110', '1011', '(1.5,-2)', '{1,2,3}', '((1,2),(3,4))', '((3,4),(1,2))', '[(1,2),(3,4)]',
    '((0,0),(0,1),(1,1))', '<(1,2),3>', 'a:1A fat:2B', 'fat & (rat | !cat)', '16/B374D848', '10:20:10,14,15', 4294967295, 'integer',
    '[1,5)', '(,1.5]', '[2026-01-01 00:00+00,)', '{[2026-01-01,2026-02-01), [2027-01-01,)}', '{1,NULL,3}', array['a','',null,'NULL','a,\"b\\','{'],
    '{t,f,NULL}', array['2026-01-01 00:00:00+01'::timestamptz, 'infinity'], '{{1,2},{3,4}}', 'ok', array['sad','it''s \"fine\", ünï']::mood[], 5, true,
    row(1, 'b,\"c\"', '2026-01-01 00:00+03', false)::pair, array[row(null, '', null, true)::pair, null], '\$.a[*] ? (@ > 1)', 'x',
    '[1,9)', '[2026-01-01 00:00,2026-02-01 00:00)', '[2026-01-01,2026-01-05)', '{[1,3),[5,9)}', '{[1,3)}', '{[1.5,2.5]}', '{[2026-01-01 00:00,2026-02-01 00:00)}',
    '{[2026-01-01 00:00+00,2026-02-01 00:00+00)}', '123456789012', '10:20:10,14,15', 'cursor 1', '(1,2)'"
ordinary_settings="set timezone = 'UTC'; set lc_monetary = 'C'"
odd_settings="set timezone = 'Asia/Kolkata'; set datestyle = 'SQL, DMY'; set intervalstyle = sql_standard; set extra_float_digits = -5; set bytea_output = escape; set lc_monetary = 'C'; set search_path = public, pg_catalog"
row 1 "$ordinary_settings" "$ordinary"
row 2 "$odd_settings" "$ordinary"
sql alpha types "insert into \"Every Type\" (\"the id\") values (3)"
sql alpha types "insert into \"Every Type\" (\"the id\", \"C c_num\", \"C c_f4\", \"C c_f8\", \"C c_date\", \"C c_ts\", \"C c_tstz\", \"C c_text\", \"C c_vc\", \"C c_ch\", \"C c_bytea\", \"C c_jsonb\", \"C c_ia\", \"C c_ta\", \"C c_i4r\")
    values (4, 'NaN', 'NaN', '-Infinity', 'infinity', '-infinity', 'infinity', '', '', '', '', 'null', '{}', '{}', 'empty'),
           (5, 'Infinity', '-0', '-0', '4713-01-01 BC', '0044-03-15 12:00:00 BC', '4713-01-01 00:00:00+00 BC', E'line\\nbreak\\ttab\\\\ \\x01 \\x7f', 'ä€😀', '  x ', '\\x00', '\"\"', '[3:4]={7,8}', array[[null,'x'],['','NULL']], '(1,1)'),
           (6, '-Infinity', 1e38, 1.7976931348623157e308, '5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', repeat('€', 349525) || 'x', '\\\\\"', '''', decode(repeat('00ff', 100000), 'hex'), (select jsonb_object_agg(g, g) from generate_series(1, 1000) g), array[1,2], array['\\\\','\"',''''], '[,]'),
           (7, 1e-100, 1.1754944e-38, 5e-324, '0001-01-01', '0001-01-01', '1900-01-01 00:00:00+00', E'\\u200b\\u202e end  ', 'x', 'x', '\\x', '{}', '{NULL}', '{NULL}', '[1,1]')"
bridge_quiet commerce operations

# The rows, cell by cell, as the other side prints them under the same settings.
canonical() {
    awk -F'|' -v prefix="$1" 'NF { printf ", (%s%s\")::text", prefix, $1 }' <<<"$types"
}
compare() {
    local settings="set timezone = 'UTC'; set lc_monetary = 'C'"
    local left right
    left=$(sql alpha types "$settings; select md5(\"the id\"::text) $(canonical '"C ') from \"Every Type\" order by \"the id\"")
    right=$(sql beta types "$settings; select md5(id::text) $(canonical '"') from every_type order by id")
    [[ $left == "$right" ]] || fail "$1: $(diff <(printf '%s' "${left:0:20000}") <(printf '%s' "${right:0:20000}") | cut -c 1-2000)"
    left=$(sql alpha types "select key, content_hash from bridge.entity_state where not deleted order by 1")
    right=$(sql beta types "set datestyle = 'German'; set timezone = 'Asia/Tokyo'; set extra_float_digits = 0; select key, content_hash from bridge.entity_state where not deleted order by 1")
    assert_equal "$left" "$right" "$1: content hashes"
    printf 'ok - %s\n' "$1"
}
compare "values of every type"
assert_equal 7 "$(sql beta types "select count(*) from every_type")" "rows"
assert_equal 1048576 "$(sql beta types "select octet_length(c_text) from every_type where id = 6")" "a text of 1 MiB"

# The settings that capture pins for a table with a column of one type alone are enough for that type.
sql alpha types "do \$\$ declare c record; begin
    for c in select attname, atttypid from pg_attribute where attrelid = '\"Every Type\"'::regclass and attnum > 0 loop
        execute format('create function public.%I(e \"Every Type\") returns text language sql set search_path = pg_catalog, pg_temp %s as %L',
            'alone ' || c.attname, bridge.pinned_settings(array[c.atttypid]),
            'select ' || bridge.text_expression(format('e.%I', c.attname), c.atttypid));
    end loop; end \$\$"
alone=$(sql alpha types "select string_agg(format('%L, public.%I(e)', proname, proname), ', ' order by proname) from pg_proc where proname like 'alone %'")
for settings in "$ordinary_settings" "$odd_settings"; do
    sql alpha types "$settings; select unnest(array[$alone]) from public.\"Every Type\" e where \"the id\" <= 7 order by \"the id\""  >"$SERVERS_DIR/alone-${#settings}"
done
(($(wc -l <"$SERVERS_DIR/alone-${#settings}") > 400)) || fail "too few types alone"
diff "$SERVERS_DIR/alone-${#ordinary_settings}" "$SERVERS_DIR/alone-${#odd_settings}" >"$SERVERS_DIR/difference" || true
[[ ! -s $SERVERS_DIR/difference ]] || fail "a type's text depends on the session: $(cut -c 1-200 "$SERVERS_DIR/difference" | head -n 10)"
printf 'ok - capture pins what each type alone needs\n'

# C's hash of each row that travelled is SQL's.
bodies_kept() {
    [[ $(cat "$SERVERS_DIR"/bodies/* | grep -o '"versions":\[[^]]*' | tr ',' '\n' | wc -l) -ge 7 ]]
}
wait_for 60 "the watcher's messages" bodies_kept
# Heartbeats come by here as well.
grep -l '"entity"' "$SERVERS_DIR"/bodies/* | while read -r body; do
    "$CONTENT_HASH" <"$body"
done | sort -u | awk '{ print $2 "|" $3 }' >"$SERVERS_DIR/from_c"
sql alpha types "select key, content_hash from bridge.entity_state where not deleted order by 1" >"$SERVERS_DIR/from_sql"
diff "$SERVERS_DIR/from_c" "$SERVERS_DIR/from_sql" || fail "C and SQL disagree on content hashes"
printf 'ok - C and SQL agree on every content hash\n'

# And back: touch every row on the other side, then change types' edge cells there.
sql beta types "set timezone = 'America/New_York'; set datestyle = 'German'; update every_type set c_int4 = coalesce(c_int4, 0) / 2"
bridge_quiet commerce operations
compare "values of every type, on the way back"
sql beta types "update every_type set c_text = c_text || 'x', c_ch = 'padded', c_bool = not c_bool, c_ba = array[true], c_inet = '::1', c_domb = false, c_compa = null"
bridge_quiet commerce operations
compare "updates on the other side"
assert_equal 0 "$(sql beta types "select count(*) from bridge.dead_letter")$(sql alpha types "select nullif(count(*), 0) from bridge.dead_letter")" "dead letters"

# A write that changes nothing is nobody else's business. The log does not tell that it did.
before=$(sql beta types "select published from bridge.outbound")
vain=0
[[ $(capture_of operations) == outbox ]] || vain=$(sql beta types "select count(*) from every_type")
sql beta types "update every_type set c_text = c_text, c_num = c_num"
bridge_quiet commerce operations
sql beta types "update every_type set c_int2 = 1 where id = 7"
bridge_quiet commerce operations
assert_equal $((before + vain + 1)) "$(sql beta types "select published from bridge.outbound")" "published changes after an update without a change"
printf 'ok - an update that changes nothing is not published, where triggers capture\n'

# A row that no message can carry stops nobody, and is not forgotten.
sql alpha types "insert into \"Every Type\" (\"the id\", \"C c_text\") values (8, repeat('x', 20000000)); insert into \"Every Type\" (\"the id\", \"C c_text\") values (9, 'after it')"
bridge_quiet commerce operations
assert_equal "after it" "$(sql beta types "select c_text from every_type where id >= 8")" "rows after one of 20 MB"
assert_equal "every|8|permanent|54000" "$(sql alpha types "select entity, key, class, error_code from bridge.dead_letters")" "its letter at the sender"
# Nor when it is the first of an incarnation, which has given no number then.
bridge_stop commerce
bridge_start commerce
sql alpha types "insert into \"Every Type\" (\"the id\", \"C c_text\") values (10, repeat('x', 20000000))"
buried() { [[ $(sql alpha types "select count(*) from bridge.dead_letters where key = '10'") == 1 ]]; }
wait_for 60 "the letter of the first row" buried
spoken=$(sql alpha types "select said_us from bridge.outbound")
heard() { [[ $(sql beta types "select sent_us > $spoken from bridge.peer") == t ]]; }
wait_for 60 "the next heartbeat" heard
printf 'ok - a row that is too large is a dead letter of its sender\n'
