-- Whether the transactions $1 are seen by now: the log tells of a commit a moment before anybody sees it.
select bool_and(pg_visible_in_snapshot((case when x.number - now_.xmax > 2147483648 then x.number - 4294967296
                                            when now_.xmax - x.number > 2147483648 then x.number + 4294967296 else x.number end)::text::xid8, now_.snapshot))
  from (select s as snapshot, pg_snapshot_xmax(s)::text::bigint as xmax from pg_current_snapshot() s) now_
 cross join lateral (select distinct (now_.xmax >> 32 << 32) + t::text::bigint as number from unnest($1::xid[]) t) x
