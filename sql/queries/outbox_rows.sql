-- The rows of the transactions $1, in that order, but those of the layouts $2. Looked up transaction by transaction, whatever the
-- statistics of a table say that is empty most of the time.
select t.n, o.seq, o.layout, o.op, o.ts, o.base_ts, o.node, o.base_node, o.correlation, o.traceparent, o.seen::text, o.merge::text, o.fields
  from unnest($1::xid8[]) with ordinality as t (txid, n)
 cross join lateral (select * from bridge.outbox o where o.txid = t.txid and o.layout <> all ($2::int[]) offset 0) o
 order by t.n, o.seq
