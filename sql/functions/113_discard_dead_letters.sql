-- bridge.discard_dead_letters(reason, ...): gives letters up, for good: those that still wait and match (bridge.wanted_dead_letters
-- says how; at least one thing must be said of them). The row stays as it is here, and differs from its source's until
-- somebody writes it again. Payloads are kept. Returns how many.
create or replace function bridge.discard_dead_letters(reason text, ids bigint[] default null, class text default null,
                                                       entity text default null, error text default null, state text default null,
                                                       source text default null, older interval default null,
                                                       newer interval default null) returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    discarded bigint;
begin
    if coalesce(btrim(reason), '') = '' then
        raise exception 'letters are discarded for a reason' using errcode = '22023', hint = 'It is kept in bridge.audit_log.';
    elsif num_nonnulls(ids, class, entity, error, state, source, older, newer) = 0 then
        raise exception 'nothing is said about which letters are to be discarded' using errcode = '22023',
            hint = 'Say at least one of ids, class, entity, error, state, source, older and newer.';
    end if;
    with gone as (
        update bridge.dead_letter d
           set state = 'discarded', next_attempt = null, last_seen = now()
          from bridge.wanted_dead_letters(ids, discard_dead_letters.class, discard_dead_letters.entity, discard_dead_letters.error,
                                         discard_dead_letters.state, discard_dead_letters.source, older, newer) w (id)
         where d.id = w.id and d.state in ('retrying', 'parked', 'quarantined')
        returning d.id)
    select count(*) from gone into discarded;
    insert into bridge.audit (action, details, reason, affected)
    values ('discard dead letters',
            jsonb_strip_nulls(jsonb_build_object('ids', ids, 'class', class, 'entity', entity, 'error', error, 'state', state,
                                                 'source', source, 'older', older, 'newer', newer)), reason, discarded);
    return discarded;
end
$$;
