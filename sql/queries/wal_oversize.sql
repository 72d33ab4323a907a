-- Keeps note of a row of entity $1 that is too large to travel, key $2, operation $3, version time $4, with $5 bytes of values and correlation id $6: a dead letter of
-- this node's own, without the values, which are in its table.
insert into bridge.dead_letter (class, state, source, entity, key, op, version_ts, error_code, error, correlation, payload)
select 'permanent', 'parked', n.name, e.name, $2, $3, $4::bigint, '54000',
       format('the row has %s bytes of values, more than a message may carry; it was not sent', $5::bigint), $6, ''
  from bridge.entity e
 cross join bridge.node n
 where e.id = $1::smallint
on conflict do nothing
