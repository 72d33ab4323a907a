-- bridge.replay_dead_letters(...): has the adapter try letters once more, now (or rate of them a second), with a budget of attempts as
-- if they were new. Which: those that match when this is called, and no others (bridge.wanted_dead_letters says how).
-- Each passes the version rule like any message: one whose row has since been written by somebody who knew it, or came later, is
-- superseded and changes nothing, however old it is.
-- Returns the replay's number, by which bridge.dead_letters shows its letters; how many they are; and how many match that cannot be
-- replayed: what cannot be read, and this node's own rows that were too large to travel.
create or replace function bridge.replay_dead_letters(ids bigint[] default null, class text default null, entity text default null,
                                                      error text default null, state text default null, source text default null,
                                                      older interval default null, newer interval default null,
                                                      rate numeric default null, reason text default null,
                                                      out replay bigint, out letters bigint, out left_out bigint)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    if rate <= 0 then
        raise exception 'a rate is more than 0 letters a second' using errcode = '22023';
    end if;
    insert into bridge.audit (action, details, reason)
    values ('replay dead letters',
            jsonb_strip_nulls(jsonb_build_object('ids', ids, 'class', class, 'entity', entity, 'error', error, 'state', state,
                                                 'source', source, 'older', older, 'newer', newer, 'rate', rate)), reason)
    returning id into replay;
    with wanted as (
        select d.id, d.class = 'poison' or octet_length(d.payload) = 0 as mute
          from bridge.wanted_dead_letters(ids, class, entity, error, state, source, older, newer) w (id)
          join bridge.dead_letter d on d.id = w.id
         where d.state in ('retrying', 'parked', 'quarantined')),
    chosen as (
        select id, coalesce((row_number() over (order by id) - 1) / rate, 0) as seconds from wanted where not mute),
    replayed as (
        update bridge.dead_letter d
           set state = 'retrying', attempts = 0, next_attempt = clock_timestamp() + chosen.seconds * interval '1 s',
               replay = replay_dead_letters.replay, failed_again = false
          from chosen
         where d.id = chosen.id and d.state in ('retrying', 'parked')
        returning d.id)
    select (select count(*) from replayed), (select count(*) from wanted where mute) into letters, left_out;
    if letters = 0 and left_out > 0 then
        raise exception '% cannot be replayed', case left_out when 1 then 'the letter' else format('all %s letters', left_out) end
            using errcode = '55000',
                  hint = 'What could not be read is replayed after bridge.edit_dead_letter has made a message of it; a row of this node that is too large travels when it has become smaller: then discard its letter.';
    end if;
    update bridge.audit set affected = letters where id = replay;
end
$$;
