-- At most $1 of the letters that wait for another row, the newest of each key; those first that may be in the way of others.
select d.id, d.source, d.payload
  from bridge.dead_letter d
  join (select distinct on (entity, key) id
          from (select id, entity, key, version_ts
                  from bridge.dead_letter
                 where state = 'retrying' and error_code in ('23503', '23505', '23P01')
                 order by next_attempt limit 1000) soon
         order by entity, key, version_ts desc, id desc) newest using (id)
 order by d.error_code = '23503' and d.op <> 'deleted', d.id
 limit $1
   for update of d skip locked
