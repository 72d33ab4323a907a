-- bridge.note_overtaken(...): a change that is to be noted when apply has written the row since it was made. known_by is the entry of v.former,
-- at that place, which the change was written upon or which came right after it; null when v came right after it.
create or replace function bridge.note_overtaken(v bridge.row_version, op "char", commit_us bigint, place bigint, xid xid, k bridge.known,
                                                 known_by jsonb, at int, later bigint) returns bridge.known
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    this_node text := (select name from bridge.node);
    formers   jsonb := coalesce(v.former, '[]');
    entries   jsonb := formers || jsonb_strip_nulls(jsonb_build_object(
                  'lsn', bridge.lsn_number(v.lsn), 'over', v.over::text, 'base', v.base_ts, 'ts', v.ts, 'node', v.node));
    event     jsonb;  -- what apply made of it
    judged    bigint; -- the version by which apply has judged it
    misjudged boolean;
    upon_it   boolean := (known_by ->> 'lsn')::bigint < place;
    own       jsonb;
begin
    select e.value into event from jsonb_array_elements(entries) with ordinality e
     where e.value -> 'late' is null and (e.value ->> 'lsn')::bigint > place order by e.ordinality limit 1;
    -- The row may have had the number of a subtransaction.
    if op <> 'd' and (event ->> 'over' = xid::text
                      or (date_part('epoch', pg_xact_commit_timestamp((event ->> 'over')::xid)) * 1000000)::bigint = commit_us) then
        judged := (event ->> 'base')::bigint;
        k.ts := greatest(k.ts, judged);
    end if;
    -- What would have lost to its version has won. Apart from that it only has another version from now on.
    misjudged := exists (select from jsonb_array_elements(entries) e
                          where e -> 'late' is null and (e ->> 'lsn')::bigint > place and e ->> 'node' <> this_node
                            and ((e ->> 'ts')::bigint, e ->> 'node' collate "C") between (judged, this_node) and (k.ts, this_node));
    -- Or it would have the version by which this node has given its word since, on account of an earlier change; not the one by which apply has
    -- judged a later change, which is yet to get its own.
    misjudged := misjudged or (k.ts is distinct from judged and (
        select bool_or(e -> 'over' is null and e ->> 'node' = this_node and (e ->> 'ts')::bigint = k.ts)
               and not coalesce(bool_or(e -> 'over' is not null and (e ->> 'base')::bigint = k.ts), false)
          from jsonb_array_elements(entries) e where e -> 'late' is null and (e ->> 'lsn')::bigint > place) is true);
    -- Or a trigger has told of a later write with an earlier version, because the clock has gone back further than bridge.floor_after_log can know; of
    -- several entries of one version the first one is what gave it.
    misjudged := misjudged or ((select n.capture = 'outbox' from bridge.node n) and exists (
        select from jsonb_array_elements(entries) e
         where e -> 'late' is null and (e ->> 'lsn')::bigint > place and e -> 'over' is null and e ->> 'node' = this_node
           and (e ->> 'ts')::bigint <= k.ts and (e ->> 'ts')::bigint is distinct from judged
           and not exists (select from jsonb_array_elements(entries) f
                            where (f -> 'over' is not null and (f ->> 'base')::bigint = (e ->> 'ts')::bigint)
                               or ((f -> 'late' is not null or (f ->> 'lsn')::bigint <= place)
                                   and f ->> 'node' = this_node and (f ->> 'ts')::bigint = (e ->> 'ts')::bigint))));
    if misjudged then
        k.ts := greatest(k.ts, (select max((e ->> 'ts')::bigint) + 1 from jsonb_array_elements(entries) e where e ->> 'node' = this_node));
    end if;
    formers := (select coalesce(jsonb_agg(case when e.value ->> 'node' = this_node and (e.value ->> 'ts')::bigint = judged and (e.value ->> 'lsn')::bigint > place
                                               then e.value || jsonb_build_object('ts', k.ts) else e.value end order by e.ordinality), '[]')
                  from jsonb_array_elements(formers) with ordinality e);
    own := jsonb_strip_nulls(jsonb_build_object(
        'replaced', case when known_by is null then bridge.lsn_number(v.lsn) when upon_it then (known_by ->> 'replaced')::bigint
                         else (known_by ->> 'lsn')::bigint end,
        'lsn', place, 'xmin', xid::text, 'ts', k.ts, 'node', this_node, 'at', commit_us, 'later', nullif(later, 0), 'seen', k.seen, 'late', true));
    update bridge.row_version r
       set former = case when known_by is null then formers || own
                         when upon_it then jsonb_insert(jsonb_set(formers, array[at::text, 'replaced'], to_jsonb(place)), array[at::text], own, true)
                         else jsonb_insert(formers, array[at::text], own) end,
           ts = case when r.ts = judged and r.node = this_node and bridge.lsn_number(r.lsn) > place then k.ts else r.ts end,
           row_xmin = coalesce(r.row_xmin, r.xmin) -- it is about the row that it was about
     where r.entity = v.entity and r.key = v.key;
    if misjudged then
        perform bridge.insist(v.entity, v.key, k.ts);
    elsif op = 'd' and event ->> 'over' is null then
        perform bridge.settle_deletion(v.entity, v.key, k, exists (
            select from jsonb_array_elements(entries) e where e -> 'late' is null and (e ->> 'lsn')::bigint > place and e ->> 'over' is not null));
    end if; -- otherwise apply has judged by what this node wrote after the deletion
    return k;
end
$$;

-- bridge.row_here(entity, key, patient): locks the row, unless it is held by somebody who is not waited for. present: it is here; told: no
-- write of an application's is still to be told: row_version's entry is about it as it is, or triggers have told what was written since.
create or replace function bridge.row_here(e bridge.entity, row_key text, patient boolean, out present boolean, out told boolean, out row_fields text[], out held boolean)
    language plpgsql
    set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set intervalstyle = postgres set timezone = 'UTC'
    set extra_float_digits = 1 set bytea_output = hex set lc_monetary = 'C'
as $$
declare
    xmin_here xid;
begin
    execute (select format('select t.xmin, array[%s]::text[] from %s t where %s for update %s',
                           string_agg(bridge.text_expression(format('t.%I', c.col), (select a.atttypid from pg_attribute a
                                      where a.attrelid = e.relation::regclass and a.attname = c.col)), ', ' order by c.o),
                           e.relation, bridge.key_match(e), case when not patient then 'skip locked' end)
               from bridge.columns_of(e) c) into xmin_here, row_fields using row_key;
    present := xmin_here is not null;
    held := false;
    if not patient and not present then
        execute format('select exists (select from %s t where %s)', e.relation, bridge.key_match(e)) into held using row_key;
    end if;
    -- What a trigger has not told are other columns.
    told := (select n.capture <> 'wal' or coalesce(v.row_xmin, v.xmin) = xmin_here
                    or (v.node = n.name and v.at_us = (date_part('epoch', pg_xact_commit_timestamp(xmin_here)) * 1000000)::bigint) is true
               from bridge.row_version v, bridge.node n where v.entity = e.id and v.key = row_key);
end
$$;

-- bridge.key_match(entity): SQL for the row t of the table whose key's text is $1.
create or replace function bridge.key_match(e bridge.entity) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(case when e.key_count = 1 then format('t.%I = $1::%s', c.col, c.kind)
                           else format('t.%I = ($1::text[])[%s]::%s', c.col, c.o, c.kind) end, ' and ' order by c.o)
      from bridge.columns_of(e) c where c.o <= e.key_count
$$;

-- bridge.insist(entity, key, ts): this node's own word about the row as it is, with a version after ts and all that it knows of; unless a
-- later write of its applications is still to be captured, which then stands upon that version. What apply has made of the row is remembered: it
-- may have judged by changes that are still to be noted.
create or replace function bridge.insist(entity_id smallint, row_key text, ts bigint) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    this_node text := (select name from bridge.node);
    e         bridge.entity;
    here      record;
begin
    select * into strict e from bridge.entity where id = entity_id;
    here := bridge.row_here(e, row_key, true);
    if here.present and not here.told or not here.present and not (select v.deleted from bridge.row_version v where v.entity = entity_id and v.key = row_key) then
        update bridge.row_version v
           set ts = insist.ts, node = this_node, seen = bridge.join_seen(v.seen, null, v.ts, v.node, this_node), row_xmin = coalesce(v.row_xmin, v.xmin),
               former = bridge.remember(v, v.lsn)
         where v.entity = entity_id and v.key = row_key and v.ts < insist.ts;
        return;
    end if;
    update bridge.row_version v
       set ts = greatest(v.ts, insist.ts), node = this_node, seen = bridge.join_seen(v.seen, null, v.ts, v.node, this_node),
           row_xmin = coalesce(v.row_xmin, v.xmin), former = bridge.remember(v, v.lsn)
     where v.entity = entity_id and v.key = row_key;
    execute format('select bridge.%I($1)', 'assert_' || entity_id) using row_key;
end
$$;

-- bridge.settle_deletion(entity, key, deletion, written): judges a deletion of this node's against what apply has brought since it was made, as if
-- that came after it (bridge/flow/policy.c). Where an application has written the row again it stays; that the two met is told all the same.
create or replace function bridge.settle_deletion(entity_id smallint, row_key text, deletion bridge.known, written boolean) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    this_node text := (select name from bridge.node);
    e         bridge.entity;
    v         bridge.row_version;
    here      record;
    verdict   text;
    ruling    text;
    later     boolean; -- the deletion is
    stays     boolean; -- the row
    stands    boolean; -- the deletion's version
    child     boolean := false;
begin
    select * into strict e from bridge.entity where id = entity_id;
    here := bridge.row_here(e, row_key, true);
    written := written or (here.present and not here.told);
    select * into strict v from bridge.row_version r where r.entity = entity_id and r.key = row_key;
    if v.node = this_node and v.ts >= deletion.ts or (v.seen ->> this_node)::bigint >= deletion.ts then
        return;
    end if;
    verdict := case when v.node = this_node or (deletion.seen ->> v.node)::bigint >= v.ts then 'older'
                    when not here.present then 'same' else 'concurrent' end;
    later := deletion.ts > v.ts or (deletion.ts = v.ts and this_node > v.node collate "C");
    if verdict = 'concurrent' then
        ruling := bridge.rule_deletion(e, v.node, later);
        ruling := case when written and ruling = 'open' then 'remote' else ruling end;
        insert into bridge.conflict (entity, key, kind, policy, ruling, fields, local_row, local_ts, local_node, local_correlation,
                                     remote_row, remote_ts, remote_node, remote_correlation, resolved_at, resolution)
        values (e.name, row_key, 'update_deleted', e.policy, ruling, e.fields, null, deletion.ts, this_node, null,
                here.row_fields, v.ts, v.node, v.correlation, case when ruling <> 'open' then now() end, case when ruling <> 'open' then 'policy' end)
        on conflict do nothing;
    end if;
    if written then
        return;
    end if;
    stands := verdict = 'older' or ruling = 'open' or later;
    stays := here.present and verdict = 'concurrent' and not stands and ruling = 'remote';
    if here.present and not stays then
        child := bridge.has_child(e, row_key);
        if not child then
            perform bridge.delete_quietly(e, row_key);
        end if;
    end if;
    update bridge.row_version r
       set ts = case when stands and not (child and not later) then deletion.ts else v.ts end,
           node = case when stands and not (child and not later) then this_node else v.node end,
           seen = case when ruling = 'open' and not child then deletion.seen
                       when stands and not (child and not later) then bridge.join_seen(deletion.seen, v.seen, v.ts, v.node, this_node)
                       else bridge.join_seen(v.seen, deletion.seen, deletion.ts, this_node, v.node) end,
           deleted = not here.present or not (stays or child),
           base_ts = v.ts, base_node = v.node, over = null, lsn = pg_current_wal_insert_lsn(),
           at_us = case when stands and not (child and not later) then (date_part('epoch', clock_timestamp()) * 1000000)::bigint else r.at_us end,
           former = bridge.remember(r, pg_current_wal_insert_lsn())
     where r.entity = entity_id and r.key = row_key;
    -- A row that others refer to by now stays, and everybody is told; so is whoever goes after this node.
    if child or (not stays and not stands and ruling = 'local') then
        perform bridge.insist(entity_id, row_key, 0);
    end if;
end
$$;

-- bridge.rule_deletion(entity, node, later): who wins, a deletion of this node's or a write of the other's that had not seen it.
create or replace function bridge.rule_deletion(e bridge.entity, node text, later boolean) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select case when e.policy = 'manual' then 'open'
                when e.policy = 'node-priority' and r.here <> r.there
                     -- The end of a row that others refer to wins by its version alone.
                     and not exists (select from pg_constraint c where c.contype = 'f' and c.conparentid = 0 and c.confrelid = e.relation::regclass)
                then case when r.here < r.there then 'local' else 'remote' end
                when later then 'local' else 'remote' end
      from (select coalesce(array_position(e.priority, n.name), 1000) as here, coalesce(array_position(e.priority, rule_deletion.node), 1000) as there
              from bridge.node n) r
$$;

-- bridge.has_child(entity, key): whether a row refers to it.
create or replace function bridge.has_child(e bridge.entity, row_key text) returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    query text;
    found_one boolean;
begin
    for query in
        select format('select exists (select from %s t join %s c on %s where %s)', e.relation, c.conrelid::regclass,
                      (select string_agg(format('c.%I = t.%I', ca.attname, pa.attname), ' and ')
                         from unnest(c.conkey, c.confkey) as k (child, parent)
                         join pg_attribute ca on ca.attrelid = c.conrelid and ca.attnum = k.child
                         join pg_attribute pa on pa.attrelid = c.confrelid and pa.attnum = k.parent), bridge.key_match(e))
          from pg_constraint c where c.contype = 'f' and c.conparentid = 0 and c.confrelid = e.relation::regclass loop
        execute query into found_one using row_key;
        if found_one then
            return true;
        end if;
    end loop;
    return false;
end
$$;

-- bridge.delete_quietly(entity, key): as apply does, without any trigger, and not to be captured.
create or replace function bridge.delete_quietly(e bridge.entity, row_key text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    role text := current_setting('session_replication_role');
begin
    if not pg_replication_origin_session_is_setup() then
        perform pg_replication_origin_session_setup(bridge.origin_name(n.name, 'out')) from bridge.node n;
    end if;
    perform set_config('session_replication_role', 'replica', true);
    execute format('delete from %s t where %s', e.relation, bridge.key_match(e)) using row_key;
    perform set_config('session_replication_role', role, true);
end
$$;
