-- At most $1 of the letters that wait for another row, as far as 4 MiB of them go, the newest of each key; those first that may be
-- in the way of others.
with soon as (
    select id, entity, key, version_ts, octet_length(payload) as bytes, error_code = '23503' and op <> 'deleted' as waits_only
      from bridge.dead_letter
     where state = 'retrying' and error_code in ('23503', '23505', '23P01')
     order by next_attempt limit 1000),
newest as (
    select distinct on (entity, key) id, bytes, waits_only from soon order by entity, key, version_ts desc, id desc),
fitting as (
    select id, waits_only, sum(bytes) over (order by waits_only, bytes, id) as bytes from newest)
select d.id, d.source, d.payload
  from bridge.dead_letter d
  join fitting f using (id)
 where f.bytes <= 4 << 20
 order by f.waits_only, d.id
 limit $1
   for update of d skip locked
