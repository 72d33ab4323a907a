-- bridge.resume(direction, entity): ends pauses: of one entity, or without one those of whole directions; both directions unless one
-- is given. What was held of an entity is applied next, by the version rule. Returns what has been resumed.
-- discard_deletions: held deletions of the entity are not applied but undone: its rows are written once more, to everybody.
-- key: instead of an entity's pause, ends the cooling down of that row (see bridge.health, ping-pong); as bridge.dead_letters shows it.
create or replace function bridge.resume(direction text default null, entity text default null, key text default null,
                                         discard_deletions boolean default false, person text default null)
    returns setof bridge.pause
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    p       bridge.pause;
    dropped bigint;
    let_go  bigint;
begin
    if direction is not null and direction not in ('in', 'out') then
        raise exception 'a direction is ''in'' or ''out'', not ''%''', direction using errcode = '22023';
    end if;
    if entity is null and (key is not null or discard_deletions) then
        raise exception 'which entity?' using errcode = '22023';
    end if;
    if key is not null then
        update bridge.dead_letter d set next_attempt = now()
         where d.state = 'retrying' and d.error_code = 'STORM' and d.entity = entity and d.key = key;
        if not found then
            raise exception 'no change of % % is held', entity, key using errcode = '02000', hint = 'See bridge.dead_letters.';
        end if;
        return;
    end if;
    for p in select * from bridge.pause q
              where q.resumed_at is null and q.entity is not distinct from entity and q.direction = coalesce(direction, q.direction)
              order by q.id for update loop
        dropped := null;
        let_go := null;
        if p.direction = 'in' and entity is not null then
            dropped := case when discard_deletions then bridge.discard_deletions(entity) end;
            update bridge.dead_letter d set next_attempt = now()
             where d.state = 'retrying' and d.error_code = 'PAUSED' and d.entity = entity;
            get diagnostics let_go = row_count;
        end if;
        return query
            update bridge.pause q
               set resumed_at = now(), resumed_by = session_user || coalesce(' for ' || person, ''), released = let_go, discarded = dropped
             where q.id = p.id
            returning q.*;
    end loop;
end
$$;

-- bridge.discard_deletions(entity): the deletions of it that are held shall not be: their rows, where they are still here, are written
-- once more by this node, which has seen the deletions, so that they come back where they were deleted. Returns how many.
create or replace function bridge.discard_deletions(entity text) returns bigint
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    e      bridge.entity;
    letter bridge.dead_letter;
    stamp  bridge.row_version;
    many   bigint := 0;
begin
    select * into strict e from bridge.entity where name = entity;
    -- What apply and capture do with versions waits.
    if (select n.versions_since is not null from bridge.node n) then
        perform pg_advisory_xact_lock(hashtext('pgbridge'), hashtext('versions'));
    end if;
    for letter in
        update bridge.dead_letter d set state = 'discarded', next_attempt = null, last_seen = now()
         where d.state = 'retrying' and d.error_code = 'PAUSED' and d.entity = entity and d.op = 'deleted'
        returning d.* loop
        many := many + 1;
        select * into stamp from bridge.row_version v where v.entity = e.id and v.key = letter.key for update;
        continue when not found or stamp.deleted;
        -- Whoever undoes a deletion has seen it.
        update bridge.row_version v
           set ts = greatest_.ts, node = greatest_.node,
               merge = case when e.policy = 'merge' and letter.version_ts > coalesce((v.merge -> 'd' ->> 0)::bigint, 0)
                            then coalesce(v.merge, '{}') || jsonb_build_object('d', jsonb_build_array(letter.version_ts, letter.source)) else v.merge end,
               seen = bridge.join_seen(bridge.join_seen(v.seen, null, v.ts, v.node, ''), null, letter.version_ts, letter.source, greatest_.node)
          from (select ts, node from (values (stamp.ts, stamp.node), (letter.version_ts, letter.source)) as w (ts, node)
                 order by ts desc, node collate "C" desc limit 1) greatest_
         where v.entity = e.id and v.key = letter.key;
        execute format('select bridge.%I($1)', 'assert_' || e.id) using letter.key;
    end loop;
    return many;
end
$$;
