-- bridge.wanted_dead_letters(...): the ids of the letters that are like all of this; null is anything, of a state whatever still
-- waits: for another attempt, or for a human. older and newer: first seen before and after so long ago.
-- Runs with the caller's rights.
create or replace function bridge.wanted_dead_letters(ids bigint[], class text, entity text, error text, state text, source text,
                                                      older interval, newer interval) returns setof bigint
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select d.id
      from bridge.dead_letters d
     where (ids is null or d.id = any (ids))
       and (wanted_dead_letters.class is null or d.class = wanted_dead_letters.class)
       and (wanted_dead_letters.entity is null or d.entity = wanted_dead_letters.entity)
       and (wanted_dead_letters.error is null or d.error_code = wanted_dead_letters.error)
       and (wanted_dead_letters.source is null or d.source = wanted_dead_letters.source)
       and case when wanted_dead_letters.state is null then d.state in ('retrying', 'parked', 'quarantined')
                else d.state = wanted_dead_letters.state or wanted_dead_letters.state = 'all' end
       and (older is null or d.first_seen < now() - older)
       and (newer is null or d.first_seen >= now() - newer);
end
$$;
