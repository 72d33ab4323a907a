-- At most $3 rows of transaction $1 after sequence number $2, but those of the layouts $4: for a transaction too large for one batch.
select 1::bigint as n, o.seq, o.layout, o.op, o.ts, o.base_ts, o.node, o.base_node, o.correlation, o.traceparent, o.seen::text, o.merge::text, o.fields
  from bridge.outbox o
 where o.txid = $1::xid8 and o.seq > $2::bigint and o.layout <> all ($4::int[])
 order by o.seq
 limit $3::bigint
