-- Numbered messages of peers that were skipped. state: open, filled (they came late), acknowledged.
create or replace view bridge.gaps as
select id, source, epoch, first_number, last_number,
       (select coalesce(sum(upper(r) - lower(r)), 0) from unnest(missing) r)::bigint as missing,
       case when filled_at is not null then 'filled' when acknowledged_at is not null then 'acknowledged' else 'open' end as state,
       noticed_at, filled_at, acknowledged_at, acknowledged_by, reason
  from bridge.gap
 order by id;
