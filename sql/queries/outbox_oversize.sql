-- Keeps note of a captured row that is too large to travel, $1 of transaction $2: a dead letter of this node's own, without
-- the values, which are in its table.
insert into bridge.dead_letter (class, state, source, entity, key, op, version_ts, error_code, error, correlation, payload)
select 'permanent', 'parked', n.name, e.name,
       case when l.key_count = 1 then o.fields[1] else o.fields[1:l.key_count]::text end,
       case o.op when 'd' then 'deleted' when 'c' then 'created' else 'updated' end, o.ts, '54000',
       format('the row has %s bytes of values, more than a message may carry; it was not sent', octet_length(o.fields::text)),
       o.correlation, ''
  from bridge.outbox o
  join bridge.layout l on l.id = o.layout
  join bridge.entity e on e.id = l.entity
 cross join bridge.node n
 where o.txid = $2::xid8 and o.seq = $1::bigint
on conflict do nothing
