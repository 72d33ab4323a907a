-- bridge.note_confirmed(sender, incarnations, numbers): the broker has confirmed all messages of the sender's latest incarnations, oldest first,
-- up to these numbers. Returns how many of them have not come, and notes those as gaps; of incarnations before the first one that was ever
-- seen none should have.
create or replace function bridge.note_confirmed(sender text, incarnations text[], numbers bigint[]) returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    c       record;
    seen    boolean := false;
    missing bigint := 0;
begin
    for c in select * from unnest(incarnations, numbers) as c (incarnation, number) loop
        seen := seen or exists (select from bridge.numbering where source = sender and epoch = c.incarnation);
        if seen then
            missing := missing + bridge.note_numbers(sender, c.incarnation, c.number + 1, c.number);
        end if;
    end loop;
    return missing;
end
$$;
