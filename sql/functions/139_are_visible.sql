-- bridge.are_visible(transactions): whether the statement that asks sees all of them: the log tells of a commit a moment before anybody sees it.
create or replace function bridge.are_visible(xids xid[]) returns boolean
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (select bool_and(pg_visible_in_snapshot((case when x.number - now_.xmax > 2147483648 then x.number - 4294967296
                                                         when now_.xmax - x.number > 2147483648 then x.number + 4294967296
                                                         else x.number end)::text::xid8, now_.snapshot))
              from (select s as snapshot, pg_snapshot_xmax(s)::text::bigint as xmax from pg_current_snapshot() s) now_
             cross join lateral (select distinct (now_.xmax >> 32 << 32) + t::text::bigint as number from unnest(xids) t) x);
end
$$;
