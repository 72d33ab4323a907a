-- Letters with their payloads, a line of JSON each, the oldest first: those that match $1 to $8 (see bridge.wanted_dead_letters) with a
-- number above $9, at most $10, and no more than it takes to reach $11 bytes.
with page as materialized (
    select p.id, p.payload, p.raw, sum(octet_length(coalesce(p.raw, ''))::bigint + coalesce(pg_column_size(p.payload), 0)) over (order by p.id) as bytes
      from (select w.id from bridge.wanted_dead_letters($1::bigint[], $2, $3, $4, $5, $6, $7::interval, $8::interval) w (id)
             where w.id > $9::bigint order by w.id limit $10::bigint) w
      join bridge.dead_letter_payloads p on p.id = w.id)
select d.id,
       json_build_object('id', d.id, 'class', d.class, 'state', d.state, 'source', d.source, 'entity', d.entity, 'key', d.key,
                         'op', d.op, 'error_code', d.error_code, 'error', d.error, 'correlation_id', d.correlation_id,
                         'message_id', d.message_id, 'attempts', d.attempts, 'first_seen', d.first_seen, 'last_seen', d.last_seen,
                         'payload', page.payload, 'raw', translate(encode(page.raw, 'base64'), E'\n', ''))
  from page
  join bridge.dead_letters d on d.id = page.id
 where page.bytes <= $11::bigint or page.id = (select min(id) from page)
 order by d.id
