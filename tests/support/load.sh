# shellcheck shell=bash
# A random load for two nodes, commerce (cluster alpha, database shop) and operations (beta, ops), and the checks that must
# hold when it has come to rest. To be sourced after servers.sh and bridge.sh.
#
#   load_prepare; bridge_start commerce; bridge_start operations
#   load_start 4 2000                            # sessions a side, transactions a session
#   load_wait; load_verify
#
# The applications write to two tables with a foreign key between them, under other names, columns and order on each side,
# and to a numbered ledger; commerce writes even keys and operations odd ones, the sessions of one side write the same rows.
# Each transaction is drawn from LOAD_SEED, its session and its number: single rows, many rows, upserts, key updates, cascades,
# several statements, savepoints rolled back, transactions rolled back. A transaction that fails is tried again with others
# drawn in its place, by a new run: a run's number is never used twice, so a transaction that a crash took back is told from
# the one that replaces it.
#
# The ledger's rows fire a trigger on both sides that notes every arrival: what is applied twice is seen there, though the
# table itself would show one row.

LOAD_SEED=${LOAD_SEED:-$SRANDOM}
LOAD_JOBS=()

# load_schema NODE PARITY: what the views below stand on exists already.
load_schema() {
    local parity=$2
    node_sql "$1" <<SQL
create table load.arrival (session int, run int, step int);
create table load.committed (changes int not null);
create function load.count_change() returns trigger language plpgsql as \$\$
begin
    -- A new key is the old row's end and another one's beginning.
    insert into load.committed values (1 + (tg_op = 'UPDATE' and tg_argv[0] is not null
        and to_jsonb(old) -> tg_argv[0] is distinct from to_jsonb(new) -> tg_argv[0])::int);
    return null;
end \$\$;
create function load.note_arrival() returns trigger language plpgsql security definer as \$\$
begin
    insert into load.arrival values (new.session, new.run, new.step);
    return null;
end \$\$;

create function load.draw(low int, high int) returns int language sql volatile as
    'select low + floor(random() * (high - low + 1))::int';
create function load.key(space int) returns bigint language sql volatile as
    'select 2 * load.draw(1, space)::bigint + $parity';

-- A text that is sometimes nothing, or odd.
create function load.words() returns text language sql volatile as \$\$
    select case load.draw(0, 19) when 0 then null when 1 then '' when 2 then 'Zoë "{\\,}" 東京' || chr(10) || '''tab''' || chr(9)
                                 when 3 then repeat('long ', load.draw(1, 400)) else md5(random()::text) end \$\$;
create function load.amount() returns numeric language sql volatile as \$\$
    select case load.draw(0, 29) when 0 then null when 1 then 'NaN' else (random() * 100000)::numeric(12, 2) end \$\$;

create function load.change() returns void language plpgsql as \$\$
declare
    k     bigint := load.key(700);
    other bigint := load.key(700);
    e     bigint := load.key(3000);
    n     int := load.draw(1, 12);
begin
    case load.draw(0, 21)
    when 0, 1, 2 then
        insert into load.account values (k, load.words(), load.amount(), array[load.words(), load.words()], now()) on conflict do nothing;
    when 3 then
        insert into load.account select g, load.words(), load.amount(), null, now() from generate_series(k, k + 2 * n, 2) g
            on conflict do nothing;
    when 4 then
        insert into load.account select g, load.words(), load.amount(), '{}', now() from generate_series(k, k + 2 * n, 2) g
            on conflict (id) do update set owner = excluded.owner, balance = excluded.balance;
    when 5, 6, 7, 8 then
        insert into load.entry select load.key(3000), a.id, load.amount(), load.words()
            from load.account a where a.id between k and k + 2 * n and a.id % 2 = k % 2 for key share of a on conflict do nothing;
    when 9, 10, 11 then
        update load.account set balance = load.amount(), seen = clock_timestamp() where id = k;
    when 12 then
        update load.account set owner = load.words() where id between k and k + 2 * n and id % 2 = k % 2;
    when 13 then
        update load.entry set amount = amount + 1, note = load.words() where id between e and e + 20 * n and id % 2 = e % 2;
    when 14 then
        delete from load.account where id = k;
    when 15 then
        delete from load.entry where id between e and e + 8 * n and id % 2 = e % 2;
    when 16 then
        update load.account set id = other where id = k and not exists (select from load.account where id = other);
    when 17 then
        update load.entry set id = load.key(3000) where id = (select min(id) from load.entry where id >= e and id % 2 = e % 2);
    when 18 then
        update load.entry set account = other where id between e and e + 2 * n and id % 2 = e % 2
            and exists (select from load.account where id = other);
    when 19 then
        update load.account set owner = owner, balance = balance where id between k and k + 2 * n and id % 2 = k % 2;
    when 20 then
        delete from load.entry where id = e;
        insert into load.entry select e, a.id, load.amount(), 'again' from load.account a where a.id = k;
    when 21 then
        with gone as (delete from load.entry where id between e and e + 2 * n and id % 2 = e % 2 returning *)
        update load.account a set balance = g.amount from gone g where a.id = g.account;
    end case;
-- Another session was quicker: this statement is rolled back, the transaction goes on.
exception when unique_violation or foreign_key_violation then null;
end \$\$;

-- The next transactions of a session: up to that step, not more than that many, and none after load_stop.
create procedure load.run(of_session int, run int, seed bigint, last_step int, steps int, pause_ms int) language plpgsql as \$\$
declare
    -- Not max(step) alone: other sessions write here too, and the other side.
    begun int := coalesce((select max(step) from load.ledger where session = of_session), 0);
begin
    for step in begun + 1 .. least(last_step, begun + steps) loop
        exit when (pg_stat_file('$SERVERS_DIR/load.stop', true)).size is not null;
        perform setseed(sin(seed % 1000000 + 1000.1 * of_session + 7.7 * run + 0.0137 * step));
        for i in 1 .. case when random() < 0.5 then 1 else load.draw(2, 6) end loop
            perform load.change();
        end loop;
        if random() < 0.1 then
            begin
                perform load.change(), load.change();
                raise exception 'back to the savepoint' using errcode = 'LOAD1';
            exception when sqlstate 'LOAD1' then null;
            end;
        end if;
        if random() < 0.07 then
            rollback;
        end if;
        insert into load.ledger values (of_session, run, step, case when random() < 0.3 then load.words() end);
        commit;
        if pause_ms > 0 then
            perform pg_sleep(random() * pause_ms / 500.0);
        end if;
    end loop;
end \$\$;
SQL
}

# load_count NODE TABLE KEY-COLUMN: counts what applications commit. Apply is none.
load_count() {
    node_sql "$1" "create trigger count_change after insert or update or delete on $2 for each row
        when (session_user <> 'pgbridge') execute function load.count_change(${3:-})"
}

# The two databases with their tables, both nodes installed. Arguments are further lines of both configs.
load_prepare() {
    printf 'load: LOAD_SEED=%s\n' "$LOAD_SEED"
    sql alpha postgres "create database shop"
    sql beta postgres "create database ops"
    sql alpha shop <<'SQL'
create schema shop;
create table shop.accounts (
    account_id bigint primary key, owner_name text, balance numeric(14, 2), labels text[], seen timestamptz,
    own_note text default 'of shop');
create table shop.entries (
    entry_id bigint primary key, account_id bigint not null references shop.accounts on update cascade on delete cascade,
    amount numeric, note text);
create index on shop.entries (account_id);
create table shop.ledger (session int, run int, step int, note text, primary key (session, run, step));
create schema load;
create view load.account as select account_id as id, owner_name as owner, balance, labels, seen from shop.accounts;
create view load.entry as select entry_id as id, account_id as account, amount, note from shop.entries;
create view load.ledger as select session, run, step, note from shop.ledger;
SQL
    sql beta ops <<'SQL'
create schema crm;
create table crm.holder (
    "Last seen" timestamptz, tags text[], id bigint primary key, sum numeric(14, 2), full_name text,
    own_note text default 'of crm');
create table crm.booking (
    remark text, value numeric, holder bigint not null references crm.holder on update cascade on delete cascade,
    number bigint primary key);
create index on crm.booking (holder);
create table crm.journal (remark text, step int, run int, session int, primary key (session, run, step));
create schema load;
create view load.account as select id, full_name as owner, sum as balance, tags as labels, "Last seen" as seen from crm.holder;
create view load.entry as select number as id, holder as account, value as amount, remark as note from crm.booking;
create view load.ledger as select session, run, step, remark as note from crm.journal;
SQL
    bridge_node commerce alpha shop operations "$@" <<'YAML'
  - {name: account, table: shop.accounts, key: [id = account_id], fields: [owner = owner_name, balance, labels, seen]}
  - {name: entry, table: shop.entries, key: [id = entry_id], fields: [account = account_id, amount, note]}
  - {name: ledger, table: shop.ledger, key: [session, run, step], fields: [note], triggers: fire}
YAML
    bridge_node operations beta ops commerce "$@" <<'YAML'
  - {name: entry, table: crm.booking, key: [id = number], fields: [note = remark, account = holder, amount = value]}
  - {name: ledger, table: crm.journal, key: [session, run, step], fields: [note = remark], triggers: fire}
  - {name: account, table: crm.holder, key: [id], fields: ['seen = "Last seen"', owner = full_name, labels = tags, balance = sum]}
YAML
    load_schema commerce 0
    load_schema operations 1
    bridge_install commerce
    bridge_install operations
    load_count commerce shop.accounts account_id
    load_count commerce shop.entries entry_id
    load_count commerce shop.ledger
    load_count operations crm.holder id
    load_count operations crm.booking number
    load_count operations crm.journal
    sql alpha shop "create trigger note_arrival after insert or update on shop.ledger for each row execute function load.note_arrival()"
    sql beta ops "create trigger note_arrival after insert or update on crm.journal for each row execute function load.note_arrival()"
}

# load_session NODE SESSION STEPS PAUSE-MS: in the background of load_start. Ends after that many steps, or when stopped.
load_session() {
    local node=$1 session=$2 steps=$3 pause=$4 run=0 step=0
    # Every other session does not wait for the disk.
    ((session % 2 == 0)) || export PGOPTIONS='-c synchronous_commit=off'
    while [[ -e $SERVERS_DIR/servers.env && ! -e $SERVERS_DIR/load.stop ]] && ((step < steps)); do
        run=$((run + 1))
        node_sql "$node" "call load.run($session, $run, $LOAD_SEED, $steps, ${LOAD_STEPS_A_CALL:-1000}, $pause)" \
            >>"$SERVERS_DIR/log/load-$session.log" 2>&1 || sleep 0.2
        step=$(node_sql "$node" "select coalesce(max(step), 0) from load.ledger where session = $session" 2>/dev/null) || step=0
    done
}

# load_start SESSIONS STEPS [PAUSE-MS]: that many sessions on each side, in the background; returns at once.
load_start() {
    local sessions=$1 steps=$2 pause=${3:-0} i
    rm -f "$SERVERS_DIR/load.stop"
    for ((i = 1; i <= sessions; i++)); do
        load_session commerce $((100 + i)) "$steps" "$pause" &
        LOAD_JOBS+=($!)
        load_session operations $((200 + i)) "$steps" "$pause" &
        LOAD_JOBS+=($!)
    done
    servers_at_exit load_kill
}

load_kill() {
    local job
    for job in "${LOAD_JOBS[@]}"; do
        kill "$job" 2>/dev/null || true
    done
}

# Lets the sessions end after what they are doing.
load_stop() {
    : >"$SERVERS_DIR/load.stop"
}

load_wait() {
    local job
    for job in "${LOAD_JOBS[@]}"; do
        wait "$job" || fail "a session of the load ended with $?"
    done
    LOAD_JOBS=()
}

# load_same WHAT SQL: equal rows on both sides.
load_same() {
    node_sql commerce "$2" >"$SERVERS_DIR/commerce.rows"
    node_sql operations "$2" >"$SERVERS_DIR/operations.rows"
    [[ -s $SERVERS_DIR/commerce.rows ]] || fail "no rows: $1"
    if ! diff "$SERVERS_DIR/commerce.rows" "$SERVERS_DIR/operations.rows" >"$SERVERS_DIR/difference"; then
        head -n 20 "$SERVERS_DIR/difference" >&2
        fail "$1 differ in $(grep -c '^[<>]' "$SERVERS_DIR/difference") lines (< commerce, > operations)"
    fi
    printf 'ok - equal on both sides: %s (%s)\n' "$1" "$(wc -l <"$SERVERS_DIR/commerce.rows")"
}

# load_verify: waits for quiet, then nothing may be lost, doubled, different, left over or counted wrongly.
load_verify() {
    local node committed captured published
    bridge_quiet commerce operations
    load_same "accounts" "select * from load.account order by id"
    load_same "entries" "select * from load.entry order by id"
    load_same "ledger" "select * from load.ledger order by session, run, step"
    load_same "keys, versions, deletions and content hashes" \
        "select entity, key, version_time, version_node, deleted, content_hash from bridge.entity_state order by entity, key collate \"C\""
    for node in commerce operations; do
        assert_equal "" "$(node_sql "$node" "select session, step, count(*) from load.ledger group by 1, 2 having count(*) > 1 limit 5")" \
            "transactions that $node has twice"
        assert_equal "" "$(node_sql "$node" "select session, count(*), max(step) from load.ledger group by 1 having count(*) <> max(step)")" \
            "sessions whose ledger has gaps on $node"
        assert_equal "" "$(node_sql "$node" "select session, run, step, count(a.*) from load.ledger l
            left join load.arrival a using (session, run, step) group by 1, 2, 3 having count(a.*) <> 1 limit 5")" \
            "ledger rows that were not written exactly once on $node"
        assert_equal "0|0|0" "$(node_sql "$node" "select (select count(*) from bridge.outbox), (select count(*) from bridge.conflict),
            (select count(*) from bridge.dead_letter)")" "outbox, conflicts and dead letters of $node"
        counters_conserve "$node"
        assert_equal "0|0|0" "$(node_sql "$node" "select sum(gaps), sum(refused), sum(echo) from bridge.inbound")" \
            "gaps, refused messages and echoes on $node"
        IFS='|' read -r committed captured published < <(node_sql "$node" "select
            (select sum(changes) from load.committed), captured, published from bridge.outbound")
        ((published <= captured && captured <= committed)) ||
            fail "$node published $published of $captured captured of $committed committed changes"
        printf 'ok - %s: %s changes committed, %s captured, %s published; nothing left over\n' "$node" "$committed" "$captured" \
            "$published"
    done
}
