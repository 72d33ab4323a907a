-- bridge.edit_dead_letter(id, changes, reason): mends what a letter says, before it is replayed; its original payload is kept.
--
-- Of a letter that can be read: changes is an object of fields and their new values, the other fields stay. Of one that cannot
-- (quarantined): the whole message as it should have been, {"entity", "op", "key", "columns", "rows", "versions"}; without versions
-- it counts as written when it was first seen. It becomes one letter a row, parked.
--
-- What an edit means: the change stays its source's, with the version it had. If the row has been written since, that write stands
-- and the letter ends as superseded. Else the edited row stands here, and only here: its source and the other nodes keep what they
-- have, since for them this version is known already, until somebody writes the row again. The content hash sealed the message on its
-- way; it says nothing of an edited one.
--
-- Returns the row as the letter has it now; of several rows, an array.
create or replace function bridge.edit_dead_letter(id bigint, changes jsonb, reason text default null) returns jsonb
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    d      bridge.dead_letter;
    edited jsonb;
begin
    select * into d from bridge.dead_letter l where l.id = edit_dead_letter.id for update;
    if not found then
        raise exception 'there is no letter %', id using errcode = '02000', hint = 'See bridge.dead_letters.';
    elsif d.state not in ('retrying', 'parked', 'quarantined') then
        raise exception 'letter % is % already', id, d.state using errcode = '55000';
    elsif jsonb_typeof(changes) <> 'object' then
        raise exception 'a letter is edited by a JSON object' using errcode = '22023';
    end if;
    edited := case when d.class = 'poison' then bridge.read_dead_letter(d, changes) else bridge.change_dead_letter(d, changes) end;
    insert into bridge.audit (action, details, reason, affected)
    values ('edit dead letter', jsonb_build_object('ids', array[id], 'fields', (select jsonb_agg(k) from jsonb_object_keys(changes) k)),
            reason, case jsonb_typeof(edited) when 'array' then jsonb_array_length(edited) else 1 end);
    return edited;
end
$$;

-- bridge.change_dead_letter(letter, changes): of one that can be read.
create or replace function bridge.change_dead_letter(d bridge.dead_letter, changes jsonb) returns jsonb
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    body    jsonb;
    columns text[];
    key     text[];
    wrong   text;
    texts   jsonb;
begin
    if octet_length(d.payload) = 0 then
        raise exception 'letter % has no payload: the row is in its table here', d.id using errcode = '55000',
            hint = 'Make the row smaller: it then travels by itself; and discard the letter.';
    end if;
    body := convert_from(d.payload, 'UTF8')::jsonb;
    columns := array(select jsonb_array_elements_text(body -> 'columns'));
    key := array(select jsonb_array_elements_text(body -> 'key'));
    select string_agg(format('"%s"', k), ', ') into wrong from jsonb_object_keys(changes) k where k <> all (columns);
    if wrong is not null then
        raise exception 'letter % has no field %', d.id, wrong using errcode = '42703',
            hint = format('It has %s.', array_to_string(columns, ', '));
    end if;
    select string_agg(format('"%s"', k), ', ') into wrong from jsonb_object_keys(changes) k where k = any (key);
    if wrong is not null then
        raise exception 'the key (%) cannot be changed', wrong using errcode = '22023',
            hint = 'It would be another row: discard the letter, and write that row at its source.';
    end if;
    select string_agg(format('"%s"', k), ', ') into wrong
      from jsonb_object_keys(changes) k join bridge.entity e on e.name = d.entity and k = any (e.counters);
    if wrong is not null then
        raise exception 'a counter (%) cannot be edited: it is the sum of what each node has added', wrong using errcode = '22023';
    end if;
    select jsonb_agg(case when changes ? c then to_jsonb(changes ->> c) else body -> 'rows' -> 0 -> (o::int - 1) end order by o)
      into texts from unnest(columns) with ordinality as u (c, o);
    update bridge.dead_letter l
       set payload = convert_to(jsonb_set(body, '{rows,0}', texts)::text, 'UTF8'), original = coalesce(l.original, l.payload)
     where l.id = d.id;
    return jsonb_object(columns, array(select jsonb_array_elements_text(texts)));
end
$$;

-- bridge.read_dead_letter(letter, message): of one that cannot be read.
create or replace function bridge.read_dead_letter(d bridge.dead_letter, message jsonb) returns jsonb
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    rows_here int := case when jsonb_typeof(message -> 'rows') = 'array' then jsonb_array_length(message -> 'rows') else 0 end;
    columns   text[];
    key       text[];
    key_text  text;
    version   bigint;
    part      jsonb;
    texts     text[];
    edited    jsonb := '[]';
    -- Locked, so that nothing is forgotten before this letter says which rows it waits for.
    horizon   bigint := (select c.horizon_us from bridge.collection c for share);
begin
    if not exists (select from bridge.peer p where p.name = d.source) then
        raise exception 'letter % does not come from a peer, as far as its x-source tells', d.id using errcode = '55000',
            hint = 'Discard it, and have it sent again.';
    elsif jsonb_typeof(message -> 'entity') is distinct from 'string' or jsonb_typeof(message -> 'key') is distinct from 'array'
          or jsonb_typeof(message -> 'columns') is distinct from 'array' or rows_here not between 1 and 5000
          or coalesce(message ->> 'op' not in ('created', 'updated', 'deleted'), true) then
        raise exception 'this is not a message' using errcode = '22023',
            hint = '{"entity": "customer", "op": "updated", "key": ["id"], "columns": ["id", "email"], "rows": [["42", "ann@example.com"]], "versions": [1763675000123456]}';
    end if;
    columns := array(select jsonb_array_elements_text(message -> 'columns'));
    key := array(select jsonb_array_elements_text(message -> 'key'));
    if cardinality(key) = 0 or not key <@ columns then
        raise exception 'the key is not among the columns' using errcode = '22023';
    elsif not exists (select from bridge.entity e where e.active and e.name = message ->> 'entity') then
        raise exception 'no entity "%" is mapped here', message ->> 'entity' using errcode = '42704', hint = 'See bridge.entities.';
    end if;
    for i in 0 .. rows_here - 1 loop
        if jsonb_typeof(message -> 'rows' -> i) is distinct from 'array'
           or jsonb_array_length(message -> 'rows' -> i) <> cardinality(columns) then
            raise exception 'row % has not one value for each of the % columns', i + 1, cardinality(columns) using errcode = '22023';
        end if;
        texts := array(select jsonb_array_elements_text(message -> 'rows' -> i));
        version := coalesce((message -> 'versions' ->> i)::bigint, (date_part('epoch', d.first_seen) * 1000000)::bigint);
        -- A message of this row alone: of what has an entry per row, this row's.
        part := (select jsonb_object_agg(m.name, case when m.name in ('bases', 'correlations', 'merge', 'changed')
                                                           or (m.name = 'seen' and jsonb_typeof(m.value) = 'array')
                                                      then jsonb_build_array(m.value -> i) else m.value end)
                   from jsonb_each(message) m (name, value))
                || jsonb_build_object('rows', jsonb_build_array(to_jsonb(texts)), 'versions', jsonb_build_array(version));
        select case when cardinality(key) = 1 then max(t) else array_agg(t order by k.o)::text end into key_text
          from unnest(key) with ordinality as k (name, o) join unnest(columns, texts) as c (name, t) on c.name = k.name;
        if key_text is null then
            raise exception 'row % has no key', i + 1 using errcode = '22023';
        end if;
        -- Of a row that nobody knows any more nobody knows either whether it was deleted since.
        if version <= horizon and not exists (select from bridge.row_version v join bridge.entity e on e.id = v.entity
                                               where e.name = message ->> 'entity' and v.key = key_text) then
            raise exception 'row % is older than what is still known of deletions', i + 1 using errcode = '55000',
                hint = 'If it is to be written all the same, say so with a version of now: microseconds since 1970, in "versions".';
        end if;
        edited := edited || jsonb_object(columns, texts);
        if i = 0 then
            update bridge.dead_letter l
               set class = 'permanent', state = 'parked', entity = message ->> 'entity', key = key_text, op = message ->> 'op',
                   version_ts = version, original = l.payload, payload = convert_to(part::text, 'UTF8')
             where l.id = d.id;
        else
            insert into bridge.dead_letter (class, state, source, entity, key, op, version_ts, error_code, error, correlation, message_id,
                                            attempts, first_seen, payload)
            values ('permanent', 'parked', d.source, message ->> 'entity', key_text, message ->> 'op', version, d.error_code, d.error,
                    d.correlation, d.message_id, d.attempts, d.first_seen, convert_to(part::text, 'UTF8'));
        end if;
    end loop;
    return case when rows_here = 1 then edited -> 0 else edited end;
end
$$;
