-- bridge.attach(entity): writes the capture trigger of an entity's table from its row in bridge.entity.
--
-- The trigger stamps bridge.row_version under the row's lock and puts the row into bridge.outbox, in the transaction of
-- the application. It does not fire for what the adapter applies: that runs with session_replication_role = replica, and
-- where it does not (triggers: fire) it returns at once for its session_user; session_user, because an
-- application can set any custom setting. Where a trigger or a function has written the row once more within the same command, that
-- was captured before: then what the row is by now counts. With capture from the WAL there are no row triggers, only those for TRUNCATE, of which the log
-- does not tell which rows it took. Row triggers of a partitioned table are cloned to every partition, also to
-- later ones; TRUNCATE triggers are not, so each leaf gets its own, and the table itself one for leaves to come.
--
-- guarded = false is for the test that shows that each layer of loop prevention holds alone: apply is then captured too,
-- under the node that bridge.origin names, and so are updates that change nothing.
create or replace function bridge.attach(entity_name text, guarded boolean default true) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $body$
declare
    e          bridge.entity;
    node       bridge.node;
    table_oid  oid;
    types      oid[];
    kinds      text[];      -- the same as text, with their modifiers
    news       text[];      -- text expressions of new's columns
    olds       text[];
    rows_      text[];      -- of a plain table alias t
    pinned     text;
    guard      text;      -- whose writes are captured
    changed    text;
    told       text;      -- row t is as the event tells
    origin     text := 'null::text';
    owner_node text;
    seen       text;        -- what a row's writer had seen before this node writes it
    found_by   text;
    forgets    boolean;     -- a deletion that a peer has not forgotten yet must not win over a row that is made anew
    merged     boolean;     -- conflicts are settled field by field
    deleted_anew text := ''; -- of the state that this needs: in an insert, and in its conflict
    deleted_over text := '';
    written_anew text := '';
    written_over text := '';
    merged_after text := '';
    merged_else  text := '';
    here         text;      -- where the rows are
    noted        boolean;   -- the log tells, or has not told everything yet: what an entry of row_version is about, and what it replaces
    noted_over   text := '';
    noted_about  text := ''; -- the trigger's own transaction has written the row
    noted_column text := '';
    noted_value  text := '';
    later        text := 'greatest(excluded.ts, v.ts + 1)';
    clock constant text := '(date_part(''epoch'', clock_timestamp()) * 1000000)::bigint';
    floored      text := '';    -- what the log has yet to tell comes before what triggers or this node's word tell, also where the clock has gone back
    write_clock  text := clock;
    word_clock   text := clock;
    -- The rows that a TRUNCATE takes. A partition that was made after install has no trigger of its own: the partitioned table's sees to it.
    truncated constant text := $t$case when (select relkind from pg_class where oid = tg_relid) = 'p'
             then format('%s t where t.tableoid in (select p.relid from pg_partition_tree(%L) p where p.isleaf and not exists
                          (select from pg_trigger g where g.tgrelid = p.relid and g.tgname = ''bridge_truncate''))',
                         tg_relid::regclass, tg_relid::regclass)
             else format('only %s t', tg_relid::regclass) end$t$;
    leaf       record;
    i          int;
begin
    select * into strict e from bridge.entity where name = entity_name;
    select * into strict node from bridge.node;
    table_oid := e.relation::regclass;
    for i in 1 .. cardinality(e.columns) loop
        select types || a.atttypid, kinds || format_type(a.atttypid, a.atttypmod) into types, kinds from pg_attribute a
         where a.attrelid = table_oid and a.attname = e.columns[i] and a.attnum > 0 and not a.attisdropped;
        if not found then
            raise exception 'entity "%": table % has no column "%"', e.name, e.relation, e.columns[i]
                using errcode = '42703', hint = 'Correct the mapping in the config, or add the column.';
        end if;
        news := news || bridge.text_expression(format('new.%I', e.columns[i]), types[i]);
        olds := olds || bridge.text_expression(format('old.%I', e.columns[i]), types[i]);
        rows_ := rows_ || bridge.text_expression(format('t.%I', e.columns[i]), types[i]);
    end loop;
    pinned := bridge.pinned_settings(types);
    noted := node.versions_since is not null;
    if noted then
        noted_over := ', lsn = pg_current_wal_insert_lsn(), at_us = excluded.at_us, over = null, former = bridge.remember(v, pg_current_wal_insert_lsn()), row_xmin = ';
        noted_about := noted_over || 'null';
        noted_column := ', lsn, at_us';
        noted_value := ', pg_current_wal_insert_lsn(), ' || clock;
        later := 'greatest(excluded.ts, bridge.version_upon(v.ts, v.at_us, excluded.at_us))';
        if node.floor_us is not null then
            write_clock := format('greatest(%1$s, case when %1$s < %2$s then (select n.floor_us from bridge.node n) end)', clock, node.floor_us);
            floored := format($f$
    if now_us < %s then
        now_us := greatest(now_us, (select n.floor_us from bridge.node n));
    end if;$f$, node.floor_us);
        end if;
        -- A second is enough for as many transactions as it has microseconds.
        word_clock := format('greatest(%s, (select o.given_us + 1000000 from bridge.outbound o where o.given_us > %s))', write_clock, clock);
    end if;
    owner_node := quote_literal(node.name);
    guard := format('session_user <> %L', node.adapter_role);
    told := format('record_image_eq(row(%s), row(%s))',
                   (select string_agg(format('t.%I', c), ', ') from unnest(e.columns) c),
                   (select string_agg(format('new.%I', c), ', ') from unnest(e.columns) c));
    changed := format('record_image_ne(row(%s), row(%s))',
                      (select string_agg(format('old.%I', c), ', ') from unnest(e.columns) c),
                      (select string_agg(format('new.%I', c), ', ') from unnest(e.columns) c));
    here := e.relation;
    if (select c.relkind = 'r' from pg_class c where c.oid = table_oid) then
        here := 'only ' || e.relation;
        -- The server parses the trigger's condition for every statement: the shorter the better. A column may be added later.
        if not exists (select from pg_inherits where inhrelid = table_oid)
           and (select count(*) from pg_attribute a where a.attrelid = table_oid and a.attnum > 0 and not a.attisdropped) = cardinality(e.columns) then
            guard := format('%s and (tg_op <> ''UPDATE'' or %s)', guard, changed);
            changed := 'record_image_ne(old.*, new.*)';
        end if;
    end if;
    seen := format('case when v.node = %1$L then v.seen else bridge.join_seen(v.seen, null, v.ts, v.node, %1$L) end', node.name);
    -- With last-write-wins the row wins by its time anyway; what is merged is never forgotten.
    forgets := e.policy in ('node-priority', 'manual');
    merged := e.policy = 'merge';
    if merged then
        -- What replaces {V} and {TS}: no row_version yet, or the one that is replaced.
        deleted_anew := ', ' || replace(bridge.merge_expression(e, node.name, 'delete'), '{TS}', 'now_us');
        deleted_over := ', merge = ' || replace(bridge.merge_expression(e, node.name, 'delete'), '{TS}', 'greatest(excluded.ts, v.ts + 1)');
        written_anew := format(', case when operation = ''u'' then %s else %s end',
            replace(replace(bridge.merge_expression(e, node.name, 'update'), '{V}', 'null::jsonb'), '{TS}', 'now_us'),
            replace(replace(bridge.merge_expression(e, node.name, 'insert'), '{V}', 'null::jsonb'), '{TS}', 'now_us'));
        written_over := format('case when operation = ''u'' then %s else %s end',
            replace(bridge.merge_expression(e, node.name, 'update'), '{V}', 'v.merge'),
            replace(bridge.merge_expression(e, node.name, 'insert'), '{V}', 'v.merge'));
        -- Joined when it is known that the event is the row's last.
        merged_after := format($m$
        update bridge.row_version v set merge = %s where v.entity = %s and v.key = %s returning v.merge into stamp.merge;$m$,
            replace(written_over, '{TS}', 'v.ts'), e.id, bridge.key_expression(news[1:e.key_count]));
        merged_else := format($m$
            update bridge.row_version v set merge = %s where operation = 'u' and v.entity = %s and v.key = %s;$m$,
            replace(replace(bridge.merge_expression(e, node.name, 'groups'), '{V}', 'v.merge'), '{TS}', 'v.ts'), e.id, bridge.key_expression(news[1:e.key_count]));
        written_over := format(', merge = case when v.ts >= began_us and not row_security_active(%L) then v.merge else %s end',
                               e.relation, replace(written_over, '{TS}', 'greatest(excluded.ts, v.ts + 1)'));
    end if;
    if not guarded then
        changed := 'true';
        guard := 'true';
        origin := 'nullif(current_setting(''bridge.origin'', true), '''')';
        owner_node := format('coalesce(%s, %s)', origin, owner_node);
    end if;

    execute format($f$
create or replace function bridge.%1$I() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp %2$s
as $trigger$
declare
    correlation constant text := nullif(current_setting('bridge.correlation_id', true), '');
    traceparent constant text := nullif(current_setting('bridge.traceparent', true), '');
    began_us    constant bigint := (date_part('epoch', statement_timestamp()) * 1000000)::bigint; -- the application's command
    now_us      bigint := greatest((date_part('epoch', clock_timestamp()) * 1000000)::bigint, began_us);
    operation   "char" := case tg_op when 'UPDATE' then 'u' else 'c' end;
    stamp       record;
    alive       boolean;
begin
    if (%27$s) is not true then
        return null;
    end if;%37$s
    -- A new key is the old key's end and another row's beginning.
    if tg_op = 'DELETE' or (tg_op = 'UPDATE' and record_image_ne(row(%3$s), row(%4$s))) then
        insert into bridge.row_version as v (entity, key, ts, node, deleted, correlation%14$s%24$s)
        values (%5$s, %6$s, now_us, %11$s, true, correlation%15$s%25$s)
        on conflict (entity, key) do update
           set ts = %23$s, node = excluded.node, deleted = true,
               base_ts = v.ts, base_node = v.node, correlation = excluded.correlation, seen = %13$s%16$s%26$s
        returning v.ts, v.base_ts, v.base_node, v.seen%20$s into stamp;
        alive := false;
        if stamp.base_ts >= began_us and not row_security_active(%28$L) then
            alive := exists (select from %34$s t where %29$s);
        end if;
        if alive then
            perform bridge.%31$I(%6$s);
        else
            insert into bridge.outbox (layout, op, fields, ts, node, base_ts, base_node, correlation, traceparent, seen%14$s)
            values (%7$s, 'd', array[%8$s]::text[], stamp.ts, %12$s, stamp.base_ts, stamp.base_node, correlation, traceparent,
                    stamp.seen%19$s);
        end if;
        if tg_op = 'DELETE' then
            return null;
        end if;
        operation := 'c';
    end if;
    insert into bridge.row_version as v (entity, key, ts, node, deleted, correlation%21$s%14$s%24$s)
    values (%5$s, %9$s, now_us, %11$s, false, correlation%22$s%17$s%25$s)
    on conflict (entity, key) do update
       set ts = %23$s, node = excluded.node, deleted = false,
           base_ts = v.ts, base_node = v.node, correlation = excluded.correlation, seen = %13$s%18$s%26$s
    returning v.ts, v.base_ts, v.base_node, v.seen%20$s into stamp;
    if stamp.base_ts >= began_us and not row_security_active(%28$L) then
        if not exists (select from %34$s t where %30$s and %32$s) then%35$s
            perform bridge.%31$I(%9$s%36$s);
            return null;
        end if;%33$s
    end if;
    insert into bridge.outbox (layout, op, fields, ts, node, base_ts, base_node, correlation, traceparent, seen%14$s)
    values (%7$s, operation, array[%10$s]::text[], stamp.ts, %12$s,
            stamp.base_ts, stamp.base_node, correlation, traceparent, stamp.seen%19$s);
    return null;
end
$trigger$ $f$,
        'capture_' || e.id, pinned,
        (select string_agg(format('old.%I', c), ', ') from unnest(e.columns[1:e.key_count]) c),
        (select string_agg(format('new.%I', c), ', ') from unnest(e.columns[1:e.key_count]) c),
        e.id, bridge.key_expression(olds[1:e.key_count]), e.layout, array_to_string(olds[1:e.key_count], ', '),
        bridge.key_expression(news[1:e.key_count]), array_to_string(news, ', '), owner_node, origin, seen,
        case when merged then ', merge' else '' end, deleted_anew, deleted_over, written_anew, written_over,
        case when merged then ', stamp.merge' else '' end, case when merged then ', v.merge' else '' end,
        case when forgets then ', seen' else '' end,
        case when forgets then format($e$, case when operation = 'c' then bridge.certainly_seen(%s::smallint, %s) end$e$,
                                      e.id, bridge.key_expression(news[1:e.key_count])) else '' end,
        later, noted_column, noted_value, noted_about, guard, e.relation,
        (select string_agg(format('t.%1$I = old.%1$I', c), ' and ') from unnest(e.columns[1:e.key_count]) c),
        (select string_agg(format('t.%1$I = new.%1$I', c), ' and ') from unnest(e.columns[1:e.key_count]) c),
        'assert_' || e.id, told, merged_after, here, merged_else, case when merged then ', operation = ''u''' else '' end, floored);

    -- TRUNCATE: the rows are still there before it, and the table is locked against everybody.
    if e.truncate = 'refuse' then
        execute format($f$
create or replace function bridge.%1$I() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
as $trigger$
begin
    raise exception 'TRUNCATE of %% is refused: entity "%2$s" is mirrored by pgbridge', tg_relid::regclass
        using errcode = '55000', hint = 'Use DELETE, or set "truncate: capture" for the entity and run pgbridge install.';
end
$trigger$ $f$, 'truncate_' || e.id, e.name);
    elsif node.capture = 'wal' then
        -- As deletions the log tells of it, in their place among the transaction's other writes; made as apply makes them, without a trigger:
        -- one that fires even so would fire with the rights of the bridge's owner.
        execute format($f$
create or replace function bridge.%I() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = off
as $trigger$
declare
    role text := current_setting('session_replication_role');
begin
    if exists (select from pg_trigger g where g.tgrelid in (select tg_relid union select p.relid from pg_partition_tree(tg_relid) p)
                                          and g.tgenabled in ('A', 'R') and g.tgtype & 8 <> 0)
       or exists (select from pg_rewrite r where r.ev_class in (select tg_relid union select p.relid from pg_partition_tree(tg_relid) p)
                                             and r.ev_enabled in ('A', 'R') and r.ev_type = '4') then
        raise exception 'TRUNCATE of %% is refused: a trigger or rule for its deletions fires always, also for those of pgbridge', tg_relid::regclass
            using errcode = '55000', hint = 'Use DELETE, or let that trigger or rule be enabled without ALWAYS or REPLICA.';
    end if;
    perform set_config('session_replication_role', 'replica', true);
    execute 'delete from ' || %s;
    perform set_config('session_replication_role', role, true);
    return null;
end
$trigger$ $f$, 'truncate_' || e.id, truncated);
    else
        execute format($f$
create or replace function bridge.%1$I() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp %2$s
as $trigger$
begin
    execute format($statement$
        with stamped as (
            insert into bridge.row_version as v (entity, key, ts, node, deleted, correlation%14$s%9$s)
            select %3$s, %4$s, now_us, %7$L, true, nullif(current_setting('bridge.correlation_id', true), '')%15$s%10$s
              from (select %18$s as now_us) as clock, %%s
            on conflict (entity, key) do update
               set ts = %16$s, node = excluded.node, deleted = true,
                   base_ts = v.ts, base_node = v.node, correlation = excluded.correlation, seen = %8$s%11$s%13$s
            returning v.key, v.ts, v.base_ts, v.base_node, v.correlation, v.seen%12$s)
        insert into bridge.outbox (layout, op, fields, ts, base_ts, base_node, correlation, traceparent, seen%9$s)
        select %5$s, 'd', %6$s, ts, base_ts, base_node, correlation, nullif(current_setting('bridge.traceparent', true), ''),
               seen%9$s
          from stamped $statement$,
        %17$s);
    return null;
end
$trigger$ $f$, 'truncate_' || e.id, pinned, e.id,
            replace(bridge.key_expression(rows_[1:e.key_count]), '%', '%%'), e.layout,
            case when e.key_count = 1 then 'array[key]' else 'key::text[]' end, node.name, seen,
            case when merged then ', merge' else '' end, deleted_anew, deleted_over,
            case when merged then ', v.merge' else '' end, noted_about, noted_column, noted_value, later, truncated, write_clock);
    end if;

    -- The row as it is now, said by this node to everybody: with a version after all that it knows of. For a write that no
    -- application made, such as the resolution of a conflict. The caller has the row's lock.
    select string_agg(case when e.key_count = 1 then format('t.%I = $1::%s', c, kinds[o])
                           else format('t.%I = ($1::text[])[%s]::%s', c, o, kinds[o]) end, ' and ')
      into found_by from unnest(e.columns[1:e.key_count]) with ordinality as u (c, o);
    execute format($f$
create or replace function bridge.%1$I(row_key text, revived boolean default false) returns void language plpgsql security definer
    set search_path = pg_catalog, pg_temp %2$s
as $function$
declare
    present boolean;
    row_fields text[];
    xmin_here xid;
    stamp   record;
begin
    select true, array[%3$s]::text[], t.xmin into present, row_fields, xmin_here from %4$s t where %5$s;
    insert into bridge.row_version as v (entity, key, ts, node, deleted%15$s)
    values (%6$s, row_key, %18$s, %7$L, present is null%16$s)
    on conflict (entity, key) do update
       set ts = greatest(excluded.ts, v.ts + 1), node = excluded.node, deleted = excluded.deleted,
           base_ts = v.ts, base_node = v.node, seen = %8$s%11$s%17$s
    returning v.ts, v.base_ts, v.base_node, v.correlation, v.seen%14$s into stamp;
    insert into bridge.outbox (layout, op, fields, ts, base_ts, base_node, correlation, seen%12$s)
    values (%9$s, case when present then 'u' else 'd' end::"char", case when present then row_fields else %10$s end,
            stamp.ts, stamp.base_ts, stamp.base_node, stamp.correlation, stamp.seen%13$s);
end
$function$ $f$, 'assert_' || e.id, pinned, array_to_string(rows_, ', '), e.relation, found_by, e.id, node.name, seen,
        e.layout, case when e.key_count = 1 then 'array[row_key]' else 'row_key::text[]' end,
        case when merged then format(', merge = case when present then bridge.count_to(case when revived then v.merge else %s end, %L, greatest(excluded.ts, v.ts + 1), %L, %L, row_fields)
                                                     when revived then v.merge else %s end',
                                     replace(replace(bridge.merge_expression(e, node.name, 'assert'), '{V}', 'v.merge'), '{TS}', 'greatest(excluded.ts, v.ts + 1)'),
                                     node.name, e.fields, e.counters,
                                     replace(bridge.merge_expression(e, node.name, 'delete'), '{TS}', 'greatest(excluded.ts, v.ts + 1)'))
             else '' end,
        case when merged then ', merge' else '' end, case when merged then ', stamp.merge' else '' end,
        case when merged then ', v.merge' else '' end, case when noted then noted_column || ', row_xmin' else '' end,
        case when noted then noted_value || ', xmin_here' else '' end,
        case when noted then noted_over || 'xmin_here' else '' end, word_clock);
    execute format('alter function bridge.%I(text, boolean) owner to pgbridge_owner', 'assert_' || e.id);
    execute format('revoke execute on function bridge.%I(text, boolean) from public', 'assert_' || e.id);
    execute format('grant execute on function bridge.%I(text, boolean) to %I', 'assert_' || e.id, node.adapter_role);

    execute format('alter function bridge.%I() owner to pgbridge_owner', 'capture_' || e.id);
    execute format('alter function bridge.%I() owner to pgbridge_owner', 'truncate_' || e.id);
    execute format('revoke execute on function bridge.%I(), bridge.%I() from public', 'capture_' || e.id, 'truncate_' || e.id);

    if node.capture = 'outbox' then
        execute format('create or replace trigger bridge_insert after insert on %s for each row execute function bridge.%I()',
                       e.relation, 'capture_' || e.id);
        -- Always true, and names the columns: the server refuses then to drop one, or to change its type.
        execute format('create or replace trigger bridge_delete after delete on %s for each row when ((row(%s) is null) is not null) execute function bridge.%I()',
                       e.relation, (select string_agg(format('old.%I', c), ', ') from unnest(e.columns) c), 'capture_' || e.id);
        -- An update that leaves every mapped column as it was is nobody else's business.
        execute format('create or replace trigger bridge_update after update on %s for each row when (%s) execute function bridge.%I()',
                       e.relation, changed, 'capture_' || e.id);
    end if;
    for leaf in select c.oid::regclass as name from pg_partition_tree(table_oid) p join pg_class c on c.oid = p.relid
                 where p.isleaf
                union select table_oid::regclass loop
        execute format('create or replace trigger bridge_truncate before truncate on %s for each statement execute function bridge.%I()',
                       leaf.name, 'truncate_' || e.id);
        execute format('grant select on %s to pgbridge_owner', leaf.name);
        if node.capture = 'wal' then
            execute format('grant delete on %s to pgbridge_owner', leaf.name);
        elsif exists (select from bridge.capture_switch) then
            execute format('revoke delete on %s from pgbridge_owner', leaf.name);
        end if;
    end loop;

    -- For bridge.entity_state, under pinned settings whoever looks.
    execute format($f$create or replace function bridge.%I(t %s) returns text language sql stable
        set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set intervalstyle = postgres set timezone = 'UTC'
        set extra_float_digits = 1 set bytea_output = hex set lc_monetary = 'C'
        as $function$ select %s $function$ $f$,
        'row_key_' || e.id, e.relation, bridge.key_expression(rows_[1:e.key_count]));
    execute format($f$create or replace function bridge.%I(t %s) returns text language sql stable
        set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set intervalstyle = postgres set timezone = 'UTC'
        set extra_float_digits = 1 set bytea_output = hex set lc_monetary = 'C'
        as $function$ select bridge.content_hash(%L::text[], array[%s]::text[]) $function$ $f$,
        'row_hash_' || e.id, e.relation, e.fields, array_to_string(rows_, ', '));
    execute format('alter function bridge.%I(%s) owner to pgbridge_owner', 'row_key_' || e.id, e.relation);
    execute format('alter function bridge.%I(%s) owner to pgbridge_owner', 'row_hash_' || e.id, e.relation);
end
$body$;
