-- bridge.note_numbers(sender, incarnation, first, last): the messages with these numbers have come, without a hole, from a sender that
-- numbers its messages without one (last = first - 1: none has, but all before first should have). Returns how many are missing before
-- them, and notes those as a gap; what was missing and comes now fills it. Of a sender that was never heard nothing is missing.
create or replace function bridge.note_numbers(sender text, incarnation text, first bigint, last bigint) returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    reached bigint;
begin
    select sequence into reached from bridge.numbering where source = sender and epoch = incarnation for update;
    if not found then
        reached := case when exists (select from bridge.numbering where source = sender) then 0 else first - 1 end;
        insert into bridge.numbering (epoch, source, sequence) values (incarnation, sender, greatest(last, reached));
        -- Nothing comes any more of those long past.
        delete from bridge.numbering n
         where n.source = sender and n.at < now() - interval '7 days'
           -- More than its heartbeats tell of, and those that were noted together stay together: see bridge.note_confirmed.
           and n.at < (select at from bridge.numbering where source = sender order by at desc offset 63 limit 1);
    elsif last > reached then
        update bridge.numbering set sequence = last, at = now() where source = sender and epoch = incarnation;
    end if;
    if first <= reached then
        update bridge.gap
           set missing = missing - int8range(first, last + 1)::int8multirange,
               filled_at = case when isempty(missing - int8range(first, last + 1)::int8multirange) then now() end
         where source = sender and epoch = incarnation and filled_at is null and missing && int8range(first, last + 1);
        return 0;
    elsif first = reached + 1 then
        return 0;
    end if;
    insert into bridge.gap (source, epoch, first_number, last_number, missing)
    values (sender, incarnation, reached + 1, first - 1, int8multirange(int8range(reached + 1, first)));
    return first - 1 - reached;
end
$$;
